//! Several instances as one server: who leads a user's channel, what the others tell it, and what it tells them.
//!
//! Every instance with tabs of a user has a channel for them, and compares readings for its own tabs. Only the one that
//! leads asks upstream, and shares what it learned. An instance that cannot reach the others serves its own tabs alone.

#[cfg(test)]
mod contract_tests;
mod memory;
mod redis;
#[cfg(test)]
pub(crate) mod redis_server;
mod relay;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use futures_util::future::BoxFuture;
use polytab_protocol::{
    id::{LoginSessionId, UserId},
    topic::Topic,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub(crate) use self::{
    memory::Memory,
    redis::Redis,
    relay::{Reach, relay},
};
use crate::channel::event::{LoopKind, Reading, SessionsKind, StreamNews};

/// Orders what several instances say of one user: microseconds of the coordinator's clock.
pub(crate) type Stamp = u64;

/// The channel of a user in one instance, from its birth to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) user: UserId,
    /// The instance's name, `-`, and a number.
    pub(crate) epoch: String,
}

/// What the tabs of a user in one instance need of whoever leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Needs {
    /// How many tabs there are; the limit of tabs is for all instances.
    pub(crate) tabs: usize,
    /// Session readings of these kinds.
    pub(crate) sessions: BTreeSet<SessionsKind>,
    /// Activation of these projects.
    pub(crate) projects: BTreeSet<u64>,
    /// Events of these topics.
    pub(crate) topics: BTreeMap<Topic, Hold>,
    /// Whether a tab asked for the server's version.
    pub(crate) version: bool,
}

/// How far an instance is with a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hold {
    /// Tabs wait to hear that GitLab accepted it.
    pub(crate) waits: bool,
    /// Some of them for what came after an event.
    #[serde(default)]
    pub(crate) behind: bool,
    /// Tabs have heard that it did.
    #[serde(default)]
    pub(crate) accepted: bool,
    /// The last event that came.
    pub(crate) last_event: Option<String>,
}

impl Hold {
    /// Takes in how far another instance is with the same topic.
    pub(crate) fn add(&mut self, other: Self) {
        let (own, others) = (self.last_event.take(), other.last_event);
        // What came counts for more than what a tab says that waits.
        self.last_event = if other.accepted && !self.accepted {
            others.or(own)
        } else {
            own.or(others)
        };
        self.waits |= other.waits;
        self.behind |= other.behind;
        self.accepted |= other.accepted;
    }
}

impl Needs {
    /// Takes in what another instance needs.
    pub(crate) fn add(&mut self, other: Self) {
        self.tabs += other.tabs;
        self.sessions.extend(other.sessions);
        self.projects.extend(other.projects);
        for (topic, hold) in other.topics {
            self.topics.entry(topic).or_default().add(hold);
        }
        self.version |= other.version;
    }

    /// What remains of them when an instance has not been heard of for a lease: its tabs are elsewhere by now, and what
    /// they needed they will need there.
    pub(crate) fn of_the_lost(mut self) -> Self {
        self.tabs = 0;
        for hold in self.topics.values_mut() {
            (hold.waits, hold.behind, hold.accepted) = (false, false, false);
        }
        self
    }

    /// Whether the coordinator is to be told before the next turn.
    pub(crate) fn are_worth_a_claim(&self, told: &Self) -> bool {
        self.tabs != told.tabs || self.are_news_after(told)
    }

    /// Whether who leads must act at once on the difference.
    pub(crate) fn are_news_after(&self, before: &Self) -> bool {
        fn topics(needs: &Needs) -> impl Iterator<Item = (&Topic, bool, bool)> {
            let topics = needs.topics.iter();
            topics.map(|(topic, hold)| (topic, hold.waits, hold.behind))
        }
        (&self.sessions, &self.projects, self.version) != (&before.sessions, &before.projects, before.version)
            || !topics(self).eq(topics(before))
    }
}

/// What an instance is for a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    /// It asks upstream and shares, as long as this fence is the last that was given.
    Leads(Stamp),
    /// It waits for what the leader shares.
    Follows,
    /// It cannot reach the others: it asks upstream, for its own tabs.
    Alone,
}

impl Rank {
    /// Its word in metrics and for people.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Leads(_) => "leads",
            Self::Follows => "follows",
            Self::Alone => "alone",
        }
    }
}

/// What a claim gives.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) rank: Rank,
    /// When it was so.
    pub(crate) at: Stamp,
    /// What all other instances need together.
    pub(crate) others: Needs,
}

impl Standing {
    /// That of an instance that needs nothing.
    pub(crate) fn idle() -> Self {
        Self {
            rank: Rank::Follows,
            ..Self::alone()
        }
    }

    /// That of an instance which cannot reach the others.
    pub(crate) fn alone() -> Self {
        Self {
            rank: Rank::Alone,
            at: 0,
            others: Needs::default(),
        }
    }
}

/// What instances tell each other of a user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Record {
    /// The leader's questions of a turn are answered.
    Answered(LoopKind, Vec<Reading>),
    /// News of an event stream that the leader holds.
    Stream(Topic, StreamNews),
    /// An instance needs something else than before.
    Needs,
    /// Nobody leads any more.
    Released,
    /// A login session was ended.
    SessionOver(LoginSessionId),
    /// The identity provider ended what it calls `sid`, or all of the user `sub`.
    LoggedOut {
        sub: Option<String>,
        sid: Option<String>,
    },
}

/// A record on its way to one instance.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) user: UserId,
    pub(crate) at: Stamp,
    pub(crate) record: Record,
}

/// The other instances cannot be told, or not even asked.
#[derive(Debug, Error)]
pub(crate) enum Lost {
    /// No answer came.
    #[error("the coordinator cannot be reached: {0}")]
    Unreachable(String),
    /// It answers, and takes nothing in: its memory is full, or it is a replica.
    #[error("the coordinator refuses writes: {0}")]
    ReadOnly(String),
}

/// Bytes that only who has their secret can open.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    /// Rises with each that replaces another.
    pub(crate) version: u64,
    pub(crate) bytes: Vec<u8>,
}

/// What became of a record that a leader shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was taken, at this moment: the leader may act on it.
    Taken(Stamp),
    /// Another leads by now: what was learned is void.
    Refused,
}

/// Waits of a coordinator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spans {
    /// How long an instance leads without claiming again.
    pub(crate) lease: Duration,
    /// How long the needs of an instance that says nothing are kept, and letters to it.
    pub(crate) window: Duration,
    /// How long an answer is waited for.
    pub(crate) answer: Duration,
    /// Letters kept for one instance.
    pub(crate) letters: usize,
}

/// Where instances meet.
pub(crate) trait Coordinator: fmt::Debug + Send + Sync + 'static {
    /// Whether there can be other instances.
    fn is_shared(&self) -> bool;

    /// Leads the user's channels if nobody else does, and tells what this one needs; with `news` the others hear of it
    /// at once.
    fn claim<'a>(
        &'a self,
        life: &'a Life,
        needs: &'a Needs,
        news: bool,
    ) -> BoxFuture<'a, Result<Standing, Lost>>;

    /// Shares a record with the user's other instances, if `fence` is still the last.
    fn publish<'a>(
        &'a self,
        life: &'a Life,
        fence: Stamp,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Fate, Lost>>;

    /// Leads no longer, and needs nothing; the others hear at once that nobody leads.
    fn release<'a>(&'a self, life: &'a Life) -> BoxFuture<'a, Result<(), Lost>>;

    /// Tells every instance with tabs of the user, whoever leads.
    fn post<'a>(&'a self, user: &'a UserId, record: &'a Record) -> BoxFuture<'a, Result<(), Lost>>;

    /// Checks that the coordinator takes writes. Reads succeed while its memory is full.
    fn probe_write(&self) -> BoxFuture<'_, Result<(), Lost>>;

    /// The next letters to this instance, each once and in order; waits a while for some, and may give none.
    fn letters(&self) -> BoxFuture<'_, Result<Vec<Letter>, Lost>>;

    /// Keeps sealed bytes for all instances, this long; gives what is there instead if that is newer, or over.
    fn keep<'a>(
        &'a self,
        name: &'a str,
        sealed: Sealed,
        life: Duration,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, Lost>>;

    /// Notes for this long that what has this name is over: nothing is kept under it any more.
    fn note_over<'a>(&'a self, name: &'a str, life: Duration) -> BoxFuture<'a, Result<(), Lost>>;

    /// Kept bytes; none of them when it is over.
    fn kept<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, Lost>>;

    /// Whether this instance is now the only one to do what `name` stands for, until it unlocks or `life` is over.
    fn lock<'a>(&'a self, name: &'a str, life: Duration) -> BoxFuture<'a, Result<bool, Lost>>;

    /// Lets the others do it again; another's lock stays.
    fn unlock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Lost>>;
}

/// The instance in the name of a life.
fn instance(epoch: &str) -> &str {
    epoch.rsplit_once('-').map_or(epoch, |(instance, _)| instance)
}
