//! Topics: which tabs hold which, and what must be held upstream for them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use polytab_protocol::{id::TabId, message::ServerMessage, topic::Topic};

use super::event::Age;
use crate::coordinator::Hold;

/// Event ids remembered per topic, to know an event again that GitLab replays after a cut.
const REMEMBERED: usize = 128;
/// Bytes of payloads kept per channel, for tabs that come back: some dozens of GitLab's events.
const KEPT_BYTES: usize = 256 << 10;

/// All topics of a channel.
#[derive(Debug)]
pub(crate) struct Topics {
    held: BTreeMap<Topic, Held>,
    /// The last events, oldest first: of topics that have been held since.
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    /// How many are kept at most, and for how long.
    bounds: (usize, Duration),
}

/// An event that was told.
#[derive(Debug)]
struct Kept {
    topic: Topic,
    id: String,
    message: ServerMessage,
    bytes: usize,
    at: Age,
}

#[derive(Debug, Default)]
struct Held {
    accepted: bool,
    holders: BTreeSet<TabId>,
    last_event: Option<String>,
    seen: VecDeque<String>,
}

/// What a subscription needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subscribed {
    /// To wait for GitLab's word; the tab is told when it accepted the stream.
    Waits,
    /// Nothing: the stream is there.
    Shares,
}

impl Topics {
    /// None yet. So many events are kept, for so long.
    pub(crate) fn new(bounds: (usize, Duration)) -> Self {
        Self {
            held: BTreeMap::new(),
            kept: VecDeque::new(),
            kept_bytes: 0,
            bounds,
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether some tab holds the topic, or waits for it.
    pub(crate) fn contains(&self, topic: Topic) -> bool {
        self.held.contains_key(&topic)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Topic> {
        self.held.keys().copied()
    }

    /// All of them, with how far each is.
    pub(crate) fn holds(&self) -> impl Iterator<Item = (Topic, Hold)> {
        self.held.iter().map(|(topic, held)| {
            let hold = Hold {
                waits: !held.accepted,
                accepted: held.accepted,
                last_event: held.last_event.clone(),
            };
            (*topic, hold)
        })
    }

    /// A tab that holds the topic.
    pub(crate) fn holder(&self, topic: Topic) -> Option<TabId> {
        self.held.get(&topic)?.holders.first().copied()
    }

    /// A tab wants the topic, from after event `last_event` on if it is the first to want it.
    pub(crate) fn subscribe(&mut self, tab: TabId, topic: Topic, last_event: Option<String>) -> Subscribed {
        let held = self.held.entry(topic).or_insert_with(|| Held {
            last_event,
            ..Held::default()
        });
        held.holders.insert(tab);
        if held.accepted {
            Subscribed::Shares
        } else {
            Subscribed::Waits
        }
    }

    /// A tab wants it no longer. Gives whether it held it; the last one takes it along.
    pub(crate) fn unsubscribe(&mut self, tab: TabId, topic: Topic) -> bool {
        let Some(held) = self.held.get_mut(&topic) else {
            return false;
        };
        let held_it = held.holders.remove(&tab);
        if held.holders.is_empty() {
            self.held.remove(&topic);
            self.forget_unheld();
        }
        held_it
    }

    /// A tab is gone.
    pub(crate) fn leave(&mut self, tab: TabId) {
        self.held.retain(|_, held| {
            held.holders.remove(&tab);
            !held.holders.is_empty()
        });
        self.forget_unheld();
    }

    /// GitLab accepted the stream; gives the tabs that waited for it. After a cut nobody waits.
    pub(crate) fn accepted(&mut self, topic: Topic) -> Vec<TabId> {
        let Some(held) = self.held.get_mut(&topic) else {
            return Vec::new();
        };
        if std::mem::replace(&mut held.accepted, true) {
            Vec::new()
        } else {
            held.holders.iter().copied().collect()
        }
    }

    /// GitLab refuses the stream; gives the tabs that held it, or waited.
    pub(crate) fn refused(&mut self, topic: Topic) -> Vec<TabId> {
        let held = self.held.remove(&topic);
        self.forget_unheld();
        held.map_or_else(Vec::new, |held| held.holders.into_iter().collect())
    }

    /// An event came; gives the tabs to tell, none if it came before.
    pub(crate) fn event(&mut self, topic: Topic, id: &str) -> Vec<TabId> {
        let Some(held) = self.held.get_mut(&topic) else {
            return Vec::new();
        };
        if !id.is_empty() {
            if held.seen.iter().any(|seen| seen == id) {
                return Vec::new();
            }
            held.seen.push_back(id.to_owned());
            if held.seen.len() > REMEMBERED {
                held.seen.pop_front();
            }
            held.last_event = Some(id.to_owned());
        }
        held.holders.iter().copied().collect()
    }

    /// Keeps an event that was told, whose payload has this many bytes.
    pub(crate) fn keep(
        &mut self,
        topic: Topic,
        (id, message): (&str, &ServerMessage),
        (bytes, at): (usize, Age),
    ) {
        self.kept.push_back(Kept {
            topic,
            id: id.to_owned(),
            message: message.clone(),
            bytes,
            at,
        });
        self.kept_bytes += bytes;
        self.forget_old(at);
    }

    /// The events of a topic that came after event `id`; `None` if that is no longer known.
    pub(crate) fn after(&mut self, topic: Topic, id: &str, now: Age) -> Option<Vec<ServerMessage>> {
        self.forget_old(now);
        if self.held.get(&topic)?.last_event.as_deref() == Some(id) {
            return Some(Vec::new());
        }
        let mut of_topic = self.kept.iter().filter(|kept| kept.topic == topic);
        of_topic.find(|kept| kept.id == id)?;
        Some(of_topic.map(|kept| kept.message.clone()).collect())
    }

    fn forget_old(&mut self, now: Age) {
        let (entries, window) = self.bounds;
        while let Some(oldest) = self.kept.front()
            && (self.kept.len() > entries
                || self.kept_bytes > KEPT_BYTES
                || now.saturating_sub(oldest.at) > window)
        {
            self.kept_bytes -= oldest.bytes;
            self.kept.pop_front();
        }
    }

    /// What comes while nobody holds a topic is not seen here: what was kept of it would have a gap.
    fn forget_unheld(&mut self) {
        self.kept.retain(|kept| self.held.contains_key(&kept.topic));
        self.kept_bytes = self.kept.iter().map(|kept| kept.bytes).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TabId = TabId(1);
    const B: TabId = TabId(2);

    fn topic() -> Topic {
        "/project/42/push".parse().unwrap()
    }

    fn topics() -> Topics {
        Topics::new((3, Duration::from_mins(2)))
    }

    fn keep(topics: &mut Topics, id: &str, (bytes, second): (usize, u64)) {
        topics.event(topic(), id);
        let message = ServerMessage::ack(id);
        topics.keep(topic(), (id, &message), (bytes, Duration::from_secs(second)));
    }

    fn count_after(topics: &mut Topics, id: &str, second: u64) -> Option<usize> {
        let missed = topics.after(topic(), id, Duration::from_secs(second));
        missed.map(|missed| missed.len())
    }

    #[test]
    fn events_are_kept_for_who_comes_back_within_bounds_and_without_gaps() {
        let mut topics = topics();
        topics.subscribe(A, topic(), None);
        for id in ["e-1", "e-2", "e-3", "e-4"] {
            keep(&mut topics, id, (9, 0));
        }

        assert_eq!(count_after(&mut topics, "e-1", 1), None, "three are kept");
        assert_eq!(count_after(&mut topics, "e-2", 1), Some(2));
        assert_eq!(count_after(&mut topics, "e-4", 1), Some(0));
        assert_eq!(count_after(&mut topics, "e-9", 1), None);
        assert_eq!(count_after(&mut topics, "e-2", 121), None, "too old");
        assert_eq!(
            count_after(&mut topics, "e-4", 121),
            Some(0),
            "nothing was missed"
        );
        keep(&mut topics, "e-5", (KEPT_BYTES, 121));
        keep(&mut topics, "e-6", (1, 121));
        assert_eq!(count_after(&mut topics, "e-5", 121), None, "too large");

        topics.leave(A);
        topics.subscribe(A, topic(), None);
        assert_eq!(
            count_after(&mut topics, "e-6", 121),
            None,
            "more may have come meanwhile"
        );
        assert_eq!((topics.kept.len(), topics.kept_bytes), (0, 0));
    }

    #[test]
    fn one_stream_serves_all_tabs_until_the_last_lets_go() {
        let mut topics = topics();

        assert_eq!(topics.subscribe(A, topic(), None), Subscribed::Waits);
        assert_eq!(topics.subscribe(B, topic(), None), Subscribed::Waits);
        assert_eq!(topics.accepted(topic()), [A, B]);
        assert_eq!(topics.subscribe(A, topic(), None), Subscribed::Shares);
        assert!(topics.unsubscribe(A, topic()));
        assert!(!topics.unsubscribe(A, topic()));
        assert_eq!(topics.len(), 1);
        topics.leave(B);
        assert_eq!(topics.len(), 0);
    }

    #[test]
    fn an_event_that_is_replayed_is_told_once() {
        let mut topics = topics();
        topics.subscribe(A, topic(), None);

        assert_eq!(topics.event(topic(), "e-1"), [A]);
        assert_eq!(topics.event(topic(), "e-1"), []);
        assert_eq!(topics.event(topic(), ""), [A]);
        let hold = Hold {
            waits: true,
            accepted: false,
            last_event: Some("e-1".to_owned()),
        };
        assert_eq!(topics.holds().collect::<Vec<_>>(), [(topic(), hold)]);
    }
}
