//! Scenario files: from bytes on disk to checked values that a run can follow, or to problems with a place, a plain
//! sentence and a mend. Knows nothing of running.

mod check;
pub mod claim;
mod de;
mod decode;
pub mod document;
pub mod explain;
pub(crate) mod files;
mod include;
pub mod load;
pub mod located;
mod matrix;
pub mod model;
mod names;
mod node;
pub mod order;
pub mod people;
pub mod problem;
mod scalar;
pub mod schema;
pub mod source;
pub mod step;
pub mod stubs;
pub mod text;
pub mod window;
mod yaml;
