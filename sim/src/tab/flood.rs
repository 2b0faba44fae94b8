//! Bounds of what a tab takes from a server.
//!
//! A server that never stops sending must not end the run or fill memory. Each tab, and all tabs of a run together, have
//! an allowance that refills with scenario time: large bursts pass, an endless stream does not. A tab that goes beyond
//! it closes its connection, and the scenario's verdict is *flooded*.

use std::fmt;

/// Largest burst and lasting rate of one kind of input.
#[derive(Clone, Copy, Debug)]
struct Bound {
    burst: u64,
    per_second: u64,
}

/// Messages of one tab: a page that shows a hundred a second cannot be read.
const MESSAGES: Bound = Bound {
    burst: 10_000,
    per_second: 100,
};
/// Weight of one tab's messages, see [`weight`].
const TAB_WEIGHT: Bound = Bound {
    burst: 16 << 20,
    per_second: 1 << 20,
};
/// Weight of all messages of a run.
const RUN_WEIGHT: Bound = Bound {
    burst: 20 << 20,
    per_second: 8 << 20,
};
/// Pings of one tab: servers send one in 20 s or so.
const PINGS: Bound = Bound {
    burst: 1_000,
    per_second: 10,
};

/// Memory of a kept message, besides its content, in bytes: it stands in the event log and in the judge's record.
const MESSAGE_BYTES: usize = 1024;
/// Memory of a JSON value that one structural character of its text stands for, in bytes.
const VALUE_BYTES: usize = 48;

/// Memory that a message takes when it is kept, in bytes: of the values in its text, not of the text alone.
pub(crate) fn weight(text: &[u8]) -> u64 {
    let is_structural = |byte: &&u8| matches!(byte, b'{' | b'[' | b',' | b':');
    let values = text.iter().filter(is_structural).count();
    (MESSAGE_BYTES + text.len() + values * VALUE_BYTES) as u64
}

/// What is left of an allowance.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    bound: Bound,
    left: u64,
    at_ms: u64,
}

impl Allowance {
    const fn new(bound: Bound) -> Self {
        Self {
            bound,
            left: bound.burst,
            at_ms: 0,
        }
    }

    /// Takes an amount at a scenario time; returns `false` if there is too little left.
    fn take(&mut self, amount: u64, now_ms: u64) -> bool {
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        let refill = self.bound.per_second.saturating_mul(passed_ms) / 1000;
        if refill > 0 {
            self.left = self.left.saturating_add(refill).min(self.bound.burst);
            self.at_ms = now_ms;
        }
        match self.left.checked_sub(amount) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// The allowance of all tabs of a run.
#[derive(Debug)]
pub(crate) struct RunAllowance(Allowance);

impl Default for RunAllowance {
    fn default() -> Self {
        Self(Allowance::new(RUN_WEIGHT))
    }
}

impl RunAllowance {
    /// Takes the weight of a message; returns `false` if there is too little left.
    pub(crate) fn take(&mut self, weight: u64, now_ms: u64) -> bool {
        self.0.take(weight, now_ms)
    }
}

/// The input of one tab so far, and its allowances.
#[derive(Debug)]
pub(crate) struct TabIntake {
    messages: Allowance,
    weight: Allowance,
    pings: Allowance,
    total: IntakeTotal,
}

/// The input of one tab.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IntakeTotal {
    messages: u64,
    bytes: u64,
    pings: u64,
}

impl fmt::Display for IntakeTotal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            messages,
            bytes,
            pings,
        } = self;
        write!(f, "{messages} messages of {bytes} bytes and {pings} pings")
    }
}

impl Default for TabIntake {
    fn default() -> Self {
        Self {
            messages: Allowance::new(MESSAGES),
            weight: Allowance::new(TAB_WEIGHT),
            pings: Allowance::new(PINGS),
            total: IntakeTotal::default(),
        }
    }
}

impl TabIntake {
    /// Takes a message in; returns `false` if it is one too many, or too heavy.
    pub(crate) fn message(&mut self, bytes: usize, weight: u64, now_ms: u64) -> bool {
        self.total.messages += 1;
        self.total.bytes += bytes as u64;
        self.messages.take(1, now_ms) && self.weight.take(weight, now_ms)
    }

    /// Takes a ping in; returns `false` if it is one too many.
    pub(crate) fn ping(&mut self, now_ms: u64) -> bool {
        self.total.pings += 1;
        self.pings.take(1, now_ms)
    }

    /// Everything that came, with what was one too many.
    pub(crate) const fn total(&self) -> IntakeTotal {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_an_endless_stream_does_not() {
        let mut intake = TabIntake::default();

        let burst = (0..MESSAGES.burst).all(|_| intake.message(10, 10, 0));
        let one_more = intake.message(10, 10, 0);
        let later = (0..MESSAGES.per_second).all(|_| intake.message(10, 10, 1000));
        let too_many = intake.message(10, 10, 1000);

        assert!(burst && !one_more && later && !too_many);
        assert!(intake.total().to_string().starts_with("10102 messages of "));
    }

    #[test]
    fn a_slow_stream_never_runs_out() {
        let mut intake = TabIntake::default();

        assert!(
            (0..2_000_000).all(|second| intake.message(100, 300, second * 10) && intake.ping(second * 1000))
        );
    }

    #[test]
    fn small_values_weigh_more_than_their_text() {
        let numbers = format!("[{}0]", "0,".repeat(500_000));
        let text = format!("\"{}\"", "x".repeat(numbers.len()));

        assert!(weight(numbers.as_bytes()) > TAB_WEIGHT.burst);
        assert!(weight(text.as_bytes()) < TAB_WEIGHT.burst / 10);
    }
}
