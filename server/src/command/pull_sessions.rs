//! `pullSessionStatus`, `pullSessionStatusV2`: a tab wants session notifications, and the current state.

use super::{Command, From, SetupError};
use crate::channel::{
    event::{Effect, SessionsKind},
    state::ChannelState,
};

pub(super) struct PullSessions(pub(super) &'static str, pub(super) SessionsKind);

impl Command for PullSessions {
    fn name(&self) -> &'static str {
        self.0
    }

    fn setup(&self, state: &mut ChannelState, from: From<'_>) -> Result<Vec<Effect>, SetupError> {
        state.pull_sessions(from.tab, self.1);
        Ok(Vec::new())
    }
}
