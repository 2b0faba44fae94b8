//! What can be ordered of the mocks: users, changes of the world, faults, held answers.
//!
//! All durations are scenario time: the mocks divide them by their speed.

use std::{collections::BTreeMap, fmt, time::Duration};

use jiff::fmt::serde::unsigned_duration::friendly::compact as text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::keycloak::fault::{Claim, KeycloakFault};
use crate::{backend::fault::PollFault, gitlab::fault::GitlabFault};

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultOrder {
    /// The route's name, a service for all of its routes (`keycloak`), or `all`.
    pub route: String,
    /// Only for calls on behalf of this user.
    #[serde(default)]
    pub user: Option<String>,
    /// What happens.
    #[serde(rename = "do")]
    pub action: FaultAction,
    /// How many calls meet it; all, until healed, unless told. For `drop_streams` rounds: one at once, the others at
    /// the next openings; one unless told.
    #[serde(default)]
    pub times: Option<u32>,
    /// For how long.
    #[serde(default, rename = "for", with = "text::optional")]
    #[schemars(with = "Option<String>")]
    pub duration: Option<Duration>,
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultAction {
    /// An answer of this status; the service does nothing.
    Status(u16),
    /// The answer is made at once and comes late.
    #[serde(with = "text::required")]
    #[schemars(with = "String")]
    Delay(Duration),
    /// No answer until the route is healed; then the connection is reset.
    Hang,
    /// The connection is reset; the service does nothing.
    Reset,
    /// The body breaks off half-way.
    Truncate,
    /// A body that is not what its head says.
    Malformed,
    /// No body.
    Empty,
    /// A list, the other way round.
    Reorder,
    /// Open event streams are cut, at once.
    DropStreams,
    /// Keycloak answers with something wrong.
    Keycloak(KeycloakFault),
    /// An event stream misbehaves as only event streams can; it counts events, not calls.
    Gitlab(GitlabFault),
    /// A misbehaviour of the backend's own.
    Backend(PollFault),
}

impl fmt::Display for FaultAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Delay(time) => write!(f, "delay {time:?}"),
            Self::Hang => f.write_str("hang"),
            Self::Reset => f.write_str("reset"),
            Self::Truncate => f.write_str("truncate"),
            Self::Malformed => f.write_str("malformed"),
            Self::Empty => f.write_str("empty"),
            Self::Reorder => f.write_str("reorder"),
            Self::DropStreams => f.write_str("drop_streams"),
            Self::Keycloak(fault) => fault.fmt(f),
            Self::Gitlab(fault) => fault.fmt(f),
            Self::Backend(fault) => fault.fmt(f),
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
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
