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
            let replay = Replay::new(run, stay);
            let replayed = times(run, stay, |event| {
                is_received(event, kind) && replay.brought(run, stay, event)
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

/// The messages of one connection that a `resume` brought: their positions were reached before the connection began, or
/// before the `resume` was answered.
struct Replay<'a> {
    /// The position in the connection's `init`.
    begun_at: Option<(&'a str, u64)>,
    /// The event in which the connection first sent `resume`.
    resumed: Option<u64>,
}

impl<'a> Replay<'a> {
    fn new(run: &Run<'a>, stay: &Stay<'_>) -> Self {
        let begun_at = run.events.iter().find_map(|event| {
            let (tab, life, message) = received(event)?;
            let is_init = tab == stay.tab && life == stay.life && message.kind() == Some("init");
            position(message).filter(|_| is_init)
        });
        let is_resume = |event: &&Event| {
            matches!(&event.kind, Kind::TabSent { tab, life, message, .. }
                if tab == stay.tab && *life == stay.life && message.kind() == Some("resume"))
        };
        Self {
            begun_at,
            resumed: run.events.iter().find(is_resume).map(|event| event.seq),
        }
    }

    fn brought(&self, run: &Run<'_>, stay: &Stay<'_>, event: &Event) -> bool {
        let Some((epoch, seq)) = received(event).and_then(|(_, _, message)| position(message)) else {
            return false;
        };
        let covers = |(of, reached): (&str, u64)| of == epoch && seq <= reached;
        if self.begun_at.is_some_and(covers) {
            return true;
        }
        // Another tab of the user shows how far the channel was.
        let is_of_other = |tab: &str| tab != stay.tab && run.tabs.get(tab) == Some(&stay.person);
        self.resumed.is_some_and(|resumed| resumed < event.seq)
            && run
                .events
                .iter()
                .take_while(|earlier| earlier.seq < event.seq)
                .filter_map(received)
                .any(|(tab, _, message)| is_of_other(tab) && position(message).is_some_and(covers))
    }
}

fn received(event: &Event) -> Option<(&str, u32, &Frame)> {
    match &event.kind {
        Kind::TabReceived {
            tab, life, message, ..
        } => Some((tab, *life, message)),
        _ => None,
    }
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

/// Compares positions in the event log, because several messages can arrive in one millisecond.
pub(super) fn no_message_after_close(run: &Run<'_>) -> Option<Failure> {
    run.stays.iter().find_map(|stay| {
        let mut messages = run.events.iter().filter_map(|event| match &event.kind {
            Kind::TabReceived {
                tab, life, message, ..
            } if tab == stay.tab && *life == stay.life => Some((event.at_ms, message)),
            _ => None,
        });
        let (over_ms, _) = messages.find(|(_, message)| says_over(message))?;
        let later: Vec<_> = messages.collect();
        let Some((later_ms, message)) = later.iter().find(|(_, message)| !says_over(message)) else {
            let again = later.iter().map(|(at_ms, _)| *at_ms);
            let over: Vec<_> = [over_ms].into_iter().chain(again).collect();
            return (over.len() > 1).then(|| told_twice(stay, &over));
        };
        let text = format!(
            "tab {} was told at {} that its login session is over, and received a message after that, at {}",
            stay.tab,
            clock_text(over_ms),
            clock_text(*later_ms)
        );
        Some(failure(
            text,
            Some(stay.tab),
            vec![message.excerpt()],
            (over_ms, *later_ms),
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
