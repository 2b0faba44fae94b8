//! Load: profiles are read here, users signed in and changes made; tabs are driven by `polytab_load`.

pub(crate) mod behaviour;
pub(crate) mod credentials;
pub(crate) mod local;
pub(crate) mod plan;
pub mod profile;
mod rate;
pub(crate) mod site;
