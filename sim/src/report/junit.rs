//! `JUnit` XML, for pipelines that show test results.

use std::{io, path::PathBuf, time::Duration};

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestRerun, TestSuite};

use super::{Again, Reporter, Start, Summary, place};
use crate::{
    events::{Failure, Report, Verdict},
    sink::OutputFile,
};

/// Collects results and writes them at the end, also after an interruption.
pub(crate) struct Junit {
    path: PathBuf,
    again: Again,
    /// The file from the start of the run to its end.
    file: Option<OutputFile>,
    suite: TestSuite,
}

impl Junit {
    /// A report at this path.
    pub(crate) fn new(path: PathBuf, again: Again) -> Self {
        Self {
            path,
            again,
            file: None,
            suite: TestSuite::new("polytab"),
        }
    }
}

impl Reporter for Junit {
    fn output(&self) -> String {
        format!("`{}`", self.path.display())
    }

    fn start(&mut self, start: &Start) -> io::Result<()> {
        self.suite.add_property(("target", start.target.as_str()));
        self.suite.add_property(("clock", start.clock));
        self.suite.add_property(("seed", start.seed.to_string().as_str()));
        // A folder that cannot be made is found before an hour of running, not after it.
        self.file = Some(OutputFile::begin(&self.path)?);
        Ok(())
    }

    fn finished(&mut self, report: &Report) -> io::Result<()> {
        self.suite.add_test_case(case(report, &self.again));
        Ok(())
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        self.suite.set_time(Duration::from_millis(summary.wall_ms));
        let mut report = quick_junit::Report::new("polytab");
        report.add_test_suite(self.suite.clone());
        let text = report.to_string().map_err(io::Error::other)?;
        self.file.take().map_or(Ok(()), |file| file.finish(&text))
    }
}

fn case(report: &Report, again: &Again) -> TestCase {
    let again = again.command(report);
    let text = format!("{}\n\nagain: {again}", text(report));
    let short = report
        .failures
        .first()
        .map(|(_, failure)| failure.message.clone())
        .or_else(|| report.reason.clone())
        .unwrap_or_default();
    let failed = |kind| {
        let mut status = TestCaseStatus::non_success(kind);
        status.set_message(short.clone()).set_description(text.clone());
        status
    };
    let status = match report.verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::Flaky => {
            let mut status = TestCaseStatus::success();
            let mut rerun = TestRerun::new(NonSuccessKind::Failure);
            rerun.set_message(short).set_description(text);
            status.add_rerun(rerun);
            status
        }
        Verdict::Skipped => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(report.reason.clone().unwrap_or_default());
            status
        }
        Verdict::Inconclusive => {
            let mut status = TestCaseStatus::skipped();
            let reason = report.reason.as_deref().unwrap_or_default();
            status.set_message(format!("inconclusive: {reason}"));
            status
        }
        Verdict::Failed | Verdict::Flooded => failed(NonSuccessKind::Failure),
        Verdict::Broken | Verdict::Interrupted => failed(NonSuccessKind::Error),
    };
    let mut case = TestCase::new(report.id.clone(), status);
    case.set_classname(
        report
            .id
            .split_once('/')
            .map_or("scenarios", |(folder, _)| folder),
    );
    case.set_time(Duration::from_millis(report.wall_ms));
    case.add_property(("file", report.path.as_str()));
    case.add_property(("seed", report.seed.to_string().as_str()));
    case.add_property(("again", again.as_str()));
    case
}

fn text(report: &Report) -> String {
    let failures = report
        .failures
        .iter()
        .map(|(what, failure)| one(report, what, failure));
    failures.collect::<Vec<_>>().join("\n\n")
}

fn one(report: &Report, what: &str, failure: &Failure) -> String {
    let mut lines = vec![format!("{}: {what}: {}", place(report, failure), failure.message)];
    lines.extend(failure.expected.iter().map(|line| format!("  expected  {line}")));
    lines.extend(failure.seen.iter().map(|line| format!("  seen      {line}")));
    lines.join("\n")
}
