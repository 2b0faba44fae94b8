//! `polytab` in a process of its own: how it is started, asked and ended.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command},
    time::Duration,
};

/// Ends with the test that began it.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// `polytab` in this folder, in an environment that says nothing.
pub(crate) fn polytab(folder: &(impl AsRef<Path> + ?Sized), arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polytab"));
    command
        .current_dir(folder)
        .env_clear()
        .env("COLUMNS", "100")
        .args(arguments);
    command
}

/// What is answered to a `GET` of an `http` URL, its head too.
pub(crate) fn get(url: &str) -> String {
    let address = url.strip_prefix("http://").unwrap();
    let (host, path) = address.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Says that a test cannot be made; a pipeline allows none.
pub(crate) fn skip(test: &str, reason: &str) {
    assert!(
        std::env::var_os("POLYTAB_TEST_NO_SKIP").is_none(),
        "may not be skipped: {reason}"
    );
    // Past the harness, which would show it only for a test that fails.
    let line = format!("SKIPPED {test}: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
