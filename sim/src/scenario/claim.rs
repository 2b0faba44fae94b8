//! What a scenario claims: what tabs see, what arrives at the services, what is waited for. The judge decides.

use polytab_mocks::shape::Either;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    located::Located,
    step::Names,
    window::{Span, Window},
};
use crate::pattern::Pattern;

/// What tabs must have seen.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// How long to look, from now.
    #[serde(default)]
    pub within: Option<Window>,
    /// Look from this mark on, not from where the last `expect` ended.
    #[serde(default)]
    pub since: Option<String>,
    /// The same message reaches the tabs of a clause within this time.
    #[serde(default)]
    pub skew: Option<Span>,
    /// What every tab that is open or on its way back, and that no clause names, must see.
    #[serde(default)]
    pub others: Option<Others>,
    /// Several clauses over one window.
    #[serde(default)]
    pub all: Option<Vec<Located<Clause>>>,
    /// The tabs. Default: every tab that is open, on its way back, or was closed by the server without any `expect` having
    /// judged it.
    #[serde(default)]
    pub tabs: Option<Names>,
    /// These messages and no other.
    #[serde(default)]
    pub exactly: Option<Vec<Located<Pattern>>>,
    /// These messages, others between them allowed.
    #[serde(default)]
    pub contains: Option<Vec<Located<Pattern>>>,
    /// No message.
    #[serde(default)]
    pub nothing: Option<bool>,
    /// The order does not matter.
    #[serde(default)]
    pub any_order: Option<bool>,
    /// The server closed the tab.
    #[serde(default)]
    pub closed: Option<Closed>,
    /// The tab is open at the end of the window.
    #[serde(default)]
    pub stays_open: Option<bool>,
}

/// One clause of an `expect`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Clause {
    /// The tabs. Default: every tab that is open, on its way back, or was closed by the server without any `expect` having
    /// judged it.
    pub tabs: Option<Names>,
    /// These messages and no other.
    pub exactly: Option<Vec<Located<Pattern>>>,
    /// These messages, others between them allowed.
    pub contains: Option<Vec<Located<Pattern>>>,
    /// No message.
    pub nothing: Option<bool>,
    /// The order does not matter.
    pub any_order: Option<bool>,
    /// The server closed the tab.
    pub closed: Option<Closed>,
    /// The tab is open at the end of the window.
    pub stays_open: Option<bool>,
}

impl Clause {
    /// Returns `true` if a tab that sees nothing and is closed meets it.
    pub(crate) fn is_met_by_absence(&self) -> bool {
        let demands =
            |patterns: &Option<Vec<_>>| patterns.as_ref().is_some_and(|patterns| !patterns.is_empty());
        !demands(&self.exactly)
            && !demands(&self.contains)
            && self.closed.is_none()
            && self.stays_open != Some(true)
    }
}

/// What the tabs that no clause names must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Others {
    /// No message since the last step that did something.
    Nothing,
}

/// How a tab was closed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(from = "Either<u16, ClosedSettings>")]
pub enum Closed {
    /// `closed: 4001`
    Code(u16),
    /// `closed: { code: 1012, reason: "retry_ms=<int>" }`
    Full(ClosedSettings),
}

impl From<Either<u16, ClosedSettings>> for Closed {
    fn from(either: Either<u16, ClosedSettings>) -> Self {
        match either {
            Either::Short(code) => Self::Code(code),
            Either::Full(settings) => Self::Full(settings),
        }
    }
}

impl Closed {
    /// The close code; 1006 for a connection that broke.
    pub fn code(&self) -> u16 {
        match self {
            Self::Code(code) => *code,
            Self::Full(settings) => settings.code,
        }
    }
}

/// A close, in full.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClosedSettings {
    /// The close code; 1006 for a connection that broke.
    pub code: u16,
    /// The reason's text.
    #[serde(default)]
    pub reason: Option<Pattern>,
}

/// What must have arrived at the services.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// Count from this mark on, not from the start.
    #[serde(default)]
    pub since: Option<String>,
    /// Wait this long for the counts to be reached; else judged at once.
    #[serde(default)]
    pub within: Option<Window>,
    /// The counts.
    pub check: Vec<Located<Check>>,
}

/// One count of calls.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The route's name, as `backend.sessions`.
    pub route: Located<String>,
    /// The path of the call.
    #[serde(default)]
    pub path: Option<Pattern>,
    /// On whose behalf.
    #[serde(default)]
    pub user: Option<String>,
    /// Fields of a form body.
    #[serde(default)]
    pub form: Option<Pattern>,
    /// A JSON body.
    #[serde(default)]
    pub json: Option<Pattern>,
    /// How many; at least one unless told.
    #[serde(default)]
    pub count: Option<Count>,
    /// How many of them are open event streams now.
    #[serde(default)]
    pub open_streams: Option<u64>,
}

/// A number of calls.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(from = "Either<u64, Bounds>")]
pub enum Count {
    /// `count: 6`
    Exactly(u64),
    /// `count: { min: 5, max: 7 }`
    Between(Bounds),
}

impl From<Either<u64, Bounds>> for Count {
    fn from(either: Either<u64, Bounds>) -> Self {
        match either {
            Either::Short(count) => Self::Exactly(count),
            Either::Full(bounds) => Self::Between(bounds),
        }
    }
}

/// Bounds of a count, both included.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// At least.
    #[serde(default)]
    pub min: u64,
    /// At most.
    #[serde(default = "most")]
    pub max: u64,
}

fn most() -> u64 {
    u64::MAX
}

/// A fact to wait for. Exactly one of `poll`, `call`, `tab`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// The user whose sessions are polled.
    #[serde(default)]
    pub poll: Option<String>,
    /// A call of this route.
    #[serde(default)]
    pub call: Option<Located<String>>,
    /// On whose behalf the call is.
    #[serde(default)]
    pub user: Option<String>,
    /// A tab that sees something.
    #[serde(default)]
    pub tab: Option<String>,
    /// What that tab sees.
    #[serde(default)]
    pub got: Option<Pattern>,
    /// The tab was closed by the server or the network.
    #[serde(default)]
    pub closed: Option<bool>,
    /// The tab is open (again).
    #[serde(default)]
    pub open: Option<bool>,
    /// The how-manieth; 1 unless told.
    #[serde(default)]
    pub n: Option<u64>,
    /// Count from this mark on, not from the start.
    #[serde(default)]
    pub since: Option<String>,
    /// How long at most; two long loops unless told.
    #[serde(default)]
    pub within: Option<Window>,
}
