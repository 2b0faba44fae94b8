//! `ping`: a tab asks whether the server is there.

use polytab_protocol::message::ServerMessage;

use super::{Command, From, SetupError};
use crate::channel::{event::Effect, state::ChannelState};

pub(super) struct Ping;

impl Command for Ping {
    fn name(&self) -> &'static str {
        "ping"
    }

    fn setup(&self, _: &mut ChannelState, from: From<'_>) -> Result<Vec<Effect>, SetupError> {
        Ok(vec![Effect::Send(vec![from.tab], ServerMessage::ack("ping"))])
    }
}
