//! Replays multi-tab scenarios against a WebSocket notification server and judges what every tab saw.

pub mod judge;
pub mod scenario;
