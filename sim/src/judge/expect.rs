//! Judging an `expect`: what each tab saw between its cursor and the end of the window.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    clause::judge_clause,
    record::{Record, TabRecord},
    words::{clock_text, messages_text},
};
use crate::{
    events::{Failure, Frame},
    scenario::{
        claim::{Clause, Expect},
        step::Names,
    },
};

/// One `expect` while its window is open.
#[derive(Clone, Debug)]
pub struct OpenExpect {
    clauses: Vec<OpenClause>,
    others: BTreeSet<String>,
    others_from: u64,
    since: Option<u64>,
    skew_ms: Option<u64>,
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

const NOBODY: &str = "no tab is open, and none is named: there is nothing to look at; `tabs` names one that is between \
                      two connections";

impl OpenExpect {
    /// Opens the window of `expect`, at line `line` of its file; `line_of` gives the line of a clause.
    pub fn open(
        expect: &Expect,
        record: &Record,
        (line, line_of): (usize, impl Fn(usize) -> usize),
        now_ms: u64,
    ) -> Self {
        let open = record.open_since(expect.since.as_deref());
        let named = |tabs: &Option<Names>| {
            tabs.as_ref().map_or_else(
                || open.iter().cloned().collect(),
                |names| names.as_slice().to_vec(),
            )
        };
        let mut clauses: Vec<_> = expect
            .all
            .iter()
            .flatten()
            .map(|clause| OpenClause {
                tabs: named(&clause.value.tabs),
                line: line_of(clause.at.start),
                clause: clause.value.clone(),
            })
            .collect();
        if let Some(clause) = own_clause(expect) {
            clauses.push(OpenClause {
                tabs: named(&clause.tabs),
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
                open.difference(&in_clauses).cloned().collect()
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
            opened_ms: now_ms,
            line,
        }
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
            (last - first > limit).then(|| Failure {
                message: format!(
                    "message {} reached tab {late} {} ms after tab {early}; at most {limit} ms were allowed",
                    nth + 1,
                    last - first
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
        let ended_before = tab.is_over().filter(|(at_ms, _)| *at_ms < self.opened_ms);
        let over = ended_before.map_or_else(String::new, |(at_ms, code)| {
            format!("; it has been closed since {} ({code})", clock_text(at_ms))
        });
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
        .map(|(_, at_ms, frame)| format!("{} {frame}", clock_text(*at_ms)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        events::{Closer, Event, Kind},
        pattern::Pattern,
        scenario::{
            claim::{Closed, Others},
            located::Located,
        },
    };

    fn pattern(kind: &str) -> Located<Pattern> {
        Located {
            at: 0..0,
            value: Pattern::compile(&json!({ "type": kind })).unwrap(),
        }
    }

    fn patterns(kinds: &[&str]) -> Vec<Located<Pattern>> {
        kinds.iter().map(|kind| pattern(kind)).collect()
    }

    fn expect(clause: Clause) -> Expect {
        Expect {
            within: None,
            since: None,
            skew: None,
            others: None,
            all: None,
            tabs: clause.tabs,
            exactly: clause.exactly,
            contains: clause.contains,
            nothing: clause.nothing,
            any_order: clause.any_order,
            closed: clause.closed,
            stays_open: clause.stays_open,
        }
    }

    /// A record in which tabs A and B are open and A then saw messages of these types, one every second.
    fn record(kinds: &[&str]) -> Record {
        let mut record = Record::new(["A".to_owned(), "B".to_owned()], Vec::new());
        let mut kinds: Vec<_> = kinds.iter().map(|kind| received("A", kind)).collect();
        kinds.splice(
            0..0,
            ["A", "B"].map(|tab| Kind::TabOpened {
                tab: tab.to_owned(),
                life: 1,
            }),
        );
        add(&mut record, kinds);
        record
    }

    fn add(record: &mut Record, kinds: impl IntoIterator<Item = Kind>) {
        for kind in kinds {
            let seq = record.next;
            record.observe(&Event {
                seq,
                at_ms: seq * 1000,
                kind,
            });
        }
    }

    fn received(tab: &str, kind: &str) -> Kind {
        let message = Frame::Json(json!({ "type": kind }));
        Kind::TabReceived {
            tab: tab.to_owned(),
            life: 1,
            message,
            secrets: Vec::new(),
        }
    }

    fn closed(tab: &str, code: u16, by: Closer) -> Kind {
        Kind::TabClosed {
            tab: tab.to_owned(),
            life: 1,
            code,
            reason: String::new(),
            by,
        }
    }

    fn judge(clause: Clause, record: &mut Record, until: Until) -> Result<bool, String> {
        let open = OpenExpect::open(&expect(clause), record, (1, |_| 1), 0);
        match open.judge(record, until, 9000) {
            Standing::Open => Ok(false),
            Standing::Met => Ok(true),
            Standing::Unmet(failures) => Err(failures[0].message.clone()),
        }
    }

    fn on_a(clause: Clause) -> Clause {
        Clause {
            tabs: Some(Names::One("A".to_owned())),
            ..clause
        }
    }

    #[test]
    fn contains_is_met_as_soon_as_it_is_seen_and_claims_up_to_there() {
        let mut record = record(&["init", "version", "ack"]);

        let met = judge(
            on_a(Clause {
                contains: Some(patterns(&["version"])),
                ..Clause::default()
            }),
            &mut record,
            Until::Now,
        );

        assert_eq!(met, Ok(true));
        let rest = judge(
            on_a(Clause {
                exactly: Some(patterns(&["ack"])),
                ..Clause::default()
            }),
            &mut record,
            Until::End,
        );
        assert_eq!(rest, Ok(true));
    }

    #[test]
    fn a_tab_that_was_closed_before_is_said_to_be_so() {
        let mut record = record(&[]);
        add(&mut record, [closed("A", 4001, Closer::Server)]);
        let clause = on_a(Clause {
            exactly: Some(patterns(&["init"])),
            ..Clause::default()
        });

        let open = OpenExpect::open(&expect(clause), &record, (1, |_| 1), 5000);
        let Standing::Unmet(failures) = open.judge(&mut record, Until::End, 9000) else {
            panic!("it saw nothing");
        };

        assert_eq!(
            failures[0].message,
            "tab A saw nothing where exactly 1 was expected; it has been closed since +2.000s (4001)"
        );
    }

    #[test]
    fn exactly_stays_to_the_end_and_minds_one_message_too_many() {
        let clause = || {
            on_a(Clause {
                exactly: Some(patterns(&["init"])),
                ..Clause::default()
            })
        };

        assert_eq!(judge(clause(), &mut record(&["init"]), Until::Now), Ok(false));
        assert_eq!(judge(clause(), &mut record(&["init"]), Until::End), Ok(true));
        assert_eq!(
            judge(clause(), &mut record(&["init", "ack"]), Until::Now),
            Err("tab A saw 2 messages where exactly 1 was expected".to_owned())
        );
        assert_eq!(
            judge(clause(), &mut record(&[]), Until::End),
            Err("tab A saw nothing where exactly 1 was expected".to_owned())
        );
    }

    #[test]
    fn any_order_takes_each_message_once() {
        let clause = |kinds: &[&str]| {
            on_a(Clause {
                exactly: Some(patterns(kinds)),
                any_order: Some(true),
                ..Clause::default()
            })
        };

        assert_eq!(
            judge(clause(&["b", "a"]), &mut record(&["a", "b"]), Until::End),
            Ok(true)
        );
        assert!(judge(clause(&["a", "a"]), &mut record(&["a", "b"]), Until::End).is_err());
    }

    #[test]
    fn nothing_fails_at_the_first_message() {
        let clause = || {
            on_a(Clause {
                nothing: Some(true),
                ..Clause::default()
            })
        };

        assert!(judge(clause(), &mut record(&["a"]), Until::Now).is_err());
        assert_eq!(judge(clause(), &mut record(&[]), Until::End), Ok(true));
    }

    #[test]
    fn a_close_by_the_tab_itself_is_not_a_close_by_the_server() {
        let clause = || {
            on_a(Clause {
                closed: Some(Closed::Code(4001)),
                ..Clause::default()
            })
        };
        let mut left = record(&[]);
        add(&mut left, [closed("A", 4001, Closer::Tab)]);
        let mut ended = record(&[]);
        add(&mut ended, [closed("A", 4001, Closer::Server)]);

        assert!(judge(clause(), &mut left, Until::End).is_err());
        assert_eq!(judge(clause(), &mut ended, Until::Now), Ok(true));
        assert!(
            judge(
                on_a(Clause {
                    stays_open: Some(true),
                    ..Clause::default()
                }),
                &mut left,
                Until::End
            )
            .is_err()
        );
    }

    #[test]
    fn others_are_judged_from_the_last_step_that_did_something() {
        let mut record = record(&[]);
        let step = |acting| Kind::StepStarted {
            step: "1".to_owned(),
            line: 1,
            acting,
            text: String::new(),
        };
        add(
            &mut record,
            [received("B", "old"), step(true), received("A", "init")],
        );
        let mut expect = expect(on_a(Clause {
            contains: Some(patterns(&["init"])),
            ..Clause::default()
        }));
        expect.others = Some(Others::Nothing);

        let open = OpenExpect::open(&expect, &record, (1, |_| 1), 0);

        assert_eq!(open.judge(&mut record, Until::Now, 9000), Standing::Open);
        add(&mut record, [step(false), received("B", "new")]);
        assert!(matches!(
            open.judge(&mut record, Until::Now, 9000),
            Standing::Unmet(_)
        ));
    }

    #[test]
    fn skew_is_the_time_between_the_first_and_the_last_tab() {
        let mut record = record(&["x"]);
        add(&mut record, [received("B", "x")]);
        let clause = Clause {
            contains: Some(patterns(&["x"])),
            ..Clause::default()
        };
        let with_skew = |ms| Expect {
            skew: Some(crate::scenario::window::Span(std::time::Duration::from_millis(
                ms,
            ))),
            ..expect(clause.clone())
        };

        let tight = OpenExpect::open(&with_skew(500), &record, (1, |_| 1), 0);
        let loose = OpenExpect::open(&with_skew(1000), &record, (1, |_| 1), 0);

        assert!(matches!(
            tight.judge(&mut record, Until::End, 9000),
            Standing::Unmet(_)
        ));
        assert_eq!(loose.judge(&mut record, Until::End, 9000), Standing::Met);
    }

    #[test]
    fn scenario_times_are_readable() {
        assert_eq!(clock_text(250), "+0.250s");
        assert_eq!(clock_text(63_250), "+1m03.250s");
        assert_eq!(clock_text(600_000), "+10m00.000s");
    }
}
