//! Tells tabs how far the knowledge graphs of followed projects are.

use super::LoopFunction;
use crate::channel::{
    event::{Age, Effect, Question, Reading},
    state::ChannelState,
};

/// Activation of all followed projects.
pub(super) struct Activation;

impl LoopFunction for Activation {
    fn question(&self, state: &mut ChannelState) -> Option<Question> {
        let mut projects = state.activations.begin_turn();
        projects.extend(state.projects_of_others());
        (!projects.is_empty()).then_some(Question::Activation(projects))
    }

    fn learn(&self, state: &mut ChannelState, reading: &Reading, age: Age) -> Vec<Effect> {
        let Reading::Activation(learned) = reading else {
            return Vec::new();
        };
        state.activations.adopt(learned.keys().copied(), age);
        let patience = state.terms.activation_patience;
        let changed = state.activations.learn(learned, age, patience);
        state.tell_activation(changed, age)
    }
}
