//! Output for people: a line per scenario; for each failure what was wrong, where, what every tab saw, and what to
//! type next.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};

use super::{
    Again, Reporter, Scenarios, Start, Summary, place, span,
    timeline::{Window, cut, timeline},
};
use crate::{
    events::{Event, Failure, Kind, Report, Verdict},
    sink::Terminal,
};

/// Failures of one scenario that are shown in full; the others are counted.
const SHOWN: usize = 4;
/// Lines of what was seen that are shown of one failure.
const SEEN: usize = 12;

/// How long before a failure's window the picture begins: what led to it is often just before.
const LEAD_MS: u64 = 500;

/// Writes for people.
pub(crate) struct Human<W> {
    pub(crate) out: Terminal<W>,
    pub(crate) scenarios: Scenarios,
    pub(crate) again: Again,
    pub(crate) width: usize,
    /// Whether scenarios that passed have a line too.
    pub(crate) is_quiet: bool,
    pub(crate) progress: Progress,
}

/// A line on standard error that says how far it is; only on a terminal.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    runs: usize,
    done: usize,
}

impl Progress {
    fn draw(&self) {
        let mut err = io::stderr();
        if err.is_terminal() && self.runs > 0 {
            // Nobody misses a line of progress that could not be written.
            write!(err, "\r\x1b[2K{} of {} scenarios", self.done, self.runs).ok();
            err.flush().ok();
        }
    }

    fn clear() {
        let mut err = io::stderr();
        if err.is_terminal() {
            write!(err, "\r\x1b[2K").ok();
            err.flush().ok();
        }
    }
}

fn style(verdict: Verdict) -> Style {
    let colour = match verdict {
        Verdict::Passed => AnsiColor::Green,
        Verdict::Flaky | Verdict::Inconclusive | Verdict::Skipped | Verdict::Interrupted => AnsiColor::Yellow,
        Verdict::Failed | Verdict::Flooded | Verdict::Broken => AnsiColor::Red,
    };
    colour.on_default().bold()
}

impl<W: Write> Reporter for Human<W> {
    fn output(&self) -> String {
        "to standard output".to_owned()
    }

    fn start(&mut self, start: &Start) -> io::Result<()> {
        let speed = if start.speed == 1 {
            String::new()
        } else {
            format!(", {}× as fast", start.speed)
        };
        self.out.line(format_args!(
            "polytab {}: {} {} against {}, {} clock{speed}, seed {}",
            start.polytab,
            start.runs,
            if start.runs == 1 { "scenario" } else { "scenarios" },
            start.target,
            start.clock,
            start.seed
        ))?;
        self.out.line("")?;
        self.progress = Progress {
            runs: start.runs,
            done: 0,
        };
        self.progress.draw();
        Ok(())
    }

    fn finished(&mut self, report: &Report) -> io::Result<()> {
        Progress::clear();
        self.progress.done += 1;
        if !(self.is_quiet && report.verdict == Verdict::Passed) {
            self.line(report)?;
        }
        for notice in report.events.iter().filter_map(|event| match &event.kind {
            Kind::Notice { text } => Some(text),
            _ => None,
        }) {
            self.out.line(format_args!("            note: {notice}"))?;
        }
        let mut drawn: Option<(&str, (u64, u64))> = None;
        for (what, failure) in report.failures.iter().take(SHOWN) {
            let window = failure.window_ms;
            // Failures of one step happened in one window: one picture shows them all. So it does what lies within.
            let is_drawn = drawn.is_some_and(|(before, (from, to))| {
                before == what || from <= window.0 && window.1 <= to + LEAD_MS
            });
            if !is_drawn {
                drawn = Some((what, window));
            }
            self.failure(report, (what, failure), !is_drawn)?;
        }
        if report.failures.len() > SHOWN {
            self.out.line("")?;
            let more = report.failures.len() - SHOWN;
            self.out.line(format_args!("    and {more} more failures"))?;
        }
        if matches!(
            report.verdict,
            Verdict::Failed | Verdict::Flooded | Verdict::Flaky
        ) {
            self.out.line("")?;
            self.out
                .line(format_args!("    again: {}", self.again.command(report)))?;
            self.out.line("")?;
        }
        self.out.flush()?;
        self.progress.draw();
        Ok(())
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        Progress::clear();
        let counts: Vec<_> = summary
            .counts()
            .into_iter()
            .map(|(word, count)| format!("{count} {word}"))
            .collect();
        let verdict = if summary.failed + summary.flooded + summary.broken > 0 {
            Verdict::Failed
        } else if summary.interrupted + summary.left_out > 0 {
            Verdict::Interrupted
        } else if summary.inconclusive > 0 {
            Verdict::Inconclusive
        } else {
            Verdict::Passed
        };
        let style = style(verdict);
        self.out.line("")?;
        let times = format!(
            ": {} of tabs in {}",
            span(summary.scenario_ms),
            span(summary.wall_ms)
        );
        self.out.styled(style, counts.join(", "), times)?;
        self.out.flush()
    }
}

impl<W: Write> Human<W> {
    fn line(&mut self, report: &Report) -> io::Result<()> {
        let style = style(report.verdict);
        let (word, id) = (report.verdict.word(), &report.id);
        let more = match (&report.reason, report.verdict) {
            (Some(reason), Verdict::Flaky) => format!(" (passed at try {}): {reason}", report.tries),
            (None, Verdict::Flaky) => format!(" (passed at try {})", report.tries),
            (Some(reason), _) => format!(": {reason}"),
            (None, _) => format!(" ({})", span(report.scenario_ms)),
        };
        self.out
            .styled(style, format_args!("{word:>11}"), format_args!(" {id}{more}"))?;
        if matches!(report.verdict, Verdict::Failed | Verdict::Flooded) {
            self.out.line(format_args!("            {}", report.name))?;
        }
        Ok(())
    }

    fn failure(&mut self, report: &Report, (what, failure): (&str, &Failure), draw: bool) -> io::Result<()> {
        let bold = Style::new().bold();
        self.out.line("")?;
        let heading = format!("    {what}: {}", failure.message);
        self.out.styled(bold, heading, "")?;
        self.out.line(format_args!("    {}", place(report, failure)))?;
        if draw {
            for line in self.excerpt(report, failure) {
                self.out.line(format_args!("      {line}"))?;
            }
        }
        self.list("expected", &failure.expected)?;
        self.list("seen", &failure.seen)?;
        if !draw {
            return Ok(());
        }
        let (from_ms, to_ms) = failure.window_ms;
        let from_ms = if to_ms == 0 {
            0
        } else {
            from_ms.saturating_sub(LEAD_MS)
        };
        let window = Window {
            ms: (from_ms, to_ms),
            tab: failure.tab.as_deref(),
            width: self.width.saturating_sub(4),
        };
        let lines = timeline(&visible(report, self.scenarios.get(&report.id)), window);
        if !lines.is_empty() {
            self.out.line("")?;
        }
        for line in lines {
            self.out.line(format_args!("    {line}"))?;
        }
        Ok(())
    }

    fn list(&mut self, word: &str, lines: &[String]) -> io::Result<()> {
        for (nth, line) in lines.iter().take(SEEN).enumerate() {
            let word = if nth == 0 { word } else { "" };
            let line = cut(line, self.width.saturating_sub(16));
            self.out.line(format_args!("      {word:<9} {line}"))?;
        }
        if lines.len() > SEEN {
            self.out
                .line(format_args!("      {:<9} … and {} more", "", lines.len() - SEEN))?;
        }
        Ok(())
    }

    /// The step's lines in its file, if the failure is about one.
    fn excerpt(&self, report: &Report, failure: &Failure) -> Vec<String> {
        let source = self.scenarios.get(&report.id).map(|scenario| &scenario.source);
        let (Some(source), Some(line), None) = (source, failure.line, &failure.file) else {
            return Vec::new();
        };
        let text = source.text.lines().nth(line.saturating_sub(1)).unwrap_or("");
        vec![format!("{line} | {}", text.trim_end())]
    }
}

/// The events without messages that the scenario does not look at: they would drown the others.
fn visible<'a>(
    report: &'a Report,
    scenario: Option<&std::sync::Arc<crate::scenario::model::Scenario>>,
) -> Vec<&'a Event> {
    let Some(scenario) = scenario else {
        return report.events.iter().collect();
    };
    let ignore = scenario
        .file
        .ignore
        .iter()
        .map(|pattern| pattern.value.clone())
        .collect();
    let record = crate::judge::record::Record::new([], ignore);
    let is_visible = |event: &&Event| match &event.kind {
        Kind::TabReceived { message, .. } => !record.ignores(message),
        Kind::TabSent { message, by_page, .. } => !(*by_page && message.kind() == Some("ping")),
        _ => true,
    };
    report.events.iter().filter(is_visible).collect()
}
