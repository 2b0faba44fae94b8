//! A load profile, `*.load.yaml`: who comes, what their tabs do, what happens to them, what must hold.

use std::{borrow::Cow, collections::BTreeMap, path::PathBuf, str::FromStr, time::Duration};

use polytab_load::threshold::{Threshold, ThresholdError, check_name};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;

pub use super::rate::{Rate, TabsPerUser};
use crate::scenario::{people::Client, window::Span};

/// A load profile.
///
/// ```yaml
/// users: 200
/// tabs_per_user: {1: 60%, 2: 25%, 5: 15%}
/// phases:
///   - {name: arrive, for: 20s, arrival: poisson}
///   - {name: steady, for: 1m}
/// changes: every 15s
/// churn: {reload: 1/m}
/// thresholds:
///   - missed == 0
///   - fanout.p99 < 6s
/// ```
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What it is for, in a sentence.
    #[serde(default)]
    pub about: Option<String>,
    /// How many users there are; phases may have others.
    pub users: u64,
    /// How many tabs each of them has; one unless told.
    #[serde(default)]
    pub tabs_per_user: Option<TabsPerUser>,
    /// The phases, in order.
    pub phases: Vec<Phase>,
    /// A scenario (`*.tabs.yaml`, from the folder of this file) that each user plays from the arrival on, with as many
    /// tabs as it declares; afterwards the user leaves. Without it all tabs open at once and stay.
    #[serde(default)]
    pub behaviour: Option<PathBuf>,
    /// What a tab does by itself, as in scenarios: `page`, `bare`, or the page with other settings.
    #[serde(default)]
    pub client: Client,
    /// The message after which a tab is ready; `init` for a page, none for a bare tab.
    #[serde(default)]
    pub ready: Option<Value>,
    /// Messages that each tab sends over and over, each with a reply.
    #[serde(default)]
    pub requests: Vec<Request>,
    /// What a notification looks like; the session status of the protocol for a page.
    #[serde(default)]
    pub notification: Option<Notification>,
    /// How often each user's world changes, so that all tabs of the user are to hear of it; never unless told.
    #[serde(default)]
    pub changes: Option<Rate>,
    /// What happens to users meanwhile.
    #[serde(default)]
    pub churn: Churn,
    /// How long each user stays, from the moment that the first tab is open; `0s` to leave at once; to the end of the
    /// run unless told.
    #[serde(default)]
    pub stay: Option<Span>,
    /// How long a sleeping machine sleeps, a stalled tab reads nothing, and, on the average, a user who left stays
    /// away; 20 s unless told.
    #[serde(default)]
    pub away: Option<Span>,
    /// What must hold in the end: `fanout.p99 < 100ms`, `missed == 0`, `errors < 0.1%`.
    #[serde(default)]
    pub thresholds: Vec<ThresholdText>,
    /// Names of what may stay unmeasured although a threshold is about it: `missed`, `fanout`, `fanout.p99`. Otherwise a
    /// threshold without a measurement makes the run invalid. With `changes`, no change need be made either.
    #[serde(default)]
    pub allow_unmeasured: Vec<MeasureName>,
    /// Ends the run as soon as a threshold is missed and cannot hold any more, but not before this time.
    #[serde(default)]
    pub abort_on_fail: Option<Span>,
    /// Bounds, where the usual ones do not fit the target.
    #[serde(default)]
    pub limits: Limits,
    /// Seed of everything that is drawn; 1 unless told.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Settings of the reference server and the mocks, when the command starts them.
    #[serde(default)]
    pub reference: Reference,
}

/// A stretch of the run.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// How long it is.
    #[serde(rename = "for")]
    pub length: Length,
    /// How many users are there at its end; those of the profile unless told. When they are fewer than before, the last
    /// ones leave.
    #[serde(default)]
    pub users: Option<u64>,
    /// How those who come are spread over it.
    #[serde(default)]
    pub arrival: Arrival,
    /// How often each user's world changes in it, if otherwise.
    #[serde(default)]
    pub changes: Option<Rate>,
    /// What happens to users in it, if otherwise.
    #[serde(default)]
    pub churn: Option<Churn>,
    /// What happens once at its beginning.
    #[serde(default)]
    pub begin: Option<Begin>,
}

/// How those who come within a phase are spread over it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// At one rate.
    #[default]
    Constant,
    /// At a rate that rises from nothing.
    Ramp,
    /// At random, as independent people come.
    Poisson,
    /// All at its beginning.
    Spike,
}

/// What happens once, to the reference server that the command started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Begin {
    /// It is killed and started again: every tab loses its connection.
    RestartServer,
}

/// What happens to users over and over, at random; never unless told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Churn {
    /// A tab is reloaded.
    pub reload: Option<Rate>,
    /// A tab's connection breaks; the tab comes back as pages do.
    pub drop: Option<Rate>,
    /// The machine sleeps: the connections of all tabs break.
    pub sleep: Option<Rate>,
    /// A tab reads nothing for a while.
    pub stall: Option<Rate>,
    /// The user signs out and, later, in again.
    pub sign_out: Option<Rate>,
    /// The user leaves and, later, comes back: the closed model.
    pub leave: Option<Rate>,
}

/// A message that is sent over and over, and its reply.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// JSON, or a text that is sent as it is. `${user}` and `${tab}` are filled in.
    pub send: Value,
    /// What the reply holds at least; any message unless told. Replies come in the order of requests.
    #[serde(default)]
    pub reply: Option<Value>,
    /// When the next one follows.
    pub pace: Pace,
}

/// When a request follows the one before: `every 5s`, `20/s`, or `back_to_back`, as soon as that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub enum Pace {
    /// At regular times, whatever became of those before.
    Every(Rate),
    /// As soon as the one before was answered.
    BackToBack,
}

impl TryFrom<String> for Pace {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "back_to_back" {
            return Ok(Self::BackToBack);
        }
        match text.parse::<Rate>() {
            Ok(rate) if rate.0 > 0.0 => Ok(Self::Every(rate)),
            _ => Err(format!(
                "`{text}` is no pace; write `every 5s`, `20/s` or `back_to_back`"
            )),
        }
    }
}

impl JsonSchema for Pace {
    fn schema_name() -> Cow<'static, str> {
        "Pace".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "When the next request follows: `every 5s`, `20/s`, or `back_to_back`",
        })
    }
}

/// A threshold: `fanout.p99 < 100ms`, `missed == 0`, `errors < 0.1%`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct ThresholdText(pub Threshold);

impl TryFrom<String> for ThresholdText {
    type Error = ThresholdError;

    fn try_from(text: String) -> Result<Self, ThresholdError> {
        text.parse().map(Self)
    }
}

impl JsonSchema for ThresholdText {
    fn schema_name() -> Cow<'static, str> {
        "Threshold".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "What must hold in the end: `fanout.p99 < 100ms`, `missed == 0`, `errors < 0.1%`",
            "pattern": r"^[a-z_0-9.]+\s*(<=?|>=?|==)\s*[0-9.]+\s*(us|µs|ms|s|m|%)?$",
        })
    }
}

/// The name of something that a threshold can be about: `missed`, `fanout`, `fanout.p99`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct MeasureName(pub String);

impl TryFrom<String> for MeasureName {
    type Error = ThresholdError;

    fn try_from(text: String) -> Result<Self, ThresholdError> {
        check_name(&text)?;
        Ok(Self(text))
    }
}

impl FromStr for MeasureName {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        text.to_owned().try_into()
    }
}

impl JsonSchema for MeasureName {
    fn schema_name() -> Cow<'static, str> {
        "MeasureName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A name that a threshold can be about: `missed`, `fanout`, `fanout.p99`",
            "pattern": r"^[a-z_0-9.]+$",
        })
    }
}

/// A JSON pointer (RFC 6901), as `/data/id`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pointer(pub String);

impl TryFrom<String> for Pointer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with('/') {
            Ok(Self(text))
        } else {
            Err(format!(
                "`{text}` is no JSON pointer; it begins with a slash, as `/data/id`"
            ))
        }
    }
}

impl JsonSchema for Pointer {
    fn schema_name() -> Cow<'static, str> {
        "Pointer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^/", "description": "A JSON pointer, as `/data/id`" })
    }
}

/// How long a phase is: more than nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Span")]
pub struct Length(pub Duration);

impl TryFrom<Span> for Length {
    type Error = &'static str;

    fn try_from(span: Span) -> Result<Self, &'static str> {
        if span.0.is_zero() {
            Err("a phase that lasts no time is none; write `for: 30s`")
        } else {
            Ok(Self(span.0))
        }
    }
}

impl JsonSchema for Length {
    fn schema_name() -> Cow<'static, str> {
        Span::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Span::json_schema(generator)
    }
}

/// What a notification looks like, and how one is told from another.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Notification {
    /// What it holds at least.
    #[serde(rename = "match")]
    pub is: Value,
    /// JSON pointer to a number that rises by one with each (`/seq`).
    #[serde(default)]
    pub seq: Option<Pointer>,
    /// JSON pointer to how many numbers just below its own were left out for this tab, as a later notification says all
    /// that they did (`/superseded`): they are not missed.
    #[serde(default)]
    pub superseded: Option<Pointer>,
    /// JSON pointer to what names the stream of a user (`/epoch`): another one in the same tab is somebody else's.
    #[serde(default)]
    pub stream: Option<Pointer>,
    /// JSON pointer to the name of the user whom it is for.
    #[serde(default)]
    pub user: Option<Pointer>,
    /// JSON pointer to a text with the mark that was given when the change was made.
    #[serde(default)]
    pub mark: Option<Pointer>,
    /// `true` if a tab is told the state once it is ready, `false` if it is not. With `true` no number before its first
    /// numbered notification is missed: others may have been told what the state tells it. Unless it is `false`, the
    /// first notification of a tab without a mark confirms no change, as it may be the state.
    #[serde(default)]
    pub initial: Option<bool>,
}

/// Bounds.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// From the moment a tab is to open to the end of its handshake; 30 s unless told.
    pub connect: Option<Span>,
    /// After so long a reply is no longer waited for; 30 s unless told.
    pub reply: Option<Span>,
    /// After so long a notification counts as missed; 20 s unless told.
    pub notification: Option<Span>,
    /// For so long after it opened a tab may be told the state more than once; 10 s unless told.
    pub settling: Option<Span>,
    /// One turn of the target's short loop; 5 s unless told.
    pub turn: Option<Span>,
    /// From a user's first tab to the first turn; 3 s unless told.
    pub start_delay: Option<Span>,
    /// How late the generator itself may be (99th percentile); 10 ms unless told.
    pub lag: Option<Span>,
    /// Handshakes and sign-ins under way at once, each worker; 256 unless told.
    pub under_way: Option<usize>,
}

/// Settings of what the command starts itself.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reference {
    /// Settings of the reference server (`short_loop: 1s`).
    pub server: BTreeMap<String, Value>,
    /// Life of access tokens; the mock's own unless told.
    pub access_token: Option<Span>,
    /// Projects whose events every user may see.
    pub projects: Vec<u64>,
}
