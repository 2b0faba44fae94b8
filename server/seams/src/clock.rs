//! Wall-clock time. Everything that only waits uses `tokio::time`, which obeys a paused clock by itself.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Where wall-clock time comes from.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Derived {
        start: Instant,
        epoch: Timestamp,
        speed: u32,
    },
}

impl Clock {
    /// The operating system's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that shows `epoch` now and goes `speed` times as fast as `tokio::time`.
    ///
    /// Virtual runs use it with speed 1; real runs with scaled intervals use it so that times which only come in
    /// whole seconds (a token's `exp`) scale too.
    pub fn derived(epoch: Timestamp, speed: u32) -> Self {
        Self(Source::Derived {
            start: Instant::now(),
            epoch,
            speed,
        })
    }

    /// What a clock on the wall shows.
    ///
    /// # Panics
    ///
    /// Never in practice: a derived clock would have to run for thousands of years.
    pub fn wall(&self) -> Timestamp {
        match &self.0 {
            #[expect(
                clippy::disallowed_methods,
                reason = "this is the seam behind which the system clock stays"
            )]
            Source::System => Timestamp::now(),
            Source::Derived { start, epoch, speed } => {
                let elapsed: Duration = start.elapsed() * *speed;
                let elapsed = SignedDuration::try_from(elapsed).expect("a run is shorter than 292 years");
                *epoch + elapsed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_derived_clock_follows_the_paused_one() {
        let clock = Clock::derived(Timestamp::UNIX_EPOCH, 10);

        tokio::time::advance(Duration::from_millis(1500)).await;

        assert_eq!(clock.wall().as_millisecond(), 15_000);
    }
}
