//! Topics: which tabs hold which, and what must be held upstream for them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use polytab_protocol::{id::TabId, topic::Topic};

use super::{
    event::{Age, Came, Earlier},
    kept::KeptEvents,
};
use crate::coordinator::Hold;

/// Event ids remembered per topic, to know an event again that GitLab replays after a cut.
const REMEMBERED: usize = 128;

/// All topics of a channel, and those that this instance streams for others.
#[derive(Debug)]
pub(crate) struct Topics {
    known: BTreeMap<Topic, Known>,
    /// The last events of topics that have been known since.
    kept: KeptEvents,
}

/// A topic that tabs hold here, or that is streamed here for those of other instances.
#[derive(Debug, Default)]
struct Known {
    is_streamed: bool,
    accepted: bool,
    holders: BTreeSet<TabId>,
    /// Holders that wait to hear that GitLab accepted it, and the last event that each saw.
    waiting: BTreeMap<TabId, Option<String>>,
    /// How many events came before it was accepted.
    early: usize,
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

/// What a tab that waited is told.
#[derive(Debug)]
pub(crate) struct Welcome {
    pub(crate) tab: TabId,
    /// Whether `events` are all that it missed, if it asked for that and GitLab was not asked.
    pub(crate) recovered: Option<bool>,
    pub(crate) events: Vec<Came>,
}

impl Topics {
    /// None yet. So many events are kept, for so long.
    pub(crate) fn new(bounds: (usize, Duration)) -> Self {
        Self {
            known: BTreeMap::new(),
            kept: KeptEvents::new(bounds),
        }
    }

    /// How many are held.
    pub(crate) fn len(&self) -> usize {
        self.held().count()
    }

    /// Whether some tab holds the topic, or waits for it.
    pub(crate) fn is_held(&self, topic: Topic) -> bool {
        self.known
            .get(&topic)
            .is_some_and(|known| !known.holders.is_empty())
    }

    /// All that are held.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Topic> {
        self.held().map(|(topic, _)| *topic)
    }

    fn held(&self) -> impl Iterator<Item = (&Topic, &Known)> {
        self.known.iter().filter(|(_, known)| !known.holders.is_empty())
    }

    /// All that are held, with how far each is.
    pub(crate) fn holds(&self) -> impl Iterator<Item = (Topic, Hold)> {
        self.held().map(|(topic, known)| {
            let hold = Hold {
                waits: !known.accepted,
                accepted: known.accepted,
                last_event: known.last_event.clone(),
                behind: known.waiting.values().flatten().cloned().collect(),
            };
            (*topic, hold)
        })
    }

    /// A tab that holds the topic.
    pub(crate) fn holder(&self, topic: Topic) -> Option<TabId> {
        self.known.get(&topic)?.holders.first().copied()
    }

    /// A tab wants the topic, from after event `last_event` on if it is the first to want it.
    pub(crate) fn subscribe(&mut self, tab: TabId, topic: Topic, last_event: Option<String>) -> Subscribed {
        let known = self.known.entry(topic).or_insert_with(|| Known {
            last_event: last_event.clone(),
            ..Known::default()
        });
        known.holders.insert(tab);
        if known.accepted {
            Subscribed::Shares
        } else {
            known.waiting.insert(tab, last_event);
            Subscribed::Waits
        }
    }

    /// A tab wants it no longer. Gives whether it held it; the last one takes it along, unless it is streamed here.
    pub(crate) fn unsubscribe(&mut self, tab: TabId, topic: Topic) -> bool {
        let held_it = self.known.get_mut(&topic).is_some_and(|known| known.let_go(tab));
        self.forget_unknown();
        held_it
    }

    /// A tab is gone.
    pub(crate) fn leave(&mut self, tab: TabId) {
        for known in self.known.values_mut() {
            known.let_go(tab);
        }
        self.forget_unknown();
    }

    /// The topic is streamed here from now on, for whoever needs it; all that comes is kept. Gives the event after
    /// which it goes on: the last that came here, or else anywhere.
    pub(crate) fn stream(&mut self, topic: Topic, last_event: Option<String>) -> Option<String> {
        let known = self.known.entry(topic).or_default();
        known.is_streamed = true;
        known.last_event = known.last_event.take().or(last_event);
        known.last_event.clone()
    }

    /// It is streamed here no longer.
    pub(crate) fn end_stream(&mut self, topic: Topic) {
        if let Some(known) = self.known.get_mut(&topic) {
            known.is_streamed = false;
        }
        self.forget_unknown();
    }

    /// GitLab accepted the stream; gives what the tabs are told that waited for it. After a cut nobody waits.
    pub(crate) fn accepted(&mut self, topic: Topic, earlier: Earlier, now: Age) -> Vec<Welcome> {
        let Some(known) = self.known.get_mut(&topic) else {
            return Vec::new();
        };
        known.accepted = true;
        let waiting = std::mem::take(&mut known.waiting);
        let early = std::mem::take(&mut known.early);
        if waiting.is_empty() {
            return Vec::new();
        }
        let (asked, mut before) = match earlier {
            Earlier::Asked(after) => (after, BTreeMap::new()),
            Earlier::Kept(kept) => (None, kept),
        };
        before.retain(|after, _| waiting.values().flatten().any(|last| last == after));
        let meanwhile = self.kept.take(topic);
        let is_whole = meanwhile.len() == early;
        let and_meanwhile = |before: &[Came]| -> Vec<Came> {
            let is_new = |event: &&Came| !before.iter().any(|known| known.is(event));
            before
                .iter()
                .chain(meanwhile.iter().filter(is_new))
                .cloned()
                .collect()
        };
        // The others are ends of the longest.
        let longest = before.values().max_by_key(|events| events.len());
        for event in and_meanwhile(longest.map_or(&[], Vec::as_slice)) {
            if let Some(known) = self.known.get_mut(&topic)
                && !known.see(&event.id)
            {
                known.last_event = Some(event.id.clone());
            }
            self.kept.add(topic, event, now);
        }
        let welcome = |(tab, last): (TabId, Option<String>)| {
            // Who asked for nothing earlier was told what came meanwhile.
            let Some(last) = last else {
                return Welcome {
                    tab,
                    recovered: None,
                    events: Vec::new(),
                };
            };
            let missed = before.get(&last);
            let is_asked = asked.as_ref() == Some(&last);
            Welcome {
                tab,
                recovered: (!is_asked).then_some(missed.is_some() && is_whole),
                events: and_meanwhile(missed.map_or(&[], Vec::as_slice)),
            }
        };
        waiting.into_iter().map(welcome).collect()
    }

    /// GitLab refuses the stream; gives the tabs that held it, or waited.
    pub(crate) fn refused(&mut self, topic: Topic) -> Vec<TabId> {
        let known = self.known.remove(&topic);
        self.forget_unknown();
        known.map_or_else(Vec::new, |known| known.holders.into_iter().collect())
    }

    /// An event came; gives the tabs to tell now, none if it came before. Who waits for what it missed is told this
    /// behind it.
    pub(crate) fn event(&mut self, topic: Topic, event: &Came, now: Age) -> Vec<TabId> {
        let Some(known) = self.known.get_mut(&topic) else {
            return Vec::new();
        };
        if !known.see(&event.id) {
            return Vec::new();
        }
        known.early += usize::from(!known.accepted);
        let is_behind = |tab: &TabId| matches!(known.waiting.get(tab), Some(Some(_)));
        let told = known
            .holders
            .iter()
            .filter(|tab| !is_behind(tab))
            .copied()
            .collect();
        self.kept.add(topic, event.clone(), now);
        told
    }

    /// The events of a topic that came after event `id`; `None` if that is no longer known.
    pub(crate) fn after(&mut self, topic: Topic, id: &str, now: Age) -> Option<Vec<Came>> {
        if self.known.get(&topic)?.last_event.as_deref() == Some(id) {
            return Some(Vec::new());
        }
        self.kept.after(topic, id, now)
    }

    /// What comes while nobody needs a topic is not seen here: what was kept of it would have a gap.
    fn forget_unknown(&mut self) {
        self.known
            .retain(|_, known| known.is_streamed || !known.holders.is_empty());
        self.kept.retain(|topic| self.known.contains_key(&topic));
    }
}

impl Known {
    /// Remembers an event; gives whether it had not come before.
    fn see(&mut self, id: &str) -> bool {
        if id.is_empty() {
            return true;
        }
        if self.seen.iter().any(|seen| seen == id) {
            return false;
        }
        self.seen.push_back(id.to_owned());
        if self.seen.len() > REMEMBERED {
            self.seen.pop_front();
        }
        self.last_event = Some(id.to_owned());
        true
    }

    /// Gives whether the tab held it.
    fn let_go(&mut self, tab: TabId) -> bool {
        self.waiting.remove(&tab);
        self.holders.remove(&tab)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::kept::KEPT_BYTES, *};

    const A: TabId = TabId(1);
    const B: TabId = TabId(2);

    fn topic() -> Topic {
        "/project/42/push".parse().unwrap()
    }

    fn topics() -> Topics {
        Topics::new((3, Duration::from_mins(2)))
    }

    /// An event whose payload has this many bytes.
    fn came(id: &str, bytes: usize) -> Came {
        let payload = serde_json::value::RawValue::from_string("1".repeat(bytes)).unwrap();
        let id = id.to_owned();
        Came { id, payload }
    }

    fn event(topics: &mut Topics, id: &str) -> Vec<TabId> {
        topics.event(topic(), &came(id, 1), Duration::ZERO)
    }

    fn keep(topics: &mut Topics, id: &str, (bytes, second): (usize, u64)) {
        topics.event(topic(), &came(id, bytes), Duration::from_secs(second));
    }

    fn accept(topics: &mut Topics, earlier: Earlier) -> Vec<Welcome> {
        topics.accepted(topic(), earlier, Duration::ZERO)
    }

    /// After `after` came these.
    fn kept(after: &str, ids: &[&str]) -> Earlier {
        let events = ids.iter().map(|id| came(id, 1)).collect();
        Earlier::Kept([(after.to_owned(), events)].into())
    }

    /// What each tab is told, in the order of the tabs.
    fn told(welcomes: Vec<Welcome>) -> Vec<(TabId, Option<bool>, Vec<String>)> {
        let told = welcomes.into_iter().map(
            |Welcome {
                 tab,
                 recovered,
                 events,
             }| { (tab, recovered, events.into_iter().map(|event| event.id).collect()) },
        );
        told.collect()
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
        assert_eq!(topics.kept.size(), (0, 0));
    }

    #[test]
    fn one_stream_serves_all_tabs_until_the_last_lets_go() {
        let mut topics = topics();

        assert_eq!(topics.subscribe(A, topic(), None), Subscribed::Waits);
        assert_eq!(topics.subscribe(B, topic(), None), Subscribed::Waits);
        let welcomes = accept(&mut topics, Earlier::Asked(None));
        assert_eq!(told(welcomes), [(A, None, vec![]), (B, None, vec![])]);
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

        assert_eq!(event(&mut topics, "e-1"), [A]);
        assert_eq!(event(&mut topics, "e-1"), []);
        assert_eq!(event(&mut topics, ""), [A]);
        let hold = Hold {
            waits: true,
            accepted: false,
            last_event: Some("e-1".to_owned()),
            behind: BTreeSet::new(),
        };
        assert_eq!(topics.holds().collect::<Vec<_>>(), [(topic(), hold)]);
    }

    #[test]
    fn who_waits_is_told_what_it_missed_and_then_what_came_meanwhile() {
        let mut topics = topics();
        topics.subscribe(A, topic(), Some("e-1".into()));
        topics.subscribe(B, topic(), None);

        let meanwhile = ["e-3", "e-4"].map(|id| event(&mut topics, id));
        let welcomes = accept(&mut topics, kept("e-1", &["e-2", "e-3"]));

        assert_eq!(meanwhile, [[B], [B]], "A is to be told of another before");
        let missed = ["e-2", "e-3", "e-4"].map(str::to_owned).to_vec();
        assert_eq!(told(welcomes), [(A, Some(true), missed), (B, None, vec![])]);
        assert_eq!(count_after(&mut topics, "e-2", 0), Some(2));
        assert_eq!(event(&mut topics, "e-2"), [], "it was told");
        assert_eq!(event(&mut topics, "e-5"), [A, B]);
    }

    #[test]
    fn who_waits_is_told_when_not_all_is_known_that_it_missed() {
        for (earlier, recovered) in [
            (Earlier::Asked(Some("e-1".into())), None),
            (Earlier::Asked(Some("e-9".into())), Some(false)),
            (Earlier::Asked(None), Some(false)),
            (kept("e-9", &["e-10"]), Some(false)),
        ] {
            let mut topics = topics();
            topics.subscribe(A, topic(), Some("e-1".into()));

            assert_eq!(told(accept(&mut topics, earlier)), [(A, recovered, vec![])]);
        }
        let mut topics = topics();
        topics.subscribe(A, topic(), Some("e-1".into()));
        for id in ["e-3", "e-4", "e-5", "e-6"] {
            event(&mut topics, id);
        }

        let welcomes = told(accept(&mut topics, kept("e-1", &["e-2"])));

        assert_eq!(welcomes[0].1, Some(false), "three are kept");
    }

    #[test]
    fn what_is_streamed_for_others_is_kept_for_who_comes() {
        let mut topics = topics();
        assert_eq!(topics.stream(topic(), Some("e-1".into())), Some("e-1".into()));
        accept(&mut topics, Earlier::Asked(Some("e-1".into())));

        assert_eq!(count_after(&mut topics, "e-1", 0), Some(0));
        assert_eq!(event(&mut topics, "e-2"), []);
        assert_eq!(event(&mut topics, "e-3"), []);

        assert_eq!((topics.len(), topics.holds().count()), (0, 0));
        assert_eq!(count_after(&mut topics, "e-2", 0), Some(1));
        assert_eq!(
            topics.subscribe(A, topic(), Some("e-2".into())),
            Subscribed::Shares
        );
        assert_eq!(topics.stream(topic(), None), Some("e-3".into()));
        topics.leave(A);
        topics.end_stream(topic());
        assert_eq!(count_after(&mut topics, "e-3", 0), None);
    }
}
