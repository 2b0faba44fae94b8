//! The load driver: users with several tabs each, on a schedule, against any WebSocket notification server; what each
//! tab was to hear of and did not, and how late everything was.
//!
//! It knows no scenario files and no command line; `polytab` reads profiles, signs users in and makes changes for it.

mod alarm;
pub mod clock;
pub mod compare;
mod contact;
mod dial;
mod draw;
pub mod health;
mod hearing;
pub mod histogram;
pub mod intent;
pub mod lateness;
pub mod ledger;
pub mod merge;
pub mod plan;
pub mod read;
pub mod report;
pub mod result;
pub mod run;
mod schedule;
mod sight;
mod tab;
pub mod tally;
pub mod threshold;
pub mod verdict;
mod worker;
