//! Durations as scenario files write them, and windows that may be multiples of the target's own intervals.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Visitor};
use thiserror::Error;

use super::explain::Code;

/// The longest duration a file may name: a year of 366 days, which no scenario needs and no sum overflows.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// The most intervals a window may span.
const MOST_INTERVALS: u32 = 1_000_000;

/// A duration with its unit: `250ms`, `5s`, `3m`, `1h`, `3m2s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// How long to look or to wait: a [`Span`] or a multiple of one of the target's intervals (`1 short_loop`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Scenario time.
    Span(Span),
    /// So many of the target's intervals.
    Intervals {
        /// Thousandths of one interval, so that `1.5 short_loop` is exact.
        thousandths: u32,
        /// Which interval.
        interval: Interval,
    },
}

/// One of the target's own intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// Between two turns of the short loop.
    ShortLoop,
    /// Between two turns of the long loop.
    LongLoop,
    /// Between the first tab and the first turn.
    StartDelay,
}

/// The intervals of a target, by which windows are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// Between two turns of the short loop.
    pub short_loop: Duration,
    /// Between two turns of the long loop.
    pub long_loop: Duration,
    /// Between the first tab and the first turn.
    pub start_delay: Duration,
}

/// Why a text is no duration or window. What follows `; ` is the mend.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpanError {
    /// A number without a unit.
    #[error("the duration `{0}` has no unit; write `{0}s` for seconds or `{0}ms` for milliseconds")]
    NoUnit(String),
    /// A unit nobody knows.
    #[error("`{0}` has an unknown unit `{1}`; durations look like `250ms`, `5s`, `3m`, `1h` or `3m2s`")]
    Unit(String, String),
    /// A number that is not whole.
    #[error(
        "`{0}` is not a whole number of its unit; write it in a smaller one, as `1500ms` for 1.5 seconds"
    )]
    Fraction(String),
    /// Units that do not fall.
    #[error("the units of `{0}` are out of order; write the larger first, each once, as in `3m2s`")]
    Order(String),
    /// Longer than anything that can be run.
    #[error("`{0}` is too long; the longest duration is 8784h, a year")]
    TooLong(String),
    /// Nothing that looks like a duration.
    #[error("`{0}` is no duration; durations look like `250ms`, `5s`, `3m`, `1h` or `3m2s`")]
    Form(String),
    /// A count of something that is no interval.
    #[error(
        "`{0}` counts an unknown interval `{1}`; the intervals are `short_loop`, `long_loop` and `start_delay`"
    )]
    Interval(String, String),
    /// A count that is no number.
    #[error("`{0}` has no number before its interval; write `1 short_loop` or `1.5 short_loop`")]
    Count(String),
}

impl Interval {
    const ALL: &[(&str, Self)] = &[
        ("short_loop", Self::ShortLoop),
        ("long_loop", Self::LongLoop),
        ("start_delay", Self::StartDelay),
    ];

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == word)
            .map(|(_, interval)| *interval)
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::ShortLoop => "short_loop",
            Self::LongLoop => "long_loop",
            Self::StartDelay => "start_delay",
        }
    }
}

impl Intervals {
    /// How long one of them is.
    pub const fn length(&self, interval: Interval) -> Duration {
        match interval {
            Interval::ShortLoop => self.short_loop,
            Interval::LongLoop => self.long_loop,
            Interval::StartDelay => self.start_delay,
        }
    }
}

impl Window {
    /// How long it is for a target with these intervals.
    pub fn resolve(&self, intervals: &Intervals) -> Duration {
        match *self {
            Self::Span(span) => span.0,
            Self::Intervals {
                thousandths,
                interval,
            } => intervals.length(interval).saturating_mul(thousandths) / 1000,
        }
    }

    /// Whether it is over at once, whatever the target.
    pub fn is_zero(&self) -> bool {
        match *self {
            Self::Span(span) => span.0.is_zero(),
            Self::Intervals { thousandths, .. } => thousandths == 0,
        }
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let whole = || shown(text);
        let mut total = Duration::ZERO;
        let mut last = Duration::MAX;
        let mut rest = text;
        while !rest.is_empty() {
            let (number, unit, after) = part(rest);
            if number.is_empty() {
                return Err(SpanError::Form(whole()));
            }
            if unit.starts_with('.') {
                return Err(SpanError::Fraction(whole()));
            }
            if unit.is_empty() {
                return Err(SpanError::NoUnit(whole()));
            }
            let unit = length(unit).ok_or_else(|| SpanError::Unit(whole(), shown(unit)))?;
            if unit >= last {
                return Err(SpanError::Order(whole()));
            }
            last = unit;
            total = number
                .parse::<u32>()
                .ok()
                .and_then(|count| unit.checked_mul(count))
                .and_then(|part| total.checked_add(part))
                .filter(|total| *total <= LONGEST)
                .ok_or_else(|| SpanError::TooLong(whole()))?;
            rest = after;
        }
        if text.is_empty() {
            Err(SpanError::Form(whole()))
        } else {
            Ok(Self(total))
        }
    }
}

/// Splits `3m2s` into `3`, `m` and `2s`.
fn part(text: &str) -> (&str, &str, &str) {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, after) = rest.split_at(letters);
    (number, unit, after)
}

fn length(unit: &str) -> Option<Duration> {
    match unit {
        "ms" => Some(Duration::from_millis(1)),
        "s" => Some(Duration::from_secs(1)),
        "m" => Some(Duration::from_mins(1)),
        "h" => Some(Duration::from_hours(1)),
        _ => None,
    }
}

/// The text as an error repeats it: bounded, one line.
fn shown(text: &str) -> String {
    super::problem::shown(text)
}

impl FromStr for Window {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let Some((count, word)) = text.split_once(' ') else {
            return match Interval::from_word(text) {
                Some(_) => Err(SpanError::Count(shown(text))),
                None => text.parse().map(Self::Span),
            };
        };
        let word = word.trim();
        let interval = Interval::from_word(word).ok_or_else(|| match part(word) {
            ("", unit, "") if length(unit).is_none() => SpanError::Interval(shown(text), shown(word)),
            _ => SpanError::Form(shown(text)),
        })?;
        let thousandths = thousandths(count).ok_or_else(|| SpanError::Count(shown(text)))?;
        Ok(Self::Intervals {
            thousandths,
            interval,
        })
    }
}

/// `1.5` as 1500; nothing for what is no number, too exact or too large.
fn thousandths(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 3 {
        return None;
    }
    let whole: u32 = whole.parse().ok().filter(|whole| *whole <= MOST_INTERVALS)?;
    let fraction: u32 = format!("{fraction:0<3}").parse().ok()?;
    Some(whole * 1000 + fraction)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, millis) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            if rest >= millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Span(span) => span.fmt(f),
            Self::Intervals {
                thousandths,
                interval,
            } => {
                write!(f, "{}", thousandths / 1000)?;
                if thousandths % 1000 != 0 {
                    let fraction = format!("{:03}", thousandths % 1000);
                    write!(f, ".{}", fraction.trim_end_matches('0'))?;
                }
                write!(f, " {}", interval.as_str())
            }
        }
    }
}

/// Reads a text, and turns a bare number into the error that asks for a unit.
struct TextVisitor<T>(std::marker::PhantomData<T>);

/// As an error that keeps its code on the way through serde.
fn coded<E: serde::de::Error>(error: SpanError) -> E {
    E::custom(super::de::Coded {
        code: Code::BadDuration,
        error,
    })
}

impl<T: FromStr<Err = SpanError>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as `5s`")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(coded)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        Err(coded(SpanError::NoUnit(number.to_string())))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        Err(coded(SpanError::Form(number.to_string())))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<T, E> {
        Err(coded(SpanError::Fraction(number.to_string())))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor(std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor(std::marker::PhantomData))
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A duration with its unit: `250ms`, `5s`, `3m`, `1h`, `3m2s`.",
            "pattern": r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$|\$\{",
            "minLength": 2,
        })
    }
}

impl JsonSchema for Window {
    fn schema_name() -> Cow<'static, str> {
        "Window".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A duration (`5s`) or a multiple of the target's intervals (`1 short_loop`).",
            "pattern": r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$|^[0-9]+(\.[0-9]{1,3})? +(short_loop|long_loop|start_delay)$|\$\{",
            "minLength": 2,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_window_may_count_the_intervals_of_the_target() {
        let intervals = Intervals {
            short_loop: Duration::from_millis(500),
            long_loop: Duration::from_secs(18),
            start_delay: Duration::from_millis(300),
        };

        for (text, millis) in [
            ("250ms", 250),
            ("0s", 0),
            ("3m2s", 182_000),
            ("1h", 3_600_000),
            ("1 short_loop", 500),
            ("1.5 short_loop", 750),
            ("0.25 long_loop", 4500),
            ("2 start_delay", 600),
        ] {
            let window: Window = text.parse().unwrap();
            assert_eq!(
                window.resolve(&intervals),
                Duration::from_millis(millis),
                "{text}"
            );
            assert_eq!(window.to_string(), text);
        }
    }

    #[test]
    fn a_text_that_is_no_window_says_how_to_write_one() {
        let texts = [
            "",
            "5",
            "5 s",
            "5sec",
            "1.5s",
            "2s3m",
            "1s1s",
            "s",
            "-5s",
            "9999999h",
            "short_loop",
            "x short_loop",
            "1 shortloop",
            "1.2345 short_loop",
            "99999999999s",
        ];

        let errors: Vec<_> = texts
            .iter()
            .map(|text| format!("{text:?}: {}", text.parse::<Window>().unwrap_err()))
            .collect();

        insta::assert_snapshot!(errors.join("\n"));
    }

    proptest! {
        #[test]
        fn a_duration_survives_print_and_parse(millis in 0_u64..=31_622_400_000) {
            let span = Span(Duration::from_millis(millis));

            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn no_text_makes_a_window_panic(text in "\\PC{0,20}") {
            _ = text.parse::<Window>();
        }
    }
}
