//! The last events of a channel's topics, for tabs that come back.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use polytab_protocol::topic::Topic;

use super::event::{Age, Came};

/// What is kept at most, of all topics of a channel together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) events: usize,
    /// Of their payloads.
    pub(crate) bytes: usize,
    pub(crate) window: Duration,
}

/// Events of several topics, oldest first.
#[derive(Debug)]
pub(super) struct Log {
    events: VecDeque<Entry>,
    bytes: usize,
    /// The event of each topic after which all are there, where that is known.
    anchors: BTreeMap<Topic, String>,
    bounds: Bounds,
}

#[derive(Debug)]
struct Entry {
    topic: Topic,
    event: Came,
    at: Age,
}

impl Log {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            anchors: BTreeMap::new(),
            bounds,
        }
    }

    /// How many events there are, the bytes of their payloads, and of how many topics the beginning is known.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize, usize) {
        (self.events.len(), self.bytes, self.anchors.len())
    }

    /// Begins a topic anew after this event.
    pub(super) fn begin(&mut self, topic: Topic, anchor: Option<String>) {
        self.take(topic);
        self.anchors.extend(anchor.map(|anchor| (topic, anchor)));
    }

    /// An event came, and none was missed since the last.
    pub(super) fn add(&mut self, topic: Topic, event: Came, at: Age) {
        self.bytes += event.bytes();
        self.events.push_back(Entry { topic, event, at });
        self.forget_old(at);
    }

    /// The event after which all of a topic is there, if that is known, and all since.
    pub(super) fn all(&mut self, topic: Topic, now: Age) -> (Option<String>, Vec<Came>) {
        self.forget_old(now);
        (
            self.anchors.get(&topic).cloned(),
            self.of(topic).cloned().collect(),
        )
    }

    /// Whether what came after this event is known.
    pub(super) fn knows(&self, topic: Topic, id: Option<&str>) -> bool {
        let is_anchor = self.anchors.get(&topic).map(String::as_str) == id;
        id.is_some_and(|id| is_anchor || self.of(topic).any(|event| event.id == id))
    }

    /// The events of a topic that came after event `id`; `None` if that is not known.
    pub(super) fn after(&mut self, topic: Topic, id: &str, now: Age) -> Option<Vec<Came>> {
        let (anchor, events) = self.all(topic, now);
        if anchor.as_deref() == Some(id) {
            return Some(events);
        }
        let at = events.iter().position(|event| event.id == id)?;
        Some(events[at + 1..].to_vec())
    }

    /// The last `count` events of a topic, or as many of them as there are.
    pub(super) fn last(&self, topic: Topic, count: usize) -> Vec<Came> {
        let events: Vec<_> = self.of(topic).collect();
        let last = &events[events.len().saturating_sub(count)..];
        last.iter().map(|event| (*event).clone()).collect()
    }

    /// All events of a topic, which is not known any longer.
    pub(super) fn take(&mut self, topic: Topic) -> Vec<Came> {
        let all = std::mem::take(&mut self.events).into_iter();
        let (taken, left): (VecDeque<_>, _) = all.partition(|entry| entry.topic == topic);
        self.events = left;
        self.anchors.remove(&topic);
        let taken: Vec<_> = taken.into_iter().map(|entry| entry.event).collect();
        self.bytes -= taken.iter().map(Came::bytes).sum::<usize>();
        taken
    }

    /// Forgets all other topics.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(Topic) -> bool) {
        self.anchors.retain(|topic, _| is_wanted(*topic));
        self.events.retain(|entry| is_wanted(entry.topic));
        self.bytes = self.events.iter().map(|entry| entry.event.bytes()).sum();
    }

    fn of(&self, topic: Topic) -> impl Iterator<Item = &Came> {
        let of_topic = self.events.iter().filter(move |entry| entry.topic == topic);
        of_topic.map(|entry| &entry.event)
    }

    fn forget_old(&mut self, now: Age) {
        let Bounds {
            events,
            bytes,
            window,
        } = self.bounds;
        while let Some(oldest) = self.events.front()
            && (self.events.len() > events || self.bytes > bytes || now.saturating_sub(oldest.at) > window)
        {
            self.bytes -= oldest.event.bytes();
            if let Some(Entry { topic, event, .. }) = self.events.pop_front() {
                // What came after one without an id cannot be asked for.
                self.anchors.remove(&topic);
                if !event.id.is_empty() {
                    self.anchors.insert(topic, event.id);
                }
            }
        }
    }
}
