//! `one-loop-per-user` and `stops-after-last-tab`: what the calls at the services say about a server's loops.

use std::collections::BTreeMap;

use super::{Run, failure};
use crate::{
    events::{Failure, Kind},
    judge::words::clock_text,
};

/// A call on a user's behalf.
struct Poll<'a> {
    at_ms: u64,
    route: &'a str,
    path: &'a str,
}

fn polls<'a>(run: &Run<'a>, user: &str) -> Vec<Poll<'a>> {
    run.events
        .iter()
        .filter_map(|event| match &event.kind {
            Kind::Call {
                route,
                path,
                user: Some(whose),
                ..
            } if whose == user => Some(Poll {
                at_ms: event.at_ms,
                route,
                path,
            }),
            _ => None,
        })
        .collect()
}

/// Calls of one route that two short loops may hold at most: a turn that was late, as its token had to be renewed, may
/// be followed by one that is on time, and a third.
const CALLS_IN_TWO_LOOPS: usize = 3;

pub(super) fn one_loop_per_user(run: &Run<'_>) -> Option<Failure> {
    run.users().into_iter().find_map(|user| {
        let polls = polls(run, user);
        run.presence(user).into_iter().find_map(|(from_ms, until_ms)| {
            let mut asked: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
            let here = polls.iter().filter(|poll| {
                poll.route.starts_with("backend.") && (from_ms..=until_ms).contains(&poll.at_ms)
            });
            for poll in here {
                asked.entry((poll.route, poll.path)).or_default().push(poll.at_ms);
            }
            asked
                .into_iter()
                .find_map(|((route, path), times)| too_often(run, user, (route, path), &times))
        })
    })
}

fn too_often(run: &Run<'_>, user: &str, (route, path): (&str, &str), times: &[u64]) -> Option<Failure> {
    let limit_ms = (2 * run.short_loop_ms).saturating_sub(run.moment_ms);
    let close = times
        .windows(CALLS_IN_TWO_LOOPS + 1)
        .position(|window| window[CALLS_IN_TWO_LOOPS] - window[0] < limit_ms)?;
    let burst = &times[close..=close + CALLS_IN_TWO_LOOPS];
    let span_ms = burst[CALLS_IN_TWO_LOOPS] - burst[0];
    let message = format!(
        "`{route}` was asked for {user} {} times within {span_ms} ms; one loop asks once in {} ms",
        burst.len(),
        run.short_loop_ms
    );
    let near = times.iter().skip(close).take(10);
    let seen = near.map(|at_ms| format!("{} {route} {path}", clock_text(*at_ms)));
    let window = (
        burst[0].saturating_sub(2 * run.short_loop_ms),
        burst[CALLS_IN_TWO_LOOPS] + run.short_loop_ms,
    );
    Some(failure(message, None, seen.collect(), window))
}

pub(super) fn stops_after_last_tab(run: &Run<'_>) -> Option<Failure> {
    run.users().into_iter().find_map(|user| {
        let presence = run.presence(user);
        let late: Vec<_> = polls(run, user)
            .into_iter()
            .filter(|poll| poll.route.starts_with("backend.") || poll.route.starts_with("gitlab."))
            .filter(|poll| {
                !presence
                    .iter()
                    .any(|(from, until)| (*from..=until + run.moment_ms).contains(&poll.at_ms))
            })
            .collect();
        let first = late.first()?;
        let left_ms = presence
            .iter()
            .map(|(_, until)| *until)
            .filter(|until| *until <= first.at_ms)
            .max();
        let since = left_ms.map_or_else(
            || format!("{user} has had no tab"),
            |left| format!("{user}'s last tab left {} ms before", first.at_ms - left),
        );
        let message = format!("`{}` was asked for {user} although {since}", first.route);
        let seen = late
            .iter()
            .take(10)
            .map(|poll| format!("{} {} {}", clock_text(poll.at_ms), poll.route, poll.path));
        Some(failure(
            message,
            None,
            seen.collect(),
            (left_ms.unwrap_or(0), first.at_ms),
        ))
    })
}
