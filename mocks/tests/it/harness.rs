//! Runs a script of somebody else's language against the mocks as a process of their own.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

/// A script, and what must be there for it to run.
pub(crate) struct Script {
    /// The test's name, for when it is skipped.
    pub(crate) test: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) args: &'static [&'static str],
    /// Paths, from the scripts' folder.
    pub(crate) needs: &'static [&'static str],
    /// Whether the mocks speak https; the script believes their authority.
    pub(crate) https: bool,
}

/// A script for Node.
pub(crate) fn node(test: &'static str) -> Script {
    Script {
        test,
        program: "node".into(),
        args: &[],
        needs: &["node_modules"],
        https: false,
    }
}

/// A script for Python, in the folder's own environment.
pub(crate) fn python(test: &'static str) -> Script {
    Script {
        test,
        program: folder().join(".venv/bin/python"),
        args: &[],
        needs: &[".venv"],
        https: false,
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Script {
    fn missing(&self) -> Option<String> {
        let mut version = Command::new(&self.program);
        let is_there = version
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success());
        if !is_there {
            return Some(format!("{} does not run", self.program.display()));
        }
        let absent = self.needs.iter().find(|need| !folder().join(need).exists())?;
        Some(format!("{absent} is not there; .ci/run installs it"))
    }
}

/// Runs the script; what it prints is shown when it fails.
pub(crate) fn run(script: &Script) {
    if let Some(reason) = script.missing() {
        assert!(
            std::env::var_os("POLYTAB_TEST_NO_SKIP").is_none(),
            "may not be skipped: {reason}"
        );
        // Past the harness, which would show it only for a test that fails.
        let line = format!("SKIPPED {}: {reason}\n", script.test);
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return;
    }
    let (_mocks, ready) = mocks(script);

    let mut command = Command::new(&script.program);
    if let Some(ca) = ready["ca_file"].as_str() {
        // As Node, and as Python's `requests` are told.
        command
            .env("NODE_EXTRA_CA_CERTS", ca)
            .env("REQUESTS_CA_BUNDLE", ca);
    }
    let output = command
        .args(script.args)
        .current_dir(folder())
        .env("ISSUER", ready["issuer"].as_str().unwrap())
        .env("BACKEND", ready["backend"].as_str().unwrap())
        .env("GITLAB", ready["gitlab"].as_str().unwrap())
        .env("CONTROL", ready["control"].as_str().unwrap())
        .output()
        .unwrap();

    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    assert!(text(&output.stdout).starts_with("ok "), "the script did nothing");
}

/// Mocks on free ports, and the line by which they say so.
fn mocks(script: &Script) -> (Process, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polytab-mocks"));
    if script.https {
        let file = format!("{}.pem", script.test);
        command
            .arg("--tls-ca-out")
            .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join(file));
    }
    let child = command
        .args(["--json", "--keycloak-port", "0", "--backend-port", "0"])
        .args(["--gitlab-port", "0", "--control-port", "0", "--gateway-port", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut process = Process(child);
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    (process, serde_json::from_str(&line).unwrap())
}
