//! Topics: which tabs hold which, and what must be held upstream for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use polytab_protocol::{id::TabId, topic::Topic};

use crate::coordinator::Hold;

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
    /// To wait for GitLab's word; the tab is told when it accepted the stream.
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
        }
        held_it
    }

    /// A tab is gone.
    pub(crate) fn leave(&mut self, tab: TabId) {
        self.held.retain(|_, held| {
            held.holders.remove(&tab);
            !held.holders.is_empty()
        });
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
        let mut topics = Topics::default();
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
