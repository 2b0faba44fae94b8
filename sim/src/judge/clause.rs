//! Judging one clause of an `expect` on one tab.

use std::collections::BTreeSet;

use super::{
    expect::Until,
    record::TabRecord,
    words::{messages_text, told, were},
};
use crate::{
    events::Frame,
    pattern::{Bindings, Mismatch, Pattern},
    scenario::claim::{Clause, Closed},
};

/// What judging one clause on one tab found.
#[derive(Default)]
pub(super) struct Finding {
    pub(super) problem: Option<String>,
    pub(super) waits: bool,
    pub(super) claimed: usize,
    pub(super) matched_ms: Vec<u64>,
}

pub(super) fn judge_clause(
    clause: &Clause,
    tab: &TabRecord,
    (from, until): (usize, Until),
    bindings: &mut Bindings,
) -> Finding {
    let mut finding = Finding {
        claimed: from,
        ..Finding::default()
    };
    let any_order = clause.any_order == Some(true);
    if let Some(patterns) = &clause.exactly {
        let patterns: Vec<_> = patterns.iter().map(|pattern| &pattern.value).collect();
        judge_exactly((&patterns, any_order), (tab, from, until), bindings, &mut finding);
    }
    if let Some(patterns) = &clause.contains {
        let patterns: Vec<_> = patterns.iter().map(|pattern| &pattern.value).collect();
        judge_contains((&patterns, any_order), (tab, from, until), bindings, &mut finding);
    }
    if clause.nothing == Some(true) {
        judge_exactly((&[], false), (tab, from, until), bindings, &mut finding);
    }
    if let Some(closed) = &clause.closed {
        judge_closed(closed, (tab, from, until), bindings, &mut finding);
    }
    if clause.stays_open == Some(true) {
        finding.waits = true;
        finding.claimed = tab.seen.len();
        if let Some((code, reason)) = tab.ends(from).next() {
            finding.problem.get_or_insert(format!(
                "was to stay open, but was closed with {code}{}",
                told(reason)
            ));
        } else if until == Until::End && !tab.open {
            finding
                .problem
                .get_or_insert("was to stay open, but is not open".to_owned());
        }
    }
    finding
}

type Look<'a> = (&'a TabRecord, usize, Until);

fn judge_exactly(
    (patterns, any_order): (&[&Pattern], bool),
    (tab, from, until): Look<'_>,
    bindings: &mut Bindings,
    finding: &mut Finding,
) {
    finding.waits = true;
    finding.claimed = tab.seen.len();
    let messages: Vec<_> = tab.messages(from).collect();
    if messages.len() > patterns.len() {
        finding.problem = Some(match patterns.len() {
            0 => format!("was to see nothing, but saw {}", messages_text(messages.len())),
            wanted => format!(
                "saw {} where exactly {wanted} {} expected",
                messages_text(messages.len()),
                were(wanted)
            ),
        });
        return;
    }
    if any_order {
        if until == Until::End || messages.len() == patterns.len() {
            judge_contains((patterns, true), (tab, from, until), bindings, finding);
            finding.claimed = tab.seen.len();
        }
        return;
    }
    for (nth, ((_, at_ms, frame), pattern)) in messages.iter().zip(patterns).enumerate() {
        if let Err(mismatch) = match_frame(pattern, frame, bindings) {
            finding.problem = Some(format!(
                "saw another message {} than expected: {mismatch}",
                nth + 1
            ));
            return;
        }
        finding.matched_ms.push(*at_ms);
    }
    if until == Until::End && messages.len() < patterns.len() {
        finding.problem = Some(format!(
            "saw {} where exactly {} {} expected",
            messages_text(messages.len()),
            patterns.len(),
            were(patterns.len())
        ));
    }
}

fn judge_contains(
    (patterns, any_order): (&[&Pattern], bool),
    (tab, from, until): Look<'_>,
    bindings: &mut Bindings,
    finding: &mut Finding,
) {
    let messages: Vec<_> = tab.messages(from).collect();
    let mut taken = BTreeSet::new();
    for (nth, pattern) in patterns.iter().enumerate() {
        let after = if any_order {
            0
        } else {
            taken.last().map_or(0, |last: &usize| last + 1)
        };
        let free = (after..messages.len()).filter(|index| !taken.contains(index));
        let hit = free
            .into_iter()
            .find(|index| match_frame(pattern, messages[*index].2, bindings).is_ok());
        let Some(hit) = hit else {
            finding.waits = true;
            if until == Until::End {
                finding.problem = Some(missing(nth, pattern, &messages, bindings));
            }
            return;
        };
        taken.insert(hit);
        finding.matched_ms.push(messages[hit].1);
        finding.claimed = finding.claimed.max(messages[hit].0 + 1);
    }
}

fn missing(nth: usize, pattern: &Pattern, messages: &[(usize, u64, &Frame)], bindings: &Bindings) -> String {
    let nearest = messages.iter().rev().find_map(|(_, _, frame)| {
        let same_type = frame.kind() == pattern.source().get("type").and_then(|kind| kind.as_str());
        let mismatch = match_frame(pattern, frame, &mut bindings.clone()).err()?;
        same_type.then_some(mismatch)
    });
    let but = match nearest {
        Some(mismatch) => format!("; one of that type came, but {mismatch}"),
        None if messages.is_empty() => "; it saw nothing".to_owned(),
        None => String::new(),
    };
    format!("did not see expected message {}{but}", nth + 1)
}

fn judge_closed(
    closed: &Closed,
    (tab, from, until): Look<'_>,
    bindings: &mut Bindings,
    finding: &mut Finding,
) {
    let (wanted, reason_pattern) = match closed {
        Closed::Code(code) => (*code, None),
        Closed::Full(full) => (full.code, full.reason.as_ref()),
    };
    let Some((code, reason)) = tab.ends(from).next() else {
        finding.waits = true;
        if until == Until::End {
            finding
                .problem
                .get_or_insert(format!("was to be closed with {wanted}, but was not closed"));
        }
        return;
    };
    finding.claimed = tab.seen.len();
    if code != wanted {
        finding.problem.get_or_insert(format!(
            "was to be closed with {wanted}, but was closed with {code}{}",
            told(reason)
        ));
    } else if let Some(pattern) = reason_pattern
        && let Err(mismatch) = pattern.matches(&reason.into(), bindings)
    {
        finding.problem.get_or_insert(format!(
            "was closed with another reason than expected: {mismatch}"
        ));
    }
}

fn match_frame(pattern: &Pattern, frame: &Frame, bindings: &mut Bindings) -> Result<(), Mismatch> {
    match frame {
        Frame::Json(json) => pattern.matches(json, bindings),
        Frame::Text(text) | Frame::Other(text) => pattern.matches(&text.as_str().into(), bindings),
    }
}
