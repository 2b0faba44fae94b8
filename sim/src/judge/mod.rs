//! The judge: sees the event stream and nothing else, and says whether what happened is what had to happen.

pub mod calls;
mod clause;
pub mod expect;
#[cfg(test)]
mod expect_tests;
pub mod record;
pub mod rule;
pub mod standing;
pub mod wait;
mod words;
