//! Faults on order: what they do, when, and to whose calls. Each kind of misbehaviour has a file.

pub mod action;
pub mod body;
pub mod delay;
pub mod limit;
pub(crate) mod orders;
pub mod status;
pub mod when;
