//! How often a tab may send commands: a burst, then so many each second.

use tokio::time::{Duration, Instant};

/// A bucket that fills with time.
#[derive(Debug)]
pub(crate) struct Rate {
    burst: u32,
    per_second: u32,
    left: u32,
    filled: Option<Instant>,
}

impl Rate {
    /// A full bucket.
    pub(crate) fn new(burst: u32, per_second: u32) -> Self {
        Self {
            burst,
            per_second,
            left: burst,
            filled: None,
        }
    }

    /// Takes one; says whether there was one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let since = *self.filled.get_or_insert(now);
        let elapsed_ms = now.saturating_duration_since(since).as_millis();
        let fresh = u32::try_from(elapsed_ms * u128::from(self.per_second) / 1000).unwrap_or(u32::MAX);
        if fresh > 0 {
            self.left = self.left.saturating_add(fresh).min(self.burst);
            // Only whole commands are counted: the rest of the time goes on counting.
            self.filled = Some(
                since + Duration::from_millis(u64::from(fresh) * 1000 / u64::from(self.per_second.max(1))),
            );
        }
        let taken = self.left > 0;
        self.left = self.left.saturating_sub(1);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_at_once_and_comes_back_with_time() {
        let mut rate = Rate::new(3, 2);
        let start = Instant::now();

        assert_eq!(
            [0, 0, 0, 0].map(|ms| rate.take(start + Duration::from_millis(ms))),
            [true, true, true, false]
        );
        assert!(!rate.take(start + Duration::from_millis(499)));
        assert!(rate.take(start + Duration::from_millis(500)));
        assert!(!rate.take(start + Duration::from_millis(501)));
        let later = start + Duration::from_mins(1);
        assert_eq!([0; 4].map(|_: u8| rate.take(later)), [true, true, true, false]);
    }
}
