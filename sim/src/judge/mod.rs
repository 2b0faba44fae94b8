//! Judges the event stream: patterns and standing rules.

pub mod pattern;
pub mod rule;
