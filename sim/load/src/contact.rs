//! Detects a target that takes no tab at all, so that the run ends early.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use crate::tally::Count;

/// Attempts must have failed for this long before a run ends.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Success and failure of the handshakes of all workers.
#[derive(Debug, Default)]
pub(crate) struct Contact {
    has_opened: AtomicBool,
    has_timed_out: AtomicBool,
    /// Sign-ins and handshakes under way.
    under_way: AtomicI64,
    /// Time of the first failure in microseconds since the beginning of the run, plus one; zero without a failure.
    first_failure: AtomicU64,
}

impl Contact {
    /// A sign-in or a handshake begins.
    pub(crate) fn attempt(&self) {
        self.under_way.fetch_add(1, Ordering::Relaxed);
    }

    /// A sign-in succeeded; its handshake follows.
    pub(crate) fn signed_in(&self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// A handshake succeeded.
    pub(crate) fn opened(&self) {
        self.has_opened.store(true, Ordering::Relaxed);
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// A sign-in or a handshake failed.
    pub(crate) fn failed(&self, outcome: Count, now: Duration) {
        if outcome == Count::TimedOutOpens {
            self.has_timed_out.store(true, Ordering::Relaxed);
        }
        let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX - 1) + 1;
        // Fails when there is one already.
        self.first_failure
            .compare_exchange(0, micros, Ordering::Relaxed, Ordering::Relaxed)
            .ok();
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns `true` if no tab has opened, attempts have failed for some seconds, and none is under way that might
    /// still succeed in time.
    pub(crate) fn is_hopeless(&self, now: Duration) -> bool {
        let first = self.first_failure.load(Ordering::Relaxed);
        let is_waiting =
            self.under_way.load(Ordering::Relaxed) > 0 && !self.has_timed_out.load(Ordering::Relaxed);
        !self.has_opened.load(Ordering::Relaxed)
            && first > 0
            && !is_waiting
            && now >= Duration::from_micros(first - 1) + PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn refusals_for_some_seconds_are_hopeless_until_a_tab_opens() {
        let contact = Contact::default();
        assert!(!contact.is_hopeless(seconds(100)), "nothing was tried");
        contact.attempt();
        contact.failed(Count::RefusedOpens, seconds(1));

        assert!(!contact.is_hopeless(seconds(5)));
        assert!(contact.is_hopeless(seconds(6)));

        contact.attempt();
        contact.opened();
        assert!(!contact.is_hopeless(seconds(60)));
    }

    #[test]
    fn a_handshake_under_way_is_waited_for_until_one_times_out() {
        let contact = Contact::default();
        for _ in 0..3 {
            contact.attempt();
        }
        contact.failed(Count::FailedSignIns, seconds(0));
        assert!(!contact.is_hopeless(seconds(10)));

        contact.failed(Count::TimedOutOpens, seconds(30));

        assert!(contact.is_hopeless(seconds(30)));
    }
}
