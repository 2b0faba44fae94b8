//! `resume`: a tab that was away wants what it missed.

use polytab_protocol::message::ServerMessage;
use serde_json::json;

use super::{Command, From, Keys, SetupError};
use crate::channel::{event::Effect, state::ChannelState};

pub(super) struct Resume;

impl Command for Resume {
    fn name(&self) -> &'static str {
        "resume"
    }

    fn keys(&self) -> &'static [Keys] {
        &[Keys {
            required: &["epoch", "seq"],
            optional: &[],
        }]
    }

    fn setup(&self, state: &mut ChannelState, from: From<'_>) -> Result<Vec<Effect>, SetupError> {
        let epoch = from.data["epoch"].as_str();
        let epoch = epoch.ok_or(SetupError::Type {
            key: "epoch",
            wanted: "a string",
        })?;
        let seq = from.data["seq"].as_u64();
        let seq = seq.ok_or(SetupError::Type {
            key: "seq",
            wanted: "an unsigned integer",
        })?;
        let missed = state.resume(from.tab, (epoch, seq), from.age);
        let ack = json!({ "message": "resume", "recovered": missed.is_some() });
        let messages = std::iter::once(ServerMessage::user("ack", &ack)).chain(missed.into_iter().flatten());
        Ok(messages
            .map(|message| Effect::Send(vec![from.tab], message))
            .collect())
    }
}
