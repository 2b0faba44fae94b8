//! The scenarios against three instances whose proxy scatters the tabs of each user: what they demand of one server must
//! hold of several.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use super::{
    cluster::{Cluster, Proxy},
    programs::is_possible,
};
use crate::ports::free;

/// How `polytab run` reaches them.
const TARGET: &str = r#"
[target.instances]
url = "URL"
login = "/auth/login"
logout = "/auth/logout"
capabilities = [
  "subscribe", "resume", "activation", "sessions_v1", "sessions_v2", "user_channel", "origin_check", "backchannel_logout",
  "introspection", "limits", "keep_alive",
]
speed = 10
"#;

/// What is about several tabs and browsers, streams and sign-outs; all of it would take half an hour. Lives of tokens are
/// left out: the mocks' clock goes ten times as fast, the instances' does not.
const SCENARIOS: [&str; 12] = [
    "browsers/one-channel.tabs.yaml",
    "browsers/one-signs-out.tabs.yaml",
    "browsers/poller-signs-out.tabs.yaml",
    "browsers/second-signs-out.tabs.yaml",
    "browsers/stream-outlives-sign-out.tabs.yaml",
    "gitlab",
    "graph/late-tab.tabs.yaml",
    "graph/progress.tabs.yaml",
    "isolation",
    "join",
    "sessions/there-and-back.tabs.yaml",
    "sessions/twice-in-a-turn.tabs.yaml",
];

#[test]
fn the_suite_holds_of_three_instances() {
    if !is_possible() {
        return;
    }
    let mocks = free();
    let cluster = Cluster::start_for(Proxy::Haproxy, 10, mocks);
    let url = format!("{}/ui-server/ws", cluster.public().replace("http", "ws"));
    let config = cluster.folder.path().join("polytab.toml");
    fs::write(&config, TARGET.replace("URL", &url)).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env!("CARGO_BIN_EXE_polytab"))
        .args(["run", "--target", "instances", "--message-format", "json"])
        .args(["--mock-ports", &mocks.map(|port| port.to_string()).join(",")])
        .arg("--config")
        .arg(config)
        .args(SCENARIOS.map(|path| root.join("scenarios").join(path)))
        .env("CI", "true")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let reports = text.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let report = line.get("report")?;
        Some((report["verdict"].as_str()?.to_owned(), report.to_string()))
    });
    let (passed, others): (Vec<_>, Vec<_>) = reports.partition(|(verdict, _)| verdict == "passed");
    assert!(others.is_empty(), "{others:#?}");
    assert!(passed.len() > SCENARIOS.len(), "only {} ran", passed.len());
}
