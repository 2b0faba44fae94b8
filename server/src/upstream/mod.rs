//! The services behind the server, as it sees them.

pub(crate) mod backend;
pub(crate) mod gitlab;
