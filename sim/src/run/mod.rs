//! Running scenarios: the steps of one, and suites of many.

pub mod error;
pub(crate) mod evidence;
#[cfg(test)]
mod journal_tests;
mod panics;
pub mod scenario;
pub(crate) mod services;
pub(crate) mod stage;
pub(crate) mod step;
pub mod suite;
pub(crate) mod tabs;
