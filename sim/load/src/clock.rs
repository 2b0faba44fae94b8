//! The run's own time: nanoseconds since its start, read from the system's monotonic clock.

use std::time::Duration;

/// Where a run's time begins. All times of a run are [`Duration`]s since then.
#[derive(Clone, Copy, Debug)]
pub struct Clock(std::time::Instant);

impl Clock {
    /// A run that begins `delay` from now.
    #[expect(
        clippy::disallowed_methods,
        reason = "load is measured on the system's clock; reading Tokio's takes a lock when its test features are on"
    )]
    pub fn starting_in(delay: Duration) -> Self {
        Self(std::time::Instant::now() + delay)
    }

    /// Now; zero before the start.
    pub fn now(self) -> Duration {
        self.0.elapsed()
    }

    /// From now to a time of the run; zero when that is past.
    pub fn until(self, time: Duration) -> Duration {
        (self.0 + time).saturating_duration_since(Self::starting_in(Duration::ZERO).0)
    }
}
