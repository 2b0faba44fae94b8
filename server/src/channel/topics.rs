//! Topics: which tabs hold which, what must be held upstream for them, and what tabs that come back have missed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use polytab_protocol::{id::TabId, topic::Topic};

use super::{
    event::{Age, Came, Earlier},
    log::{Bounds, Log},
};
use crate::coordinator::Hold;

/// Event ids remembered per topic, to know an event again that GitLab replays after a cut.
const REMEMBERED: usize = 128;

/// All topics of a channel, and those that this instance streams for others.
#[derive(Debug)]
pub(crate) struct Topics {
    known: BTreeMap<Topic, Known>,
    log: Log,
}

/// A topic that tabs hold here, or that is streamed here for those of other instances.
#[derive(Debug, Default)]
struct Known {
    is_streamed: bool,
    accepted: bool,
    holders: BTreeSet<TabId>,
    /// Holders that wait for their `ack`: until GitLab accepts the topic, or who streams it tells what they missed.
    waiting: BTreeMap<TabId, Wait>,
    /// Whether something may have been missed here, and who streams it was not heard since.
    is_doubted: bool,
    /// How many events came.
    came: usize,
    /// The event after which GitLab is asked for more.
    last_event: Option<String>,
    seen: VecDeque<String>,
}

#[derive(Debug)]
struct Wait {
    /// The last event that the tab saw, if it asks for what came since.
    last_event: Option<String>,
    /// How many events had come when it began.
    since: usize,
    /// Whether it has its `ack`, and waits only because something may have been missed here.
    has_ack: bool,
}

/// What a tab is told whose subscription is accepted.
#[derive(Debug)]
pub(crate) struct Welcome {
    pub(crate) tab: TabId,
    pub(crate) has_ack: bool,
    /// Whether `events` are all that it missed, if it asked for that and GitLab was not asked.
    pub(crate) recovered: Option<bool>,
    pub(crate) events: Vec<Came>,
}

impl Topics {
    /// None yet. So much is kept of what comes.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            known: BTreeMap::new(),
            log: Log::new(bounds),
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
                waits: !known.waiting.is_empty(),
                behind: known.waiting.values().any(|wait| wait.last_event.is_some()),
                accepted: known.accepted,
                last_event: known.last_event.clone(),
            };
            (*topic, hold)
        })
    }

    /// A tab that holds the topic.
    pub(crate) fn holder(&self, topic: Topic) -> Option<TabId> {
        self.known.get(&topic)?.holders.first().copied()
    }

    /// A tab wants the topic, and what came after event `last_event`, if any. `None` if it must wait: until GitLab has
    /// accepted the topic, or until who streams it says what it missed, where that is not known here.
    pub(crate) fn subscribe(
        &mut self,
        tab: TabId,
        (topic, last_event): (Topic, Option<String>),
        now: Age,
    ) -> Option<Welcome> {
        let known = self.known.entry(topic).or_insert_with(|| Known {
            last_event: last_event.clone(),
            ..Known::default()
        });
        known.holders.insert(tab);
        if known.accepted && !known.waiting.contains_key(&tab) {
            let known_after = |last| {
                if known.is_doubted {
                    None
                } else {
                    self.log.after(topic, last, now)
                }
            };
            let missed = last_event.as_deref().map(known_after);
            if known.is_streamed || missed.as_ref().is_none_or(Option::is_some) {
                return Some(Welcome {
                    tab,
                    has_ack: false,
                    recovered: missed.as_ref().map(Option::is_some),
                    events: missed.flatten().unwrap_or_default(),
                });
            }
        }
        let since = known.came;
        let wait = || Wait {
            last_event,
            since,
            has_ack: false,
        };
        known.waiting.entry(tab).or_insert_with(wait).has_ack = false;
        None
    }

    /// Letters of other instances may have been lost.
    pub(crate) fn doubt(&mut self) {
        self.known.values_mut().for_each(Known::doubt);
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

    /// The topic is streamed here from now on, for whoever needs it. Gives the event after which it goes on: the last
    /// that came here, or else anywhere.
    pub(crate) fn stream(&mut self, topic: Topic, anywhere: Option<String>) -> Option<String> {
        let known = self.known.entry(topic).or_default();
        known.is_streamed = true;
        let here = known.last_event.take().filter(|_| known.accepted);
        known.last_event = here.or(anywhere);
        known.last_event.clone()
    }

    /// It is streamed here no longer. Where it is by now, some of it may have been told before this instance was known
    /// there.
    pub(crate) fn end_stream(&mut self, topic: Topic) {
        if let Some(known) = self.known.get_mut(&topic) {
            known.is_streamed = false;
            known.doubt();
        }
        self.forget_unknown();
    }

    /// GitLab accepted the stream; gives what the tabs are told that waited. After a cut nobody waits.
    pub(crate) fn accepted(&mut self, topic: Topic, earlier: Earlier, now: Age) -> Vec<Welcome> {
        let Some(known) = self.known.get_mut(&topic) else {
            return Vec::new();
        };
        known.accepted = true;
        let (asked, is_all_known) = match earlier {
            Earlier::Asked(after) => {
                // GitLab goes on after an event that is not known here: what is, has a gap behind it.
                let may_begin = known.waiting.is_empty() || known.came == 0;
                if may_begin && !self.log.knows(topic, after.as_deref()) {
                    self.log.begin(topic, after.clone());
                }
                (after, known.is_streamed)
            }
            Earlier::There => (None, false),
            Earlier::Kept { after, events } => {
                if !known.is_streamed && !known.waiting.is_empty() {
                    self.take_over(topic, (after, events), now);
                }
                (None, true)
            }
        };
        self.welcome(topic, (asked, is_all_known), now)
    }

    /// Answers those that wait: all of them where all is known that can be, and else those that ask for no more than
    /// GitLab was `asked` for.
    fn welcome(
        &mut self,
        topic: Topic,
        (asked, is_all_known): (Option<String>, bool),
        now: Age,
    ) -> Vec<Welcome> {
        let Some(known) = self.known.get_mut(&topic) else {
            return Vec::new();
        };
        known.is_doubted &= !is_all_known;
        let mut welcomes = Vec::new();
        for (tab, wait) in std::mem::take(&mut known.waiting) {
            let Some(last) = &wait.last_event else {
                // It was told whatever came.
                welcomes.push(Welcome {
                    tab,
                    has_ack: false,
                    recovered: None,
                    events: Vec::new(),
                });
                continue;
            };
            let is_asked = asked.as_ref() == Some(last);
            if !is_asked && !is_all_known {
                known.waiting.insert(tab, wait);
                continue;
            }
            let missed = if is_asked {
                None
            } else {
                self.log.after(topic, last, now)
            };
            welcomes.push(Welcome {
                tab,
                has_ack: wait.has_ack,
                recovered: (!is_asked).then_some(missed.is_some()),
                events: missed.unwrap_or_else(|| self.log.last(topic, known.came - wait.since)),
            });
        }
        welcomes
    }

    /// Takes over what was kept where the topic is streamed, before what has come here since.
    fn take_over(&mut self, topic: Topic, (after, events): (Option<String>, Vec<Came>), now: Age) {
        let Some(known) = self.known.get_mut(&topic) else {
            return;
        };
        let ids = events.iter().rev().map(|event| &event.id);
        let last = ids.chain(&after).find(|id| !id.is_empty());
        let own = self.log.take(topic);
        let in_both = last.and_then(|last| own.iter().position(|event| event.id == *last));
        let is_new = |event: &Came| event.id.is_empty() || !events.iter().any(|kept| kept.id == event.id);
        let since = own.into_iter().skip(in_both.map_or(0, |at| at + 1));
        let since: Vec<_> = since.filter(is_new).collect();
        self.log.begin(topic, after.clone());
        known.last_event = after;
        for event in events.into_iter().chain(since) {
            known.see(&event.id);
            known.note_last(&event.id);
            self.log.add(topic, event, now);
        }
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
        known.note_last(&event.id);
        known.came += 1;
        self.log.add(topic, event.clone(), now);
        let is_behind = |tab: &TabId| {
            known
                .waiting
                .get(tab)
                .is_some_and(|wait| wait.last_event.is_some())
        };
        known
            .holders
            .iter()
            .filter(|tab| !is_behind(tab))
            .copied()
            .collect()
    }

    /// Events were lost upstream: what came before them is followed by nothing that is known.
    pub(crate) fn reset(&mut self, topic: Topic) {
        self.log.begin(topic, None);
        if let Some(known) = self.known.get_mut(&topic) {
            known.last_event = None;
        }
    }

    /// What is kept of a topic that is streamed here, for another instance.
    pub(crate) fn kept(&mut self, topic: Topic, now: Age) -> Earlier {
        let (after, events) = self.log.all(topic, now);
        Earlier::Kept { after, events }
    }

    /// What comes while nobody needs a topic is not seen here: what was kept of it would have a gap.
    fn forget_unknown(&mut self) {
        self.known
            .retain(|_, known| known.is_streamed || !known.holders.is_empty());
        self.log.retain(|topic| self.known.contains_key(&topic));
    }
}

impl Known {
    /// Remembers an event; gives whether it had not come before.
    fn see(&mut self, id: &str) -> bool {
        if id.is_empty() {
            return true;
        }
        let is_new = !self.seen.iter().any(|seen| seen == id);
        if is_new {
            self.seen.push_back(id.to_owned());
            if self.seen.len() > REMEMBERED {
                self.seen.pop_front();
            }
        }
        is_new
    }

    fn note_last(&mut self, id: &str) {
        if !id.is_empty() {
            self.last_event = Some(id.to_owned());
        }
    }

    /// Something may have been missed here: the tabs wait to hear what came after the last event.
    fn doubt(&mut self) {
        if self.is_streamed || !self.accepted || self.last_event.is_none() {
            return;
        }
        self.is_doubted = true;
        for tab in &self.holders {
            let wait = || Wait {
                last_event: self.last_event.clone(),
                since: self.came,
                has_ack: true,
            };
            self.waiting.entry(*tab).or_insert_with(wait);
        }
    }

    /// Gives whether the tab held it.
    fn let_go(&mut self, tab: TabId) -> bool {
        self.waiting.remove(&tab);
        self.holders.remove(&tab)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::value::RawValue;

    use super::*;

    const A: TabId = TabId(1);
    const B: TabId = TabId(2);
    const BOUNDS: Bounds = Bounds {
        events: 3,
        bytes: 100,
        window: Duration::from_mins(2),
    };

    fn topic() -> Topic {
        "/project/42/push".parse().unwrap()
    }

    fn topics() -> Topics {
        Topics::new(BOUNDS)
    }

    /// An event whose payload has this many bytes.
    fn came(id: &str, bytes: usize) -> Came {
        let payload = RawValue::from_string("1".repeat(bytes)).unwrap();
        let id = id.to_owned();
        Came { id, payload }
    }

    fn event(topics: &mut Topics, id: &str) -> Vec<TabId> {
        topics.event(topic(), &came(id, 1), Duration::ZERO)
    }

    fn accept(topics: &mut Topics, earlier: Earlier) -> Vec<Told> {
        told(topics.accepted(topic(), earlier, Duration::ZERO))
    }

    fn kept(after: Option<&str>, ids: &[&str]) -> Earlier {
        Earlier::Kept {
            after: after.map(str::to_owned),
            events: ids.iter().map(|id| came(id, 1)).collect(),
        }
    }

    fn asked(after: &str) -> Earlier {
        Earlier::Asked(Some(after.to_owned()))
    }

    type Told = (TabId, Option<bool>, Vec<String>);

    /// What each tab is told, in the order of the tabs.
    fn told(welcomes: impl IntoIterator<Item = Welcome>) -> Vec<Told> {
        let told = welcomes.into_iter().map(|welcome| {
            let ids = welcome.events.into_iter().map(|event| event.id);
            (welcome.tab, welcome.recovered, ids.collect())
        });
        told.collect()
    }

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    /// What a tab is told at once; nothing if it must wait.
    fn subscribe(topics: &mut Topics, tab: TabId, (last, second): (Option<&str>, u64)) -> Vec<Told> {
        let last = last.map(str::to_owned);
        told(topics.subscribe(tab, (topic(), last), Duration::from_secs(second)))
    }

    /// A topic that is streamed here, of which these events came.
    fn streamed(came: &[&str]) -> Topics {
        let mut topics = topics();
        topics.stream(topic(), None);
        accept(&mut topics, Earlier::Asked(None));
        for id in came {
            event(&mut topics, id);
        }
        topics
    }

    #[test]
    fn events_are_kept_for_who_comes_back_within_bounds_and_without_gaps() {
        let mut topics = streamed(&["e-1", "e-2", "e-3", "e-4"]);
        let mut missed = |last, second| {
            let welcome = subscribe(&mut topics, A, (Some(last), second)).remove(0);
            (welcome.1.unwrap(), welcome.2)
        };

        assert_eq!(
            missed("e-1", 1),
            (true, ids(&["e-2", "e-3", "e-4"])),
            "three are kept"
        );
        assert_eq!(missed("e-3", 1), (true, ids(&["e-4"])));
        assert_eq!(missed("e-9", 1), (false, vec![]));
        assert_eq!(missed("e-3", 121), (false, vec![]), "too old");
        assert_eq!(missed("e-4", 121), (true, vec![]), "nothing was missed");

        for (id, bytes) in [("e-5", 99), ("e-6", 2)] {
            topics.event(topic(), &came(id, bytes), Duration::from_secs(121));
        }
        assert_eq!(
            subscribe(&mut topics, A, (Some("e-4"), 121))[0].1,
            Some(false),
            "too large"
        );
        assert_eq!(
            subscribe(&mut topics, A, (Some("e-5"), 121)),
            [(A, Some(true), ids(&["e-6"]))]
        );

        topics.leave(A);
        topics.end_stream(topic());
        assert_eq!(topics.log.size(), (0, 0, 0), "more may come meanwhile");
    }

    #[test]
    fn one_stream_serves_all_tabs_until_the_last_lets_go() {
        let mut topics = topics();

        assert_eq!(subscribe(&mut topics, A, (None, 0)), []);
        assert_eq!(subscribe(&mut topics, B, (None, 0)), []);
        assert_eq!(
            accept(&mut topics, Earlier::Asked(None)),
            [(A, None, vec![]), (B, None, vec![])]
        );
        assert_eq!(subscribe(&mut topics, A, (None, 0)), [(A, None, vec![])]);
        assert!(topics.unsubscribe(A, topic()));
        assert!(!topics.unsubscribe(A, topic()));
        assert_eq!(topics.len(), 1);
        topics.leave(B);
        assert_eq!(topics.len(), 0);
    }

    #[test]
    fn an_event_that_is_replayed_is_told_once() {
        let mut topics = topics();
        subscribe(&mut topics, A, (None, 0));

        assert_eq!(event(&mut topics, "e-1"), [A]);
        assert_eq!(event(&mut topics, "e-1"), []);
        assert_eq!(event(&mut topics, ""), [A]);
        let hold = Hold {
            waits: true,
            last_event: Some("e-1".to_owned()),
            ..Hold::default()
        };
        assert_eq!(topics.holds().collect::<Vec<_>>(), [(topic(), hold)]);
    }

    #[test]
    fn who_waits_is_told_what_it_missed_and_then_what_came_meanwhile() {
        let mut topics = topics();
        subscribe(&mut topics, A, (Some("e-1"), 0));
        subscribe(&mut topics, B, (None, 0));
        subscribe(&mut topics, A, (None, 0));

        let meanwhile = ["e-3", "e-4"].map(|id| event(&mut topics, id));
        let welcomes = accept(&mut topics, kept(Some("e-1"), &["e-2", "e-3"]));

        assert_eq!(meanwhile, [[B], [B]], "A is to be told of another before");
        let missed = ids(&["e-2", "e-3", "e-4"]);
        assert_eq!(welcomes, [(A, Some(true), missed), (B, None, vec![])]);
        assert_eq!(event(&mut topics, "e-2"), [], "it was told");
        assert_eq!(event(&mut topics, "e-5"), [A, B]);
        assert_eq!(
            subscribe(&mut topics, A, (Some("e-3"), 0)),
            [(A, Some(true), ids(&["e-4", "e-5"]))]
        );
    }

    #[test]
    fn one_answer_is_for_all_that_wait_whatever_they_saw() {
        let mut topics = topics();
        subscribe(&mut topics, A, (Some("e-1"), 0));
        subscribe(&mut topics, B, (Some("e-2"), 0));

        let welcomes = accept(&mut topics, kept(Some("e-1"), &["e-2", "e-3"]));

        let [all, end] = [ids(&["e-2", "e-3"]), ids(&["e-3"])];
        assert_eq!(welcomes, [(A, Some(true), all.clone()), (B, Some(true), end)]);
        assert_eq!(
            subscribe(&mut topics, A, (Some("e-1"), 0)),
            [(A, Some(true), all)]
        );
    }

    #[test]
    fn what_is_not_known_is_not_said_to_be_whole() {
        let mut unknown = topics();
        subscribe(&mut unknown, A, (Some("e-1"), 0));
        event(&mut unknown, "e-5");
        let welcomes = accept(&mut unknown, kept(Some("e-3"), &["e-4"]));
        assert_eq!(welcomes, [(A, Some(false), ids(&["e-5"]))]);

        // What a tab says that it saw is no knowledge of this instance.
        let mut said = topics();
        subscribe(&mut said, A, (Some("e-1"), 0));
        accept(&mut said, kept(None, &[]));
        assert_eq!(subscribe(&mut said, B, (Some("e-1"), 0)), []);

        let mut reset = streamed(&["e-1"]);
        reset.reset(topic());
        event(&mut reset, "f-1");
        assert_eq!(
            subscribe(&mut reset, A, (Some("e-1"), 0)),
            [(A, Some(false), vec![])]
        );
    }

    #[test]
    fn who_saw_what_gitlab_is_asked_for_is_told_the_rest_by_gitlab_and_others_by_who_streams() {
        let mut topics = topics();
        subscribe(&mut topics, A, (Some("e-1"), 0));
        subscribe(&mut topics, B, (Some("e-2"), 0));

        assert_eq!(accept(&mut topics, asked("e-1")), [(A, None, vec![])]);
        let waits = topics.holds().next().unwrap().1;
        assert!(waits.waits && waits.behind, "{waits:?}");
        assert_eq!(event(&mut topics, "e-3"), [A]);

        let welcomes = accept(&mut topics, kept(Some("e-1"), &["e-2", "e-3"]));
        assert_eq!(welcomes, [(B, Some(true), ids(&["e-3"]))]);
    }

    #[test]
    fn who_waits_for_what_it_missed_is_not_answered_by_an_announcement_to_others() {
        let mut topics = topics();
        subscribe(&mut topics, A, (None, 0));
        subscribe(&mut topics, B, (Some("e-1"), 0));

        assert_eq!(accept(&mut topics, Earlier::There), [(A, None, vec![])]);
        event(&mut topics, "e-3");
        assert_eq!(accept(&mut topics, Earlier::There), []);

        let welcomes = accept(&mut topics, kept(Some("e-1"), &["e-2"]));
        assert_eq!(welcomes, [(B, Some(true), ids(&["e-2", "e-3"]))]);
    }

    #[test]
    fn who_streams_asks_nobody() {
        let mut topics = topics();
        subscribe(&mut topics, A, (Some("e-1"), 0));
        subscribe(&mut topics, B, (Some("e-2"), 0));
        assert_eq!(topics.stream(topic(), Some("e-1".into())), Some("e-1".into()));

        let welcomes = accept(&mut topics, asked("e-1"));
        assert_eq!(welcomes, [(A, None, vec![]), (B, Some(false), vec![])]);
        assert_eq!(event(&mut topics, "e-2"), [A, B]);
        assert_eq!(
            subscribe(&mut topics, A, (Some("e-0"), 0)),
            [(A, Some(false), vec![])]
        );
        assert_eq!(
            subscribe(&mut topics, A, (Some("e-1"), 0)),
            [(A, Some(true), ids(&["e-2"]))]
        );
    }

    #[test]
    fn what_is_streamed_for_others_is_kept_and_goes_on_where_it_was() {
        let mut topics = streamed(&["e-1", "e-2"]);

        assert_eq!((topics.len(), topics.holds().count()), (0, 0));
        let Earlier::Kept { after, events } = topics.kept(topic(), Duration::ZERO) else {
            panic!("it is streamed here");
        };
        assert_eq!((after, events.len()), (None, 2));
        assert_eq!(
            subscribe(&mut topics, A, (Some("e-1"), 0)),
            [(A, Some(true), ids(&["e-2"]))]
        );
        assert_eq!(topics.stream(topic(), Some("e-1".into())), Some("e-2".into()));
    }

    #[test]
    fn where_letters_may_have_been_lost_tabs_hear_what_was_in_them_in_order() {
        let mut topics = topics();
        subscribe(&mut topics, A, (None, 0));
        accept(&mut topics, Earlier::Asked(None));
        event(&mut topics, "e-1");

        topics.doubt();
        let meanwhile = ["e-3", "e-4"].map(|id| event(&mut topics, id));
        let welcomes = topics.accepted(topic(), kept(None, &["e-1", "e-2", "e-3"]), Duration::ZERO);

        assert_eq!(meanwhile, [[], []]);
        assert!(welcomes.iter().all(|welcome| welcome.has_ack));
        assert_eq!(told(welcomes), [(A, Some(true), ids(&["e-2", "e-3", "e-4"]))]);
        assert_eq!(event(&mut topics, "e-5"), [A]);
        assert_eq!(event(&mut topics, "e-2"), []);

        topics.doubt();
        assert_eq!(subscribe(&mut topics, A, (None, 0)), []);
        assert_eq!(
            subscribe(&mut topics, B, (Some("e-4"), 0)),
            [],
            "there may be a gap"
        );
        topics.leave(B);
        let welcomes = topics.accepted(topic(), kept(None, &["e-5"]), Duration::ZERO);
        assert!(!welcomes[0].has_ack, "it asked for another");

        // Who streams has missed nothing.
        topics.stream(topic(), None);
        topics.doubt();
        assert_eq!(event(&mut topics, "e-6"), [A]);
    }
}
