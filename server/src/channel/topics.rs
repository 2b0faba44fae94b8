//! Topics: which tabs hold which, and what must be held upstream for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use polytab_protocol::{id::TabId, topic::Topic};

/// Event ids remembered per topic, to know an event again that GitLab replays after a cut.
const REMEMBERED: usize = 128;

/// All topics of a channel.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    held: BTreeMap<Topic, Held>,
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
    /// A stream upstream; the tab is told when GitLab accepted it.
    Opens,
    /// Nothing: it waits with others for GitLab's word.
    Waits,
    /// Nothing: the stream is there.
    Shares,
}

impl Topics {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether some tab holds the topic, or waits for it.
    pub(crate) fn contains(&self, topic: Topic) -> bool {
        self.held.contains_key(&topic)
    }

    /// All of them, with the last event that came of each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Topic, Option<String>)> {
        self.held
            .iter()
            .map(|(topic, held)| (*topic, held.last_event.clone()))
    }

    /// A tab wants the topic, from after event `last_event` on if it is the first to want it.
    pub(crate) fn subscribe(&mut self, tab: TabId, topic: Topic, last_event: Option<String>) -> Subscribed {
        let is_new = !self.held.contains_key(&topic);
        let held = self.held.entry(topic).or_insert_with(|| Held {
            last_event,
            ..Held::default()
        });
        held.holders.insert(tab);
        match (is_new, held.accepted) {
            (true, _) => Subscribed::Opens,
            (false, false) => Subscribed::Waits,
            (false, true) => Subscribed::Shares,
        }
    }

    /// A tab wants it no longer. `None` if it did not hold it; else whether it was the last.
    pub(crate) fn unsubscribe(&mut self, tab: TabId, topic: Topic) -> Option<bool> {
        let held = self
            .held
            .get_mut(&topic)
            .filter(|held| held.holders.contains(&tab))?;
        held.holders.remove(&tab);
        let was_last = held.holders.is_empty();
        if was_last {
            self.held.remove(&topic);
        }
        Some(was_last)
    }

    /// A tab is gone; gives the topics that nobody holds any more.
    pub(crate) fn leave(&mut self, tab: TabId) -> Vec<Topic> {
        let topics: Vec<_> = self.held.keys().copied().collect();
        topics
            .into_iter()
            .filter(|topic| self.unsubscribe(tab, *topic) == Some(true))
            .collect()
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
        self.held
            .remove(&topic)
            .map_or_else(Vec::new, |held| held.holders.into_iter().collect())
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TabId = TabId(1);
    const B: TabId = TabId(2);

    fn topic() -> Topic {
        "/project/42/push".parse().unwrap()
    }

    #[test]
    fn one_stream_serves_all_tabs_until_the_last_lets_go() {
        let mut topics = Topics::default();

        assert_eq!(topics.subscribe(A, topic(), None), Subscribed::Opens);
        assert_eq!(topics.subscribe(B, topic(), None), Subscribed::Waits);
        assert_eq!(topics.accepted(topic()), [A, B]);
        assert_eq!(topics.subscribe(A, topic(), None), Subscribed::Shares);
        assert_eq!(topics.unsubscribe(A, topic()), Some(false));
        assert_eq!(topics.unsubscribe(A, topic()), None);
        assert_eq!(topics.leave(B), [topic()]);
        assert_eq!(topics.len(), 0);
    }

    #[test]
    fn an_event_that_is_replayed_is_told_once() {
        let mut topics = Topics::default();
        topics.subscribe(A, topic(), None);

        assert_eq!(topics.event(topic(), "e-1"), [A]);
        assert_eq!(topics.event(topic(), "e-1"), []);
        assert_eq!(topics.event(topic(), ""), [A]);
        assert_eq!(
            topics.iter().collect::<Vec<_>>(),
            [(topic(), Some("e-1".to_owned()))]
        );
    }
}
