//! The run as lines, for logs.

use std::fmt::Write;

use polytab_load::{
    plan::Plan,
    run::Progress,
    tally::{Count, Metric, Tally},
    threshold::shown,
};

use crate::cli::tell;

/// Seconds between two lines: nobody should wait longer.
const EVERY: f64 = 5.0;

/// A line for each stretch of so long.
pub(super) struct Lines {
    phases: Vec<String>,
    /// What was counted since the last line, and when that was.
    since: Tally,
    from: f64,
}

impl Lines {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            phases: plan.phases.iter().map(|phase| phase.name.clone()).collect(),
            since: Tally::default(),
            from: 0.0,
        }
    }

    pub(super) fn show(&mut self, progress: &Progress<'_>) {
        let (interval, total) = (progress.interval, progress.total);
        self.since.add(progress.tally);
        let seconds = interval.to_s - self.from;
        if seconds < EVERY {
            return;
        }
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
