//! Wakes at a time, to within tens of microseconds. Tokio's own timers are only as fine as a millisecond, which would
//! add to everything that is measured from the time at which it was meant to happen.

use std::{io, time::Duration};

/// Shortest sleep: what is due earlier than that is done with what follows.
const TICK: Duration = Duration::from_micros(100);

/// A timer of one worker.
#[derive(Debug)]
pub(crate) struct Alarm(imp::Timer);

impl Alarm {
    /// # Errors
    ///
    /// When the system gives no timer, for want of descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        imp::Timer::new().map(Self)
    }

    /// Sleeps. Cancel safe.
    pub(crate) async fn sleep(&self, duration: Duration) {
        self.0.sleep(duration.max(TICK)).await;
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use std::{io, os::fd::OwnedFd, time::Duration};

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::{Interest, unix::AsyncFd};

    #[derive(Debug)]
    pub(super) struct Timer(AsyncFd<OwnedFd>);

    impl Timer {
        pub(super) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            #[expect(
                deprecated,
                reason = "what replaces it is unsafe, as it asks that the descriptor stays open: this one is owned"
            )]
            let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
            Ok(Self(timer))
        }

        pub(super) async fn sleep(&self, duration: Duration) {
            if self.set(duration).is_err() {
                // The system does not take a time that it should: coarser is better than never.
                return tokio::time::sleep(duration).await;
            }
            loop {
                let Ok(mut guard) = self.0.readable().await else {
                    return tokio::time::sleep(duration).await;
                };
                let mut expired = [0; 8];
                let read = guard.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut expired)?));
                if read.is_ok() {
                    return;
                }
            }
        }

        fn set(&self, duration: Duration) -> io::Result<()> {
            let zero = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let time = Itimerspec {
                it_interval: zero,
                it_value: Timespec::try_from(duration).map_err(io::Error::other)?,
            };
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &time)?;
            Ok(())
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::{io, time::Duration};

    #[derive(Debug)]
    pub(super) struct Timer;

    impl Timer {
        #[expect(clippy::unnecessary_wraps, reason = "the other one can fail")]
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        pub(super) async fn sleep(&self, duration: Duration) {
            tokio::time::sleep(duration).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[tokio::test]
    async fn it_never_wakes_too_early() {
        let alarm = Alarm::new().unwrap();

        for micros in [1, 300, 1500, 7000] {
            let clock = Clock::starting_in(Duration::ZERO);
            let duration = Duration::from_micros(micros);
            alarm.sleep(duration).await;
            assert!(clock.now() >= duration);
        }
    }
}
