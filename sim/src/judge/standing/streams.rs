//! `streams-match-subscriptions`: event streams that a server holds upstream, against what its tabs hold.

use std::collections::{BTreeMap, BTreeSet};

use super::{Run, UNNOTICED_MS, failure, union};
use crate::{
    events::{Failure, Kind},
    judge::words::clock_text,
};

/// A stream may outlive its last holder, or overlap its successor, this long.
const GRACE_MS: u64 = 1000;

type Intervals = Vec<(u64, u64)>;

pub(super) fn streams_match_subscriptions(run: &Run<'_>) -> Option<Failure> {
    open(run).into_iter().find_map(|((user, topic), mut streams)| {
        streams.sort_unstable();
        let grace = GRACE_MS + run.moment_ms;
        let twice = streams
            .windows(2)
            .find(|pair| pair[0].1.min(pair[1].1).saturating_sub(pair[1].0) > grace);
        if let Some(pair) = twice {
            let message = format!("{user} has two event streams of `{topic}` at once");
            return Some(failure(
                message,
                None,
                lines(&streams),
                (pair[1].0.saturating_sub(1000), pair[1].0 + 1000),
            ));
        }
        let held = held(run, user, topic);
        let (from, until) = streams.iter().find_map(|stream| unheld(*stream, &held, grace))?;
        let message = format!(
            "the event stream of `{topic}` stayed open for {user} while no tab held it, from {} to {}",
            clock_text(from),
            clock_text(until)
        );
        Some(failure(
            message,
            None,
            lines(&streams),
            (from.saturating_sub(1000), until),
        ))
    })
}

fn lines(streams: &Intervals) -> Vec<String> {
    streams
        .iter()
        .map(|(from, until)| format!("open from {} to {}", clock_text(*from), clock_text(*until)))
        .collect()
}

/// When each user's streams were open, by user and topic.
fn open<'a>(run: &Run<'a>) -> BTreeMap<(&'a str, &'a str), Intervals> {
    let mut running: BTreeMap<u64, u64> = BTreeMap::new();
    let mut streams: BTreeMap<(&str, &str), Intervals> = BTreeMap::new();
    let mut whose: BTreeMap<u64, (&str, &str)> = BTreeMap::new();
    for event in run.events {
        match &event.kind {
            Kind::StreamOpened {
                call,
                user: Some(user),
                topic,
            } => {
                running.insert(*call, event.at_ms);
                whose.insert(*call, (user, topic));
            }
            Kind::StreamClosed { call, .. } => {
                if let (Some(from), Some(key)) = (running.remove(call), whose.get(call)) {
                    streams.entry(*key).or_default().push((from, event.at_ms));
                }
            }
            _ => {}
        }
    }
    for (call, from) in running {
        streams.entry(whose[&call]).or_default().push((from, run.end_ms));
    }
    streams
}

/// When some tab of the user held the topic, from the moment it asked.
fn held(run: &Run<'_>, user: &str, topic: &str) -> Intervals {
    let mut intervals = Vec::new();
    for stay in run.stays.iter().filter(|stay| stay.person.user == user) {
        let mut since = None;
        for event in run.events {
            let Kind::TabSent {
                tab, life, message, ..
            } = &event.kind
            else {
                continue;
            };
            let about = message.json().is_some_and(|json| json["data"]["topic"] == topic);
            if tab != stay.tab || *life != stay.life || !about {
                continue;
            }
            match (message.kind(), since) {
                (Some("subscribe"), None) => since = Some(event.at_ms),
                (Some("unsubscribe"), Some(from)) => {
                    intervals.push((from, event.at_ms));
                    since = None;
                }
                _ => {}
            }
        }
        let silent = stay.away.iter().any(|(_, until)| *until >= stay.until_ms);
        let extra = if silent { UNNOTICED_MS } else { 0 };
        intervals.extend(since.map(|from| (from, stay.until_ms.saturating_add(extra))));
    }
    union(intervals)
}

/// The first part of a stream, longer than the grace, in which nobody held its topic.
fn unheld((from, until): (u64, u64), held: &Intervals, grace_ms: u64) -> Option<(u64, u64)> {
    let edges: BTreeSet<u64> = std::iter::once(from)
        .chain(held.iter().map(|(_, end)| *end))
        .collect();
    edges
        .into_iter()
        .filter(|edge| (from..until).contains(edge))
        .find_map(|edge| {
            let covered = held.iter().any(|(start, end)| *start <= edge && edge < *end);
            let next = held
                .iter()
                .map(|(start, _)| *start)
                .filter(|start| *start > edge)
                .min();
            let end = next.map_or(until, |next| next.min(until));
            (!covered && end - edge > grace_ms).then_some((edge, end))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_outlives_its_holders_is_found() {
        assert_eq!(unheld((0, 10_000), &vec![(0, 4000)], 1000), Some((4000, 10_000)));
        assert_eq!(unheld((0, 10_000), &vec![(0, 9500)], 1000), None);
        assert_eq!(unheld((0, 10_000), &vec![(0, 4000), (4500, 12_000)], 1000), None);
        assert_eq!(unheld((0, 10_000), &vec![], 1000), Some((0, 10_000)));
    }
}
