//! What can be ordered of the mocks: users, changes of the world, faults, held answers.
//!
//! All durations are scenario time: the mocks divide them by their speed.

use std::{collections::BTreeMap, time::Duration};

use jiff::fmt::serde::unsigned_duration::friendly::compact as text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::keycloak::fault::{Claim, KeycloakFault};
use crate::{
    fault::{action::FaultAction, when::When},
    seen::CallMatch,
    time::Time,
};

/// A person known to all three services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UserSpec {
    /// Password at the login page.
    pub password: String,
    /// Life of the user's access tokens, if not the realm's.
    #[serde(with = "text::optional")]
    #[schemars(with = "Option<String>")]
    pub access_token: Option<Duration>,
    /// What Keycloak says to a refresh.
    pub refresh: Refresh,
    /// Private projects that the person may see.
    pub projects: Vec<u64>,
    /// Backend sessions, each laid over a complete default one.
    pub sessions: Vec<Value>,
}

impl Default for UserSpec {
    fn default() -> Self {
        Self {
            password: "pass-for-tests-only".to_owned(),
            access_token: None,
            refresh: Refresh::Granted,
            projects: Vec::new(),
            sessions: Vec::new(),
        }
    }
}

/// What Keycloak says to a refresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Refresh {
    /// New tokens.
    #[default]
    Granted,
    /// The session is over: `Session not active`.
    Refused,
}

/// A change of the world. Absent fields stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    /// Whose state changes; only `graph` belongs to nobody.
    pub user: Option<String>,
    /// All backend sessions (V2), in the order the backend lists them; each is laid over a complete default one.
    pub sessions: Option<Vec<Value>>,
    /// All backend sessions (V1) by name, each laid over a complete default one; turns the V1 route on.
    pub servers: Option<BTreeMap<String, Value>>,
    /// Knowledge-graph status by project number: a body sent as it is, or only the percentage.
    pub graph: Option<BTreeMap<String, Value>>,
    /// The private projects that the user may see.
    pub projects: Option<Vec<u64>>,
    /// What Keycloak says to the user's next refreshes.
    pub refresh: Option<Refresh>,
    /// Life of the user's next access tokens.
    #[serde(with = "text::optional")]
    #[schemars(with = "Option<String>")]
    pub access_token: Option<Duration>,
}

/// A misbehaviour of one route, on order.
///
/// ```json
/// { "match": { "route": "backend.sessions", "user": "ada" }, "when": { "every": 3 }, "do": { "status": 503 }, "for": "5m" }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultOrder {
    /// Whose calls of which routes; all calls unless told.
    #[serde(default, rename = "match")]
    pub on: CallMatch,
    /// Which of those calls; all unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// What happens.
    #[serde(rename = "do")]
    pub action: FaultAction,
    /// How many calls meet it; all, until healed, unless told. For `drop_streams` rounds: one at once, the others at
    /// the next openings; one unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// For how long.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub duration: Option<Time>,
}

impl FaultOrder {
    /// A fault that every call on these routes meets until healed.
    pub fn on(route: &str, action: FaultAction) -> Self {
        Self {
            on: CallMatch::of(route),
            when: None,
            action,
            times: None,
            duration: None,
        }
    }

    /// Met by so many calls.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self {
            times: Some(times),
            ..self
        }
    }
}

/// Answers to be held back: made at once, sent on release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldOrder {
    /// The route's name, a service, or `all`.
    pub route: String,
    /// Only for calls on behalf of this user.
    #[serde(default)]
    pub user: Option<String>,
    /// How many answers; all, until released, unless told.
    #[serde(default)]
    pub times: Option<u32>,
}

/// How a login session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndHow {
    /// Nobody is told.
    Silent,
    /// The client is told by back-channel logout.
    Backchannel,
}

/// What of a user's is over at the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    /// The access token: the next call refreshes it.
    Access,
    /// All tokens: calls go on without.
    Tokens,
    /// The sessions: cookies name none any more.
    Sessions,
}

/// What happens to a backend session next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// A new session begins, without containers yet.
    Launch,
    /// One more container is there, or what is under way is done.
    Step,
    /// It is to hibernate.
    Hibernate,
    /// It is to run again.
    Resume,
    /// It failed.
    Fail,
    /// It runs, but badly.
    Degrade,
    /// Its user does something in it.
    Touch,
    /// It loses its place, and begins anew elsewhere.
    Evict,
    /// It is to go away.
    Delete,
}

/// A fault that never met a call.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct UnusedFault {
    /// Its number.
    pub id: u64,
    /// What was ordered.
    pub order: FaultOrder,
}

/// A request that no route takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UnmatchedCall {
    /// The service that got it.
    pub service: &'static str,
    /// Verb.
    pub method: String,
    /// Path as seen.
    pub path: String,
    /// Name of the route most like it.
    pub nearest: Option<String>,
}
