//! What crosses a wire between tabs, the server and the services behind it: messages, topics, close codes,
//! identifiers and upstream bodies.
//!
//! Types and parsing only: nothing here does I/O, waits, or knows a clock.

pub mod close;
pub mod event_stream;
pub mod id;
pub mod message;
pub mod sessions;
pub mod topic;
mod unique;
