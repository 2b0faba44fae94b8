//! Reports: views of what ran, for people, machines and pipelines. None of them judges anything.

pub(crate) mod github;
pub(crate) mod human;
pub(crate) mod json;
pub(crate) mod junit;
pub(crate) mod timeline;

use std::{collections::BTreeMap, io, sync::Arc};

use serde::Serialize;

use crate::{
    events::{Failure, Report, Verdict},
    scenario::model::Scenario,
    suggest::quoted,
};

/// The command that repeats a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Again {
    /// The flags that matter for the verdict, as the user gave them.
    pub(crate) flags: String,
}

impl Again {
    /// The command that repeats this run, quoted for a shell.
    pub(crate) fn command(&self, report: &Report) -> String {
        let row = if report.id.contains('[') {
            format!(" --filter {}", quoted(&report.id))
        } else {
            String::new()
        };
        let (path, flags, seed) = (quoted(&report.path), &self.flags, report.seed);
        format!("polytab run {path}{row}{flags} --seed {seed}")
    }
}

/// A run of the suite, as it begins.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Start {
    /// Version of Polytab.
    pub(crate) polytab: &'static str,
    /// The target's name.
    pub(crate) target: String,
    /// The clock.
    pub(crate) clock: &'static str,
    /// How many times shorter all intervals are.
    pub(crate) speed: u32,
    /// The seed of the first run of each scenario.
    pub(crate) seed: u64,
    /// How many runs there are to be.
    pub(crate) runs: usize,
}

/// How a run of the suite ended.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Summary {
    pub(crate) passed: usize,
    pub(crate) flaky: usize,
    pub(crate) skipped: usize,
    pub(crate) inconclusive: usize,
    pub(crate) failed: usize,
    pub(crate) flooded: usize,
    pub(crate) broken: usize,
    pub(crate) interrupted: usize,
    /// Runs that were not begun.
    pub(crate) left_out: usize,
    /// Scenario time that passed, in milliseconds.
    pub(crate) scenario_ms: u64,
    /// Real time that passed; differs from run to run, so no part of the event stream.
    #[serde(skip)]
    pub(crate) wall_ms: u64,
}

impl Summary {
    /// Counts a finished run.
    pub(crate) fn add(&mut self, report: &Report) {
        self.scenario_ms += report.scenario_ms;
        *match report.verdict {
            Verdict::Passed => &mut self.passed,
            Verdict::Flaky => &mut self.flaky,
            Verdict::Skipped => &mut self.skipped,
            Verdict::Inconclusive => &mut self.inconclusive,
            Verdict::Failed => &mut self.failed,
            Verdict::Flooded => &mut self.flooded,
            Verdict::Broken => &mut self.broken,
            Verdict::Interrupted => &mut self.interrupted,
        } += 1;
    }

    /// Runs that were begun.
    pub(crate) const fn begun(&self) -> usize {
        self.passed
            + self.flaky
            + self.skipped
            + self.inconclusive
            + self.failed
            + self.flooded
            + self.broken
            + self.interrupted
    }

    /// Each verdict with its count, without those that are zero.
    pub(crate) fn counts(&self) -> Vec<(&'static str, usize)> {
        let all = [
            ("passed", self.passed),
            ("flaky", self.flaky),
            ("failed", self.failed),
            ("flooded", self.flooded),
            ("broken", self.broken),
            ("interrupted", self.interrupted),
            ("inconclusive", self.inconclusive),
            ("skipped", self.skipped),
            ("left out", self.left_out),
        ];
        all.into_iter()
            .filter(|(word, count)| *count > 0 || *word == "passed")
            .collect()
    }
}

/// Something that is told what runs, as it runs.
pub(crate) trait Reporter {
    /// Where it writes, for who is told that it could not.
    fn output(&self) -> String;
    /// The suite begins.
    fn start(&mut self, start: &Start) -> io::Result<()>;
    /// A run of a scenario has ended.
    fn finished(&mut self, report: &Report) -> io::Result<()>;
    /// Nothing more comes.
    fn end(&mut self, summary: &Summary) -> io::Result<()>;
}

/// Scenarios by id: what reports know of their files.
pub(crate) type Scenarios = BTreeMap<String, Arc<Scenario>>;

/// `file:line` of what a failure is about, as terminals and editors make a link of it.
pub(crate) fn place(report: &Report, failure: &Failure) -> String {
    let file = failure.file.as_deref().unwrap_or(&report.path);
    match failure.line {
        Some(line) => format!("{file}:{line}"),
        None => file.to_owned(),
    }
}

/// A duration as people say it.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, _) if ms < 1000 => format!("{ms} ms"),
        (0, 0, _) => format!("{}.{} s", seconds, ms % 1000 / 100),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_two_units() {
        for (ms, text) in [
            (0, "0 ms"),
            (1240, "1.2 s"),
            (61_000, "1 min 01 s"),
            (3_720_000, "1 h 02 min"),
        ] {
            assert_eq!(span(ms), text);
        }
    }
}
