//! What a run does: who arrives when with how many tabs, what a tab says, what happens to it meanwhile. Plain data;
//! whoever reads profiles makes it.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::{HeaderMap, Uri};
use polytab_seams::net::Dial;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::{
    hearing::{Mark, Said},
    result::Shard,
    threshold::Threshold,
};

/// Everything that a run does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the profile.
    pub name: String,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// The phases, in order; at least one.
    pub phases: Vec<Phase>,
    /// How many tabs a user has, each with its share; at least one.
    pub tabs_per_user: Vec<(u32, f64)>,
    /// Which users are ours.
    pub shard: Option<Shard>,
    /// What a tab does.
    pub page: Page,
    /// What a user does; without it, all tabs open at once and stay.
    pub script: Option<Script>,
    /// What happens where users are.
    pub site: Site,
    /// What must hold in the end.
    pub thresholds: Vec<Threshold>,
    /// Names of what may stay unmeasured (`missed`, `fanout`, `fanout.p99`), although a threshold is about it.
    pub allow_unmeasured: Vec<String>,
    /// Whether a missed threshold ends the run, and from when on that is looked at.
    pub abort_after: Option<Duration>,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds of a run.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From the moment a tab is to open to the end of its handshake.
    pub connect: Duration,
    /// After so long a reply is no longer waited for.
    pub reply: Duration,
    /// After so long a notification counts as missed.
    pub notification: Duration,
    /// A tab that has just opened may be told the state more than once for so long.
    pub settling: Duration,
    /// One turn of the target's short loop.
    pub turn: Duration,
    /// From a user's first tab to the first turn.
    pub start_delay: Duration,
    /// The generator's own lateness (99th percentile) above which nothing can be said of the target.
    pub lag: Duration,
    /// Handshakes and sign-ins under way at once, each worker.
    pub under_way: usize,
    /// Messages that wait to be sent, each tab.
    pub queue: usize,
    /// The longest message that is taken, in bytes.
    pub message_bytes: usize,
    /// Length of the stretches in which counts are told apart.
    pub interval: Duration,
    /// Time for handshakes, sign-ins and changes that are under way when the schedule ends, and then for tabs to close.
    pub closing: Duration,
    /// Threads that drive tabs.
    pub workers: usize,
}

impl Default for Limits {
    /// For the intervals of PROTOCOL A5: a notification is missed after two short turns and ten seconds.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            reply: Duration::from_secs(30),
            notification: Duration::from_secs(20),
            settling: Duration::from_secs(10),
            turn: Duration::from_secs(5),
            start_delay: Duration::from_secs(3),
            lag: Duration::from_millis(10),
            under_way: 256,
            queue: 256,
            message_bytes: 1024 * 1024,
            interval: Duration::from_secs(1),
            closing: Duration::from_secs(5),
            workers: 1,
        }
    }
}

/// A stretch of the run.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// How long it is.
    pub length: Duration,
    /// How many users are there at its end.
    pub users: u64,
    /// How they come.
    pub arrival: Arrival,
    /// How often things happen to a user.
    pub events: Vec<Process>,
}

/// How those who come within a phase are spread over it. Nobody waits for anybody: the model is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// At one rate.
    Constant,
    /// At a rate that rises from nothing.
    Ramp,
    /// At random, one rate, as independent people come.
    Poisson,
    /// All at its beginning.
    Spike,
}

/// Something that happens to users over and over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// What happens.
    pub happening: Happening,
    /// How often, per user and second.
    pub rate: f64,
}

/// What can happen to a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happening {
    /// The user's world changes: every tab is to hear of it. At regular intervals.
    Change,
    /// A tab is reloaded. At random, like all that follows.
    Reload,
    /// A tab loses its connection without a word, and comes back as pages do.
    Drop,
    /// The machine sleeps: all tabs lose their connections, and come back after a while.
    Sleep,
    /// A tab stops reading for a while.
    Stall,
    /// The user signs out and, later, in again.
    SignOut,
    /// The user leaves and, later, comes back: the closed model.
    Leave,
}

impl Happening {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Change,
        Self::Reload,
        Self::Drop,
        Self::Sleep,
        Self::Stall,
        Self::SignOut,
        Self::Leave,
    ];

    /// Whether it comes at regular intervals.
    pub(crate) const fn is_regular(self) -> bool {
        matches!(self, Self::Change)
    }
}

/// What each user does, from the arrival on. Afterwards the user leaves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// What is done, each a time after the arrival; in order.
    pub deeds: Vec<(Duration, Deed)>,
    /// How long after the arrival the user leaves.
    pub length: Duration,
}

/// Something that a user does, or that happens to one. Tabs are numbers, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A tab is opened.
    Open(usize),
    /// A tab is closed.
    Close(usize),
    /// A tab goes, and comes back after a while.
    Reload(usize, Duration),
    /// A tab loses its connection without a word, and comes back as pages do.
    Drop(usize),
    /// The machine with these tabs sleeps for a while: they lose their connections.
    Sleep(Vec<usize>, Duration),
    /// A tab reads nothing for a while.
    Stall(usize, Duration),
    /// A tab says something.
    Say(usize, Template),
    /// The user's world changes.
    Change,
    /// The user signs out; all tabs leave.
    SignOut,
}

/// What a tab does by itself.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Sent as soon as the handshake is over.
    pub on_open: Vec<Template>,
    /// The message after which the tab is ready; none for tabs that are ready at once.
    pub ready: Option<Needle>,
    /// Sent when it is ready.
    pub on_ready: Vec<Template>,
    /// Sent over and over, with a reply each.
    pub requests: Vec<Request>,
    /// What a notification looks like.
    pub notification: Option<Notification>,
    /// What an error message looks like.
    pub error: Option<Needle>,
    /// Close codes after which the tab comes back.
    pub reconnect_on: Vec<u16>,
    /// After how long; grows by half each time.
    pub reconnect_after: Duration,
    /// How long a user stays, from the moment that the first tab is open; to the end unless told.
    pub stay: Option<Duration>,
    /// How long a sleeping machine sleeps, a stalled tab stalls, a user who left stays away.
    pub away: Duration,
}

impl Page {
    /// Whether what a message says matters at all: else none is parsed.
    pub(crate) fn reads_json(&self) -> bool {
        let is_json = |needle: &Needle| matches!(needle, Needle::Json(_));
        let needles = [&self.ready, &self.error].into_iter().flatten();
        let replies = self.requests.iter().map(|request| &request.reply);
        self.notification.is_some() || needles.chain(replies).any(is_json)
    }

    /// What a message says of itself to this user.
    pub(crate) fn said(&self, json: &Value, user: &str) -> Said {
        let Some(rule) = &self.notification else {
            return Said::default();
        };
        let at = |place: &Option<String>| json.pointer(place.as_deref()?);
        Said {
            notifies: rule.is.matches(Some(json)),
            seq: at(&rule.seq).and_then(Value::as_u64),
            superseded: at(&rule.superseded).and_then(Value::as_u64).unwrap_or(0),
            stream: at(&rule.stream).and_then(Value::as_str).map(str::to_owned),
            is_owned: [&rule.user, &rule.stream]
                .into_iter()
                .any(|pointer| at(pointer).is_some_and(Value::is_string)),
            is_for_another: at(&rule.user)
                .and_then(Value::as_str)
                .is_some_and(|name| name != user),
            mark: at(&rule.mark).and_then(Value::as_str).and_then(Mark::find),
        }
    }
}

/// A message that is sent over and over.
#[derive(Clone, Debug)]
pub struct Request {
    /// The message.
    pub send: Template,
    /// Its reply; replies come in the order of requests.
    pub reply: Needle,
    /// When the next one follows.
    pub pace: Pace,
}

/// When a request follows the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At regular times, whatever became of those before.
    Every(Duration),
    /// As soon as the one before was answered.
    BackToBack,
}

/// A message with blanks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Template {
    /// The same for all.
    Fixed(Utf8Bytes),
    /// With `${user}` and `${tab}` in it.
    Filled(String),
}

impl Template {
    /// A message in which `${user}` stands for the user's name and `${tab}` for the tab's number, from 1.
    pub fn new(text: String) -> Self {
        if text.contains("${") {
            Self::Filled(text)
        } else {
            Self::Fixed(text.into())
        }
    }

    /// The message of one tab.
    pub(crate) fn text(&self, user: &str, tab: usize) -> Utf8Bytes {
        match self {
            Self::Fixed(text) => text.clone(),
            Self::Filled(text) => text
                .replace("${user}", user)
                .replace("${tab}", &(tab + 1).to_string())
                .into(),
        }
    }
}

/// What a message must look like.
#[derive(Clone, Debug, PartialEq)]
pub enum Needle {
    /// Any message at all.
    Any,
    /// JSON that holds at least this: objects as subsets, all else equal.
    Json(Value),
}

impl std::fmt::Display for Needle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("any message"),
            Self::Json(needle) => write!(f, "{needle}"),
        }
    }
}

impl Needle {
    /// Whether the message is one; `json` is it, parsed, when it can be.
    pub(crate) fn matches(&self, json: Option<&Value>) -> bool {
        match self {
            Self::Any => true,
            Self::Json(needle) => json.is_some_and(|json| holds(json, needle)),
        }
    }
}

fn holds(value: &Value, needle: &Value) -> bool {
    match (value, needle) {
        (Value::Object(value), Value::Object(needle)) => needle
            .iter()
            .all(|(key, needle)| value.get(key).is_some_and(|value| holds(value, needle))),
        (value, needle) => value == needle,
    }
}

/// What a notification looks like, and how one is told from another. The places are JSON pointers (`/seq`).
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// Which messages are notifications.
    pub is: Needle,
    /// A number that rises by one with each notification of a stream.
    pub seq: Option<String>,
    /// How many numbers just below its own were left out, as a later notification says all that they did.
    pub superseded: Option<String>,
    /// What names the stream; another one in the same tab is somebody else's.
    pub stream: Option<String>,
    /// The name of the user whom it is for.
    pub user: Option<String>,
    /// What was said when the change was made.
    pub mark: Option<String>,
    /// Whether a tab is told the state once it is ready. Where it is, no number before its first numbered notification is
    /// missed. Where it may be, a tab's first notification without a mark confirms no change.
    pub initial: InitialState,
}

/// The initial state of a tab, as the profile declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialState {
    /// A tab is told the state once it is ready.
    Sent,
    /// A tab is told nothing but what changes.
    Absent,
    /// The profile does not say.
    Unknown,
}

/// What a site does when asked to; an error is a reason for people, of few kinds.
pub type Doing<T> = BoxFuture<'static, Result<T, String>>;
/// What is done for one user.
pub type ForUser<T> = Arc<dyn Fn(u64) -> Doing<T> + Send + Sync>;
/// Makes a user's world change; the text is the change's mark.
pub type MakeChange = Arc<dyn Fn(u64, String) -> Doing<()> + Send + Sync>;
/// Says a number.
pub type Ask = Arc<dyn Fn() -> Doing<u64> + Send + Sync>;

/// Where the target and its users are.
#[derive(Clone)]
pub struct Site {
    /// Where tabs connect to.
    pub url: Uri,
    /// For people; without secrets.
    pub name: String,
    /// Opens encrypted connections; plain ones are opened by the driver itself.
    pub tls: Option<Arc<dyn Dial>>,
    /// Addresses from which connections come, in turns; the system's choice when empty.
    pub sources: Vec<std::net::IpAddr>,
    /// Names of users, by number.
    pub user_name: Arc<dyn Fn(u64) -> String + Send + Sync>,
    /// Gives the headers of a user's handshake, after a sign-in where there is one.
    pub sign_in: ForUser<HeaderMap>,
    /// `sign_in` does something at the target that can fail; otherwise it is not counted as an action.
    pub signs_in: bool,
    /// Signs a user out; none where that cannot be done.
    pub sign_out: Option<ForUser<()>>,
    /// Makes the user's world change, with a mark.
    pub change: Option<MakeChange>,
    /// How many calls the target's loops have made since the start.
    pub polls: Option<Ask>,
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// A plan without thresholds, against nothing.
    pub(crate) fn plan(phases: Vec<Phase>, page: Page) -> Plan {
        Plan {
            name: "test".to_owned(),
            seed: 7,
            phases,
            tabs_per_user: vec![(1, 1.0)],
            shard: None,
            page,
            script: None,
            site: Site {
                url: Uri::from_static("ws://127.0.0.1:1/"),
                name: "nothing".to_owned(),
                tls: None,
                sources: Vec::new(),
                user_name: Arc::new(|user| format!("user-{user}")),
                sign_in: Arc::new(|_| Box::pin(async { Ok(HeaderMap::new()) })),
                signs_in: false,
                sign_out: None,
                change: None,
                polls: None,
            },
            thresholds: Vec::new(),
            allow_unmeasured: Vec::new(),
            abort_after: None,
            limits: Limits::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_is_known_by_a_part_of_it() {
        let message = json!({"type": "ack", "data": {"message": "ping"}, "seq": 3});

        for (needle, matches) in [
            (json!({"type": "ack"}), true),
            (json!({"data": {"message": "ping"}}), true),
            (json!({"data": {}}), true),
            (json!({"type": "error"}), false),
            (json!({"data": "ping"}), false),
            (json!({"code": null}), false),
        ] {
            assert_eq!(
                Needle::Json(needle.clone()).matches(Some(&message)),
                matches,
                "{needle}"
            );
        }
        assert!(Needle::Any.matches(None));
        assert!(!Needle::Json(json!({})).matches(None));
    }

    #[test]
    fn blanks_are_filled_in() {
        let filled = Template::new(r#"{"user": "${user}", "tab": ${tab}}"#.to_owned());

        assert_eq!(filled.text("ada", 1).as_str(), r#"{"user": "ada", "tab": 2}"#);
        assert!(matches!(Template::new("{}".to_owned()), Template::Fixed(_)));
    }
}
