//! Judging a `calls`: how many calls arrived at the services.

use serde_json::Value;

use super::{
    expect::{Standing, Until},
    record::{CallRecord, Record},
    words::clock_text,
};
use crate::{
    events::Failure,
    pattern::{Bindings, Pattern},
    scenario::claim::{Calls, Check, Count},
};

/// Judges the counts; captures are kept when all of them hold.
pub fn judge(
    calls: &Calls,
    record: &mut Record,
    (until, now_ms): (Until, u64),
    line_of: impl Fn(usize) -> usize,
) -> Standing {
    let (from_seq, from_ms) = calls
        .since
        .as_ref()
        .and_then(|mark| record.marks.get(mark))
        .copied()
        .unwrap_or((0, 0));
    let mut bindings = record.bindings.clone();
    let mut failures = Vec::new();
    let mut waits = false;
    for check in &calls.check {
        let line = line_of(check.at.start);
        let check = &check.value;
        let all: Vec<_> = record
            .calls
            .values()
            .filter(|call| matches(check, call, &mut bindings))
            .collect();
        let since: Vec<_> = all.iter().filter(|call| call.seq >= from_seq).copied().collect();
        let open = all.iter().filter(|call| call.streaming).count() as u64;
        let count = since.len() as u64;
        let (min, max) = bounds(check);
        // More calls may still come, fewer cannot; a number of open streams may go either way.
        let streams_differ = check.open_streams.is_some_and(|wanted| wanted != open);
        if until == Until::Now && count <= max && (count < min || streams_differ) {
            waits = true;
            continue;
        }
        if count < min || count > max {
            let calls = plural(count, "call");
            let problem = format!("{count} {calls} arrived, expected {}", wanted(min, max));
            failures.push(failure((check, line), &problem, &since, (from_ms, now_ms)));
        } else if streams_differ {
            let wanted = check.open_streams.unwrap_or(0);
            let problem = format!("{open} event {} open, expected {wanted}", plural_are(open));
            failures.push(failure((check, line), &problem, &all, (from_ms, now_ms)));
        }
    }
    if !failures.is_empty() {
        return Standing::Unmet(failures);
    }
    if waits {
        return Standing::Open;
    }
    record.bindings = bindings;
    Standing::Met
}

/// The routes of counts with an upper bound alone to which no call of the run belongs: nothing was bounded.
pub fn bounded_without_calls(calls: &Calls, record: &Record) -> Vec<String> {
    let is_bounded = |check: &Check| {
        let (min, max) = bounds(check);
        min == 0 && (1..u64::MAX).contains(&max)
    };
    let is_called = |check: &Check| {
        let mut bindings = record.bindings.clone();
        record
            .calls
            .values()
            .any(|call| matches(check, call, &mut bindings))
    };
    calls
        .check
        .iter()
        .map(|check| &check.value)
        .filter(|check| is_bounded(check) && !is_called(check))
        .map(|check| check.route.value.clone())
        .collect()
}

fn bounds(check: &Check) -> (u64, u64) {
    match (check.count, check.open_streams) {
        (Some(Count::Exactly(count)), _) => (count, count),
        (Some(Count::Between(bounds)), _) => (bounds.min, bounds.max),
        (None, Some(_)) => (0, u64::MAX),
        (None, None) => (1, u64::MAX),
    }
}

fn matches(check: &Check, call: &CallRecord, bindings: &mut Bindings) -> bool {
    let body = |pattern: &Option<Pattern>, value: Option<Value>, bindings: &mut Bindings| {
        pattern
            .as_ref()
            .is_none_or(|pattern| value.is_some_and(|value| pattern.matches(&value, bindings).is_ok()))
    };
    // What a failed check captured on the way is of no consequence: a check that fails ends the run.
    call.route == check.route.value
        && check
            .user
            .as_ref()
            .is_none_or(|user| call.user.as_ref() == Some(user))
        && body(&check.path, Some(call.path.clone().into()), bindings)
        && body(&check.form, call.form.clone().map(Value::Object), bindings)
        && body(&check.json, call.json.clone(), bindings)
}

fn failure(
    (check, line): (&Check, usize),
    problem: &str,
    calls: &[&CallRecord],
    window_ms: (u64, u64),
) -> Failure {
    let whose = check
        .user
        .as_ref()
        .map_or_else(String::new, |user| format!(" for {user}"));
    let seen = calls.iter().map(|call| {
        let (time, whose) = (clock_text(call.at_ms), caller(call));
        format!("{time} {} {} for {whose}", call.route, call.path)
    });
    Failure {
        message: format!("`{}`{whose}: {problem}", check.route.value),
        tab: None,
        line: Some(line),
        file: None,
        expected: Vec::new(),
        seen: seen.collect(),
        window_ms,
    }
}

/// The user, and in which browser if it is not the only one.
fn caller(call: &CallRecord) -> String {
    let user = call.user.as_deref().unwrap_or("nobody");
    match &call.browser {
        Some(browser) => format!("{user} in {browser}"),
        None => user.to_owned(),
    }
}

fn wanted(min: u64, max: u64) -> String {
    match (min, max) {
        (min, max) if min == max => min.to_string(),
        (min, u64::MAX) => format!("at least {min}"),
        (0, max) => format!("at most {max}"),
        (min, max) => format!("{min} to {max}"),
    }
}

fn plural(count: u64, word: &str) -> String {
    if count == 1 {
        word.to_owned()
    } else {
        format!("{word}s")
    }
}

fn plural_are(count: u64) -> &'static str {
    if count == 1 { "stream is" } else { "streams are" }
}
