//! What a load says while it runs, and in the end, to people.

use std::{fmt::Write, io::IsTerminal, time::Duration};

use anstyle::{AnsiColor, Style};
use polytab_load::{
    compare::{Change, Compared},
    plan::Plan,
    result::{LoadResult, Verdict},
    run::Progress,
    tally::{Count, Metric, Tally},
    threshold::{polls_per_turn, shown},
};

use crate::cli::{plan::MessageFormat, tell};

/// Lines between which nobody should wait longer.
const EVERY: f64 = 5.0;

/// The run as it goes on, on standard error.
pub(super) struct View {
    is_quiet: bool,
    phases: Vec<String>,
    last: f64,
    since: Tally,
    from: f64,
}

impl View {
    pub(super) fn new(plan: &Plan, format: MessageFormat) -> Self {
        let length: Duration = plan.phases.iter().map(|phase| phase.length).sum();
        let users = plan.phases.iter().map(|phase| phase.users).max().unwrap_or(0);
        let is_quiet = format == MessageFormat::Json;
        if !is_quiet {
            let shard = plan.shard.map_or_else(String::new, |shard| {
                format!(", shard {}/{}", shard.index, shard.of)
            });
            tell(&format!(
                "{}: up to {users} users for {} on {}, seed {}{shard}",
                plan.name,
                shown(length),
                plan.site.name,
                plan.seed
            ));
        }
        Self {
            is_quiet,
            phases: plan.phases.iter().map(|phase| phase.name.clone()).collect(),
            last: -EVERY,
            since: Tally::default(),
            from: 0.0,
        }
    }

    /// One stretch more. On a terminal each second is told, elsewhere every few.
    pub(super) fn show(&mut self, progress: &Progress<'_>) {
        let (interval, total) = (progress.interval, progress.total);
        self.since.add(progress.tally);
        let every = if std::io::stderr().is_terminal() {
            1.0
        } else {
            EVERY
        };
        if self.is_quiet || interval.to_s < self.last + every {
            return;
        }
        self.last = interval.to_s;
        let seconds = (interval.to_s - self.from).max(1e-3);
        let since = std::mem::take(&mut self.since);
        self.from = interval.to_s;
        #[expect(clippy::cast_precision_loss, reason = "counts of seconds are small")]
        let rate = |count: Count| format!("{:.0}", since.get(count) as f64 / seconds);
        let phase = self.phases.get(interval.phase).map_or("", String::as_str);
        let mut line = format!(
            "{:>6.0} s {phase}: {} users, {} tabs, {} opened/s, {} received/s",
            interval.to_s,
            interval.users,
            interval.tabs,
            rate(Count::Opened),
            rate(Count::Received),
        );
        for metric in [Metric::Connect, Metric::Reply, Metric::Fanout] {
            if let Some(histogram) = since.metric(metric) {
                let p99 = shown(histogram.quantile(0.99));
                write!(line, ", {} p99 {p99}", metric.word()).ok();
            }
        }
        let wrong = [Count::Missed, Count::Doubled, Count::OutOfOrder, Count::CrossUser]
            .iter()
            .filter(|count| total.get(**count) > 0)
            .map(|count| format!(", {} {}", total.get(*count), count.word()));
        wrong.for_each(|text| line.push_str(&text));
        if total.errors() > 0 {
            write!(line, ", {} errors", total.errors()).ok();
        }
        tell(&line);
    }
}

/// The whole result for people.
pub(in crate::cli) fn summary(result: &LoadResult) -> String {
    let total = result.total();
    let mut text = String::new();
    metrics(&mut text, &total);
    counts(&mut text, result, &total);
    thresholds(&mut text, result);
    for note in &result.notes {
        writeln!(text, "note: {note}").ok();
    }
    for reason in &result.invalid {
        writeln!(text, "invalid: {reason}").ok();
    }
    let (word, style) = match result.verdict {
        Verdict::Passed => (
            "passed",
            Style::new().fg_color(Some(AnsiColor::Green.into())).bold(),
        ),
        Verdict::Failed => (
            "failed",
            Style::new().fg_color(Some(AnsiColor::Red.into())).bold(),
        ),
        Verdict::Invalid => (
            "invalid",
            Style::new().fg_color(Some(AnsiColor::Yellow.into())).bold(),
        ),
        Verdict::Interrupted => ("interrupted", Style::new().bold()),
    };
    write!(
        text,
        "{style}{word}{style:#}: {}, {} on {}, seed {}",
        result.profile,
        shown(result.length()),
        result.target,
        result.seed
    )
    .ok();
    text
}

/// Both sides of a comparison.
pub(super) fn comparison(all: &[Compared]) -> String {
    let mut text = format!(
        "{:<20} {:>12} {:>12} {:>9}  95 % sure\n",
        "", "before", "after", "change"
    );
    for compared in all {
        let (before, after) = (compared.before, compared.after);
        match compared.change {
            Change::Ratio { ratio, bounds } => {
                let bounds = bounds.map_or_else(
                    || "of one run each nothing is".to_owned(),
                    |(low, high)| format!("{low:.2} to {high:.2}"),
                );
                write!(
                    text,
                    "{:<20} {:>9.2} ms {:>9.2} ms {:>8.2}×  {bounds}",
                    compared.name, before, after, ratio
                )
                .ok();
            }
            Change::Difference(difference) => {
                write!(
                    text,
                    "{:<20} {before:>12.1} {after:>12.1} {difference:>+9.1} ",
                    compared.name
                )
                .ok();
            }
        }
        text.push_str(if compared.is_worse { "  worse\n" } else { "\n" });
    }
    text.trim_end().to_owned()
}

fn metrics(text: &mut String, total: &Tally) {
    writeln!(
        text,
        "{:<14} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "count", "p50", "p90", "p95", "p99", "p99.9", "max"
    )
    .ok();
    for metric in Metric::ALL {
        let Some(histogram) = total.metric(metric) else {
            continue;
        };
        write!(text, "{:<14} {:>9}", metric.word(), histogram.count()).ok();
        for part in [0.5, 0.9, 0.95, 0.99, 0.999, 1.0] {
            write!(text, " {:>9}", shown(histogram.quantile(part))).ok();
        }
        text.push('\n');
    }
    text.push('\n');
}

fn counts(text: &mut String, result: &LoadResult, total: &Tally) {
    let told = |counts: &[Count]| {
        let told: Vec<_> = counts
            .iter()
            .map(|count| format!("{} {}", total.get(*count), count.word().replace('_', " ")))
            .collect();
        told.join(", ")
    };
    writeln!(
        text,
        "tabs:          {} at most at once, {}",
        result.most_tabs(),
        told(&[Count::Users, Count::Opens, Count::Opened, Count::Closed])
    )
    .ok();
    writeln!(
        text,
        "messages:      {}",
        told(&[Count::Sent, Count::Received, Count::Requests, Count::Replies])
    )
    .ok();
    if total.get(Count::Due) + total.get(Count::Notified) > 0 {
        writeln!(
            text,
            "notifications: {}",
            told(&[
                Count::Changes,
                Count::Due,
                Count::Notified,
                Count::Missed,
                Count::Doubled,
                Count::OutOfOrder,
                Count::CrossUser
            ])
        )
        .ok();
    }
    if let Some(polls) = polls_per_turn(total).filter(|_| total.get(Count::Polls) > 0) {
        writeln!(
            text,
            "polls:         {} in {} turns of users, {polls:.3} each",
            total.get(Count::Polls),
            total.get(Count::Turns)
        )
        .ok();
    }
    let closes: Vec<_> = total
        .closes
        .iter()
        .map(|(code, times)| format!("{times} × {code}"))
        .collect();
    if !closes.is_empty() {
        writeln!(text, "closed with:   {}", closes.join(", ")).ok();
    }
    if total.errors() > 0 {
        writeln!(text, "errors:        {}", told(&Count::ERRORS)).ok();
        for (reason, times) in &total.reasons {
            writeln!(text, "  {times} × {reason}").ok();
        }
    }
    text.push('\n');
}

fn thresholds(text: &mut String, result: &LoadResult) {
    let width = result
        .thresholds
        .iter()
        .map(|judged| judged.threshold.chars().count())
        .max();
    let width = width.unwrap_or(0);
    for judged in &result.thresholds {
        let (word, colour) = if judged.held {
            ("held  ", AnsiColor::Green)
        } else {
            ("missed", AnsiColor::Red)
        };
        let style = Style::new().fg_color(Some(colour.into()));
        writeln!(
            text,
            "{style}{word}{style:#}  {:<width$}  seen {}",
            judged.threshold, judged.seen
        )
        .ok();
    }
    if !result.thresholds.is_empty() {
        text.push('\n');
    }
}
