//! The server's own process: how it starts, and how it stops.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    os::unix::ffi::OsStrExt,
    process::{Child, ChildStderr, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use tokio::io::AsyncWriteExt;

use crate::{
    services::{config, services},
    support::{answer, peer},
};

const SERVER: &str = env!("CARGO_BIN_EXE_polytab-server");

/// A process that ends with the test.
pub(crate) struct Process {
    child: Child,
    log: ChildStderr,
    pub(crate) port: u16,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Process {
    /// Starts the server with these settings, up to the line that says where it listens.
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::started_by(Command::new(SERVER), settings)
    }

    /// The same by a command that ends in the server's binary.
    fn started_by(mut command: Command, settings: &[&str]) -> Self {
        for setting in ["listen=127.0.0.1:0"].iter().chain(settings) {
            command.args(["--set", setting]);
        }
        let started = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = started.expect("the server's binary starts");
        let out = child.stdout.take().expect("its output is a pipe");
        let log = child.stderr.take().expect("its log is a pipe");
        let mut line = String::new();
        let read = BufReader::new(out).read_line(&mut line);
        read.expect("it says where it listens");
        let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok());
        let port = port.expect("the line ends in a port");
        Self { child, log, port }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits for its end; gives its exit code, which a process that was killed has not, and its log.
    fn ended(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.log.read_to_string(&mut log).expect("a log is text");
        let status = self.child.wait().expect("it is a child of this process");
        (status.code(), log)
    }
}

#[test]
fn who_reads_that_it_listens_may_ask_it_to_drain() {
    for signal in [Signal::TERM, Signal::INT].repeat(10) {
        let server = Process::start(&["drain_time=0s"]);

        server.signal(signal);

        let (code, log) = server.ended();
        assert_eq!(code, Some(0), "{signal:?}: {log}");
        assert!(log.contains("draining"), "{log}");
    }
}

#[test]
fn who_reads_that_it_listens_may_ask_it_to_read_its_certificate_again() {
    for _ in 0..10 {
        let server = Process::start(&["drain_time=0s"]);

        server.signal(Signal::HUP);
        server.signal(Signal::TERM);

        let (code, log) = server.ended();
        assert_eq!(code, Some(0), "{log}");
    }
}

#[test]
fn a_variable_that_is_no_text_disturbs_nothing() {
    let mut command = Command::new(SERVER);
    command.env("ELSEWHERE", OsStr::from_bytes(b"\xff"));

    let server = Process::started_by(command, &["drain_time=0s"]);
    server.signal(Signal::TERM);

    assert_eq!(server.ended().0, Some(0));
}

#[test]
fn a_bad_setting_ends_the_start_with_one_line() {
    let output = Command::new(SERVER)
        .env("POLYTAB_SERVER_PORT", "tcp://10.96.0.1:7080")
        .env("POLYTAB_SERVER_PATH", "/ws/:id")
        .output()
        .expect("the server's binary starts");

    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(
        told.contains("`POLYTAB_SERVER_PATH` in the environment"),
        "{told}"
    );
}

#[tokio::test]
async fn it_takes_all_descriptors_that_the_system_allows() {
    // As few as a soft limit may leave; the hard one stays.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -S -n 64 && exec \"$0\" \"$@\"", SERVER]);
    let server = Process::started_by(command, &["header_timeout=1m"]);
    let mut peers = Vec::new();

    for _ in 0..100 {
        let mut peer = peer(
            ([127, 0, 0, 1], server.port).into(),
            "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        .await;

        assert!(answer(&mut peer).await.starts_with("HTTP/1.1 200 "));
        peers.push(peer);
    }
}

#[tokio::test]
async fn clients_leave_descriptors_for_upstream_calls() {
    let services = services().await;
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\"", SERVER]);
    let issuer = format!("oidc_issuer={}", config(&services).oidc_issuer);
    let server = Process::started_by(command, &["header_timeout=1m", &issuer]);
    let address = ([127, 0, 0, 1], server.port).into();
    let mut first = peer(address, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer(&mut first).await.starts_with("HTTP/1.1 200 "));
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(peer(address, "").await);
    }

    // To be ready it needs the identity provider.
    first
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("the server reads");

    let ready = answer(&mut first).await;
    assert!(ready.contains("HTTP/1.1 200 "), "{ready}");
}

#[test]
fn a_start_that_cannot_listen_says_so_and_exits_with_6() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let setting = format!("listen={}", taken.local_addr().expect("it listens"));
    for descriptors in [4, 5, 6, 7, 8, 9, 10, 12, 16, 64] {
        let limited = format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"");

        let output = Command::new("sh")
            .args(["-c", &limited, SERVER, "--set", &setting])
            .output()
            .expect("the shell starts");

        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(6), "{descriptors} descriptors: {log}");
        assert!(!log.contains("panicked"), "{descriptors} descriptors: {log}");
    }
}
