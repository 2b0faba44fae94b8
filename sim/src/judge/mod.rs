//! The judge: sees the event stream and nothing else, and says whether what happened is what had to happen.

pub mod calls;
mod clause;
pub mod expect;
pub mod record;
pub mod rule;
pub mod standing;
pub mod wait;
mod words;
