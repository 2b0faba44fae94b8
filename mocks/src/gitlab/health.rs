//! Whether a hook is called: it pauses when it fails, and is given up when it goes on failing (MOCKS G2).

use jiff::{SignedDuration, Timestamp};

/// Failures in a row at which a hook pauses.
const FAILURES_UNTIL_PAUSE: u32 = 4;
/// Failures in a row at which a hook is given up for good.
const FAILURES_UNTIL_OFF: u32 = 40;
/// The first pause; each further one is twice as long.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_mins(1);
/// The longest pause.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(24);

/// How a hook fared lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// Failures in a row.
    failures: u32,
    /// Until when it is not called.
    pub(super) paused_until: Option<Timestamp>,
}

impl Health {
    /// Whether the hook is called now.
    pub(super) fn is_called(self, now: Timestamp) -> bool {
        self.failures < FAILURES_UNTIL_OFF && self.paused_until.is_none_or(|until| now >= until)
    }

    /// As GitLab words it.
    pub(super) fn status(self, now: Timestamp) -> &'static str {
        if self.failures >= FAILURES_UNTIL_OFF {
            "disabled"
        } else if self.is_called(now) {
            "executable"
        } else {
            "temporarily_disabled"
        }
    }

    /// Takes in how a call went.
    pub(super) fn learn(&mut self, is_good: bool, now: Timestamp) {
        if is_good {
            *self = Self::default();
            return;
        }
        self.failures += 1;
        if let Some(doublings) = self.failures.checked_sub(FAILURES_UNTIL_PAUSE) {
            let pause = FIRST_PAUSE.saturating_mul(2_i32.saturating_pow(doublings));
            self.paused_until = Some(now + pause.min(LONGEST_PAUSE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_day_and_then_for_ever() {
        let (mut health, mut now) = (Health::default(), Timestamp::UNIX_EPOCH);
        let mut pauses = Vec::new();

        while health.status(now) != "disabled" {
            health.learn(false, now);
            let until = health.paused_until.unwrap_or(now);
            pauses.push(until.duration_since(now).as_secs() / 60);
            now = until;
        }

        assert_eq!(pauses[..6], [0, 0, 0, 1, 2, 4]);
        assert_eq!((pauses[13], pauses[14], pauses.len()), (1024, 1440, 40));
        assert!(!health.is_called(now));
    }

    #[test]
    fn one_good_call_makes_up_for_all_bad_ones() {
        let (mut health, now) = (Health::default(), Timestamp::UNIX_EPOCH);
        for _ in 0..4 {
            health.learn(false, now);
        }
        assert_eq!(health.status(now), "temporarily_disabled");

        health.learn(true, now);

        assert_eq!(health, Health::default());
    }
}
