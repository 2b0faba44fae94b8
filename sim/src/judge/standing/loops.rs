//! `one-loop-per-user` and `stops-after-last-tab`: what the calls at the services say about a server's loops.

use std::collections::BTreeMap;

use super::{Run, failure};
use crate::{
    events::{Failure, Kind},
    judge::expect::clock_text,
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

pub(super) fn one_loop_per_user(run: &Run<'_>) -> Option<Failure> {
    let least_ms = run.short_loop_ms.saturating_sub(run.moment_ms);
    run.users().into_iter().find_map(|user| {
        let polls = polls(run, user);
        run.presence(user).into_iter().find_map(|(from_ms, until_ms)| {
            let mut last: BTreeMap<(&str, &str), u64> = BTreeMap::new();
            let here = polls.iter().filter(|poll| {
                poll.route.starts_with("backend.") && (from_ms..=until_ms).contains(&poll.at_ms)
            });
            here.into_iter().find_map(|poll| {
                let before = last.insert((poll.route, poll.path), poll.at_ms)?;
                let gap_ms = poll.at_ms - before;
                (gap_ms < least_ms).then(|| {
                    let message = format!(
                        "`{}` was asked for {user} twice within {gap_ms} ms; one loop asks once in {} ms",
                        poll.route, run.short_loop_ms
                    );
                    let near = polls.iter().filter(|other| {
                        other.route == poll.route && other.at_ms + 3 * run.short_loop_ms > before
                    });
                    let seen = near
                        .take(10)
                        .map(|poll| format!("{} {} {}", clock_text(poll.at_ms), poll.route, poll.path));
                    failure(
                        message,
                        None,
                        seen.collect(),
                        (
                            before.saturating_sub(2 * run.short_loop_ms),
                            poll.at_ms + run.short_loop_ms,
                        ),
                    )
                })
            })
        })
    })
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
