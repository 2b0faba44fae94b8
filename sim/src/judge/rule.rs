//! Standing rules: what must hold in every run, whatever the scenario says (DESIGN §4).

use schemars::JsonSchema;
use serde::Deserialize;

/// A standing rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// At most one short and one long loop per user.
    OneLoopPerUser,
    /// Every tab of a user is told the same.
    SameToAllTabs,
    /// Nothing for one user reaches another's tab.
    NoCrossUser,
    /// Nothing arrives after a close.
    NoMessageAfterClose,
    /// Polling stops when the last tab leaves.
    StopsAfterLastTab,
    /// Open streams are the topics that tabs hold.
    StreamsMatchSubscriptions,
    /// Every message has the form the protocol gives it.
    Schema,
    /// No token or cookie in a frame.
    NoSecretInFrames,
}
