//! Judging the standing rules over a whole run.

mod content;
mod fanout;
#[cfg(test)]
mod fanout_tests;
mod loops;
mod streams;

use std::collections::{BTreeMap, BTreeSet};

use super::rule::Rule;
use crate::{
    events::{Event, Failure, Kind},
    scenario::{
        model::{Capability, Scenario},
        people::Cookie,
    },
    target::Target,
};

/// What in a run may be a moment late without being wrong, on the virtual clock (milliseconds): some round trips.
const MOMENT_MS: u64 = 100;
/// How long a server may take to notice that a tab's machine vanished: two pings of 25 s unanswered, and a third
/// interval for the phase (PROTOCOL A5).
const UNNOTICED_MS: u64 = 80_000;

/// A run, as the rules look at it.
pub(crate) struct Run<'a> {
    events: &'a [Event],
    tabs: BTreeMap<&'a str, Person<'a>>,
    short_loop_ms: u64,
    moment_ms: u64,
    end_ms: u64,
    stays: Vec<Stay<'a>>,
}

/// Whose a tab is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Person<'a> {
    user: &'a str,
    /// Empty where the target keeps one channel per user over all browsers.
    browser: &'a str,
    /// Whether the tab shows a cookie that says so.
    known: bool,
}

/// One connection of one tab, from open to end.
#[derive(Clone, Debug)]
struct Stay<'a> {
    tab: &'a str,
    life: u32,
    person: Person<'a>,
    from_ms: u64,
    /// When it ended, as far as the server can know.
    until_ms: u64,
    /// When the tab was frozen or cut off, as pairs of begin and end.
    away: Vec<(u64, u64)>,
}

impl<'a> Run<'a> {
    /// Arranges the events of a run of `scenario` against `target`.
    pub(crate) fn new(events: &'a [Event], scenario: &'a Scenario, target: &Target) -> Self {
        let per_user = target.capabilities.contains(&Capability::UserChannel);
        let tabs: BTreeMap<_, _> = scenario
            .file
            .tabs
            .iter()
            .map(|(name, tab)| {
                let browser = if per_user {
                    ""
                } else {
                    tab.value.browser.as_deref().unwrap_or("")
                };
                let known = tab.value.cookie == Cookie::Own;
                (
                    name.as_str(),
                    Person {
                        user: &tab.value.user,
                        browser,
                        known,
                    },
                )
            })
            .collect();
        let ms = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let end_ms = events.last().map_or(0, |event| event.at_ms);
        Self {
            stays: stays(events, &tabs, end_ms),
            events,
            tabs,
            short_loop_ms: ms(target.intervals.short_loop),
            moment_ms: MOMENT_MS + target.slack_ms() * 2,
            end_ms,
        }
    }

    /// Judges the rules that `scenario` does not waive.
    pub(crate) fn judge(&self, waived: &BTreeMap<Rule, String>) -> Vec<(Rule, Failure)> {
        let rules = Rule::ALL.into_iter().filter(|rule| !waived.contains_key(rule));
        rules
            .flat_map(|rule| self.one(rule).into_iter().map(move |failure| (rule, failure)))
            .collect()
    }

    /// The first case in which a rule does not hold: further ones are mostly the same again.
    fn one(&self, rule: Rule) -> Option<Failure> {
        match rule {
            Rule::OneLoopPerUser => loops::one_loop_per_user(self),
            Rule::StopsAfterLastTab => loops::stops_after_last_tab(self),
            Rule::SameToAllTabs => fanout::same_to_all_tabs(self),
            Rule::NoMessageAfterClose => fanout::no_message_after_close(self),
            Rule::NoCrossUser => content::no_cross_user(self),
            Rule::Schema => content::schema(self),
            Rule::NoSecretInFrames => content::no_secret_in_frames(self),
            Rule::StreamsMatchSubscriptions => streams::streams_match_subscriptions(self),
        }
    }

    /// The users who have tabs that show who they are.
    fn users(&self) -> BTreeSet<&'a str> {
        self.tabs
            .values()
            .filter(|person| person.known)
            .map(|person| person.user)
            .collect()
    }

    /// When a user has at least one tab, as the server can know: intervals that do not touch.
    fn presence(&self, user: &str) -> Vec<(u64, u64)> {
        let stays = self
            .stays
            .iter()
            .filter(|stay| stay.person.known && stay.person.user == user);
        union(stays.map(|stay| (stay.from_ms, stay.until_ms)).collect())
    }
}

fn stays<'a>(events: &'a [Event], tabs: &BTreeMap<&'a str, Person<'a>>, end_ms: u64) -> Vec<Stay<'a>> {
    let mut stays: Vec<Stay<'a>> = Vec::new();
    let mut away_since: BTreeMap<&str, u64> = BTreeMap::new();
    for event in events {
        match &event.kind {
            Kind::TabOpened { tab, life } => {
                let Some(person) = tabs.get(tab.as_str()) else {
                    continue;
                };
                let stay = Stay {
                    tab,
                    life: *life,
                    person: *person,
                    from_ms: event.at_ms,
                    until_ms: u64::MAX,
                    away: Vec::new(),
                };
                stays.push(stay);
            }
            Kind::TabLeaving { tab, life } | Kind::TabClosed { tab, life, .. } => {
                let gone = away_since.contains_key(tab.as_str());
                let stay = stays
                    .iter_mut()
                    .find(|stay| stay.tab == tab && stay.life == *life);
                if let Some(stay) = stay.filter(|stay| stay.until_ms == u64::MAX) {
                    stay.until_ms = event.at_ms + if gone { UNNOTICED_MS } else { 0 };
                }
            }
            Kind::TabChanged { tab, state } => match state.as_str() {
                "frozen" | "offline" | "asleep" => {
                    away_since.entry(tab).or_insert(event.at_ms);
                }
                "resumed" | "online" | "awake" => {
                    let Some(since) = away_since.remove(tab.as_str()) else {
                        continue;
                    };
                    let here = stays
                        .iter_mut()
                        .filter(|stay| stay.tab == tab && stay.until_ms > since);
                    here.for_each(|stay| stay.away.push((since, event.at_ms)));
                }
                _ => {}
            },
            _ => {}
        }
    }
    for stay in &mut stays {
        if let Some(since) = away_since.get(stay.tab) {
            stay.away.push((*since, u64::MAX));
        }
        stay.until_ms = stay.until_ms.min(end_ms.saturating_add(UNNOTICED_MS));
    }
    stays
}

/// Joins intervals that touch or overlap.
fn union(mut intervals: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    intervals.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (from, until) in intervals {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(until),
            _ => joined.push((from, until)),
        }
    }
    joined
}

fn failure(message: String, tab: Option<&str>, seen: Vec<String>, window_ms: (u64, u64)) -> Failure {
    Failure {
        message,
        tab: tab.map(str::to_owned),
        line: None,
        file: None,
        expected: Vec::new(),
        seen,
        window_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_that_touch_are_joined() {
        assert_eq!(union(vec![(5, 7), (1, 3), (3, 4), (6, 9)]), [(1, 4), (5, 9)]);
    }
}
