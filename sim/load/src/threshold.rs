//! Thresholds: `fanout.p99 < 100ms`, `missed == 0`, `errors < 0.1%`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    intent::Intent,
    sight::Sight,
    tally::{Count, Metric, Tally},
};

/// What must hold at the end of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    text: String,
    what: What,
    is: Comparison,
    limit: f64,
}

/// What is compared. Durations are in microseconds, parts in parts of one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Metric(Metric, Statistic),
    Count(Count),
    /// The sum of several counts.
    Sum(&'static [Count]),
    ErrorPart,
    PollsPerTurn,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Statistic {
    Quantile(f64),
    Min,
    Mean,
    Count,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    Equal,
    AtLeast,
    More,
}

/// A threshold with its outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// As it was written.
    pub threshold: String,
    /// The value, with its unit; `nothing` without a measurement.
    pub seen: String,
    /// The outcome.
    pub outcome: Outcome,
    /// The reason for [`Outcome::NotMeasured`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The profile allows that it is not measured.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allowed: bool,
}

/// The outcome of a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The measured value is within the limit.
    Held,
    /// The measured value is beyond the limit.
    Missed,
    /// There is no evidence for either.
    NotMeasured,
}

impl Outcome {
    /// Its words for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Missed => "missed",
            Self::NotMeasured => "not measured",
        }
    }
}

/// Why a text is no threshold. What follows `; ` is the mend.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ThresholdError {
    /// No comparison in it.
    #[error("`{0}` compares nothing; write `fanout.p99 < 100ms`, `missed == 0` or `errors < 0.1%`")]
    Form(String),
    /// Nothing is measured or counted under this name.
    #[error("nothing is measured or counted as `{name}`; {known}")]
    Name {
        /// The name.
        name: String,
        /// Which there are.
        known: String,
    },
    /// A metric without a statistic, or with one that does not exist.
    #[error(
        "`{0}` has no such statistic; write `p50`, `p90`, `p95`, `p99`, `p99.9`, `min`, `max`, `mean` or `count` after the dot"
    )]
    Statistic(String),
    /// The limit is none for what is compared.
    #[error("`{limit}` cannot be compared with `{name}`; write {form}")]
    Limit {
        /// What was written.
        limit: String,
        /// With what it is compared.
        name: String,
        /// How it is written.
        form: &'static str,
    },
}

const POLLS: &str = "polls_per_user_and_turn";
const ERRORS: &str = "errors";
const FAILED_OPENS: &str = "failed_opens";

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let form = || ThresholdError::Form(text.to_owned());
        let at = text.find(['<', '>', '=']).ok_or_else(form)?;
        let (name, rest) = text.split_at(at);
        // The longer ones first, as they begin with the shorter.
        let comparisons = [
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("==", Comparison::Equal),
            ("<", Comparison::Less),
            (">", Comparison::More),
        ];
        let (is, limit) = comparisons
            .into_iter()
            .find_map(|(sign, is)| Some((is, rest.strip_prefix(sign)?.trim())))
            .ok_or_else(form)?;
        let name = name.trim();
        let (what, limit) = what(name, limit)?;
        Ok(Self {
            text: text.trim().to_owned(),
            what,
            is,
            limit,
        })
    }
}

fn what(name: &str, limit: &str) -> Result<(What, f64), ThresholdError> {
    let cannot = |form| ThresholdError::Limit {
        limit: limit.to_owned(),
        name: name.to_owned(),
        form,
    };
    let number = || {
        let number = limit
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite() && *number >= 0.0);
        number.ok_or_else(|| cannot("a number, as `0` or `1.05`"))
    };
    if name == ERRORS {
        return match limit.strip_suffix('%') {
            Some(percent) => match percent.trim().parse::<f64>() {
                Ok(percent) if (0.0..=100.0).contains(&percent) => Ok((What::ErrorPart, percent / 100.0)),
                _ => Err(cannot("a part, as `0.1%`, or a number")),
            },
            None => Ok((What::Sum(&Count::ERRORS), number()?)),
        };
    }
    if name == FAILED_OPENS {
        return Ok((What::Sum(&Count::FAILED_OPENS), number()?));
    }
    if name == POLLS {
        return Ok((What::PollsPerTurn, number()?));
    }
    if let Some(count) = Count::from_word(name) {
        return Ok((What::Count(count), number()?));
    }
    let (word, statistic) = name.split_once('.').unwrap_or((name, ""));
    let Some(metric) = Metric::from_word(word) else {
        return Err(ThresholdError::Name {
            name: name.to_owned(),
            known: known(),
        });
    };
    let statistic = statistic_of(statistic).ok_or_else(|| ThresholdError::Statistic(name.to_owned()))?;
    let limit = if statistic == Statistic::Count {
        number()?
    } else {
        duration(limit).ok_or_else(|| cannot("a duration with its unit, as `100ms`, `2s` or `250us`"))?
    };
    Ok((What::Metric(metric, statistic), limit))
}

/// Checks the name of something that a threshold can be about, as `missed`, `fanout` or `fanout.p99`.
///
/// # Errors
///
/// When nothing has this name.
pub fn check_name(name: &str) -> Result<(), ThresholdError> {
    let (word, statistic) = name.split_once('.').unwrap_or((name, "p50"));
    let is_count = [ERRORS, FAILED_OPENS, POLLS].contains(&name) || Count::from_word(name).is_some();
    if is_count || Metric::from_word(word).is_some() && statistic_of(statistic).is_some() {
        return Ok(());
    }
    Err(ThresholdError::Name {
        name: name.to_owned(),
        known: known(),
    })
}

/// Counts that thresholds are mostly about.
const USUAL: [Count; 12] = [
    Count::Users,
    Count::Opened,
    Count::Ready,
    Count::Received,
    Count::Replies,
    Count::Changes,
    Count::Missed,
    Count::Doubled,
    Count::OutOfOrder,
    Count::CrossUser,
    Count::Lost,
    Count::Unanswered,
];

fn known() -> String {
    let metrics = Metric::ALL
        .map(|metric| format!("`{}`", metric.word()))
        .join(", ");
    let counts = USUAL.map(|count| format!("`{}`", count.word())).join(", ");
    format!(
        "durations are {metrics}, each with a statistic as in `connect.p99`, and counts are {counts}, `{ERRORS}`, `{FAILED_OPENS}`, `{POLLS}` and \
         those in docs/load.md"
    )
}

fn statistic_of(word: &str) -> Option<Statistic> {
    match word {
        "min" => Some(Statistic::Min),
        "max" => Some(Statistic::Quantile(1.0)),
        "mean" => Some(Statistic::Mean),
        "count" => Some(Statistic::Count),
        word => {
            let percent: f64 = word.strip_prefix('p')?.parse().ok()?;
            (0.0..=100.0)
                .contains(&percent)
                .then_some(Statistic::Quantile(percent / 100.0))
        }
    }
}

/// Microseconds.
fn duration(text: &str) -> Option<f64> {
    let at = text.find(|letter: char| letter.is_ascii_alphabetic() || letter == 'µ')?;
    let (number, unit) = text.split_at(at);
    let number: f64 = number.trim().parse().ok()?;
    let micros = match unit {
        "us" | "µs" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        _ => return None,
    };
    (number.is_finite() && number >= 0.0).then_some(number * micros)
}

/// A count as a number that can be compared with fractions.
#[expect(clippy::cast_precision_loss, reason = "no run counts up to 2⁵³")]
fn exact(count: u64) -> f64 {
    count as f64
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Calls of the loops per user and turn; none when no user had a turn, or nobody counted.
pub fn polls_per_turn(tally: &Tally) -> Option<f64> {
    let turns = tally.get(Count::Turns);
    (turns > 0).then(|| exact(tally.get(Count::Polls)) / exact(turns))
}

impl Threshold {
    /// Judges what was seen. A limit that is exceeded is missed; one that is kept needs evidence to have held.
    pub fn judge(&self, tally: &Tally, intent: &Intent) -> Judged {
        let (value, seen) = match self.value(tally) {
            Some((value, seen)) => (Some(value), seen),
            None => (None, "nothing".to_owned()),
        };
        let reason = match value {
            Some(value) if !self.is.holds(value, self.limit) => None,
            Some(_) | None => self.unmeasured(tally, intent),
        };
        let holds = value.is_some_and(|value| self.is.holds(value, self.limit));
        Judged {
            threshold: self.text.clone(),
            seen,
            outcome: match &reason {
                Some(_) => Outcome::NotMeasured,
                None if holds => Outcome::Held,
                None => Outcome::Missed,
            },
            allowed: reason.is_some() && self.is_allowed(intent),
            reason,
        }
    }

    /// The reason why there is no evidence.
    fn unmeasured(&self, tally: &Tally, intent: &Intent) -> Option<String> {
        let sight = Sight { tally, intent };
        match self.what {
            What::Metric(metric, _) => sight.metric(metric),
            What::Count(count) => sight.count(count),
            What::Sum(counts) if counts == Count::FAILED_OPENS => sight.count(Count::PendingOpens),
            What::Sum(_) | What::ErrorPart => sight.attempts(),
            What::PollsPerTurn => sight.polls(),
        }
    }

    fn is_allowed(&self, intent: &Intent) -> bool {
        let name = self.text.split(['<', '>', '=']).next().unwrap_or_default().trim();
        let metric = name.split('.').next().unwrap_or_default();
        intent.allows(name) || intent.allows(metric)
    }

    /// Whether a run that goes on may still meet it: it does now, nothing of the kind was measured yet, or too little
    /// was counted.
    pub fn may_still_hold(&self, tally: &Tally) -> bool {
        let Some((value, _)) = self.value(tally) else {
            return true;
        };
        let only_grows = matches!(
            self.what,
            What::Count(_) | What::Sum(_) | What::Metric(_, Statistic::Count)
        );
        let comes_from_below = match self.is {
            Comparison::AtLeast | Comparison::More => true,
            Comparison::Equal => value < self.limit,
            Comparison::Less | Comparison::AtMost => false,
        };
        self.is.holds(value, self.limit) || only_grows && comes_from_below
    }

    fn value(&self, tally: &Tally) -> Option<(f64, String)> {
        match self.what {
            What::Metric(metric, Statistic::Count) => {
                let count = tally.metric(metric).map_or(0, crate::histogram::Histogram::count);
                Some((exact(count), count.to_string()))
            }
            What::Metric(metric, statistic) => {
                let histogram = tally.metric(metric)?;
                let duration = match statistic {
                    Statistic::Quantile(part) => histogram.quantile(part),
                    Statistic::Min => histogram.min(),
                    Statistic::Mean | Statistic::Count => histogram.mean(),
                };
                Some((micros(duration), shown(duration)))
            }
            What::Count(count) => Some((exact(tally.get(count)), tally.get(count).to_string())),
            What::Sum(counts) => Some((exact(tally.sum(counts)), tally.sum(counts).to_string())),
            What::ErrorPart => {
                let part = exact(tally.errors()) / exact(tally.attempts().max(1));
                Some((part, format!("{:.3}%", part * 100.0)))
            }
            What::PollsPerTurn => {
                let polls = polls_per_turn(tally)?;
                Some((polls, format!("{polls:.3}")))
            }
        }
    }
}

impl Comparison {
    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Less => value < limit,
            Self::AtMost => value <= limit,
            #[expect(
                clippy::float_cmp,
                reason = "counts are whole; who compares a duration for equality means it"
            )]
            Self::Equal => value == limit,
            Self::AtLeast => value >= limit,
            Self::More => value > limit,
        }
    }
}

/// A duration for people: three digits and a unit.
pub fn shown(duration: Duration) -> String {
    let micros = micros(duration);
    let (value, unit) = match micros {
        micros if micros < 1e3 => return format!("{micros:.0} µs"),
        micros if micros < 1e6 => (micros / 1e3, "ms"),
        micros if micros < 120e6 => (micros / 1e6, "s"),
        micros => (micros / 60e6, "min"),
    };
    let digits = match value {
        value if value < 10.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests;
