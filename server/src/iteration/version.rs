//! Tells tabs the server's version, so that a page of an older build can say so.

use polytab_protocol::message::ServerMessage;
use serde_json::json;

use super::LoopFunction;
use crate::channel::{
    event::{Age, Effect},
    state::ChannelState,
};

/// The server's version.
pub(super) struct Version;

impl LoopFunction for Version {
    fn tell(&self, state: &mut ChannelState, age: Age) -> Vec<Effect> {
        match state.terms.version.clone() {
            Some(version) if state.version_asked => state.tell_all(
                ServerMessage::user("version", &json!({ "version": version })),
                age,
            ),
            Some(_) | None => Vec::new(),
        }
    }
}
