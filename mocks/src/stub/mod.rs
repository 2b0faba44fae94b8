//! Stubs: answers, on order, to requests that no route of the mocks owns. What one says is here; `check` knows what
//! none can say, `matching` which requests one takes, `overlay` when it is asked.

mod check;
pub(crate) mod list;
mod matching;
pub(crate) mod overlay;
pub mod owner;
mod relay;

use std::{collections::BTreeMap, fmt, time::Duration};

use jiff::{SignedDuration, fmt::serde::unsigned_duration::friendly::compact as text};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::Value;

use crate::route::{BACKEND_STUB, GATEWAY_STUB, GITLAB_STUB, KEYCLOAK_STUB};

/// The priority of a stub that names none, which is that of the wiremock crate.
const PRIORITY: u8 = 5;

/// An answer to requests that no route of the mocks owns.
///
/// ```json
/// {
///   "service": "backend",
///   "request": { "method": "GET", "path": "/api/data/version" },
///   "answer": { "json": { "version": "1.2.3" } }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stub {
    /// The service that it answers for; every one unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// The requests that it takes: those that fit everything said here.
    pub request: StubRequest,
    /// What it answers.
    pub answer: StubAnswer,
    /// How many requests it takes; all unless told. Then the next one that fits has its turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// 1 to 255. Of several that fit a request the one with the lowest number answers; of equal ones the one given
    /// first.
    #[serde(default = "usual_priority")]
    pub priority: u8,
}

fn usual_priority() -> u8 {
    PRIORITY
}

/// A service that stubs answer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Keycloak.
    Keycloak,
    /// The backend services, also as the gateway asks them.
    Backend,
    /// GitLab.
    Gitlab,
    /// The gateway itself, on paths that it does not pass on.
    Gateway,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Keycloak, Self::Backend, Self::Gitlab, Self::Gateway];

    /// Its name in routes and orders.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keycloak => "keycloak",
            Self::Backend => "backend",
            Self::Gitlab => "gitlab",
            Self::Gateway => "gateway",
        }
    }

    /// The route that requests taken by its stubs are on record under.
    pub(crate) fn route(self) -> &'static str {
        match self {
            Self::Keycloak => KEYCLOAK_STUB,
            Self::Backend => BACKEND_STUB,
            Self::Gitlab => GITLAB_STUB,
            Self::Gateway => GATEWAY_STUB,
        }
    }
}

/// The requests that a stub takes. What is absent may be anything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StubRequest {
    /// The verb.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The path, without its query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A regular expression that is found somewhere in the path; `^` and `$` tie it to beginning and end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_regex: Option<String>,
    /// Fields that the query has, among others.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// Headers that the request has, among others. Values are lists parted by commas.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// What the JSON body says: objects may say more, arrays are compared whole.
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Value")]
    pub json: Option<Value>,
}

/// What a stub answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StubAnswer {
    /// The status, 200 to 599; 200 unless told.
    pub status: u16,
    /// Headers. A `content-type` here stands instead of the one that the body would have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// A JSON body.
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Value")]
    pub json: Option<Value>,
    /// A body of plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// How late it comes, in scenario time.
    #[serde(
        serialize_with = "text::optional::serialize",
        deserialize_with = "delay",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>")]
    pub delay: Option<Duration>,
}

impl Default for StubAnswer {
    fn default() -> Self {
        Self {
            status: 200,
            headers: BTreeMap::new(),
            json: None,
            text: None,
            delay: None,
        }
    }
}

/// `null` is a JSON body as well.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

fn delay<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let read = text.parse::<SignedDuration>().ok();
    let delay = read.and_then(|delay| Duration::try_from(delay).ok());
    delay.map(Some).ok_or_else(|| {
        let mend = "durations look like `250ms`, `5s` or `1m30s`";
        D::Error::custom(format!("`{text}` is no duration; {mend}"))
    })
}

/// The request that it is for, in one line: `backend GET /api/data/version`.
impl fmt::Display for Stub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = &self.request;
        let method = request.method.as_deref().unwrap_or("any verb").to_owned();
        let path = request.path.clone();
        let pattern = request.path_regex.as_ref().map(|regex| format!("~{regex}"));
        let path = path.or(pattern).unwrap_or_else(|| "on any path".to_owned());
        let service = self.service.map(|service| format!("{} ", service.name()));
        write!(f, "{}{method} {path}", service.unwrap_or_default())
    }
}

/// A stub that the mocks hold.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct HeldStub {
    /// Its number.
    pub id: u64,
    /// How many requests it took.
    pub taken: u64,
    /// What was ordered.
    pub stub: Stub,
}

/// A stub that took no request.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct UnusedStub {
    /// Its number.
    pub id: u64,
    /// What was ordered.
    pub stub: Stub,
}
