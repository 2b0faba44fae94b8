//! Answers that come late, and where the time goes.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{error::ControlError, shape::Either, time::Time};

/// How late an answer is: a time alone, or a distribution and where in the answer the time passes.
///
/// ```json
/// { "dist": { "uniform": { "min": "100ms", "max": "2s" } }, "at": "per_chunk" }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Either<T, Fields<T>>")]
pub struct Delay<T = Time> {
    /// How long.
    pub dist: Dist<T>,
    /// Where the time passes.
    pub at: DelayAt,
}

/// A delay in full.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fields<T> {
    /// How long.
    dist: Dist<T>,
    /// Where the time passes.
    #[serde(default)]
    at: DelayAt,
}

/// How long a delay is. Draws are seeded, with a stream for each user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dist<T = Time> {
    /// Always the same.
    Fixed(T),
    /// Any length between two, each as likely.
    Uniform {
        /// The shortest.
        min: T,
        /// The longest.
        max: T,
    },
    /// Short ones are likely and long ones rare; none is longer than ten times the mean.
    Exponential {
        /// The mean.
        mean: T,
    },
}

/// Where in an answer the time passes. The service has done its work before, in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DelayAt {
    /// Nothing comes before it is over.
    #[default]
    BeforeHeaders,
    /// The head comes at once, the body when it is over.
    BeforeBody,
    /// It passes before each chunk of the body; a body that is no stream comes in ten.
    PerChunk,
}

/// Means that an exponential delay may last at most.
const LONGEST_MEANS: f64 = 10.0;

impl<T> From<Either<T, Fields<T>>> for Delay<T> {
    fn from(written: Either<T, Fields<T>>) -> Self {
        match written {
            Either::Short(time) => Self::fixed(time),
            Either::Full(Fields { dist, at }) => Self { dist, at },
        }
    }
}

impl<T> Delay<T> {
    /// Always the same, before anything comes.
    pub fn fixed(time: T) -> Self {
        Self {
            dist: Dist::Fixed(time),
            at: DelayAt::default(),
        }
    }

    /// The same with its times written otherwise.
    pub fn map<U>(self, time: impl Fn(T) -> U) -> Delay<U> {
        let dist = match self.dist {
            Dist::Fixed(fixed) => Dist::Fixed(time(fixed)),
            Dist::Uniform { min, max } => Dist::Uniform {
                min: time(min),
                max: time(max),
            },
            Dist::Exponential { mean } => Dist::Exponential { mean: time(mean) },
        };
        Delay { dist, at: self.at }
    }
}

impl Dist {
    /// # Errors
    ///
    /// When the shortest is longer than the longest.
    pub(super) fn check(self) -> Result<(), ControlError> {
        match self {
            Self::Uniform { min, max } if min > max => Err(ControlError::BadValue {
                what: "the longest delay, which is not below the shortest,",
                value: max.to_string(),
                nearest: None,
            }),
            Self::Fixed(_) | Self::Uniform { .. } | Self::Exponential { .. } => Ok(()),
        }
    }

    /// One length; `below` draws a number below the one that it is given.
    pub(super) fn draw(self, below: impl FnOnce(u64) -> u64) -> Duration {
        match self {
            Self::Fixed(Time(time)) => time,
            Self::Uniform {
                min: Time(min),
                max: Time(max),
            } => {
                let span = u64::try_from((max.saturating_sub(min)).as_nanos()).unwrap_or(u64::MAX);
                min.saturating_add(Duration::from_nanos(below(span.saturating_add(1))))
            }
            Self::Exponential { mean: Time(mean) } => {
                const OUTCOMES: u64 = 1 << 32;
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "2³² and what lies below fit a double exactly"
                )]
                // In (0, 1], so that the logarithm is finite.
                let share = (below(OUTCOMES) + 1) as f64 / OUTCOMES as f64;
                mean.mul_f64((-share.ln()).min(LONGEST_MEANS))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Delay {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_time_alone_passes_before_anything_comes() {
        let delay = read(r#""800ms""#);

        assert_eq!(delay, Delay::fixed(Time(Duration::from_millis(800))));
        assert_eq!(delay.dist.draw(|_| 0), Duration::from_millis(800));
    }

    #[test]
    fn lengths_are_drawn_from_their_distribution() {
        let uniform = read(r#"{"dist": {"uniform": {"min": "1s", "max": "3s"}}, "at": "before_body"}"#).dist;
        let exponential = read(r#"{"dist": {"exponential": {"mean": "1s"}}}"#).dist;

        assert_eq!(uniform.draw(|_| 0), Duration::from_secs(1));
        assert_eq!(uniform.draw(|bound| bound - 1), Duration::from_secs(3));
        assert_eq!(exponential.draw(|bound| bound - 1), Duration::ZERO);
        assert_eq!(exponential.draw(|_| 0), Duration::from_secs(10));
        let median = exponential.draw(|bound| bound / 2);
        assert!((693..=694).contains(&median.as_millis()), "{median:?}");
    }

    #[test]
    fn a_longest_below_the_shortest_is_refused() {
        let dist = read(r#"{"dist": {"uniform": {"min": "3s", "max": "1s"}}}"#).dist;

        assert!(dist.check().unwrap_err().to_string().contains("`1s`"));
    }
}
