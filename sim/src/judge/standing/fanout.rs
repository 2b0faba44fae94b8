//! `same-to-all-tabs` and `no-message-after-close`: who hears what.

use serde_json::Value;

use super::{Run, Stay, failure};
use crate::{
    events::{Event, Failure, Frame, Kind},
    judge::words::clock_text,
};

/// Notifications of loops, and the command by which a tab asks for them (none: every tab gets them).
const NOTIFICATIONS: [(&str, Option<&str>); 4] = [
    ("sessionStatus", Some("pullSessionStatus")),
    ("sessionStatusV2", Some("pullSessionStatusV2")),
    ("activation", None),
    ("version", None),
];

pub(super) fn same_to_all_tabs(run: &Run<'_>) -> Option<Failure> {
    NOTIFICATIONS.into_iter().find_map(|(kind, command)| {
        run.stays.iter().find_map(|stay| {
            let told = times(run, stay, |event| is_received(event, kind));
            let begun_at = run.events.iter().find_map(|event| beginning(event, stay));
            let replayed = times(run, stay, |event| {
                is_received(event, kind) && begun_at.is_some_and(|begun_at| is_replayed(event, begun_at))
            });
            let own = told.iter().enumerate().find(|(nth, at_ms)| {
                let before = nth.checked_sub(1).map(|previous| told[previous]);
                !is_belated(run, stay, **at_ms)
                    && !replayed.contains(at_ms)
                    && !is_personal(run, stay, (kind, command), (before, **at_ms))
            });
            let (_, at_ms) = own?;
            let missed = run
                .stays
                .iter()
                .find(|other| missed(run, (stay, other), (kind, command), *at_ms))?;
            let message = format!(
                "tab {} was told `{kind}` at {}, tab {} of the same user was not",
                stay.tab,
                clock_text(*at_ms),
                missed.tab
            );
            let window = (at_ms.saturating_sub(run.short_loop_ms), at_ms + run.moment_ms);
            Some(failure(message, Some(missed.tab), Vec::new(), window))
        })
    })
}

/// Where the channel's life stood when a connection began, if its `init` says so.
fn beginning<'a>(event: &'a Event, stay: &Stay<'_>) -> Option<(&'a str, u64)> {
    match &event.kind {
        Kind::TabReceived {
            tab, life, message, ..
        } if tab == stay.tab && *life == stay.life => {
            position(message).filter(|_| message.kind() == Some("init"))
        }
        _ => None,
    }
}

/// Whether a message is of before its connection began: a `resume` brought it.
fn is_replayed(event: &Event, (epoch, seq): (&str, u64)) -> bool {
    let Kind::TabReceived { message, .. } = &event.kind else {
        return false;
    };
    position(message).is_some_and(|(own_epoch, own_seq)| own_epoch == epoch && own_seq <= seq)
}

fn position(message: &Frame) -> Option<(&str, u64)> {
    let json = message.json()?;
    Some((json["epoch"].as_str()?, json["seq"].as_u64()?))
}

/// Whether a tab read a message late, as it was frozen or cut off when the message came.
fn is_belated(run: &Run<'_>, stay: &Stay<'_>, at_ms: u64) -> bool {
    let away = |(from, until): &(u64, u64)| (*from..=until.saturating_add(run.moment_ms)).contains(&at_ms);
    stay.away.iter().any(away)
}

/// Whether a message may be an answer to what the tab itself asked since it was told last.
fn is_personal(
    run: &Run<'_>,
    stay: &Stay<'_>,
    (kind, command): (&str, Option<&str>),
    (before, at_ms): (Option<u64>, u64),
) -> bool {
    let asks = |name: &str| {
        name == "resume"
            || command.is_some_and(|command| command == name)
            || (kind == "activation" && name == "pullKgActivationStatus")
            || (kind == "version" && name == "init")
    };
    let since_ms = before.unwrap_or(stay.from_ms);
    let asked = times(
        run,
        stay,
        |event| matches!(&event.kind, Kind::TabSent { message, .. } if message.kind().is_some_and(asks)),
    );
    // A tab that joins may be told the current state of what nobody has to ask for.
    let joined = before.is_none() && command.is_none();
    joined || asked.iter().any(|asked| (since_ms..=at_ms).contains(asked))
}

/// Whether `other` had to be told what `stay` was told at `at_ms`, and was not.
fn missed(
    run: &Run<'_>,
    (stay, other): (&Stay<'_>, &Stay<'_>),
    (kind, command): (&str, Option<&str>),
    at_ms: u64,
) -> bool {
    let moment = run.moment_ms;
    let same_person = stay.person == other.person && stay.person.known && stay.tab != other.tab;
    let there = other.from_ms + moment < at_ms && at_ms + moment < other.until_ms;
    let away = other
        .away
        .iter()
        .any(|(from, until)| *from <= at_ms + moment && at_ms <= until.saturating_add(moment));
    if !same_person || !there || away {
        return false;
    }
    let asked = command.is_none_or(|command| {
        let asked = times(
            run,
            other,
            |event| matches!(&event.kind, Kind::TabSent { message, .. } if message.kind() == Some(command)),
        );
        asked.iter().any(|asked| asked + moment < at_ms)
    });
    let told = times(run, other, |event| is_received(event, kind));
    asked && !told.iter().any(|told| told.abs_diff(at_ms) <= moment)
}

/// When, in one connection of a tab, something happened.
fn times(run: &Run<'_>, stay: &Stay<'_>, is: impl Fn(&Event) -> bool) -> Vec<u64> {
    let here = run.events.iter().filter(|event| match &event.kind {
        Kind::TabReceived { tab, life, .. } | Kind::TabSent { tab, life, .. } => {
            tab == stay.tab && *life == stay.life
        }
        _ => false,
    });
    here.filter(|event| is(event)).map(|event| event.at_ms).collect()
}

/// Whether a tab received a notification of this kind, other than in reply to `init`.
fn is_received(event: &Event, kind: &str) -> bool {
    let Kind::TabReceived { message, .. } = &event.kind else {
        return false;
    };
    message.kind() == Some(kind)
        && message
            .json()
            .is_some_and(|json| json["data"]["start"] == Value::Null)
}

pub(super) fn no_message_after_close(run: &Run<'_>) -> Option<Failure> {
    run.stays.iter().find_map(|stay| {
        let over = times(
            run,
            stay,
            |event| matches!(&event.kind, Kind::TabReceived { message, .. } if says_over(message)),
        );
        let over_ms = *over.first()?;
        let later = run.events.iter().find_map(|event| match &event.kind {
            Kind::TabReceived {
                tab, life, message, ..
            } if tab == stay.tab && *life == stay.life && event.at_ms >= over_ms && !says_over(message) => {
                Some((event.at_ms, message))
            }
            _ => None,
        });
        let (later_ms, message) = match later {
            Some(later) => later,
            None if over.len() > 1 => return Some(told_twice(stay, &over)),
            None => return None,
        };
        let text = format!(
            "tab {} was told at {} that its login session is over, and still heard something at {}",
            stay.tab,
            clock_text(over_ms),
            clock_text(later_ms)
        );
        Some(failure(
            text,
            Some(stay.tab),
            vec![message.to_string()],
            (over_ms, later_ms),
        ))
    })
}

fn told_twice(stay: &Stay<'_>, over: &[u64]) -> Failure {
    let message = format!(
        "tab {} was told {} times that its login session is over",
        stay.tab,
        over.len()
    );
    let seen = over.iter().map(|at_ms| clock_text(*at_ms)).collect();
    failure(message, Some(stay.tab), seen, (over[0], over[over.len() - 1]))
}

fn says_over(message: &Frame) -> bool {
    message
        .json()
        .is_some_and(|json| json["expired"] == true || json["data"]["expired"] == true)
}
