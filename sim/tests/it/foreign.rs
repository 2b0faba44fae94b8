//! A server that is not ours (`foreign/`, a Node server as Renku's was): it must fail in exactly the scenarios that
//! are about its known defects, and pass the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use serde_json::Value;

use crate::{
    ports::free,
    process::{Process, skip},
};

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

/// How many servers, each with mocks of its own, share the suite: its scenarios wait most of their time.
const SHARES: u16 = 12;

fn node_server([port, keycloak, backend, _, _]: [u16; 5]) -> Process {
    let child = Command::new("node")
        .args(["--require", "./speed.cjs", "server.mjs"])
        .current_dir(folder())
        .env("PORT", port.to_string())
        .env("POLYTAB_SPEED", "10")
        .env("GATEWAY_URL", format!("http://127.0.0.1:{backend}/api"))
        .env(
            "KEYCLOAK_ISSUER",
            format!("http://127.0.0.1:{keycloak}/auth/realms/Renku"),
        )
        .env("KEYCLOAK_CLIENT_SECRET", "client-secret-for-tests-only")
        .env("RENKU_UI_SHORT_SHA", "0000000")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Process(child)
}

/// Verdicts by scenario id, of one share of the suite.
fn verdicts(share: u16) -> BTreeMap<String, String> {
    let ports = free();
    let _server = node_server(ports);
    let [port, mocks @ ..] = ports;
    let target = fs::read_to_string(folder().join("target.toml")).unwrap();
    let config = tempfile::NamedTempFile::new().unwrap();
    fs::write(&config, target.replace("7080", &port.to_string())).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env!("CARGO_BIN_EXE_polytab"))
        .args(["run", "--target", "node", "--message-format", "json"])
        // What its defects cause fails each time; what a busy machine causes does not.
        .args(["--retries", "1"])
        .args(["--shard", &format!("{share}/{SHARES}")])
        .args(["--mock-ports", &mocks.map(|port| port.to_string()).join(",")])
        .arg("--config")
        .arg(config.path())
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

/// Verdicts of the whole suite.
fn all_verdicts() -> BTreeMap<String, String> {
    thread::scope(|threads| {
        let shares: Vec<_> = (1..=SHARES)
            .map(|share| threads.spawn(move || verdicts(share)))
            .collect();
        shares
            .into_iter()
            .flat_map(|share| share.join().unwrap())
            .collect()
    })
}

fn expected() -> BTreeSet<String> {
    let text = fs::read_to_string(folder().join("expected-failures.txt")).unwrap();
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or("").trim());
    lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn the_foreign_server_fails_exactly_where_its_defects_are() {
    if let Some(reason) = missing() {
        skip("the_foreign_server_fails_exactly_where_its_defects_are", reason);
        return;
    }

    let verdicts = all_verdicts();

    let with = |wanted: &str| -> BTreeSet<_> {
        verdicts
            .iter()
            .filter(|(_, verdict)| *verdict == wanted)
            .map(|(id, _)| id.clone())
            .collect()
    };
    assert_eq!(with("broken"), BTreeSet::new());
    assert_eq!(with("failed"), expected());
    assert!(with("passed").len() >= 30, "{verdicts:?}");
}
