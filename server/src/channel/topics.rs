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
    pub(super) log: Log,
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
