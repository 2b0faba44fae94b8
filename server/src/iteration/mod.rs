//! Loop functions: the recurring work of a channel. A new one is one file and one line here.

mod activation;
mod sessions;
mod version;

use crate::channel::{
    event::{Age, Effect, LoopKind, Question, Reading, SessionsKind},
    state::ChannelState,
};

/// One recurring piece of work. All of it is optional.
pub(crate) trait LoopFunction: Sync {
    /// What must be asked upstream at this turn.
    fn question(&self, _state: &mut ChannelState) -> Option<Question> {
        None
    }

    /// What follows from an answer; answers to other functions' questions are passed over.
    fn learn(&self, _state: &mut ChannelState, _reading: &Reading, _age: Age) -> Vec<Effect> {
        Vec::new()
    }

    /// What the turn tells without asking anybody.
    fn tell(&self, _state: &mut ChannelState, _age: Age) -> Vec<Effect> {
        Vec::new()
    }
}

/// At each turn of the short loop, in this order.
const SHORT_LOOP: &[&dyn LoopFunction] = &[
    &sessions::Sessions(SessionsKind::V1),
    &sessions::Sessions(SessionsKind::V2),
    &activation::Activation,
];

/// At each turn of the long loop, in this order.
const LONG_LOOP: &[&dyn LoopFunction] = &[&version::Version];

/// The functions of a loop.
pub(crate) fn functions(kind: LoopKind) -> impl Iterator<Item = &'static dyn LoopFunction> {
    let functions = match kind {
        LoopKind::Short => SHORT_LOOP,
        LoopKind::Long => LONG_LOOP,
    };
    functions.iter().copied()
}
