//! Payloads as GitLab makes them (MOCKS G3): every field, from seeded randomness. Knows nothing of who gets them.

mod ci;
mod code;
mod parts;
mod ship;
pub(super) mod time;
mod work;

use jiff::{SignedDuration, Timestamp};
use polytab_protocol::topic::{EventType, Topic};
use polytab_seams::random::Random;
use serde_json::Value;

use super::project::{Instance, Project};

/// Words that titles are made of; one is wide, so that every path carries characters of more than one byte.
const WORDS: [&str; 8] = [
    "session",
    "dataset",
    "naïve",
    "workflow",
    "🚀 launch",
    "kernel",
    "notebook",
    "größe",
];

/// What a payload is made from.
#[derive(Debug)]
pub(crate) struct Maker<'a> {
    pub(crate) random: &'a Random,
    pub(crate) now: Timestamp,
    pub(crate) topic: Topic,
    /// Where addresses begin.
    pub(crate) at: &'a Instance,
    /// Number of the new event among all; ids of what it is about are made from it.
    pub(crate) number: u64,
    /// Its number among those of its project.
    pub(crate) seq: u64,
    /// Who does it: number and name.
    pub(crate) actor: (usize, &'a str),
    /// What is done to an issue or a merge request; it is opened, unless told.
    pub(crate) action: Option<&'a str>,
    /// How many commits a push has; a few, unless told.
    pub(crate) commits: Option<u64>,
}

impl Maker<'_> {
    /// A whole payload.
    pub(crate) fn payload(&self) -> Value {
        match self.topic.event {
            EventType::Push => self.push(),
            EventType::TagPush => self.tag_push(),
            EventType::Issue => self.issue(),
            EventType::Note => self.note(),
            EventType::MergeRequest => self.merge_request(),
            EventType::Pipeline => self.pipeline(),
            EventType::Job => self.job(),
            EventType::Release => self.release(),
            EventType::Deployment => self.deployment(),
        }
    }

    fn project_of(&self) -> Project {
        Project(self.topic.project)
    }

    /// The id of something that this event is about; `kind` tells several apart.
    fn id(&self, kind: u64) -> u64 {
        self.number * 10 + kind
    }

    /// A time before now.
    fn ago(&self, seconds: i64) -> Timestamp {
        self.now - SignedDuration::from_secs(seconds)
    }

    /// The stream of random numbers for this type of event.
    fn purpose(&self) -> String {
        format!("gitlab/{}", self.topic.event)
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.below(&self.purpose(), bound)
    }

    /// The name of a commit.
    fn sha(&self) -> String {
        let mut sha = self.random.token(&self.purpose());
        sha.truncate(40);
        sha
    }

    fn title(&self) -> String {
        let word = || usize::try_from(self.below(WORDS.len() as u64)).map_or("", |index| WORDS[index]);
        format!("Fix {} of {} {}", word(), word(), self.seq)
    }
}
