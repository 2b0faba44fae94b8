//! The services behind the server, as it sees them.

pub(crate) mod backend;
pub(crate) mod gitlab;

#[cfg(test)]
mod adapter_tests;
