//! Events made on order: full payloads, kept and handed out as if something had happened.

use std::num::NonZeroU32;

use polytab_protocol::topic::{EventType, Topic};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;

use super::payload::Maker;
use crate::{Mocks, clocks::Mock, error::ControlError, json::lay_over, world::World};

/// Events that one order makes at most.
const MOST: u32 = 1_000;
/// Branches or tags that one push may move before GitLab calls no hook for it at all (MOCKS G2).
const REFS_WITH_HOOKS: u32 = 3;

/// Events that GitLab is to have.
///
/// ```json
/// { "type": "issue", "payload": { "object_attributes": { "action": "close" } }, "n": 2 }
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventOrder {
    /// What happens.
    #[serde(rename = "type")]
    #[schemars(schema_with = "event_types")]
    pub event: EventType,
    /// Laid over each full payload (RFC 7396): objects merge, `null` takes away.
    #[serde(default)]
    pub payload: Value,
    /// How often.
    #[serde(default = "one")]
    pub n: NonZeroU32,
    /// Branches or tags that one push moves: as many events, and no hook is called for more than three.
    #[serde(default = "one")]
    pub refs: NonZeroU32,
    /// Commits of a push; a few, unless told.
    #[serde(default)]
    pub commits: Option<u64>,
}

fn event_types(_: &mut SchemaGenerator) -> Schema {
    let words: Vec<_> = EventType::ALL.iter().map(|event| event.as_str()).collect();
    json_schema!({"type": "string", "enum": words})
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

impl EventOrder {
    /// One event of this type.
    pub fn new(event: EventType) -> Self {
        Self {
            event,
            payload: Value::Null,
            n: one(),
            refs: one(),
            commits: None,
        }
    }
}

impl Mocks {
    /// Something happens in a project, and GitLab tells it with full payloads; gives the ids of the events.
    ///
    /// # Errors
    ///
    /// When more is to happen than one order may bring about.
    pub fn generate(&self, project: u64, order: &EventOrder) -> Result<Vec<String>, ControlError> {
        let count = order.n.saturating_mul(order.refs).get();
        if count > MOST {
            return Err(ControlError::BadValue {
                what: "the number of events made by one order",
                value: count.to_string(),
                nearest: Some(MOST.to_string()),
            });
        }
        let mut world = self.0.world();
        Ok((0..count).map(|_| world.generate(project, order)).collect())
    }
}

impl World {
    fn generate(&mut self, project: u64, order: &EventOrder) -> String {
        let topic = Topic {
            project,
            event: order.event,
        };
        let (number, seq) = self.hub.store.next(project);
        let mut members = self.users.iter().enumerate();
        let member = members.find(|(_, (_, user))| user.spec.projects.contains(&project));
        let maker = Maker {
            random: &self.seams.random,
            now: self.now_at(Mock::Gitlab),
            topic,
            at: &self.gitlab.instance,
            number,
            seq,
            actor: member.map_or((0, "root"), |(index, (name, _))| (index + 1, name)),
            action: order.payload["object_attributes"]["action"].as_str(),
            commits: order.commits,
        };
        let mut payload = maker.payload();
        if !order.payload.is_null() {
            lay_over(&mut payload, &order.payload);
        }
        if order.refs.get() > REFS_WITH_HOOKS {
            return self.emit_to_streams(topic, &payload).id.clone();
        }
        self.emit(topic, &payload)
    }
}
