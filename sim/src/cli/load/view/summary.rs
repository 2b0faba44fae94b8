//! What a load says in the end, to people.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use polytab_load::{
    compare::{Change, Compared},
    result::LoadResult,
    tally::{Count, Metric, Tally},
    threshold::{Judged, Outcome, polls_per_turn, shown},
    verdict::Verdict,
};

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

/// Both sides of a comparison, under these heads.
pub(in crate::cli::load) fn comparison([before, after]: [&str; 2], all: &[Compared]) -> String {
    let mut text = String::new();
    // A name that is wider than its column goes on a line of its own.
    let width = 12;
    let heads = if [before, after].iter().any(|name| name.chars().count() > width) {
        writeln!(text, "first: {before}\nsecond: {after}").ok();
        ["first", "second"]
    } else {
        [before, after]
    };
    writeln!(
        text,
        "{:<20} {:>width$} {:>width$} {:>9}  95 % sure",
        "", heads[0], heads[1], "change"
    )
    .ok();
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

/// Counts of each line.
const TABS: [Count; 5] = [
    Count::Users,
    Count::Opens,
    Count::Opened,
    Count::Abandoned,
    Count::Closed,
];
const MESSAGES: [Count; 5] = [
    Count::Sent,
    Count::Received,
    Count::Requests,
    Count::Replies,
    Count::AbandonedRequests,
];
const NOTIFICATIONS: [Count; 10] = [
    Count::Changes,
    Count::Due,
    Count::Notified,
    Count::Unheard,
    Count::Covered,
    Count::Withdrawn,
    Count::Missed,
    Count::Doubled,
    Count::OutOfOrder,
    Count::CrossUser,
];
/// Counts that are shown only if they are not zero.
const RARE: [Count; 4] = [
    Count::Abandoned,
    Count::AbandonedRequests,
    Count::Covered,
    Count::Withdrawn,
];

fn counts(text: &mut String, result: &LoadResult, total: &Tally) {
    let told = |counts: &[Count]| {
        let told: Vec<_> = counts
            .iter()
            .filter(|count| total.get(**count) > 0 || !RARE.contains(count))
            .map(|count| format!("{} {}", total.get(*count), count.word().replace('_', " ")))
            .collect();
        told.join(", ")
    };
    writeln!(
        text,
        "tabs:          {} at most at once, {}",
        result.most_tabs(),
        told(&TABS)
    )
    .ok();
    writeln!(text, "messages:      {}", told(&MESSAGES)).ok();
    if total.get(Count::Due) + total.get(Count::Notified) > 0 {
        writeln!(text, "notifications: {}", told(&NOTIFICATIONS)).ok();
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
        let seen = Count::ERRORS.into_iter().filter(|count| total.get(*count) > 0);
        writeln!(text, "errors:        {}", told(&seen.collect::<Vec<_>>())).ok();
        for (reason, times) in &total.reasons {
            writeln!(text, "  {times} × {reason}").ok();
        }
    }
    text.push('\n');
}

/// The value, or the reason why there is none where the verdict does not give it.
fn seen(judged: &Judged) -> String {
    match &judged.reason {
        Some(reason) if judged.allowed => format!("allowed: {reason}"),
        Some(_) | None => format!("seen {}", judged.seen),
    }
}

fn thresholds(text: &mut String, result: &LoadResult) {
    let width = result
        .thresholds
        .iter()
        .map(|judged| judged.threshold.chars().count())
        .max();
    let width = width.unwrap_or(0);
    let outcomes = result
        .thresholds
        .iter()
        .map(|judged| judged.outcome.words().len());
    let words = outcomes.max().unwrap_or(0);
    for judged in &result.thresholds {
        let colour = match judged.outcome {
            Outcome::Held => AnsiColor::Green,
            Outcome::Missed => AnsiColor::Red,
            Outcome::NotMeasured => AnsiColor::Yellow,
        };
        let word = format!("{:<words$}", judged.outcome.words());
        let style = Style::new().fg_color(Some(colour.into()));
        writeln!(
            text,
            "{style}{word}{style:#}  {:<width$}  {}",
            judged.threshold,
            seen(judged)
        )
        .ok();
    }
    if !result.thresholds.is_empty() {
        text.push('\n');
    }
}
