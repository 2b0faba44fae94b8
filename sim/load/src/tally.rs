//! What was counted and measured in a stretch of time. Everything that is said of a run is made from these.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{histogram::Histogram, ledger::Action};

/// What is measured: a duration, mostly from the moment at which something was meant to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Signing a user in.
    SignIn,
    /// From the moment a tab was to open to the end of the handshake.
    Connect,
    /// From the moment a tab was to open to its first message.
    FirstMessage,
    /// From the moment a request was to be sent to its reply.
    Reply,
    /// From a change to its notification in each tab.
    Fanout,
    /// From a change to its notification in the user's first tab.
    FanoutFirst,
    /// From a change to its notification in the user's last tab.
    FanoutLast,
    /// Between the first and the last tab of one user.
    Skew,
    /// How late the generator itself was to do what was due.
    Lag,
}

impl Metric {
    /// All, in the order in which they are told.
    pub const ALL: [Self; 9] = [
        Self::SignIn,
        Self::Connect,
        Self::FirstMessage,
        Self::Reply,
        Self::Fanout,
        Self::FanoutFirst,
        Self::FanoutLast,
        Self::Skew,
        Self::Lag,
    ];

    /// Its word in profiles and results.
    pub const fn word(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Connect => "connect",
            Self::FirstMessage => "first_message",
            Self::Reply => "reply",
            Self::Fanout => "fanout",
            Self::FanoutFirst => "fanout_first",
            Self::FanoutLast => "fanout_last",
            Self::Skew => "skew",
            Self::Lag => "lag",
        }
    }

    /// What it is, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::SignIn => "signing a user in",
            Self::Connect => "from the moment a tab was to open to the end of the handshake",
            Self::FirstMessage => "from the moment a tab was to open to its first message",
            Self::Reply => "from the moment a request was to be sent to its reply",
            Self::Fanout => "from a change to its notification, each tab",
            Self::FanoutFirst => "from a change to its notification, the user's first tab",
            Self::FanoutLast => "from a change to its notification, the user's last tab",
            Self::Skew => "between the first and the last tab of one user",
            Self::Lag => "how late the generator was to do what was due",
        }
    }

    /// The metric with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.word() == word)
    }
}

/// Declares [`Count`] from one table: variant, word in profiles and results, meaning.
macro_rules! counts {
    ($($variant:ident $word:literal $meaning:literal,)*) => {
        /// Something that is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Count {
            $(#[doc = $meaning] $variant,)*
        }

        impl Count {
            /// All, in the order in which they are shown.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$variant),*];

            /// Its word in profiles and results.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

counts! {
    Users "users" "Users who arrived.",
    SignIns "sign_ins" "Sign-ins that were due.",
    SignedIn "signed_in" "Sign-ins that succeeded.",
    Opens "opens" "Tabs that were to open.",
    Opened "opened" "Tabs that opened.",
    Abandoned "abandoned" "Tabs that their user closed before the handshake ended.",
    Ready "ready" "Tabs that became ready.",
    Closed "closed" "Tabs that the server, or a broken connection, closed.",
    Received "received" "Messages that arrived.",
    Sent "sent" "Messages that were sent.",
    Unmatched "unmatched" "Messages that matched no pattern of the profile.",
    StrayMarks "stray_marks" "Messages that matched no pattern, with the mark of a change.",
    TextFrames "text_frames" "Text messages that are not JSON, where the profile's patterns are.",
    BinaryFrames "binary_frames" "Binary messages that are not JSON, where the profile's patterns are.",
    JoinedFrames "joined_frames" "Messages in which a JSON value is followed by something else, as by a second one.",
    Requests "requests" "Requests that were to be sent.",
    Replies "replies" "Replies to them.",
    AbandonedRequests "abandoned_requests" "Requests whose tab its user closed before the reply.",
    ChangesDue "changes_due" "Changes that were to be made.",
    Changes "changes" "Changes that were made.",
    Due "due" "Notifications that were due: changes times the tabs that were to hear of them.",
    Notified "notified" "Notifications that came.",
    Unheard "unheard" "Notifications that were due to tabs which went away before they came.",
    Covered "covered" "Notifications that were due to tabs whose initial state may have contained the change.",
    Withdrawn "withdrawn" "Notifications that were due of changes which could not be made.",
    Missed "missed" "Notifications that never came.",
    Doubled "doubled" "Notifications that came once more.",
    OutOfOrder "out_of_order" "Notifications that came after a later one.",
    CrossUser "cross_user" "Notifications in a tab of another user.",
    Numbered "numbered" "Notifications with a number.",
    Compared "compared" "Numbers that were compared with the one before in the same tab.",
    Marked "marked" "Messages with the mark of a change.",
    Owned "owned" "Messages that name their user or stream.",
    FailedSignIns "failed_sign_ins" "Sign-ins that failed.",
    PendingSignIns "pending_sign_ins" "Sign-ins without a result at the end of the run.",
    RefusedOpens "refused_opens" "Tabs whose connection or handshake the target refused.",
    BrokenOpens "broken_opens" "Tabs whose connection broke before the handshake ended.",
    TimedOutOpens "timed_out_opens" "Tabs whose handshake took too long.",
    PendingOpens "pending_opens" "Tabs whose handshake was under way at the end of the run.",
    Lost "lost" "Tabs lost without being asked to, after they had been open.",
    Unanswered "unanswered" "Requests that were never answered.",
    PendingRequests "pending_requests" "Requests whose reply was not overdue at the end of the run.",
    ErrorMessages "error_messages" "Error messages of the server.",
    FailedChanges "failed_changes" "Changes that could not be made.",
    PendingChanges "pending_changes" "Changes without a result at the end of the run.",
    SignOuts "sign_outs" "Sign-outs that were due.",
    SignedOut "signed_out" "Sign-outs that succeeded.",
    FailedSignOuts "failed_sign_outs" "Sign-outs that failed.",
    PendingSignOuts "pending_sign_outs" "Sign-outs without a result at the end of the run.",
    Polls "polls" "Calls that the server made to the services for its loops.",
    Turns "turns" "Turns that a right server makes at most for its users: how long each had an open tab, in short loops.",
}

impl Count {
    /// Errors: everything that ended without success, except what a user cancelled.
    pub const ERRORS: [Self; 14] = [
        Self::FailedSignIns,
        Self::PendingSignIns,
        Self::RefusedOpens,
        Self::BrokenOpens,
        Self::TimedOutOpens,
        Self::PendingOpens,
        Self::Lost,
        Self::Unanswered,
        Self::PendingRequests,
        Self::ErrorMessages,
        Self::FailedChanges,
        Self::PendingChanges,
        Self::FailedSignOuts,
        Self::PendingSignOuts,
    ];

    /// Opens that ended without success.
    pub const FAILED_OPENS: [Self; 4] = [
        Self::RefusedOpens,
        Self::BrokenOpens,
        Self::TimedOutOpens,
        Self::PendingOpens,
    ];

    /// The count with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|count| count.word() == word)
    }
}

/// Counts and measurements of a stretch of time. Adding two of them is exact.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    pub(crate) counts: Counts,
    /// Absent, as long as nothing was measured: most stretches measure few things, and a histogram is large.
    pub(crate) metrics: [Option<Box<Histogram>>; Metric::ALL.len()],
    /// Close codes of tabs that the server closed.
    pub closes: BTreeMap<u16, u64>,
    /// Why things failed, the first few kinds of it.
    pub reasons: BTreeMap<String, u64>,
    /// Excerpts of messages that arrived at tabs which waited for another one to become ready.
    pub early: Samples,
    /// Excerpts of messages that matched no pattern.
    pub unmatched: Samples,
    /// Excerpts of messages that no JSON pattern can match.
    pub unreadable: Samples,
}

/// A number for each [`Count`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Counts([u64; Count::ALL.len()]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; Count::ALL.len()])
    }
}

/// Excerpts of messages with their counts: the first few kinds, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Samples(Vec<Sample>);

/// An excerpt of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    text: String,
    times: u64,
}

impl Samples {
    /// Kinds that are kept; further ones are dropped.
    const KINDS: usize = 3;

    /// Messages that are looked at; nothing is formatted for further ones.
    const LOOKED_AT: u64 = 50;

    /// Adds an excerpt, unless there are enough.
    pub(crate) fn add(&mut self, excerpt: impl FnOnce() -> String) {
        let seen: u64 = self.0.iter().map(|sample| sample.times).sum();
        if seen < Self::LOOKED_AT {
            self.add_some(&excerpt(), 1);
        }
    }

    /// Those that differ only in digits, as in times and numbers, are of one kind.
    fn add_some(&mut self, excerpt: &str, times: u64) {
        let shape = |text: &str| text.replace(|letter: char| letter.is_ascii_digit(), "0");
        let new = shape(excerpt);
        let like = self.0.iter_mut().find(|known| shape(&known.text) == new);
        if let Some(known) = like {
            known.times += times;
        } else if self.0.len() < Self::KINDS {
            let text = excerpt.to_owned();
            self.0.push(Sample { text, times });
        }
    }

    fn add_all(&mut self, other: &Self) {
        for Sample { text, times } in &other.0 {
            self.add_some(text, *times);
        }
    }

    /// The excerpts, in the order in which they arrived.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|sample| sample.text.as_str())
    }

    /// Returns `true` if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Kinds of reasons kept; further ones are counted together.
const REASONS: usize = 20;
/// Name of further reasons.
const OTHER_REASONS: &str = "other reasons";

impl Tally {
    /// Counts one.
    pub fn count(&mut self, count: Count) {
        self.add_count(count, 1);
    }

    /// Counts several.
    pub fn add_count(&mut self, count: Count, times: u64) {
        self.counts.0[count as usize] += times;
    }

    /// How many were counted.
    pub fn get(&self, count: Count) -> u64 {
        self.counts.0[count as usize]
    }

    /// The sum of several counts.
    pub fn sum(&self, counts: &[Count]) -> u64 {
        counts.iter().map(|count| self.get(*count)).sum()
    }

    /// All that went wrong.
    pub fn errors(&self) -> u64 {
        self.sum(&Count::ERRORS)
    }

    /// All that was tried, of which errors are a part.
    pub fn attempts(&self) -> u64 {
        Action::ALL
            .into_iter()
            .map(|action| self.get(action.intended()))
            .sum()
    }

    /// Measures one.
    pub fn record(&mut self, metric: Metric, duration: Duration) {
        self.metrics[metric as usize]
            .get_or_insert_default()
            .record(duration);
    }

    /// What was measured; none when nothing was.
    pub fn metric(&self, metric: Metric) -> Option<&Histogram> {
        self.metrics[metric as usize].as_deref()
    }

    /// Puts a whole histogram in.
    pub(crate) fn add_metric(&mut self, metric: Metric, histogram: &Histogram) {
        self.metrics[metric as usize]
            .get_or_insert_default()
            .add(histogram);
    }

    /// Counts a failure for this reason.
    pub fn fail(&mut self, count: Count, reason: &str) {
        self.count(count);
        self.add_reason(reason, 1);
    }

    pub(crate) fn add_reason(&mut self, reason: &str, times: u64) {
        let is_full = self.reasons.len() >= REASONS && !self.reasons.contains_key(reason);
        let reason = if is_full { OTHER_REASONS } else { reason };
        *self.reasons.entry(reason.to_owned()).or_default() += times;
    }

    /// Adds everything of another stretch.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.counts.0.iter_mut().zip(other.counts.0) {
            *sum += more;
        }
        for metric in Metric::ALL {
            if let Some(histogram) = other.metric(metric) {
                self.add_metric(metric, histogram);
            }
        }
        for (code, times) in &other.closes {
            *self.closes.entry(*code).or_default() += times;
        }
        for (reason, times) in &other.reasons {
            self.add_reason(reason, *times);
        }
        self.early.add_all(&other.early);
        self.unmatched.add_all(&other.unmatched);
        self.unreadable.add_all(&other.unreadable);
    }
}
