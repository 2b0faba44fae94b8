//! What people and machines read of a result: one page, a table for spreadsheets, test cases, metrics.

mod csv;
mod html;
mod junit;
mod plot;
mod prometheus;
mod times;

pub use self::{
    csv::csv,
    html::html,
    junit::junit,
    prometheus::{prometheus, prometheus_now},
};
