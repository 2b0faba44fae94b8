//! The whole system: the command line as people call it, the suite, and servers that are not ours. One executable for
//! all tests: each of its own would be linked for itself, and wait for those before it.

#![expect(clippy::unwrap_used, reason = "what cannot be in a test may panic")]

mod command_line;
mod floods;
mod foreign;
mod impossible_values;
mod inconclusive;
mod instances;
mod load;
mod mock_service;
mod ports;
mod process;
mod scenario_errors;
mod secrets;
mod stubs;
mod suite;
mod surroundings;
mod url_target;
