//! Several shards of one run put together: counts and histograms add up exactly.

use std::collections::BTreeMap;

use jiff::Timestamp;
use thiserror::Error;

use crate::{
    result::{FORMAT, LoadResult, Packed},
    threshold::{Threshold, ThresholdError},
    verdict::Ending,
};

/// Shards that begin further apart than this did not load the target together, in milliseconds.
const TOGETHER_MS: i128 = 1000;

/// Why results are not of one run.
#[derive(Debug, Error)]
pub enum MergeError {
    /// Nothing to merge.
    #[error("there is no result to merge")]
    Nothing,
    /// Written by another version.
    #[error("a result has the format `{0}`; this version reads `{FORMAT}`")]
    Format(String),
    /// Not the same plan.
    #[error("the results are not of one run: their {what} differ (`{one}` and `{other}`)")]
    Differ {
        /// What differs.
        what: &'static str,
        /// In the first result.
        one: String,
        /// In another one.
        other: String,
    },
    /// A result of a whole run among several.
    #[error(
        "there are several results, and one of them is of a whole run; only shards (`--shard`) are merged"
    )]
    Whole,
    /// A threshold that this version cannot read.
    #[error(transparent)]
    Threshold(#[from] ThresholdError),
}

/// The run that these are the shards of. One result alone is itself.
///
/// Shards that are missing, there twice or late are named, and make the run invalid.
///
/// # Errors
///
/// When the results are not of one run.
pub fn merge(mut parts: Vec<LoadResult>) -> Result<LoadResult, MergeError> {
    if let Some(part) = parts.iter().find(|part| part.format != FORMAT) {
        return Err(MergeError::Format(part.format.clone()));
    }
    parts.sort_by_key(|part| part.shard.map(|shard| shard.index));
    let Some(first) = parts.first().cloned() else {
        return Err(MergeError::Nothing);
    };
    if parts.len() == 1 && first.shard.is_none_or(|shard| shard.of == 1) {
        return Ok(first);
    }
    parts.iter().try_for_each(|part| belongs(&first, part))?;
    let mut whole = LoadResult {
        invalid: Vec::new(),
        notes: Vec::new(),
        intervals: Vec::new(),
        generators: Vec::new(),
        shard: None,
        ..first
    };
    let faults = strange(&parts);
    whole.ending = ending(&parts);
    // Only the first shard counts the calls of the target.
    let features = parts.iter().flat_map(|part| &part.intent.features);
    whole.intent.features = features.copied().collect();
    let mut seen = None;
    for part in parts {
        let index = part.shard.map_or(0, |shard| shard.index);
        // Of a shard that is there twice the first counts.
        if seen == Some(index) {
            continue;
        }
        seen = Some(index);
        let of_shard = |text: &String| format!("shard {index}: {text}");
        whole
            .notes
            .extend(part.notes.iter().filter(|note| *note != ALONE).map(of_shard));
        if part.ending == Ending::Interrupt {
            whole.notes.push(format!("shard {index} was interrupted"));
        }
        whole.generators.extend(part.generators.iter().cloned());
        whole.started = whole.started.min(part.started.clone());
        add(&mut whole, part);
    }
    let thresholds: Vec<Threshold> = whole
        .thresholds
        .iter()
        .map(|judged| judged.threshold.parse())
        .collect::<Result<_, _>>()?;
    whole.conclude(&thresholds, &faults);
    Ok(whole)
}

/// The ending of the whole run: it was interrupted if a shard was, and the target was out of reach if it was for all.
fn ending(parts: &[LoadResult]) -> Ending {
    let any = |ending| parts.iter().any(|part| part.ending == ending);
    if any(Ending::Interrupt) {
        Ending::Interrupt
    } else if parts.iter().all(|part| part.ending == Ending::Unreachable) {
        Ending::Unreachable
    } else if any(Ending::Threshold) {
        Ending::Threshold
    } else {
        Ending::Schedule
    }
}

/// What a shard says of its own thresholds.
pub(crate) const ALONE: &str = "this is one shard of a run; thresholds are judged when all are merged";

fn belongs(first: &LoadResult, part: &LoadResult) -> Result<(), MergeError> {
    let (Some(shard), Some(one)) = (part.shard, first.shard) else {
        return Err(MergeError::Whole);
    };
    let names = |result: &LoadResult| {
        let names: Vec<_> = result
            .phases
            .iter()
            .map(|phase| format!("{} to {} s", phase.name, phase.to_s))
            .collect();
        names.join(", ")
    };
    let pairs = [
        ("profiles", first.profile.clone(), part.profile.clone()),
        ("seeds", first.seed.to_string(), part.seed.to_string()),
        ("numbers of shards", one.of.to_string(), shard.of.to_string()),
        ("phases", names(first), names(part)),
    ];
    match pairs.into_iter().find(|(_, one, other)| one != other) {
        Some((what, one, other)) => Err(MergeError::Differ { what, one, other }),
        None => Ok(()),
    }
}

/// Shards that are missing, there twice, or late.
fn strange(parts: &[LoadResult]) -> Vec<String> {
    let mut times: BTreeMap<u32, usize> = BTreeMap::new();
    let mut of = 0;
    for shard in parts.iter().filter_map(|part| part.shard) {
        *times.entry(shard.index).or_default() += 1;
        of = shard.of;
    }
    let list = |indexes: Vec<u32>| indexes.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let mut told = Vec::new();
    let missing: Vec<u32> = (0..of).filter(|index| !times.contains_key(index)).collect();
    if !missing.is_empty() {
        told.push(format!("of {of} shards these are missing: {}", list(missing)));
    }
    let twice: Vec<u32> = times
        .iter()
        .filter(|(_, times)| **times > 1)
        .map(|(index, _)| *index)
        .collect();
    if !twice.is_empty() {
        told.push(format!("these shards are there more than once: {}", list(twice)));
    }
    let began = |part: &LoadResult| {
        part.started
            .parse::<Timestamp>()
            .ok()
            .map(|at| at.as_nanosecond() / 1_000_000)
    };
    let first = parts.iter().filter_map(began).min().unwrap_or(0);
    for part in parts {
        let late = began(part).unwrap_or(first) - first;
        if late > TOGETHER_MS {
            let index = part.shard.map_or(0, |shard| shard.index);
            told.push(format!(
                "shard {index} began {late} ms after the first; start them together with `--start-at`"
            ));
        }
    }
    told
}

fn add(whole: &mut LoadResult, part: LoadResult) {
    for (nth, interval) in part.intervals.into_iter().enumerate() {
        match whole.intervals.get_mut(nth) {
            None => whole.intervals.push(interval),
            Some(sum) => {
                sum.to_s = sum.to_s.max(interval.to_s);
                sum.users += interval.users;
                sum.tabs += interval.tabs;
                let mut tally = sum.tally();
                tally.add(&interval.tally());
                sum.seen = Packed::from(&tally);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        result::{Shard, samples},
        tally::{Count, Metric, Tally},
        verdict::Verdict,
    };

    fn shard(index: u32, of: u32) -> LoadResult {
        LoadResult {
            shard: Some(Shard { index, of }),
            ..samples::result(2)
        }
    }

    /// What a worker counted that these happened to: the shard, the interval, and the delay in microseconds.
    fn feed(result: &mut LoadResult, events: impl Iterator<Item = (u32, usize, u64)>) {
        let mut tallies = vec![Tally::default(); result.intervals.len()];
        for (_, interval, micros) in events {
            tallies[interval].record(Metric::Fanout, Duration::from_micros(micros));
            tallies[interval].count(Count::Notified);
        }
        for (interval, tally) in result.intervals.iter_mut().zip(&tallies) {
            interval.seen = Packed::from(tally);
        }
    }

    proptest! {
        /// The same events, counted in one process or in several: the same counts and percentiles.
        #[test]
        fn shards_that_are_fed_the_events_of_one_run_are_that_run(
            events in vec((0..4_u32, 0..4_usize, 0_u64..10_000_000), 0..300),
        ) {
            let mut whole = samples::result(2);
            let mut parts: Vec<_> = (0..4).map(|index| shard(index, 4)).collect();
            for (index, part) in (0..).zip(&mut parts) {
                let own = events.iter().filter(|(fed, ..)| *fed == index);
                feed(part, own.copied());
            }
            feed(&mut whole, events.iter().copied());

            // As they are collected: written, and read again.
            let read = |part: &LoadResult| serde_json::from_str(&serde_json::to_string(part).unwrap()).unwrap();
            let merged = merge(parts.iter().map(read).collect()).unwrap();

            let (sum, one) = (merged.total(), whole.total());
            prop_assert_eq!(sum.get(Count::Notified), one.get(Count::Notified));
            prop_assert_eq!(sum.metric(Metric::Fanout), one.metric(Metric::Fanout));
            for (nth, interval) in whole.intervals.iter().enumerate() {
                prop_assert_eq!(&merged.intervals[nth].seen, &interval.seen);
            }
        }
    }

    #[test]
    fn shards_that_are_missing_doubled_or_late_are_named() {
        let mut late = shard(2, 4);
        late.started = "2026-01-01T00:00:05Z".to_owned();

        let merged = merge(vec![shard(3, 4), late, shard(0, 4), shard(3, 4)]).unwrap();

        assert_eq!(merged.verdict, Verdict::Invalid);
        assert_eq!(
            merged.invalid,
            [
                "of 4 shards these are missing: 1",
                "these shards are there more than once: 3",
                "shard 2 began 5000 ms after the first; start them together with `--start-at`",
            ]
        );
        assert_eq!(
            merged.total().get(Count::Opened),
            shard(0, 4).total().get(Count::Opened) * 3
        );
    }

    /// Judges a shard again after its evidence was changed.
    fn changed(index: u32, change: impl FnOnce(&mut LoadResult)) -> LoadResult {
        let mut part = shard(index, 2);
        change(&mut part);
        let thresholds: Vec<_> = part
            .thresholds
            .iter()
            .map(|judged| judged.threshold.parse().unwrap())
            .collect();
        part.conclude(&thresholds, &[]);
        part
    }

    #[test]
    fn the_verdict_is_made_again_from_the_evidence_of_all_shards() {
        let without_tabs = |part: &mut LoadResult| {
            let mut tally = Tally::default();
            tally.add_count(Count::Users, 5);
            tally.add_count(Count::Opens, 5);
            tally.add_count(Count::RefusedOpens, 5);
            part.intervals
                .iter_mut()
                .for_each(|interval| interval.seen = Packed::from(&tally));
            part.ending = Ending::Unreachable;
        };
        let late = |part: &mut LoadResult| part.generators[0].lag_p99_ms = 20.0;
        let interrupted = |part: &mut LoadResult| part.ending = Ending::Interrupt;
        let verdict = |one, other| merge(vec![one, other]).unwrap().verdict;

        // A shard without a tab is invalid; together with one that had some the target can be judged.
        assert_eq!(changed(1, without_tabs).verdict, Verdict::Invalid);
        assert_eq!(verdict(shard(0, 2), changed(1, without_tabs)), Verdict::Failed);
        assert_eq!(
            verdict(changed(0, without_tabs), changed(1, without_tabs)),
            Verdict::Invalid
        );
        assert_eq!(verdict(shard(0, 2), changed(1, late)), Verdict::Invalid);
        assert_eq!(
            verdict(changed(0, interrupted), changed(1, late)),
            Verdict::Interrupted
        );
    }

    #[test]
    fn what_is_not_of_one_run_is_not_merged() {
        let mut other = shard(1, 2);
        other.seed = 8;

        assert!(matches!(merge(Vec::new()), Err(MergeError::Nothing)));
        assert!(matches!(
            merge(vec![shard(0, 2), other]),
            Err(MergeError::Differ { what: "seeds", .. })
        ));
        assert!(matches!(
            merge(vec![samples::result(1), shard(0, 2)]),
            Err(MergeError::Whole)
        ));
    }
}
