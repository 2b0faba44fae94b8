//! Verdicts need evidence, and every intended action ends in exactly one outcome, whatever the target does.

#![expect(clippy::unwrap_used, reason = "what goes wrong beside the test ends it")]

mod accounts;
mod servers;
mod verdicts;
