//! `pullKgActivationStatus`: a tab wants to follow the knowledge graphs of projects.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Command, From, Keys, SetupError};
use crate::channel::{event::Effect, state::ChannelState};

const KEY: &str = "projects";

pub(super) struct PullActivation;

impl Command for PullActivation {
    fn name(&self) -> &'static str {
        "pullKgActivationStatus"
    }

    fn keys(&self) -> &'static [Keys] {
        &[Keys {
            required: &[KEY],
            optional: &[],
        }]
    }

    fn setup(&self, state: &mut ChannelState, from: From<'_>) -> Result<Vec<Effect>, SetupError> {
        let wrong = SetupError::Type {
            key: KEY,
            wanted: "an array of project ids, which are unsigned integers",
        };
        let ids = from.data[KEY]
            .as_array()
            .map(|ids| ids.iter().map(id).collect::<Option<BTreeSet<u64>>>());
        let Some(Some(ids)) = ids else { return Err(wrong) };
        let limit = state.terms.projects;
        // The tabs of a user, and a page that was loaded again, follow much the same projects.
        if state.activations.under_way().union(&ids).count() > limit {
            return Err(SetupError::TooMany {
                what: "followed projects",
                limit,
            });
        }
        state.follow(ids, from.age);
        state.owe_activation(from.tab);
        Ok(Vec::new())
    }
}

/// Deployed pages send ids as numbers or as text.
fn id(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
