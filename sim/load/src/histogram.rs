//! Durations, counted with three digits (an error of at most 0.1 %) from a microsecond to an hour.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use thiserror::Error;

/// Longest duration that is told apart from longer ones.
const LONGEST: Duration = Duration::from_hours(1);
/// Digits kept of each duration.
const DIGITS: u8 = 3;

/// How often each duration was seen.
#[derive(Clone, PartialEq)]
pub struct Histogram(hdrhistogram::Histogram<u64>);

/// Why a text is no histogram.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// It is not base64.
    #[error("the histogram is not base64")]
    Base64(#[source] base64::DecodeError),
    /// What it holds is no histogram.
    #[error("the text holds no HdrHistogram in format V2")]
    Format,
    /// It holds what cannot be added to ours.
    #[error("the histogram has values over an hour, or other digits than {DIGITS}")]
    Bounds,
}

impl Default for Histogram {
    fn default() -> Self {
        Self(
            hdrhistogram::Histogram::new_with_bounds(1, micros(LONGEST), DIGITS)
                .expect("the bounds are fixed"),
        )
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, max] = [self.quantile(0.5), self.quantile(0.99), self.quantile(1.0)];
        write!(
            f,
            "Histogram({} × p50 {p50:?}, p99 {p99:?}, max {max:?})",
            self.count()
        )
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Histogram {
    /// Counts one; what is longer than an hour counts as an hour.
    pub fn record(&mut self, duration: Duration) {
        self.0.saturating_record(micros(duration));
    }

    /// Adds what another one counted; exact.
    ///
    /// # Panics
    ///
    /// Never: all have the same bounds.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The duration that this part of all (0 to 1) does not pass; zero when nothing was counted.
    pub fn quantile(&self, part: f64) -> Duration {
        Duration::from_micros(if self.0.is_empty() {
            0
        } else {
            self.0.value_at_quantile(part)
        })
    }

    /// Shortest.
    pub fn min(&self) -> Duration {
        Duration::from_micros(if self.0.is_empty() { 0 } else { self.0.min() })
    }

    /// Longest.
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }

    /// Arithmetic mean.
    pub fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.0.mean() / 1e6)
    }

    /// Each duration that was seen, shortest first, with how often.
    pub fn values(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.0.iter_recorded().map(|value| {
            (
                Duration::from_micros(value.value_iterated_to()),
                value.count_at_value(),
            )
        })
    }

    /// The format V2 of `HdrHistogram`, deflated, in base64, in microseconds; other tools read it.
    ///
    /// # Panics
    ///
    /// Never: memory is written to.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.0, &mut bytes)
            .expect("memory can be written to");
        STANDARD.encode(bytes)
    }

    /// The histogram in such a text.
    ///
    /// # Errors
    ///
    /// When there is none in it, or one that cannot be added to ours.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        let bytes = STANDARD.decode(text).map_err(DecodeError::Base64)?;
        let read: hdrhistogram::Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|_| DecodeError::Format)?;
        let mut own = Self::default();
        if read.sigfig() != DIGITS || own.0.add(&read).is_err() {
            return Err(DecodeError::Bounds);
        }
        Ok(own)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn of(durations: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        for micros in durations {
            histogram.record(Duration::from_micros(*micros));
        }
        histogram
    }

    proptest! {
        /// Wherever the durations were counted, and however often they were written and read.
        #[test]
        fn parts_added_are_the_whole(parts in vec(vec(0_u64..5_000_000_000, 0..50), 1..6)) {
            let whole = of(&parts.concat());
            let mut sum = Histogram::default();

            for part in &parts {
                sum.add(&Histogram::decode(&of(part).encode()).unwrap());
            }

            prop_assert_eq!(sum.count(), whole.count());
            for part in [0.0, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0] {
                prop_assert_eq!(sum.quantile(part), whole.quantile(part));
            }
        }
    }

    #[test]
    fn three_digits_are_kept() {
        let histogram = of(&[123_456]);

        let error = histogram.quantile(0.5).as_micros().abs_diff(123_456);

        assert!(error * 1000 <= 123_456, "{error}");
        assert_eq!(of(&[]).quantile(0.99), Duration::ZERO);
    }

    #[test]
    fn what_is_no_histogram_is_refused() {
        for text in ["", "ä", "AAAA", "HISTFAAA"] {
            assert!(Histogram::decode(text).is_err(), "{text}");
        }
    }
}
