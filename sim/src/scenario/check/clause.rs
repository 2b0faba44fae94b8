//! `expect` and its clauses.

use super::Checker;
use crate::pattern::Pattern;
use crate::scenario::{
    claim::{Clause, Expect},
    explain::Code,
    located::{At, Located},
    window::Window,
};

/// What a clause says, wherever it is written.
struct Judged<'a> {
    at: &'a At,
    clause: Clause,
}

impl Checker<'_> {
    pub(super) fn expect(&mut self, at: &At, expect: &Expect) {
        self.since(at, expect.since.as_deref());
        self.skew(at, expect);
        let own = own_clause(expect);
        match &expect.all {
            Some(clauses) => {
                self.beside_all(at, &own);
                if clauses.is_empty() && expect.others.is_none() {
                    self.nothing_to_judge(at, "`all` has no clauses, so nothing is judged");
                }
                for clause in clauses {
                    self.clause(
                        expect,
                        &Judged {
                            at: &clause.at,
                            clause: clause.value.clone(),
                        },
                        false,
                    );
                }
            }
            None => self.clause(expect, &Judged { at, clause: own }, expect.others.is_some()),
        }
        self.looked(expect);
    }

    /// Clause keys beside `all` would belong to no clause.
    fn beside_all(&mut self, at: &At, own: &Clause) {
        for (key, given) in keys(own) {
            if given {
                let place = self.key(at, key);
                self.report(Code::ExclusiveKeys, place, format!("`{key}` stands beside `all`"))
                    .help = Some(format!("move `{key}` into a clause of `all`"));
            }
        }
    }

    fn clause(&mut self, expect: &Expect, judged: &Judged<'_>, others: bool) {
        let (at, clause) = (judged.at, &judged.clause);
        for tab in clause.tabs.iter().flat_map(super::super::step::Names::as_slice) {
            self.tab(at, tab);
        }
        if clause
            .tabs
            .as_ref()
            .is_some_and(|tabs| tabs.as_slice().is_empty())
        {
            let place = self.key(at, "tabs");
            self.report(Code::NoSteps, place, "the list of tabs is empty")
                .help = Some("name the tabs, or leave `tabs` out for every open one".to_owned());
        }
        if let Some(closed) = &clause.closed {
            self.close_code(at, closed.code());
        }
        self.exclusive(at, clause);
        self.hidden(clause.exactly.as_deref().unwrap_or_default());
        self.hidden(clause.contains.as_deref().unwrap_or_default());
        self.empty(at, clause);
        let says = keys(clause)
            .iter()
            .any(|(key, given)| *given && !matches!(*key, "tabs" | "any_order"));
        if !says && !others {
            self.nothing_to_judge(at, "this expects nothing in particular");
        }
        self.window(expect, judged);
    }

    fn nothing_to_judge(&mut self, at: &At, message: &str) {
        self.report(Code::NothingToJudge, at.clone(), message).help =
            Some("add `exactly`, `contains`, `nothing: true`, `closed` or `stays_open: true`".to_owned());
    }

    fn exclusive(&mut self, at: &At, clause: &Clause) {
        let (exactly, contains) = (clause.exactly.is_some(), clause.contains.is_some());
        let nothing = clause.nothing.is_some();
        let clashes = [
            (
                exactly && contains,
                "contains",
                "`exactly` and `contains` exclude each other",
                "keep one of the two",
            ),
            (
                nothing && exactly,
                "nothing",
                "`nothing` and `exactly` exclude each other",
                "keep one of the two",
            ),
            (
                nothing && contains,
                "nothing",
                "`nothing` and `contains` exclude each other",
                "keep one of the two",
            ),
            (
                clause.closed.is_some() && clause.stays_open.is_some(),
                "stays_open",
                "`closed` and `stays_open` exclude each other",
                "keep one of the two",
            ),
        ];
        for (_, key, message, help) in clashes.iter().filter(|(clash, ..)| *clash) {
            let place = self.key(at, key);
            self.report(Code::ExclusiveKeys, place, *message).help = Some((*help).to_owned());
        }
        let useless = [
            (
                clause.nothing == Some(false),
                "nothing",
                "`nothing: false` says nothing",
                "leave it out",
            ),
            (
                clause.stays_open == Some(false),
                "stays_open",
                "`stays_open: false` says nothing",
                "write `closed: 4001`, with the code that is expected",
            ),
            (
                clause.any_order.is_some() && !exactly && !contains,
                "any_order",
                "`any_order` needs messages to put in order",
                "add `exactly` or `contains`, or leave it out",
            ),
        ];
        for (_, key, message, help) in useless.iter().filter(|(useless, ..)| *useless) {
            let place = self.key(at, key);
            self.report(Code::UselessKey, place, *message).help = Some((*help).to_owned());
        }
    }

    fn empty(&mut self, at: &At, clause: &Clause) {
        for (key, messages) in [("exactly", &clause.exactly), ("contains", &clause.contains)] {
            if messages.as_ref().is_some_and(Vec::is_empty) {
                let place = self.key(at, key);
                self.report(Code::EmptyList, place, format!("`{key}: []` lists no message"))
                    .help =
                    Some("write `nothing: true` if no message may arrive, or list the messages".to_owned());
            }
        }
    }

    fn skew(&mut self, at: &At, expect: &Expect) {
        if let (Some(skew), Some(Window::Span(within))) = (expect.skew, expect.within)
            && skew > within
        {
            let place = self.key(at, "skew");
            let message = format!("a `skew` of {skew} can never be exceeded within {within}");
            self.report(Code::ImpossibleWindow, place, message).help =
                Some("make it shorter than `within`, or leave it out".to_owned());
        }
    }

    /// A window of zero shows only what had time to arrive before.
    fn window(&mut self, expect: &Expect, judged: &Judged<'_>) {
        let Some(within) = expect.within.filter(Window::is_zero) else {
            return;
        };
        let waits =
            |messages: &Option<Vec<Located<Pattern>>>| messages.as_ref().is_some_and(|list| !list.is_empty());
        let clause = &judged.clause;
        let needs_time = waits(&clause.exactly) || waits(&clause.contains) || clause.closed.is_some();
        let had_time = match &clause.tabs {
            Some(tabs) => tabs.as_slice().iter().any(|tab| self.passed.contains(tab)),
            None => !self.passed.is_empty(),
        };
        if needs_time && !had_time && expect.since.is_none() {
            let place = self.place(judged.at, &within.to_string());
            let message = format!("a window of {within} is over at once, so nothing can arrive in it");
            self.report(Code::ImpossibleWindow, place, message).help =
                Some("give it time, such as `within: 1s`, or let time pass before with `advance`".to_owned());
        }
    }

    /// Moves on what each tab has been looked at.
    fn looked(&mut self, expect: &Expect) {
        let clauses = expect.all.iter().flatten().map(|clause| &clause.value.tabs);
        let named: Option<Vec<_>> = clauses
            .chain(expect.all.is_none().then_some(&expect.tabs))
            .map(|tabs| tabs.as_ref().map(|tabs| tabs.as_slice().to_vec()))
            .collect();
        if !expect.within.is_some_and(|within| within.is_zero()) {
            self.time_passes();
        }
        match named {
            Some(named) if expect.others.is_none() => {
                named.iter().flatten().for_each(|tab| {
                    self.passed.remove(tab);
                });
            }
            Some(_) | None => self.passed.clear(),
        }
    }

    pub(super) fn time_passes(&mut self) {
        self.passed.extend(self.file.tabs.keys().cloned());
    }

    /// Where a key stands.
    pub(super) fn key(&self, at: &At, key: &str) -> At {
        let with_colon = format!("{key}:");
        match self.source.slice(at).find(&with_colon) {
            Some(offset) => at.start + offset..at.start + offset + key.len(),
            None => self.source.head(at),
        }
    }
}

fn own_clause(expect: &Expect) -> Clause {
    Clause {
        tabs: expect.tabs.clone(),
        exactly: expect.exactly.clone(),
        contains: expect.contains.clone(),
        nothing: expect.nothing,
        any_order: expect.any_order,
        closed: expect.closed.clone(),
        stays_open: expect.stays_open,
    }
}

/// The keys of a clause, and whether each is given.
fn keys(clause: &Clause) -> [(&'static str, bool); 7] {
    [
        ("tabs", clause.tabs.is_some()),
        ("exactly", clause.exactly.is_some()),
        ("contains", clause.contains.is_some()),
        ("nothing", clause.nothing.is_some()),
        ("any_order", clause.any_order.is_some()),
        ("closed", clause.closed.is_some()),
        ("stays_open", clause.stays_open.is_some()),
    ]
}
