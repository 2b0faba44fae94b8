//! Standing rules: what must hold in every scenario, whatever its steps expect (DESIGN §4).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One standing rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// While a user has tabs, each polled route is asked at most once per short loop.
    OneLoopPerUser,
    /// What a loop tells one tab, it tells every tab of that user that asked for it.
    SameToAllTabs,
    /// No tab sees what belongs to another user.
    NoCrossUser,
    /// After a tab was told that its login session is over, or was closed, it hears nothing more.
    NoMessageAfterClose,
    /// After a user's last tab left, nothing is asked on the user's behalf.
    StopsAfterLastTab,
    /// Open event streams are those that some tab holds a subscription for, one each.
    StreamsMatchSubscriptions,
    /// Every message has the form that the protocol gives it.
    Schema,
    /// No token, cookie or password is in a message.
    NoSecretInFrames,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 8] = [
        Self::OneLoopPerUser,
        Self::SameToAllTabs,
        Self::NoCrossUser,
        Self::NoMessageAfterClose,
        Self::StopsAfterLastTab,
        Self::StreamsMatchSubscriptions,
        Self::Schema,
        Self::NoSecretInFrames,
    ];

    /// Its name in scenario files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OneLoopPerUser => "one-loop-per-user",
            Self::SameToAllTabs => "same-to-all-tabs",
            Self::NoCrossUser => "no-cross-user",
            Self::NoMessageAfterClose => "no-message-after-close",
            Self::StopsAfterLastTab => "stops-after-last-tab",
            Self::StreamsMatchSubscriptions => "streams-match-subscriptions",
            Self::Schema => "schema",
            Self::NoSecretInFrames => "no-secret-in-frames",
        }
    }

    /// What it says, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::OneLoopPerUser => {
                "while a user has tabs open, each polled route is asked at most once per short loop, however many tabs there are and however often they reload"
            }
            Self::SameToAllTabs => {
                "a notification that a loop sends to one tab reaches every tab of that user that asked for its kind"
            }
            Self::NoCrossUser => "no tab sees a message that belongs to another user",
            Self::NoMessageAfterClose => {
                "a tab that was told that its login session is over, or was closed, hears nothing more"
            }
            Self::StopsAfterLastTab => {
                "after a user's last tab left, no service is asked on that user's behalf"
            }
            Self::StreamsMatchSubscriptions => {
                "the open event streams of a user are the topics that some tab of the user holds, one stream each"
            }
            Self::Schema => "every message has the form that the protocol gives it",
            Self::NoSecretInFrames => "no token, cookie or password is in a message",
        }
    }
}
