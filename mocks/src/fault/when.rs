//! Which of the calls that a fault is about meet it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ControlError;

/// Which of the calls that a fault is about meet it; calls are counted from 1 since the fault was ordered.
///
/// ```json
/// { "every": 3 }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Only the call of this number.
    Nth(#[schemars(range(min = 1))] u64),
    /// Each call whose number this divides.
    Every(#[schemars(range(min = 1))] u64),
    /// So many calls from the first on.
    First(#[schemars(range(min = 1))] u64),
    /// Each call with this probability, above 0 and up to 1. Draws are seeded, with a stream for each user: what one
    /// user's calls meet does not depend on those of others.
    Probability(#[schemars(range(min = 0, max = 1))] f64),
}

/// A draw has this many outcomes.
const OUTCOMES: u64 = 1 << 32;

impl When {
    /// # Errors
    ///
    /// When no call would ever meet the fault.
    pub fn check(self) -> Result<(), ControlError> {
        let (what, value, is_possible) = match self {
            Self::Nth(number) => (
                "the number of a call, which counts from 1,",
                number.to_string(),
                number > 0,
            ),
            Self::Every(number) => ("`every`, which counts from 1,", number.to_string(), number > 0),
            Self::First(count) => ("`first`, which counts from 1,", count.to_string(), count > 0),
            Self::Probability(share) => (
                "a probability, which is above 0 and up to 1,",
                share.to_string(),
                share > 0.0 && share <= 1.0,
            ),
        };
        if is_possible {
            return Ok(());
        }
        Err(ControlError::BadValue {
            what,
            value,
            nearest: None,
        })
    }

    /// Whether the call of this number meets the fault; `below` draws a number below the one that it is given.
    pub(super) fn is_now(self, number: u64, below: impl FnOnce(u64) -> u64) -> bool {
        match self {
            Self::Nth(wanted) => number == wanted,
            Self::Every(step) => number.is_multiple_of(step),
            Self::First(count) => number <= count,
            #[expect(
                clippy::cast_precision_loss,
                reason = "2³² and what lies below fit a double exactly"
            )]
            Self::Probability(share) => (below(OUTCOMES) as f64) < share * OUTCOMES as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_met_by_number_or_by_chance() {
        for (when, met) in [
            (When::Nth(3), vec![3]),
            (When::Every(2), vec![2, 4, 6]),
            (When::First(2), vec![1, 2]),
            (When::Probability(1.0), vec![1, 2, 3, 4, 5, 6]),
            (When::Probability(0.4), vec![1, 2, 3]),
        ] {
            // The draws rise from call to call: 0, 1/6, 2/6 and so on.
            let found = (1..=6).filter(|&number| when.is_now(number, |bound| bound / 6 * (number - 1)));

            assert_eq!(found.collect::<Vec<_>>(), met, "{when:?}");
        }
    }

    #[test]
    fn what_can_never_be_is_refused() {
        for (when, is_possible) in [
            (When::Nth(0), false),
            (When::Every(0), false),
            (When::First(0), false),
            (When::Probability(0.0), false),
            (When::Probability(1.5), false),
            (When::Probability(f64::NAN), false),
            (When::Probability(1.0), true),
            (When::Nth(1), true),
        ] {
            assert_eq!(when.check().is_ok(), is_possible, "{when:?}");
        }
    }
}
