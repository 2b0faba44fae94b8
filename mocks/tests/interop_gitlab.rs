//! Clients that are not ours (`interop/gitlab`) against the GitLab mock, over TCP.

#![expect(clippy::unwrap_used, reason = "what cannot be in a test may panic")]

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/gitlab")
}

/// A process that is ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Mocks on free ports, and where they are.
fn mocks() -> (Process, Value) {
    let ports = ["keycloak", "backend", "gitlab", "control"].map(|name| format!("--{name}-port=0"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_polytab-mocks"))
        .arg("--json")
        .args(ports)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let ready = BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line);
    let process = Process(child);
    ready.unwrap();
    (process, serde_json::from_str(&line).unwrap())
}

/// Runs a script, which prints what held and fails at what does not. Without its interpreter and packages it is
/// skipped, and says so, unless that is forbidden.
fn check(interpreter: &Path, packages: &[&str], script: &str) {
    let folder = folder();
    let program = if interpreter.components().count() > 1 {
        folder.join(interpreter)
    } else {
        interpreter.to_owned()
    };
    let runs = Command::new(&program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let missing = if runs.is_ok_and(|status| status.success()) {
        packages
            .iter()
            .find(|package| !folder.join(package).exists())
            .copied()
    } else {
        interpreter.to_str()
    };
    if let Some(missing) = missing {
        assert!(
            std::env::var_os("POLYTAB_TEST_NO_SKIP").is_none(),
            "may not be skipped: `{missing}` is missing"
        );
        // Not `eprintln!`, which the test harness would keep to itself.
        let mut terminal = std::io::stderr();
        writeln!(
            terminal,
            "SKIPPED {script}: `{missing}` is missing, see interop/gitlab/README.md"
        )
        .unwrap();
        return;
    }
    let (_mocks, ready) = mocks();
    let at = |name: &str| ready[name].as_str().unwrap().to_owned();

    let output = Command::new(&program)
        .arg(script)
        .current_dir(&folder)
        .env("GITLAB_URL", at("gitlab"))
        .env("CONTROL_URL", at("control"))
        .env("ISSUER_URL", at("issuer"))
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .unwrap();

    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
    assert!(said.lines().any(|line| line.starts_with("ok ")), "{said}");
}

#[test]
fn python_gitlab_finds_the_gitlab_it_knows() {
    check(Path::new(".venv/bin/python"), &[], "python_gitlab.py");
}

#[test]
fn requests_sse_reads_resumes_and_is_refused() {
    check(Path::new(".venv/bin/python"), &[], "sse.py");
}

#[test]
fn the_event_source_of_npm_does_as_in_a_browser() {
    check(
        Path::new("node"),
        &["node_modules/eventsource"],
        "eventsource.mjs",
    );
}
