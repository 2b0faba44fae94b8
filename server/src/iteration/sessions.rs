//! Tells tabs that the user's backend sessions changed.

use super::LoopFunction;
use crate::channel::{
    event::{Age, Effect, Question, Reading, SessionsKind},
    state::ChannelState,
};

/// Sessions of one kind.
pub(super) struct Sessions(pub(super) SessionsKind);

impl LoopFunction for Sessions {
    fn question(&self, state: &mut ChannelState) -> Option<Question> {
        state.wants_sessions(self.0).then_some(Question::Sessions(self.0))
    }

    fn learn(&self, state: &mut ChannelState, reading: &Reading, age: Age) -> Vec<Effect> {
        match reading {
            Reading::Sessions(kind, Some(sessions)) if *kind == self.0 => {
                state.compare_sessions(*kind, sessions, age)
            }
            Reading::Sessions(..) | Reading::Activation(_) => Vec::new(),
        }
    }
}
