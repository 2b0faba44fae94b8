//! The whole state of the mocks as one document, which can be read, kept in a file, and loaded again.

pub mod live;
mod load;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::fmt::serde::unsigned_duration::friendly::compact as text;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};
use serde_json::{Map, Value};

use self::live::Live;
use crate::{
    clocks::{ClockState, Mock},
    gitlab::rate::RateLimit,
    order::{FaultOrder, HoldOrder, Refresh},
    realm::{ClientConfig, Quirks, SomeSettings},
};

/// The whole state of the mocks. What is absent is as the configuration has it.
///
/// ```json
/// { "users": { "ada": { "password": "secret", "projects": [42] } }, "faults": [{ "match": { "route": "gitlab" }, "do": "reset" }] }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    /// Users by name; those of another realm than the main one as `<realm>/<name>`.
    pub users: BTreeMap<String, UserState>,
    /// Settings and clients of the realms that there are.
    pub realms: BTreeMap<String, RealmState>,
    /// Ways in which versions of Keycloak differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quirks: Option<Quirks>,
    /// Knowledge-graph status by project number: a body sent as it is, or only the percentage.
    pub graph: BTreeMap<String, Value>,
    /// How often GitLab's REST API may be called; `null` for as often as one likes.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub rate_limit: Option<RateLimitState>,
    /// Faults that are armed.
    pub faults: Vec<FaultOrder>,
    /// Answers that are held back.
    pub holds: Vec<HoldOrder>,
    /// Clocks that show another time than really is.
    pub clock: BTreeMap<Mock, ClockState>,
    /// On what ids, tokens and chances depend; random when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// What lives now. It is only shown: whatever is said here is not looked at.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "ignored")]
    #[schemars(extend("readOnly" = true))]
    pub live: Option<Live>,
}

/// One person.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UserState {
    /// Password at the login page; never shown. Absent, it stays what it was for a user who is there already.
    #[serde(skip_serializing)]
    pub password: Option<String>,
    /// `sub` of the user's tokens; a new one unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Whether the account is on; it is unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// First name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// Last name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    /// E-mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether that is verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
    /// Tokens issued before this time (seconds since 1970) are no good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<i64>,
    /// Roles beside those that everybody has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<BTreeSet<String>>,
    /// Attributes of the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Map<String, Value>>,
    /// Life of the user's access tokens, if not the realm's.
    #[serde(with = "text::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub access_token: Option<Duration>,
    /// What Keycloak says to a refresh.
    pub refresh: Refresh,
    /// Private projects that the person may see.
    pub projects: Vec<u64>,
    /// Backend sessions (V2), each laid over a complete default one. One that goes its own way is shown as it is now,
    /// and stands still when it is loaded.
    pub sessions: Vec<Value>,
    /// Backend sessions (V1) by name, each laid over a complete default one; turns the V1 route on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servers: Option<BTreeMap<String, Value>>,
    /// How many backend sessions may use resources at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<usize>,
}

/// One realm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RealmState {
    /// Settings that are not those of the configuration.
    pub settings: SomeSettings,
    /// Clients by id, beside those of the configuration. Secrets are never shown; absent, one stays what it was for a
    /// client that is there already.
    pub clients: BTreeMap<String, ClientConfig>,
}

/// How often GitLab's REST API may be called, or that there is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RateLimitState(pub Option<RateLimit>);

/// A part of the state that a reset may leave as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Users, and what they own.
    Users,
    /// Settings, clients, keys and login sessions of the realms, and what the gateway keeps of them.
    Realms,
    /// Faults and holds.
    Faults,
    /// The calls until now, and those that no route took.
    Journal,
    /// The clocks.
    Clock,
    /// Stubs, and how many requests each took.
    Stubs,
}

/// `null` is something that was said.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RateLimitState>, D::Error> {
    RateLimitState::deserialize(deserializer).map(Some)
}

fn ignored<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Live>, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| None)
}
