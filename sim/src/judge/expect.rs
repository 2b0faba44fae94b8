//! Judging an `expect`: what each tab saw between its cursor and the end of the window.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    clause::judge_clause,
    record::{Record, TabRecord},
    words::{clock_text, messages_text},
};
use crate::{
    events::{Failure, Frame},
    scenario::claim::{Clause, Expect},
};

/// One `expect` while its window is open.
#[derive(Clone, Debug)]
pub struct OpenExpect {
    clauses: Vec<OpenClause>,
    others: BTreeSet<String>,
    others_from: u64,
    since: Option<u64>,
    skew_ms: Option<u64>,
    /// What the machine may add to it.
    slack_ms: u64,
    opened_ms: u64,
    line: usize,
}

#[derive(Clone, Debug)]
struct OpenClause {
    clause: Clause,
    tabs: Vec<String>,
    line: usize,
}

/// Where a judgement stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// Nothing is wrong so far, and something is still to be seen or ruled out.
    Open,
    /// All of it holds, whatever still comes within the window.
    Met,
    /// It does not hold, whatever still comes.
    Unmet(Vec<Failure>),
}

/// What of a window has been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The window goes on.
    Now,
    /// The window is over.
    End,
}

const NOBODY: &str = "no tab is open or on its way back, and none is named: there is nothing to look at; `tabs` names \
                      one that is over";

impl OpenExpect {
    /// Opens the window of `expect`, at line `line` of its file; `line_of` gives the line of a clause.
    pub fn open(
        expect: &Expect,
        record: &Record,
        (line, line_of): (usize, impl Fn(usize) -> usize),
        now_ms: u64,
    ) -> Self {
        let present = record.present_since(expect.since.as_deref());
        let tabs_of = |clause: &Clause| match &clause.tabs {
            Some(names) => names.as_slice().to_vec(),
            // A tab that is gone hears nothing: only a clause that demands something can speak of it.
            None if clause.is_met_by_absence() => present.iter().cloned().collect(),
            None => {
                let unjudged = record.unjudged_ends().cloned();
                let all: BTreeSet<_> = present.iter().cloned().chain(unjudged).collect();
                all.into_iter().collect()
            }
        };
        let mut clauses: Vec<_> = expect
            .all
            .iter()
            .flatten()
            .map(|clause| OpenClause {
                tabs: tabs_of(&clause.value),
                line: line_of(clause.at.start),
                clause: clause.value.clone(),
            })
            .collect();
        if let Some(clause) = own_clause(expect) {
            clauses.push(OpenClause {
                tabs: tabs_of(&clause),
                line,
                clause,
            });
        }
        let in_clauses: BTreeSet<_> = clauses
            .iter()
            .flat_map(|clause| clause.tabs.iter().cloned())
            .collect();
        Self {
            others: if expect.others.is_some() {
                present.difference(&in_clauses).cloned().collect()
            } else {
                BTreeSet::new()
            },
            clauses,
            others_from: record.cause,
            since: expect
                .since
                .as_ref()
                .and_then(|mark| record.marks.get(mark))
                .map(|(seq, _)| *seq),
            skew_ms: expect
                .skew
                .map(|skew| u64::try_from(skew.0.as_millis()).unwrap_or(u64::MAX)),
            slack_ms: 0,
            opened_ms: now_ms,
            line,
        }
    }

    /// The same, where the machine may add this much scenario time to the skew.
    pub(crate) fn with_slack(self, slack_ms: u64) -> Self {
        Self { slack_ms, ..self }
    }

    /// Judges what is there; with [`Until::End`] the answer is never [`Standing::Open`]. When met, cursors move on and
    /// captures are kept.
    pub fn judge(&self, record: &mut Record, until: Until, now_ms: u64) -> Standing {
        let mut bindings = record.bindings.clone();
        let mut cursors = BTreeMap::new();
        let mut failures = Vec::new();
        let mut waits = !self.others.is_empty();
        for open in &self.clauses {
            if open.tabs.is_empty() {
                return Standing::Unmet(vec![self.nobody(open, now_ms)]);
            }
            let mut matched = Vec::new();
            for name in &open.tabs {
                let Some(tab) = record.tabs.get(name) else {
                    continue;
                };
                let from = self.from(tab);
                let finding = judge_clause(&open.clause, tab, (from, until), &mut bindings);
                waits |= finding.waits;
                let cursor = cursors.entry(name.clone()).or_insert(from);
                *cursor = finding.claimed.max(*cursor);
                if let Some(problem) = finding.problem {
                    failures.push(self.failure(open, (name, tab), (&problem, now_ms)));
                }
                matched.push((name.as_str(), finding.matched_ms));
            }
            failures.extend(self.judge_skew(open, &matched, now_ms));
        }
        failures.extend(self.judge_others(record, now_ms));
        if !failures.is_empty() {
            return Standing::Unmet(failures);
        }
        if waits && until == Until::Now {
            return Standing::Open;
        }
        for (name, cursor) in cursors {
            if let Some(tab) = record.tabs.get_mut(&name) {
                tab.cursor = cursor;
            }
        }
        record.bindings = bindings;
        Standing::Met
    }

    fn from(&self, tab: &TabRecord) -> usize {
        self.since.map_or(tab.cursor, |seq| tab.index_at(seq))
    }

    /// Without a tab to look at everything would hold.
    fn nobody(&self, open: &OpenClause, now_ms: u64) -> Failure {
        Failure {
            message: NOBODY.to_owned(),
            tab: None,
            line: Some(open.line),
            file: None,
            expected: Vec::new(),
            seen: Vec::new(),
            window_ms: (self.opened_ms.saturating_sub(10_000), now_ms),
        }
    }

    fn judge_skew(&self, open: &OpenClause, matched: &[(&str, Vec<u64>)], now_ms: u64) -> Option<Failure> {
        let limit = self.skew_ms?;
        let longest = matched.iter().map(|(_, times)| times.len()).max().unwrap_or(0);
        (0..longest).find_map(|nth| {
            let times = || {
                matched
                    .iter()
                    .filter_map(move |(tab, times)| Some((*times.get(nth)?, *tab)))
            };
            let ((first, early), (last, late)) = (times().min()?, times().max()?);
            (last - first > limit.saturating_add(self.slack_ms)).then(|| Failure {
                message: format!(
                    "message {} reached tab {late} {} ms after tab {early}; at most {limit} ms{} were allowed",
                    nth + 1,
                    last - first,
                    match self.slack_ms {
                        0 => String::new(),
                        slack => format!(" and {slack} ms of slack"),
                    }
                ),
                tab: Some(late.to_owned()),
                line: Some(open.line),
                file: None,
                expected: Vec::new(),
                seen: Vec::new(),
                window_ms: (self.opened_ms, now_ms),
            })
        })
    }

    fn judge_others<'a>(&'a self, record: &'a Record, now_ms: u64) -> impl Iterator<Item = Failure> + 'a {
        self.others.iter().filter_map(move |name| {
            let tab = record.tabs.get(name)?;
            let messages: Vec<_> = tab.messages(tab.index_at(self.others_from)).collect();
            let (_, first_ms, _) = *messages.first()?;
            Some(Failure {
                message: format!(
                    "tab {name} was to see nothing, but saw {}",
                    messages_text(messages.len())
                ),
                tab: Some(name.clone()),
                line: Some(self.line),
                file: None,
                expected: vec!["(nothing: `others: nothing`)".to_owned()],
                seen: lines(&messages),
                window_ms: (self.opened_ms.min(first_ms), now_ms),
            })
        })
    }

    fn failure(
        &self,
        open: &OpenClause,
        (name, tab): (&str, &TabRecord),
        (problem, now_ms): (&str, u64),
    ) -> Failure {
        let messages: Vec<_> = tab.messages(self.from(tab)).collect();
        let patterns = open.clause.exactly.as_ref().or(open.clause.contains.as_ref());
        let earliest = messages.first().map_or(self.opened_ms, |(_, at_ms, _)| *at_ms);
        let over = self.end_before(tab);
        Failure {
            message: format!("tab {name} {problem}{over}"),
            tab: Some(name.to_owned()),
            line: Some(open.line),
            file: None,
            expected: patterns
                .into_iter()
                .flatten()
                .map(|pattern| pattern.value.source().to_string())
                .collect(),
            seen: lines(&messages),
            window_ms: (self.opened_ms.min(earliest), now_ms),
        }
    }
}

impl OpenExpect {
    /// Words for the end of a tab that could see nothing in the window.
    fn end_before(&self, tab: &TabRecord) -> String {
        if let Some((at_ms, problem)) = &tab.refusal {
            return format!("; its handshake was refused at {}: {problem}", clock_text(*at_ms));
        }
        let ended_before = tab.is_over().filter(|(at_ms, _)| *at_ms < self.opened_ms);
        ended_before.map_or_else(String::new, |(at_ms, code)| {
            format!("; it has been closed since {} ({code})", clock_text(at_ms))
        })
    }
}

/// The clause that stands in the `expect` itself, if there is one.
fn own_clause(expect: &Expect) -> Option<Clause> {
    let clause = Clause {
        tabs: expect.tabs.clone(),
        exactly: expect.exactly.clone(),
        contains: expect.contains.clone(),
        nothing: expect.nothing,
        any_order: expect.any_order,
        closed: expect.closed.clone(),
        stays_open: expect.stays_open,
    };
    let says_something = clause.exactly.is_some()
        || clause.contains.is_some()
        || clause.nothing.is_some()
        || clause.closed.is_some()
        || clause.stays_open.is_some();
    says_something.then_some(clause)
}

fn lines(messages: &[(usize, u64, &Frame)]) -> Vec<String> {
    messages
        .iter()
        .map(|(_, at_ms, frame)| format!("{} {}", clock_text(*at_ms), frame.excerpt()))
        .collect()
}
