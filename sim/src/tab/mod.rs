//! Simulated browsers: sign-in with a cookie jar, and tabs that behave as a page's tabs do.

pub(crate) mod browser;
pub(crate) mod connection;
pub(crate) mod flood;
pub(crate) mod gate;
pub(crate) mod habits;
pub(crate) mod page;
pub(crate) mod payload;
