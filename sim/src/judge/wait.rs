//! Judging a `wait`: whether a fact has been seen often enough.

use super::{
    expect::{Standing, Until},
    record::{Record, Sight},
};
use crate::{events::Failure, scenario::claim::Wait};

/// The route that `poll` stands for.
const POLL_ROUTE: &str = "backend.sessions";

/// Judges whether the fact was seen; captures of `got` are kept when it was.
pub fn judge(wait: &Wait, record: &mut Record, (until, now_ms): (Until, u64), line: usize) -> Standing {
    let (from_seq, from_ms) = wait
        .since
        .as_ref()
        .and_then(|mark| record.marks.get(mark))
        .copied()
        .unwrap_or((0, 0));
    let wanted = wait.n.unwrap_or(1);
    let (count, fact) = count(wait, record, from_seq);
    if count >= wanted {
        return Standing::Met;
    }
    if until == Until::Now {
        return Standing::Open;
    }
    Standing::Unmet(vec![Failure {
        message: format!("waited in vain for {fact}: seen {count} times, wanted {wanted}"),
        tab: wait.tab.clone(),
        line: Some(line),
        file: None,
        expected: Vec::new(),
        seen: Vec::new(),
        window_ms: (from_ms, now_ms),
    }])
}

fn count(wait: &Wait, record: &mut Record, from_seq: u64) -> (u64, String) {
    if let Some(name) = &wait.tab {
        return count_tab(wait, name, record, from_seq);
    }
    let (route, user) = match (&wait.poll, &wait.call) {
        (Some(user), _) => (POLL_ROUTE, Some(user)),
        (None, Some(route)) => (route.value.as_str(), wait.user.as_ref()),
        (None, None) => ("", None),
    };
    let calls = record.calls.values().filter(|call| {
        call.seq >= from_seq
            && call.route == route
            && user.is_none_or(|user| call.user.as_ref() == Some(user))
    });
    let whose = user.map_or_else(String::new, |user| format!(" for {user}"));
    (calls.count() as u64, format!("a call of `{route}`{whose}"))
}

fn count_tab(wait: &Wait, name: &str, record: &mut Record, from_seq: u64) -> (u64, String) {
    let Some(tab) = record.tabs.get(name) else {
        return (0, format!("tab {name}"));
    };
    if wait.open == Some(true) {
        return (
            u64::from(tab.open) * wait.n.unwrap_or(1),
            format!("tab {name} to be open"),
        );
    }
    let seen = &tab.seen[tab.index_at(from_seq)..];
    if wait.closed == Some(true) {
        let ends = seen
            .iter()
            .filter(|seen| matches!(seen.what, Sight::Closed { .. }));
        return (ends.count() as u64, format!("tab {name} to be closed"));
    }
    let mut bindings = record.bindings.clone();
    let mut count = 0;
    for seen in seen {
        let Sight::Message(frame) = &seen.what else {
            continue;
        };
        let hit = match (&wait.got, frame.json()) {
            (Some(pattern), Some(json)) => pattern.matches(json, &mut bindings).is_ok(),
            (Some(_), None) => false,
            (None, _) => true,
        };
        count += u64::from(hit);
    }
    record.bindings = bindings;
    (count, format!("a message at tab {name}"))
}
