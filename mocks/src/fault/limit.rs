//! A limit on how often a route may be called, which answers 429 beyond it.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{error::ControlError, time::Time};

/// So many calls of one user at once, and one more each time this has passed; 429 with `Retry-After` meets the others.
///
/// ```json
/// { "burst": 5, "per": "1s" }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit<T = Time> {
    /// Calls at once.
    #[schemars(range(min = 1))]
    pub burst: u32,
    /// Time for one more.
    pub per: T,
}

impl<T> RateLimit<T> {
    /// # Errors
    ///
    /// When it would let nothing through, ever.
    pub fn check(&self) -> Result<(), ControlError> {
        if self.burst > 0 {
            return Ok(());
        }
        Err(ControlError::BadValue {
            what: "the `burst` of a rate limit, which counts from 1,",
            value: self.burst.to_string(),
            nearest: None,
        })
    }
}

/// What each user's calls have used up.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// When all of a user's calls so far will have been paid for.
    paid: BTreeMap<Option<String>, Timestamp>,
}

impl Usage {
    /// Counts a call; gives how long to wait when it is one too many, which then does not count.
    pub(super) fn over(
        &mut self,
        limit: RateLimit,
        user: Option<String>,
        now: Timestamp,
    ) -> Option<Duration> {
        let later = |time: Timestamp, by: Duration| {
            let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
            time.checked_add(by).unwrap_or(Timestamp::MAX)
        };
        let Time(per) = limit.per;
        let room = per.saturating_mul(limit.burst.saturating_sub(1));
        let paid = self.paid.entry(user).or_insert(now);
        let from = now.max(*paid);
        let over = from.duration_since(later(now, room));
        if over.is_positive() {
            return Some(over.unsigned_abs());
        }
        *paid = later(from, per);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_through_and_then_one_call_each_time() {
        let limit = RateLimit {
            burst: 2,
            per: Time(Duration::from_secs(10)),
        };
        let mut usage = Usage::default();
        let mut at = |user: &str, second| {
            let now = Timestamp::from_second(second).unwrap();
            usage
                .over(limit, Some(user.into()), now)
                .map(|wait| wait.as_secs())
        };

        assert_eq!([at("ada", 0), at("ada", 0), at("ada", 0)], [None, None, Some(10)]);
        assert_eq!(at("bob", 0), None);
        assert_eq!(
            [at("ada", 9), at("ada", 10), at("ada", 10)],
            [Some(1), None, Some(10)]
        );
        assert_eq!(
            [at("ada", 100), at("ada", 100), at("ada", 100)],
            [None, None, Some(10)]
        );
    }
}
