//! Polytab on the command line.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A load opens and closes thousands of tabs a second on threads of its own. There the system's allocator (glibc) gives
/// memory back and takes it again for nearly each of them.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    polytab::cli::main()
}
