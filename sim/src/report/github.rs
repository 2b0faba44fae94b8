//! GitHub Actions: annotations at the lines concerned, and a summary of the job.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::PathBuf,
};

use super::{Again, Reporter, Start, Summary, span};
use crate::{
    events::{Report, Verdict},
    sink::{Annotation, MarkdownText, WorkflowLog},
};

/// Writes annotations as they come, and the job summary at the end.
pub(crate) struct Github<W> {
    log: WorkflowLog<W>,
    summary: Option<PathBuf>,
    again: Again,
    rows: Vec<String>,
}

impl<W: Write> Github<W> {
    /// Annotations to `out`; the summary to a file that Actions names (`GITHUB_STEP_SUMMARY`).
    pub(crate) fn new(out: W, summary: Option<PathBuf>, again: Again) -> Self {
        Self {
            log: WorkflowLog::new(out),
            summary,
            again,
            rows: Vec::new(),
        }
    }

    fn annotate(
        &mut self,
        level: &'static str,
        report: &Report,
        (line, message): (Option<usize>, &str),
    ) -> io::Result<()> {
        self.log.annotate(Annotation {
            level,
            file: &report.path,
            line,
            title: &report.id,
            message,
        })
    }
}

impl<W: Write> Reporter for Github<W> {
    fn output(&self) -> String {
        "annotations, or the job summary".to_owned()
    }

    fn start(&mut self, _: &Start) -> io::Result<()> {
        Ok(())
    }

    fn finished(&mut self, report: &Report) -> io::Result<()> {
        let level = match report.verdict {
            Verdict::Passed | Verdict::Skipped => return Ok(()),
            Verdict::Flaky | Verdict::Inconclusive => "warning",
            Verdict::Failed | Verdict::Flooded | Verdict::Broken | Verdict::Interrupted => "error",
        };
        for (what, failure) in &report.failures {
            let line = failure.file.is_none().then_some(failure.line).flatten();
            self.annotate(level, report, (line, &format!("{what}: {}", failure.message)))?;
        }
        if let Some(reason) = &report.reason {
            self.annotate(level, report, (None, reason))?;
        }
        let first = report
            .failures
            .first()
            .map(|(_, failure)| failure.message.as_str());
        let why = first.or(report.reason.as_deref()).unwrap_or("");
        self.rows.push(format!(
            "| {} | {} | {} | {} |",
            MarkdownText(&report.id),
            report.verdict.word(),
            MarkdownText(why),
            MarkdownText(&self.again.command(report))
        ));
        Ok(())
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        let Some(path) = &self.summary else {
            return Ok(());
        };
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        let counts: Vec<_> = summary
            .counts()
            .into_iter()
            .map(|(word, count)| format!("{count} {word}"))
            .collect();
        writeln!(
            file,
            "### Polytab: {}\n\n{} of tabs in {}\n",
            counts.join(", "),
            span(summary.scenario_ms),
            span(summary.wall_ms)
        )?;
        if !self.rows.is_empty() {
            writeln!(
                file,
                "| scenario | verdict | why | again |\n| --- | --- | --- | --- |\n{}",
                self.rows.join("\n")
            )?;
        }
        Ok(())
    }
}
