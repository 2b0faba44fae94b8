//! `subscribe`: a tab wants the events of a topic.

use serde_json::Value;

use super::{Command, From, Keys, SetupError, topic};
use crate::channel::{event::Effect, state::ChannelState};

/// Longer ids than this are no event ids of GitLab's.
const ID_BYTES: usize = 128;

pub(super) struct Subscribe;

impl Command for Subscribe {
    fn name(&self) -> &'static str {
        "subscribe"
    }

    fn keys(&self) -> &'static [Keys] {
        &[Keys {
            required: &["topic"],
            optional: &["lastEventId"],
        }]
    }

    fn setup(&self, state: &mut ChannelState, from: From<'_>) -> Result<Vec<Effect>, SetupError> {
        let topic = topic(from.data)?;
        let last_event = match from.data.get("lastEventId") {
            None => None,
            Some(Value::String(id)) if is_event_id(id) => Some(id.clone()),
            Some(_) => {
                return Err(SetupError::Type {
                    key: "lastEventId",
                    wanted: "the id of an event",
                });
            }
        };
        let limit = state.terms.subscriptions;
        state
            .subscribe(from.tab, (topic, last_event), from.age)
            .ok_or(SetupError::TooMany {
                what: "subscriptions",
                limit,
            })
    }
}

/// It goes into a request's header: nothing but printable ASCII may be in it.
fn is_event_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= ID_BYTES && id.bytes().all(|byte| byte.is_ascii_graphic())
}
