//! Polytab finds the bugs that appear only when one person has many browser tabs open: it replays multi-tab scenarios
//! against a WebSocket notification server and judges what every tab, and every service behind the server, saw.

pub mod cli;
pub mod events;
pub mod judge;
pub mod load;
pub mod pattern;
mod report;
pub mod run;
pub mod scenario;
mod sink;
pub mod snapshot;
mod suggest;
mod tab;
pub mod target;
mod testbed;
