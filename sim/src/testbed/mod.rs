//! The testbed: the world for one run of one scenario. Network, clock, mocks, the server under test, and the recorder
//! that sees all of them.

pub(crate) mod bed;
#[cfg(test)]
mod cut_tests;
pub(crate) mod ground;
pub(crate) mod link;
pub(crate) mod mocks;
pub(crate) mod network;
pub(crate) mod recorder;
pub(crate) mod server;
pub(crate) mod site;
