//! Polytab on the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    polytab::cli::main()
}
