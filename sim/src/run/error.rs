//! Why a run could not go on: never the target's behaviour, always its surroundings.

use std::{io, path::PathBuf, time::Duration};

use thiserror::Error;

use crate::{events::Trouble, target::MOCK_PORTS};

/// The mocks' usual ports are taken by mocks that run already, more often than by anything else.
fn mend(port: u16) -> &'static str {
    if MOCK_PORTS.contains(&port) {
        "; `--mock-ports` takes others (`polytab serve` and `polytab mock` hold the usual ones)"
    } else {
        ""
    }
}

/// Why a run could not go on.
#[derive(Debug, Error)]
pub enum RunError {
    /// A port that must be ours is not free.
    #[error("port {port} of 127.0.0.1 is taken{}", mend(*port))]
    Port {
        /// The port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing listens at the target's address.
    #[error("cannot reach the target at `{url}`, tried for {} s", waited.as_secs())]
    Unreachable {
        /// The target's URL.
        url: String,
        /// How long it was tried.
        waited: Duration,
        /// What the system said.
        source: io::Error,
    },
    /// There is no runtime for the mocks.
    #[error("cannot start what runs the mocks")]
    Runtime(#[source] io::Error),
    /// The scenario's `server` settings are not such.
    #[error("the scenario's `server` settings: {0}")]
    Settings(String),
    /// A step asks for what the mocks do not know.
    #[error("line {line}: {problem}")]
    Step {
        /// The step's line.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// A person who is needed could not sign in.
    #[error("`{user}` cannot sign in: {problem}")]
    SignIn {
        /// Who.
        user: String,
        /// Why.
        problem: String,
    },
    /// A snapshot cannot be read or written.
    #[error("the snapshot `{path}` cannot be read or written")]
    Snapshot {
        /// Where it stands.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// More happened than is kept.
    #[error("the run was ended: {0} events more than are kept")]
    TooMuch(u64),
    /// A task of the testbed panicked.
    #[error("a task panicked: {0}")]
    Panicked(String),
}

impl RunError {
    /// Where the mend is to be looked for.
    pub const fn trouble(&self) -> Trouble {
        match self {
            Self::Settings(_) | Self::Step { .. } => Trouble::File,
            Self::Runtime(_)
            | Self::Port { .. }
            | Self::Unreachable { .. }
            | Self::SignIn { .. }
            | Self::Snapshot { .. }
            | Self::TooMuch(_) => Trouble::Surroundings,
            Self::Panicked(_) => Trouble::Tool,
        }
    }
}
