//! Commands: what tabs may ask. A new one is one file and one line in [`COMMANDS`].

mod init;
mod ping;
mod pull_activation;
mod pull_sessions;
mod resume;
mod subscribe;
mod unsubscribe;

use polytab_protocol::{
    id::TabId,
    message::{ClientMessage, Data, ErrorCode, excerpt},
    topic::TopicError,
};
use thiserror::Error;

use crate::channel::{
    event::{Age, Effect, SessionsKind},
    state::ChannelState,
};

/// Which keys a command's `data` has.
pub(crate) struct Keys {
    required: &'static [&'static str],
    optional: &'static [&'static str],
}

impl Keys {
    const NONE: Self = Self {
        required: &[],
        optional: &[],
    };

    fn fit(&self, data: &Data) -> bool {
        let known =
            |key: &String| self.required.contains(&key.as_str()) || self.optional.contains(&key.as_str());
        self.required.iter().all(|key| data.contains_key(*key)) && data.keys().all(known)
    }
}

/// One command. Its set-up records what iterations need, and never asks upstream.
trait Command: Sync {
    /// The message's `type`.
    fn name(&self) -> &'static str;

    /// The sets of keys it takes; the first that fits wins.
    fn keys(&self) -> &'static [Keys] {
        &[Keys::NONE]
    }

    /// Does what the tab asks.
    fn setup(&self, state: &mut ChannelState, from: From<'_>) -> Result<Vec<Effect>, SetupError>;
}

/// Who asks what, and when.
#[derive(Clone, Copy)]
struct From<'a> {
    tab: TabId,
    data: &'a Data,
    age: Age,
}

/// Every command.
const COMMANDS: &[&dyn Command] = &[
    &init::Init,
    &ping::Ping,
    &pull_sessions::PullSessions("pullSessionStatus", SessionsKind::V1),
    &pull_sessions::PullSessions("pullSessionStatusV2", SessionsKind::V2),
    &pull_activation::PullActivation,
    &subscribe::Subscribe,
    &unsubscribe::Unsubscribe,
    &resume::Resume,
];

/// Why a command cannot be done: the tab's fault, and told to it.
#[derive(Debug, Error)]
pub(crate) enum SetupError {
    #[error("no command has this name")]
    Unknown,
    #[error("`data` needs {needs}; it has {has}")]
    Keys { needs: String, has: String },
    #[error("`{key}` is {wanted}")]
    Type { key: &'static str, wanted: &'static str },
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error("this tab does not hold that topic")]
    NotSubscribed,
    #[error("no more than {limit} {what} for one user")]
    TooMany { what: &'static str, limit: usize },
}

impl SetupError {
    /// The code that goes with it.
    pub(crate) const fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown => ErrorCode::UnknownType,
            Self::Keys { .. } | Self::Type { .. } | Self::Topic(_) => ErrorCode::BadData,
            Self::NotSubscribed => ErrorCode::NotSubscribed,
            Self::TooMany { .. } => ErrorCode::TooMany,
        }
    }
}

/// Finds the command, checks its keys, and does it.
pub(crate) fn run(
    state: &mut ChannelState,
    tab: TabId,
    message: &ClientMessage,
    age: Age,
) -> Result<Vec<Effect>, SetupError> {
    let command = COMMANDS
        .iter()
        .find(|command| command.name() == message.kind)
        .ok_or(SetupError::Unknown)?;
    if !command.keys().iter().any(|keys| keys.fit(&message.data)) {
        return Err(wrong_keys(*command, &message.data));
    }
    command.setup(
        state,
        From {
            tab,
            data: &message.data,
            age,
        },
    )
}

fn wrong_keys(command: &dyn Command, data: &Data) -> SetupError {
    let list = |keys: &Keys| {
        let optional = keys.optional.iter().map(|key| format!("`{key}` (optional)"));
        let all: Vec<_> = keys
            .required
            .iter()
            .map(|key| format!("`{key}`"))
            .chain(optional)
            .collect();
        if all.is_empty() {
            "no keys".to_owned()
        } else {
            all.join(", ")
        }
    };
    let needs = command.keys().iter().map(list).collect::<Vec<_>>().join(", or ");
    let has = data.keys().cloned().collect::<Vec<_>>().join(", ");
    let has = if has.is_empty() {
        "none".to_owned()
    } else {
        format!("`{}`", excerpt(&has))
    };
    SetupError::Keys { needs, has }
}

/// The topic under `topic`.
fn topic(data: &Data) -> Result<polytab_protocol::topic::Topic, SetupError> {
    let text = data.get("topic").and_then(serde_json::Value::as_str);
    let text = text.ok_or(SetupError::Type {
        key: "topic",
        wanted: "a string",
    })?;
    Ok(text.parse()?)
}
