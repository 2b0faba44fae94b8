//! A Redis server of the tests' own.

use std::{
    io::Write,
    net::TcpListener,
    process::{Child, Command, Stdio},
};

/// A Redis process that ends with the test.
pub(crate) struct RedisServer {
    process: Child,
    pub(crate) port: u16,
}

/// A port that is free at the moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("the loopback has a free port")
        .port()
}

impl RedisServer {
    /// Starts a server on a free port; `None` where none is installed.
    pub(crate) fn start() -> Option<Self> {
        Self::start_at(free_port())
    }

    /// Starts a server on this port.
    pub(crate) fn start_at(port: u16) -> Option<Self> {
        let started = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn();
        match started {
            Ok(process) => Some(Self { process, port }),
            Err(error) => {
                assert!(
                    std::env::var_os("POLYTAB_TEST_NO_SKIP").is_none(),
                    "redis-server cannot be started: {error}"
                );
                // Past the harness, which would show it only for a test that fails.
                let line = format!("SKIPPED a test with Redis: redis-server cannot be started: {error}\n");
                std::io::stderr().write_all(line.as_bytes()).ok();
                None
            }
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
