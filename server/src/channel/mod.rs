//! A channel: all the server holds for one user. `state` decides, `actor` waits.

pub(crate) mod activation;
pub(crate) mod actor;
mod calls;
pub(crate) mod event;
pub(crate) mod history;
pub(crate) mod log;
pub(crate) mod state;
#[cfg(test)]
mod state_tests;
mod streams;
pub(crate) mod topics;
#[cfg(test)]
mod topics_tests;
mod turns;

#[cfg(test)]
mod model_tests;
