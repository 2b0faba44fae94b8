//! `unsubscribe`: a tab lets go of a topic.

use super::{Command, From, Keys, SetupError, topic};
use crate::channel::{event::Effect, state::ChannelState};

pub(super) struct Unsubscribe;

impl Command for Unsubscribe {
    fn name(&self) -> &'static str {
        "unsubscribe"
    }

    fn keys(&self) -> &'static [Keys] {
        &[Keys {
            required: &["topic"],
            optional: &[],
        }]
    }

    fn setup(&self, state: &mut ChannelState, from: From<'_>) -> Result<Vec<Effect>, SetupError> {
        state
            .unsubscribe(from.tab, topic(from.data)?)
            .ok_or(SetupError::NotSubscribed)
    }
}
