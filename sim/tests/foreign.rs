//! A server that is not ours (`foreign/`, a Node server as Renku's was): it must fail in exactly the scenarios that
//! are about its known defects, and pass the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign")
}

/// Why the test cannot run here, if it cannot.
fn missing() -> Option<&'static str> {
    let node = Command::new("node")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    match (node, folder().join("node_modules/ws").is_dir()) {
        (false, _) => Some("node is not installed"),
        (true, false) => Some("`npm ci` has not been run in sim/tests/foreign"),
        (true, true) => None,
    }
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

fn node_server() -> Process {
    let child = Command::new("node")
        .args(["--require", "./speed.cjs", "server.mjs"])
        .current_dir(folder())
        .envs([
            ("PORT", "7080"),
            ("POLYTAB_SPEED", "10"),
            ("GATEWAY_URL", "http://127.0.0.1:7082/api"),
            ("KEYCLOAK_ISSUER", "http://127.0.0.1:7081/auth/realms/Renku"),
            ("KEYCLOAK_CLIENT_SECRET", "client-secret-for-tests-only"),
            ("RENKU_UI_SHORT_SHA", "0000000"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Process(child)
}

/// Verdicts by scenario id.
fn verdicts() -> BTreeMap<String, String> {
    let _server = node_server();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env!("CARGO_BIN_EXE_polytab"))
        .args(["run", "--target", "node", "--message-format", "json", "--config"])
        .arg(folder().join("target.toml"))
        .arg(root.join("scenarios"))
        .env("CI", "true")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let reports = lines.filter_map(|line| {
        let report = line.get("report")?;
        Some((
            report["id"].as_str()?.to_owned(),
            report["verdict"].as_str()?.to_owned(),
        ))
    });
    let verdicts: BTreeMap<_, _> = reports.collect();
    assert!(
        !verdicts.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    verdicts
}

fn expected() -> BTreeSet<String> {
    let text = std::fs::read_to_string(folder().join("expected-failures.txt")).unwrap();
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or("").trim());
    lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn the_foreign_server_fails_exactly_where_its_defects_are() {
    if let Some(reason) = missing() {
        assert!(
            std::env::var_os("POLYTAB_TEST_NO_SKIP").is_none(),
            "may not be skipped: {reason}"
        );
        eprintln!("SKIPPED the_foreign_server_fails_exactly_where_its_defects_are: {reason}");
        return;
    }

    let verdicts = verdicts();

    let with = |wanted: &str| -> BTreeSet<_> {
        verdicts
            .iter()
            .filter(|(_, verdict)| *verdict == wanted)
            .map(|(id, _)| id.clone())
            .collect()
    };
    assert_eq!(with("broken"), BTreeSet::new());
    assert_eq!(with("failed"), expected());
    assert!(with("passed").len() >= 5, "{verdicts:?}");
}
