//! Two targets, or two versions of one, side by side: what became slower or wrong, and how sure that is.

use crate::{
    result::LoadResult,
    tally::{Count, Metric, Tally},
};

/// One figure of both.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// What is compared, as a threshold names it.
    pub name: String,
    /// Mean of the runs before, in milliseconds or as a count.
    pub before: f64,
    /// Mean of the runs after.
    pub after: f64,
    /// By how much it changed: the ratio of the means, with bounds of 95 % confidence when both have several runs.
    pub change: Change,
    /// Whether it is worse by more than the margin, as far as can be told.
    pub is_worse: bool,
}

/// A ratio, or what stands for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Of durations: how many times as long.
    Ratio {
        /// The ratio of the geometric means.
        ratio: f64,
        /// Its bounds; none with a single run on either side.
        bounds: Option<(f64, f64)>,
    },
    /// Of counts: how many more or fewer.
    Difference(f64),
}

/// Figures of durations that are compared.
const PARTS: [(&str, f64); 2] = [("p50", 0.5), ("p99", 0.99)];
/// Counts that are compared: none of them may rise.
const COUNTS: [Count; 4] = [Count::Missed, Count::Doubled, Count::OutOfOrder, Count::CrossUser];

/// Compares runs before with runs after. A duration is worse when it is longer by more than the margin (0.1 for 10 %)
/// and, with several runs, surely longer; a count of mistakes is worse when it is higher in the mean.
pub fn compare(before: &[LoadResult], after: &[LoadResult], margin: f64) -> Vec<Compared> {
    let totals = |runs: &[LoadResult]| runs.iter().map(LoadResult::total).collect::<Vec<_>>();
    let (before, after) = (totals(before), totals(after));
    let mut all = Vec::new();
    for metric in Metric::ALL.into_iter().filter(|metric| *metric != Metric::Lag) {
        for (name, part) in PARTS {
            let values = |runs: &[Tally]| {
                runs.iter()
                    .filter_map(|tally| millis(tally, metric, part))
                    .collect::<Vec<_>>()
            };
            let (one, other) = (values(&before), values(&after));
            if one.is_empty() || other.is_empty() {
                continue;
            }
            let (ratio, bounds) = ratio(&one, &other);
            let is_sure = bounds.is_none_or(|(low, _)| low > 1.0);
            all.push(Compared {
                name: format!("{}.{name}", metric.word()),
                before: mean(&one),
                after: mean(&other),
                change: Change::Ratio { ratio, bounds },
                is_worse: ratio > 1.0 + margin && is_sure,
            });
        }
    }
    let counts = COUNTS.map(|count| {
        (
            count.word(),
            Box::new(move |tally: &Tally| tally.get(count)) as Counting,
        )
    });
    let errors: (&str, Counting) = ("errors", Box::new(Tally::errors));
    for (name, count) in counts.into_iter().chain([errors]) {
        let values = |runs: &[Tally]| mean(&runs.iter().map(|tally| exact(count(tally))).collect::<Vec<_>>());
        let (one, other) = (values(&before), values(&after));
        all.push(Compared {
            name: name.to_owned(),
            before: one,
            after: other,
            change: Change::Difference(other - one),
            is_worse: other > one * (1.0 + margin),
        });
    }
    all
}

type Counting = Box<dyn Fn(&Tally) -> u64>;

#[expect(clippy::cast_precision_loss, reason = "no run counts up to 2⁵³")]
fn exact(count: u64) -> f64 {
    count as f64
}

fn millis(tally: &Tally, metric: Metric, part: f64) -> Option<f64> {
    let duration = tally.metric(metric)?.quantile(part);
    // A histogram begins at a microsecond; nothing is shorter, and a logarithm is taken of it.
    Some(duration.as_secs_f64().max(1e-6) * 1e3)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / exact(values.len().max(1) as u64)
}

/// The ratio of the geometric means, and its 95 % bounds by Welch's t interval of the logarithms.
fn ratio(before: &[f64], after: &[f64]) -> (f64, Option<(f64, f64)>) {
    let logs = |values: &[f64]| values.iter().map(|value| value.ln()).collect::<Vec<_>>();
    let (one, other) = (logs(before), logs(after));
    let difference = mean(&other) - mean(&one);
    let spread = |values: &[f64]| -> Option<(f64, f64)> {
        let free = values.len().checked_sub(1).filter(|free| *free > 0)?;
        let middle = mean(values);
        let squares: f64 = values.iter().map(|value| (value - middle).powi(2)).sum();
        let free = exact(free as u64);
        Some((squares / free / (free + 1.0), free))
    };
    let bounds = spread(&one)
        .zip(spread(&other))
        .map(|((left, left_free), (right, right_free))| {
            let variance = left + right;
            let free = if variance > 0.0 {
                variance.powi(2) / (left.powi(2) / left_free + right.powi(2) / right_free)
            } else {
                left_free + right_free
            };
            let reach = student(free) * variance.sqrt();
            ((difference - reach).exp(), (difference + reach).exp())
        });
    (difference.exp(), bounds)
}

/// The 97.5 % point of Student's distribution with so many degrees of freedom, rounded down to whole ones.
fn student(free: f64) -> f64 {
    const POINTS: [f64; 15] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
        2.131,
    ];
    let degrees = (1..=15_u8).rev().find(|degrees| free >= f64::from(*degrees));
    match degrees {
        // With more, a little too careful: 2.042 is the point of 30, 1.960 that of infinitely many.
        Some(15) if free >= 30.0 => 2.042,
        Some(degrees) => POINTS[usize::from(degrees) - 1],
        None => POINTS[0],
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::result::{Packed, samples};

    fn run(millis: u64, missed: u64) -> LoadResult {
        let mut result = samples::result(1);
        let mut tally = Tally::default();
        tally.record(Metric::Connect, Duration::from_millis(millis));
        tally.add_count(Count::Missed, missed);
        result.intervals.truncate(1);
        result.intervals[0].seen = Packed::from(&tally);
        result
    }

    fn worse(before: &[LoadResult], after: &[LoadResult]) -> Vec<String> {
        let all = compare(before, after, 0.1).into_iter();
        all.filter(|compared| compared.is_worse)
            .map(|compared| compared.name)
            .collect()
    }

    #[test]
    fn longer_beyond_the_margin_is_worse_and_within_it_is_not() {
        let before = [run(100, 0), run(102, 0), run(98, 0)];

        assert_eq!(
            worse(&before, &[run(120, 0), run(122, 0), run(118, 0)]),
            ["connect.p50", "connect.p99"]
        );
        assert_eq!(
            worse(&before, &[run(105, 0), run(106, 0), run(104, 0)]),
            Vec::<String>::new()
        );
        assert_eq!(
            worse(&before, &[run(60, 0), run(61, 0), run(62, 0)]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn what_scatters_as_much_as_it_differs_is_not_sure() {
        let before = [run(100, 0), run(160, 0), run(70, 0)];

        assert_eq!(
            worse(&before, &[run(180, 0), run(90, 0), run(130, 0)]),
            Vec::<String>::new()
        );
        assert_eq!(
            worse(&before[..1], &[run(180, 0)]),
            ["connect.p50", "connect.p99"]
        );
    }

    #[test]
    fn a_notification_that_is_missed_now_is_worse() {
        assert_eq!(worse(&[run(1, 0)], &[run(1, 1)]), ["missed"]);
    }
}
