//! How the run went, stretch by stretch, as plots.

use std::time::Duration;

use super::plot::{Line, Plot};
use crate::{
    result::{Interval, LoadResult},
    tally::{Count, Metric},
    threshold::shown,
};

/// All plots over time.
pub(super) fn times(page: &mut String, result: &LoadResult) {
    if result.intervals.is_empty() {
        page.push_str("<p>The run ended before anything was counted.</p>");
        return;
    }
    page.push_str("<h2>Over time</h2>");
    let all: [(&str, &str, Vec<Line>); 7] = [
        (
            "Users and tabs",
            "count",
            vec![
                over_time(result, "users", |interval| Some(exact(interval.users))),
                over_time(result, "tabs", |interval| Some(exact(interval.tabs))),
            ],
        ),
        (
            "Messages and tabs per second",
            "count",
            [Count::Received, Count::Sent, Count::Notified, Count::Opened]
                .map(|count| rate(result, count.word(), |interval| interval.tally().get(count)))
                .into(),
        ),
        (
            "Notifications: from a change to each tab",
            "time",
            percentiles(result, Metric::Fanout),
        ),
        (
            "Replies: from the moment a request was to be sent",
            "time",
            percentiles(result, Metric::Reply),
        ),
        (
            "Handshakes: from the moment a tab was to open",
            "time",
            percentiles(result, Metric::Connect),
        ),
        ("What went wrong, per second", "count", wrong(result)),
        (
            "How late the generator was",
            "time",
            percentiles(result, Metric::Lag),
        ),
    ];
    for (title, unit, lines) in all {
        if lines
            .iter()
            .any(|line| line.points.iter().any(|(_, value)| value.is_some()))
        {
            draw(page, result, (title, unit), lines);
        }
    }
}

fn wrong(result: &LoadResult) -> Vec<Line> {
    let counts = [Count::Missed, Count::Doubled, Count::CrossUser];
    let counts = counts.map(|count| rate(result, count.word(), |interval| interval.tally().get(count)));
    let errors = rate(result, "errors", |interval| interval.tally().errors());
    counts.into_iter().chain([errors]).collect()
}

#[expect(clippy::cast_precision_loss, reason = "no run counts up to 2⁵³")]
fn exact(count: u64) -> f64 {
    count as f64
}

/// A line of one value of each stretch.
fn over_time(result: &LoadResult, name: &str, value: impl Fn(&Interval) -> Option<f64>) -> Line {
    let points = result
        .intervals
        .iter()
        .map(|interval| (interval.to_s, value(interval)));
    Line {
        name: name.to_owned(),
        points: points.collect(),
    }
}

fn rate(result: &LoadResult, name: &str, count: impl Fn(&Interval) -> u64) -> Line {
    over_time(result, name, |interval| {
        let seconds = interval.to_s - interval.from_s;
        (seconds > 0.0).then(|| exact(count(interval)) / seconds)
    })
}

fn percentiles(result: &LoadResult, metric: Metric) -> Vec<Line> {
    let line = |(name, part): (&str, f64)| {
        over_time(result, name, |interval| {
            let tally = interval.tally();
            Some(tally.metric(metric)?.quantile(part).as_secs_f64() * 1e3)
        })
    };
    [("p50", 0.5), ("p99", 0.99), ("max", 1.0)].map(line).into()
}

fn draw(page: &mut String, result: &LoadResult, (title, unit): (&str, &str), lines: Vec<Line>) {
    let end = result.intervals.last().map_or(0.0, |last| last.to_s);
    let ticks = (0..=4).map(|part| {
        let at = end * f64::from(part) / 4.0;
        let name = if part == 0 {
            "0 s".to_owned()
        } else {
            shown(Duration::from_secs_f64(at))
        };
        (at, name)
    });
    let bands = result
        .phases
        .iter()
        .map(|phase| (phase.from_s, phase.to_s.min(end), phase.name.clone()));
    let plot = Plot {
        title,
        unit,
        ticks: ticks.collect(),
        bands: bands.filter(|(from, to, _)| from < to).collect(),
        lines,
        is_logarithmic: unit == "time",
    };
    page.push_str(&plot.svg());
}
