//! What each tab of one user was to hear of, and what it heard: nothing missed, doubled, out of order or meant for
//! somebody else. Waits for nothing and sends nothing.

use std::{collections::VecDeque, time::Duration};

use crate::{
    plan::{InitialState, Limits},
    tally::{Count, Metric, Tally},
};

/// Heard changes and missing numbers that a tab remembers; older ones are taken for lost.
const REMEMBERED: usize = 256;

/// All tabs of one user.
#[derive(Debug, Default)]
pub(crate) struct Hearing {
    changes: VecDeque<Change>,
    next: u32,
    tabs: Vec<Ear>,
}

/// A change that tabs are to hear of.
#[derive(Debug)]
struct Change {
    id: u32,
    made: Duration,
    /// The numbers that had been heard when it was made.
    then: Numbers,
    due: u32,
    heard: u32,
    first: Option<Duration>,
}

/// The highest numbers that the tabs of a user have heard. Those of different streams cannot be compared, nor those of
/// different tabs where no stream is known.
#[derive(Debug)]
struct Numbers {
    by_tab: Vec<Option<u64>>,
    by_stream: Vec<(String, u64)>,
}

impl Numbers {
    fn of(tabs: &[Ear]) -> Self {
        let named = |ear: &Ear| Some((ear.stream.clone()?, ear.seq?));
        Self {
            by_tab: tabs.iter().map(|ear| ear.seq).collect(),
            by_stream: tabs.iter().filter_map(named).collect(),
        }
    }

    /// Returns `true` if a number that this tab hears is above all that it can be compared with.
    fn are_below(&self, number: u64, tab: usize, stream: Option<&str>) -> bool {
        let own = self.by_tab.get(tab).copied().flatten();
        let others = self
            .by_stream
            .iter()
            .filter(|(name, _)| Some(name.as_str()) == stream);
        own.into_iter()
            .chain(others.map(|(_, number)| *number))
            .all(|then| number > then)
    }
}

/// One tab.
#[derive(Debug, Default)]
struct Ear {
    /// None while it is not ready.
    ready: Option<Duration>,
    /// Changes that it is to hear of, oldest first.
    pending: VecDeque<u32>,
    /// Changes that it heard of by their marks.
    heard: VecDeque<u32>,
    /// What names the stream that it hears.
    stream: Option<String>,
    /// The highest number heard.
    seq: Option<u64>,
    /// Whether every number above `seq` is for this tab. Not before its first numbered notification where it is told the
    /// state: others may have been told what the state tells it.
    follows: bool,
    /// Numbers that are missing below it, and since when.
    gaps: VecDeque<(u64, Duration)>,
    /// Changes that were counted as missed, and whose numbers may yet be missing, or come late.
    given_up: u64,
    /// The profile says that the tab is told the state at its beginning.
    initial: bool,
    /// No notification came yet, and the first one may be the initial state.
    may_be_state: bool,
}

/// What a message says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// Whether it is a notification.
    pub(crate) notifies: bool,
    pub(crate) seq: Option<u64>,
    /// How many numbers just below it were left out on purpose.
    pub(crate) superseded: u64,
    pub(crate) stream: Option<String>,
    /// Whether it names its user or stream.
    pub(crate) is_owned: bool,
    /// Whether it is for another user than ours.
    pub(crate) is_for_another: bool,
    pub(crate) mark: Option<Mark>,
}

/// When something is heard, and where that is counted.
#[derive(Debug)]
pub(crate) struct Moment<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) now: Duration,
    pub(crate) tally: &'a mut Tally,
}

/// What is said with a change, so that its notification is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) user: u64,
    pub(crate) change: u32,
}

const MARK: &str = "polytab-";

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{MARK}{}-{}.", self.user, self.change)
    }
}

impl Mark {
    /// The first mark in a text.
    pub(crate) fn find(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once(MARK)?;
        let (mark, _) = rest.split_once('.')?;
        let (user, change) = mark.split_once('-')?;
        Some(Self {
            user: user.parse().ok()?,
            change: change.parse().ok()?,
        })
    }
}

impl Hearing {
    pub(crate) fn new(tabs: usize) -> Self {
        Self {
            tabs: (0..tabs).map(|_| Ear::default()).collect(),
            ..Self::default()
        }
    }

    /// The tab is ready to hear.
    pub(crate) fn ready(&mut self, tab: usize, initial: InitialState, now: Duration) {
        let ear = &mut self.tabs[tab];
        ear.ready = Some(now);
        ear.initial = initial == InitialState::Sent;
        ear.may_be_state = initial != InitialState::Absent;
        ear.follows = !ear.initial;
    }

    /// The tab is gone: what it has not heard it no longer has to; numbers that it missed it missed.
    pub(crate) fn gone(&mut self, tab: usize, tally: &mut Tally) {
        let ear = std::mem::take(&mut self.tabs[tab]);
        tally.add_count(Count::Missed, ear.gaps.len() as u64);
        tally.add_count(Count::Unheard, ear.pending.len() as u64);
        for id in ear.pending {
            if let Some(change) = self.changes.iter_mut().find(|change| change.id == id) {
                change.due -= 1;
                change.is_through(tally);
            }
        }
        self.forget();
    }

    /// A change is about to be made, of which every tab that is ready is to hear.
    pub(crate) fn change(&mut self, now: Duration, tally: &mut Tally) -> u32 {
        let id = self.next;
        self.next += 1;
        let ready = self.tabs.iter_mut().filter(|ear| ear.ready.is_some());
        let due = ready.map(|ear| ear.pending.push_back(id)).count() as u64;
        tally.add_count(Count::Due, due);
        self.changes.push_back(Change {
            id,
            made: now,
            then: Numbers::of(&self.tabs),
            due: u32::try_from(due).unwrap_or(u32::MAX),
            heard: 0,
            first: None,
        });
        self.forget();
        id
    }

    /// The change was not made after all.
    pub(crate) fn unmade(&mut self, id: u32, tally: &mut Tally) {
        for ear in &mut self.tabs {
            let before = ear.pending.len();
            ear.pending.retain(|pending| *pending != id);
            tally.add_count(Count::Withdrawn, (before - ear.pending.len()) as u64);
        }
        self.changes.retain(|change| change.id != id);
    }

    /// Whoever has not heard of the change by now missed it.
    pub(crate) fn overdue(&mut self, id: u32, tally: &mut Tally) {
        let before = |ear: &Ear| ear.pending.len();
        for ear in &mut self.tabs {
            let pending = before(ear);
            ear.pending.retain(|pending| *pending != id);
            let missed = (pending - before(ear)) as u64;
            ear.given_up += missed;
            tally.add_count(Count::Missed, missed);
        }
        self.changes.retain(|change| change.id != id);
    }

    /// A message came to a tab of this user.
    pub(crate) fn heard(&mut self, (user, tab): (u64, usize), said: &Said, moment: &mut Moment<'_>) {
        let ear = &mut self.tabs[tab];
        let is_marked_for_another = said.mark.is_some_and(|mark| mark.user != user);
        if said.is_for_another || is_marked_for_another || ear.is_other_stream(said) {
            moment.tally.count(Count::CrossUser);
            return;
        }
        if said.is_owned {
            moment.tally.count(Count::Owned);
        }
        if let Some(seq) = said.seq {
            ear.number(seq, said.superseded, moment);
            ear.follows |= said.notifies;
        }
        if !said.notifies {
            return;
        }
        moment.tally.count(Count::Notified);
        if said.seq.is_some() {
            moment.tally.count(Count::Numbered);
        }
        match said.mark {
            Some(mark) => {
                moment.tally.count(Count::Marked);
                self.marked(tab, mark.change, moment);
            }
            None => self.unmarked(tab, said.seq, moment),
        }
        self.forget();
    }

    /// A notification that says which change it is about.
    fn marked(&mut self, tab: usize, id: u32, moment: &mut Moment<'_>) {
        let ear = &mut self.tabs[tab];
        if ear.heard.contains(&id) {
            moment.tally.count(Count::Doubled);
            return;
        }
        if ear.heard.back().is_some_and(|last| *last > id) {
            moment.tally.count(Count::OutOfOrder);
        }
        if ear.heard.len() == REMEMBERED {
            ear.heard.pop_front();
        }
        ear.heard.push_back(id);
        ear.may_be_state = false;
        if let Some(at) = ear.pending.iter().position(|pending| *pending == id) {
            ear.pending.remove(at);
            self.note(id, moment);
        }
    }

    /// A notification that only says that something changed. It confirms every pending change of the tab that it cannot
    /// have been sent without: by a number above those of the time of the change, or because it is not the state that a
    /// tab is told at its beginning. Where it may be that state, the change may be a part of it: the tab is no longer
    /// waited for, and has not heard of the change either.
    fn unmarked(&mut self, tab: usize, number: Option<u64>, moment: &mut Moment<'_>) {
        let ear = &mut self.tabs[tab];
        let settled = ear.ready.map(|ready| ready + moment.limits.settling);
        let is_settling = settled.is_none_or(|settled| moment.now < settled);
        let is_first = std::mem::take(&mut ear.may_be_state);
        let may_be_state = is_first || ear.initial && is_settling && number.is_none();
        let told = std::mem::take(&mut ear.pending);
        if told.is_empty() && !is_first && !is_settling && number.is_none() {
            if ear.given_up > 0 {
                ear.given_up -= 1;
            } else {
                moment.tally.count(Count::Doubled);
            }
        }
        for id in told {
            if may_be_state {
                self.cover(id, moment.tally);
            } else if self.is_before(id, tab, number) {
                self.note(id, moment);
            } else {
                self.tabs[tab].pending.push_back(id);
            }
        }
    }

    /// Returns `true` if a notification with this number, in this tab, can only be of a time after the change.
    fn is_before(&self, id: u32, tab: usize, number: Option<u64>) -> bool {
        let Some(number) = number else { return true };
        let stream = self.tabs[tab].stream.as_deref();
        let change = self.changes.iter().find(|change| change.id == id);
        change.is_none_or(|change| change.then.are_below(number, tab, stream))
    }

    /// The initial state of a tab may contain the change.
    fn cover(&mut self, id: u32, tally: &mut Tally) {
        tally.count(Count::Covered);
        if let Some(change) = self.changes.iter_mut().find(|change| change.id == id) {
            change.due -= 1;
            change.is_through(tally);
        }
    }

    /// One tab has heard of a change.
    fn note(&mut self, id: u32, moment: &mut Moment<'_>) {
        let Some(change) = self.changes.iter_mut().find(|change| change.id == id) else {
            return;
        };
        let (now, tally) = (moment.now, &mut *moment.tally);
        let delay = now.saturating_sub(change.made);
        tally.record(Metric::Fanout, delay);
        change.heard += 1;
        if change.first.is_none() {
            change.first = Some(now);
            tally.record(Metric::FanoutFirst, delay);
        }
        if change.heard == change.due {
            tally.record(Metric::FanoutLast, delay);
            if let Some(first) = change.first.filter(|_| change.due > 1) {
                tally.record(Metric::Skew, now.saturating_sub(first));
            }
        }
    }

    /// Changes that every tab has heard of need no longer be known.
    fn forget(&mut self) {
        while self
            .changes
            .front()
            .is_some_and(|change| change.heard >= change.due)
        {
            self.changes.pop_front();
        }
    }

    /// Whether a tab is yet to hear of something.
    pub(crate) fn waits(&self) -> bool {
        self.tabs.iter().any(|ear| !ear.pending.is_empty())
    }

    /// The run is over: numbers that are missing will not come.
    pub(crate) fn end(&mut self, tally: &mut Tally) {
        for tab in 0..self.tabs.len() {
            self.gone(tab, tally);
        }
    }
}

impl Change {
    /// A tab that was to hear of it is gone: the others may be all who were left.
    fn is_through(&self, tally: &mut Tally) {
        if self.due > 0
            && self.heard == self.due
            && let Some(first) = self.first
        {
            tally.record(Metric::FanoutLast, first.saturating_sub(self.made));
        }
    }
}

impl Ear {
    fn is_other_stream(&mut self, said: &Said) -> bool {
        match (&self.stream, &said.stream) {
            (Some(own), Some(said)) => own != said,
            (None, Some(said)) => {
                self.stream = Some(said.clone());
                false
            }
            (_, None) => false,
        }
    }

    /// Takes a number in, and that so many just below it will not come.
    fn number(&mut self, seq: u64, superseded: u64, moment: &mut Moment<'_>) {
        let (now, tally) = (moment.now, &mut *moment.tally);
        let is_lost = |since: Duration| now > since + moment.limits.notification;
        while self.gaps.len() > REMEMBERED || self.gaps.front().is_some_and(|(_, since)| is_lost(*since)) {
            self.gaps.pop_front();
            tally.count(Count::Missed);
        }
        let Some(last) = self.seq.filter(|_| self.follows) else {
            self.seq = self.seq.max(Some(seq));
            return;
        };
        tally.count(Count::Compared);
        if seq > last {
            for missing in (last + 1..seq.saturating_sub(superseded)).take(REMEMBERED) {
                if self.given_up > 0 {
                    self.given_up -= 1;
                } else {
                    self.gaps.push_back((missing, now));
                }
            }
            self.seq = Some(seq);
        } else if let Some(at) = self.gaps.iter().position(|(missing, _)| *missing == seq) {
            self.gaps.remove(at);
            tally.count(Count::OutOfOrder);
        } else {
            tally.count(Count::Doubled);
        }
    }
}

#[cfg(test)]
mod tests;
