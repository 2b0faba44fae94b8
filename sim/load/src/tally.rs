//! What was counted and measured in a stretch of time. Everything that is said of a run is made from these.

use std::{collections::BTreeMap, time::Duration};

use crate::histogram::Histogram;

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

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Count {
    /// Users who arrived.
    Users,
    /// Tabs that were to open.
    Opens,
    /// Tabs that opened.
    Opened,
    /// Tabs that the server, or a broken connection, closed.
    Closed,
    /// Messages that arrived.
    Received,
    /// Messages that were sent.
    Sent,
    /// Requests that were to be sent.
    Requests,
    /// Replies to them.
    Replies,
    /// Changes that were made.
    Changes,
    /// Notifications that were due: changes times the tabs that were to hear of them.
    Due,
    /// Notifications that came.
    Notified,
    /// Notifications that were due to tabs which went away before they came.
    Unheard,
    /// Notifications that never came.
    Missed,
    /// Notifications that came once more.
    Doubled,
    /// Notifications that came after a later one.
    OutOfOrder,
    /// Notifications in a tab of another user.
    CrossUser,
    /// Sign-ins that failed.
    FailedSignIns,
    /// Tabs that could not be opened.
    FailedOpens,
    /// Tabs lost without being asked to, after they had been open.
    Lost,
    /// Requests that were never answered.
    Unanswered,
    /// Error messages of the server.
    ErrorMessages,
    /// Changes that could not be made.
    FailedChanges,
    /// Calls that the server made to the services for its loops.
    Polls,
    /// Turns that a right server makes at most for its users: how long each had an open tab, in short loops.
    Turns,
}

impl Count {
    /// All, in the order in which they are told.
    pub const ALL: [Self; 24] = [
        Self::Users,
        Self::Opens,
        Self::Opened,
        Self::Closed,
        Self::Received,
        Self::Sent,
        Self::Requests,
        Self::Replies,
        Self::Changes,
        Self::Due,
        Self::Notified,
        Self::Unheard,
        Self::Missed,
        Self::Doubled,
        Self::OutOfOrder,
        Self::CrossUser,
        Self::FailedSignIns,
        Self::FailedOpens,
        Self::Lost,
        Self::Unanswered,
        Self::ErrorMessages,
        Self::FailedChanges,
        Self::Polls,
        Self::Turns,
    ];

    /// Those that say that something went wrong which ought not to.
    pub const ERRORS: [Self; 6] = [
        Self::FailedSignIns,
        Self::FailedOpens,
        Self::Lost,
        Self::Unanswered,
        Self::ErrorMessages,
        Self::FailedChanges,
    ];

    /// Its word in profiles and results.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Opens => "opens",
            Self::Opened => "opened",
            Self::Closed => "closed",
            Self::Received => "received",
            Self::Sent => "sent",
            Self::Requests => "requests",
            Self::Replies => "replies",
            Self::Changes => "changes",
            Self::Due => "due",
            Self::Notified => "notified",
            Self::Unheard => "unheard",
            Self::Missed => "missed",
            Self::Doubled => "doubled",
            Self::OutOfOrder => "out_of_order",
            Self::CrossUser => "cross_user",
            Self::FailedSignIns => "failed_sign_ins",
            Self::FailedOpens => "failed_opens",
            Self::Lost => "lost",
            Self::Unanswered => "unanswered",
            Self::ErrorMessages => "error_messages",
            Self::FailedChanges => "failed_changes",
            Self::Polls => "polls",
            Self::Turns => "turns",
        }
    }

    /// The count with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|count| count.word() == word)
    }
}

/// Counts and measurements of a stretch of time. Adding two of them is exact.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    pub(crate) counts: [u64; Count::ALL.len()],
    /// Absent, as long as nothing was measured: most stretches measure few things, and a histogram is large.
    pub(crate) metrics: [Option<Box<Histogram>>; Metric::ALL.len()],
    /// Close codes of tabs that the server closed.
    pub closes: BTreeMap<u16, u64>,
    /// Why things failed, the first few kinds of it.
    pub reasons: BTreeMap<String, u64>,
}

/// Kinds of reasons kept; further ones are counted together.
const REASONS: usize = 20;
/// Name of those.
const OTHER_REASONS: &str = "other reasons";

impl Tally {
    /// Counts one.
    pub fn count(&mut self, count: Count) {
        self.add_count(count, 1);
    }

    /// Counts several.
    pub fn add_count(&mut self, count: Count, times: u64) {
        self.counts[count as usize] += times;
    }

    /// How many were counted.
    pub fn get(&self, count: Count) -> u64 {
        self.counts[count as usize]
    }

    /// All that went wrong.
    pub fn errors(&self) -> u64 {
        Count::ERRORS.into_iter().map(|count| self.get(count)).sum()
    }

    /// All that was tried, of which errors are a part.
    pub fn attempts(&self) -> u64 {
        [Count::Users, Count::Opens, Count::Requests, Count::Changes]
            .into_iter()
            .map(|count| self.get(count))
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
        for (sum, more) in self.counts.iter_mut().zip(other.counts) {
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
    }
}
