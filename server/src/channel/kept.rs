//! The last events of a channel's topics, for tabs that come back.

use std::{collections::VecDeque, time::Duration};

use polytab_protocol::topic::Topic;

use super::event::{Age, Came};

/// Bytes of payloads kept per channel: some dozens of GitLab's events.
pub(super) const KEPT_BYTES: usize = 256 << 10;

/// Events of several topics, oldest first.
#[derive(Debug)]
pub(super) struct KeptEvents {
    kept: VecDeque<Kept>,
    bytes: usize,
    /// How many are kept at most, and for how long.
    bounds: (usize, Duration),
}

#[derive(Debug)]
struct Kept {
    topic: Topic,
    event: Came,
    at: Age,
}

impl KeptEvents {
    /// None yet. So many are kept, for so long.
    pub(super) fn new(bounds: (usize, Duration)) -> Self {
        Self {
            kept: VecDeque::new(),
            bytes: 0,
            bounds,
        }
    }

    /// How many there are, and the bytes of their payloads.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.kept.len(), self.bytes)
    }

    pub(super) fn add(&mut self, topic: Topic, event: Came, at: Age) {
        self.bytes += event.bytes();
        self.kept.push_back(Kept { topic, event, at });
        self.forget_old(at);
    }

    /// The events of a topic that came after event `id`; `None` if that one is not kept.
    pub(super) fn after(&mut self, topic: Topic, id: &str, now: Age) -> Option<Vec<Came>> {
        self.forget_old(now);
        let mut of_topic = self.kept.iter().filter(|kept| kept.topic == topic);
        of_topic.find(|kept| kept.event.id == id)?;
        Some(of_topic.map(|kept| kept.event.clone()).collect())
    }

    /// All events of a topic, which are kept no longer.
    pub(super) fn take(&mut self, topic: Topic) -> Vec<Came> {
        let all = std::mem::take(&mut self.kept).into_iter();
        let (taken, left): (Vec<_>, Vec<_>) = all.partition(|kept| kept.topic == topic);
        self.kept = left.into();
        let taken: Vec<_> = taken.into_iter().map(|kept| kept.event).collect();
        self.bytes -= taken.iter().map(Came::bytes).sum::<usize>();
        taken
    }

    /// Keeps only those of some topics.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(Topic) -> bool) {
        self.kept.retain(|kept| is_wanted(kept.topic));
        self.bytes = self.kept.iter().map(|kept| kept.event.bytes()).sum();
    }

    fn forget_old(&mut self, now: Age) {
        let (entries, window) = self.bounds;
        while let Some(oldest) = self.kept.front()
            && (self.kept.len() > entries
                || self.bytes > KEPT_BYTES
                || now.saturating_sub(oldest.at) > window)
        {
            self.bytes -= oldest.event.bytes();
            self.kept.pop_front();
        }
    }
}
