//! What a run gives: one JSON document, from which every report is made, and which shards are merged from.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    histogram::Histogram,
    intent::Intent,
    lateness::Strain,
    tally::{Count, Metric, Samples, Tally},
    threshold::{Judged, Outcome, Threshold},
    verdict::{Ending, Evidence, Verdict, conclude},
};

/// Version of the document. It changes when a reader of the one before would misread it.
pub const FORMAT: &str = "polytab-load/2";

/// The note of a run in which no tab heard of a change: the target may have sent nothing, or the profile's pattern is
/// wrong.
fn unheard(tally: &Tally) -> Option<String> {
    let missed = tally.get(Count::Missed);
    if missed == 0 || tally.get(Count::Notified) > 0 {
        return None;
    }
    let samples: Vec<_> = tally.unmatched.texts().map(|text| format!("`{text}`")).collect();
    let others = if samples.is_empty() {
        "no other message came".to_owned()
    } else {
        format!("these messages matched no pattern: {}", samples.join(", "))
    };
    Some(format!(
        "all {missed} notifications were missed, and no message matched `notification`; {others}"
    ))
}

/// The note of a run that passed without a threshold.
const UNJUDGED: &str =
    "no threshold was judged: that the run passed says only that tabs opened and became ready";

/// One run, or several shards of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadResult {
    /// [`FORMAT`].
    pub format: String,
    /// The profile's name.
    pub profile: String,
    /// What was loaded, for people; without secrets.
    pub target: String,
    /// When it began (RFC 3339).
    pub started: String,
    /// Seed of everything that was drawn.
    pub seed: u64,
    /// The verdict, made from everything below.
    pub verdict: Verdict,
    /// The reason why the run ended.
    pub ending: Ending,
    /// The facts about the plan by which the run was judged.
    pub intent: Intent,
    /// The reasons for [`Verdict::Invalid`], a sentence each.
    #[serde(default)]
    pub invalid: Vec<String>,
    /// What a reader should know beside it, a sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The thresholds with their outcomes.
    pub thresholds: Vec<Judged>,
    /// The phases, in order.
    pub phases: Vec<Phase>,
    /// What happened, stretch by stretch, in order; a stretch lies in one phase.
    pub intervals: Vec<Interval>,
    /// Which part of the users this is; none for the whole.
    #[serde(default)]
    pub shard: Option<Shard>,
    /// The generator's own health, each process.
    pub generators: Vec<Generator>,
}

/// A part of a run's users: those whose number leaves `index` when divided by `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Which part, from 0.
    pub index: u32,
    /// How many there are.
    pub of: u32,
}

/// A phase of the profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// Its beginning, in seconds from the run's.
    pub from_s: f64,
    /// Its end.
    pub to_s: f64,
    /// Users who are to be there at its end.
    pub users: u64,
}

/// A stretch of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// Its beginning, in seconds from the run's.
    pub from_s: f64,
    /// Its end.
    pub to_s: f64,
    /// Number of its phase, from 0; what comes after the last phase counts to it.
    pub phase: usize,
    /// Users with an open tab, at its end.
    pub users: u64,
    /// Open tabs, at its end.
    pub tabs: u64,
    /// What was counted and measured in it.
    pub seen: Packed,
}

/// A [`Tally`] that takes a thousandth of its memory: only what is not zero or empty, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packed {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    counts: BTreeMap<String, u64>,
    /// `HdrHistogram` V2, deflated, base64; in microseconds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    histograms: BTreeMap<String, HistogramText>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    closes: BTreeMap<u16, u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    reasons: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "Samples::is_empty")]
    early: Samples,
    #[serde(default, skip_serializing_if = "Samples::is_empty")]
    unmatched: Samples,
    #[serde(default, skip_serializing_if = "Samples::is_empty")]
    unreadable: Samples,
}

/// The generator itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generator {
    /// Its version.
    pub polytab: String,
    /// Operating system and processor.
    pub machine: String,
    /// Cores that it may use.
    pub cores: u64,
    /// Workers, each on a thread of its own.
    pub workers: u64,
    /// Highest part of one core that a worker used in a stretch, 0 to 1.
    pub cpu_max: f64,
    /// Seconds of processor time used, all threads together.
    pub cpu_s: f64,
    /// Its own lateness (99th percentile).
    pub lag_p99_ms: f64,
    /// The load of threads and machine while it was late.
    pub strain: Strain,
    /// Workers that ended by a defect of Polytab.
    pub lost_workers: u64,
    /// Resident memory at its peak, in bytes.
    pub resident_bytes: u64,
    /// Descriptors that it may open.
    pub descriptors: u64,
}

/// A histogram as it is written. It is looked at when it is read, so that a broken one is told with its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String")]
struct HistogramText(String);

impl TryFrom<String> for HistogramText {
    type Error = crate::histogram::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Histogram::decode(&text)?;
        Ok(Self(text))
    }
}

impl From<&Tally> for Packed {
    fn from(tally: &Tally) -> Self {
        let counts = Count::ALL.iter().filter(|count| tally.get(**count) > 0);
        let metrics = Metric::ALL.iter().filter_map(|metric| {
            let histogram = tally.metric(*metric)?;
            Some((metric.word().to_owned(), HistogramText(histogram.encode())))
        });
        Self {
            counts: counts
                .map(|count| (count.word().to_owned(), tally.get(*count)))
                .collect(),
            histograms: metrics.collect(),
            closes: tally.closes.clone(),
            reasons: tally.reasons.clone(),
            early: tally.early.clone(),
            unmatched: tally.unmatched.clone(),
            unreadable: tally.unreadable.clone(),
        }
    }
}

impl Packed {
    /// The tally. Names that are not known are left out: a later version may count more.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally {
            closes: self.closes.clone(),
            reasons: self.reasons.clone(),
            early: self.early.clone(),
            unmatched: self.unmatched.clone(),
            unreadable: self.unreadable.clone(),
            ..Tally::default()
        };
        for (word, times) in &self.counts {
            if let Some(count) = Count::from_word(word) {
                tally.add_count(count, *times);
            }
        }
        for (word, text) in &self.histograms {
            if let (Some(metric), Ok(histogram)) = (Metric::from_word(word), Histogram::decode(&text.0)) {
                tally.add_metric(metric, &histogram);
            }
        }
        tally
    }
}

impl Interval {
    /// What was counted and measured in it.
    pub fn tally(&self) -> Tally {
        self.seen.tally()
    }
}

impl LoadResult {
    /// Everything of the whole run.
    pub fn total(&self) -> Tally {
        self.sum(|_| true)
    }

    /// Everything of one phase.
    pub fn of_phase(&self, phase: usize) -> Tally {
        self.sum(|interval| interval.phase == phase)
    }

    fn sum(&self, takes: impl Fn(&Interval) -> bool) -> Tally {
        let mut sum = Tally::default();
        for interval in self.intervals.iter().filter(|interval| takes(interval)) {
            sum.add(&interval.tally());
        }
        sum
    }

    /// Judges the thresholds and makes the verdict from what the result holds. The only place where either is decided.
    pub(crate) fn conclude(&mut self, thresholds: &[Threshold], shard_faults: &[String]) {
        let tally = self.total();
        self.thresholds = thresholds
            .iter()
            .map(|threshold| threshold.judge(&tally, &self.intent))
            .collect();
        let conclusion = conclude(&Evidence {
            intent: &self.intent,
            ending: self.ending,
            tally: &tally,
            thresholds: &self.thresholds,
            generators: &self.generators,
            shard: self.shard,
            shard_faults,
        });
        self.verdict = conclusion.verdict;
        self.invalid = conclusion.invalid;
        let is_judged = |judged: &Judged| judged.outcome != Outcome::NotMeasured;
        if self.invalid.is_empty() {
            self.notes.extend(unheard(&tally));
        }
        if self.verdict == Verdict::Passed && self.shard.is_none() && !self.thresholds.iter().any(is_judged) {
            self.notes.push(UNJUDGED.to_owned());
        }
    }

    /// How long it took.
    pub fn length(&self) -> Duration {
        Duration::from_secs_f64(self.intervals.last().map_or(0.0, |last| last.to_s.max(0.0)))
    }

    /// The most tabs that were open at the end of a stretch.
    pub fn most_tabs(&self) -> u64 {
        self.intervals
            .iter()
            .map(|interval| interval.tabs)
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    /// A run of so many phases, each of two stretches, that missed one of two thresholds.
    pub(crate) fn result(phases: usize) -> LoadResult {
        let mut result = LoadResult {
            format: FORMAT.to_owned(),
            profile: "sample".to_owned(),
            target: "ws://127.0.0.1:1/".to_owned(),
            started: "2026-01-01T00:00:00Z".to_owned(),
            seed: 7,
            verdict: Verdict::Failed,
            ending: Ending::Schedule,
            intent: Intent {
                lag_limit_ms: 10.0,
                ..Intent::default()
            },
            invalid: Vec::new(),
            notes: Vec::new(),
            thresholds: Vec::new(),
            phases: Vec::new(),
            intervals: Vec::new(),
            shard: None,
            generators: vec![Generator::default()],
        };
        for nth in 0..phases {
            let from_s = 10.0 * f64::from(u32::try_from(nth).unwrap());
            result.phases.push(Phase {
                name: format!("phase {nth}"),
                from_s,
                to_s: from_s + 10.0,
                users: 10,
            });
            for half in [0.0, 5.0] {
                let mut tally = Tally::default();
                for count in [
                    Count::Users,
                    Count::SignIns,
                    Count::SignedIn,
                    Count::Opens,
                    Count::Opened,
                    Count::Ready,
                ] {
                    tally.add_count(count, 5);
                }
                for millis in 1..=100 {
                    tally.record(Metric::Fanout, Duration::from_millis(millis));
                    tally.record(Metric::Lag, Duration::from_micros(millis));
                }
                result.intervals.push(Interval {
                    from_s: from_s + half,
                    to_s: from_s + half + 5.0,
                    phase: nth,
                    users: 10,
                    tabs: 20,
                    seen: Packed::from(&tally),
                });
            }
        }
        let thresholds = ["missed == 0", "fanout.p99 < 1ms"].map(|text| text.parse().unwrap());
        result.conclude(&thresholds, &[]);
        result
    }

    #[test]
    fn a_result_that_was_written_is_read_as_it_was() {
        let result = result(3);

        let read: LoadResult = serde_json::from_str(&serde_json::to_string(&result).unwrap()).unwrap();

        assert_eq!(read, result);
    }
}
