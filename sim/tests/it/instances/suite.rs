//! The scenarios against three instances whose proxy scatters the tabs of each user: what they demand of one server must
//! hold of several.

use std::{
    ffi::OsString,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{
    cluster::{Cluster, wait_for},
    programs::is_possible,
    proxies::{HAPROXY, HAPROXY_UNCHECKED, NGINX},
};
use crate::ports::free;

/// How `polytab run` reaches them.
const TARGET: &str = r#"
[target.instances]
url = "URL"
login = "/auth/login"
logout = "/auth/logout"
capabilities = [
  "error_codes", "token_refresh", "subscribe", "resume", "activation", "sessions_v1", "sessions_v2", "user_channel", "origin_check", "backchannel_logout",
  "introspection", "limits", "keep_alive",
]
speed = 10
"#;

/// What is about several tabs and browsers, streams and sign-outs; all of it would take half an hour. Lives of tokens are
/// left out: the mocks' clock goes ten times as fast, the instances' does not.
const SCENARIOS: [&str; 18] = [
    "browsers/one-channel.tabs.yaml",
    "browsers/one-signs-out.tabs.yaml",
    "browsers/poller-signs-out.tabs.yaml",
    "browsers/second-signs-out.tabs.yaml",
    "browsers/stream-outlives-sign-out.tabs.yaml",
    "gitlab/access-lost.tabs.yaml",
    "gitlab/cut-and-resumed.tabs.yaml",
    "gitlab/doubled-and-cut.tabs.yaml",
    "gitlab/forbidden.tabs.yaml",
    "gitlab/reload-beside-another.tabs.yaml",
    "gitlab/tab-crashes.tabs.yaml",
    "gitlab/two-tabs-same-topic.tabs.yaml",
    "graph/late-tab.tabs.yaml",
    "graph/progress.tabs.yaml",
    "isolation",
    "join",
    "sessions/there-and-back.tabs.yaml",
    "sessions/twice-in-a-turn.tabs.yaml",
];

#[test]
fn the_suite_holds_of_three_instances() {
    if !is_possible(HAPROXY) {
        return;
    }
    let mocks = free();
    let cluster = Cluster::start_for(HAPROXY_UNCHECKED, (3, 10), mocks);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");

    let passed = play(&cluster, mocks, SCENARIOS.map(|path| root.join(path).into()));

    assert!(passed > SCENARIOS.len(), "only {passed} ran");
}

/// Events of one stream, one after the other.
const EVENTS: &str = "format: 1
name: every event of a stream comes once
users: { ada: { projects: [42] } }
tabs: { A: { user: ada } }
client: bare
steps:
  - open: A
  - expect: { within: 5s, exactly: [{ type: init }] }
  - send: { tab: A, json: { type: subscribe, data: { topic: /project/42/issue } } }
  - expect: { within: 30s, contains: [{ type: ack }] }
  - mark: begin
  - repeat:
      times: 10
      steps:
        - advance: 2s
        - emit: { service: gitlab, topic: /project/42/issue, json: {} }
        - expect: { within: 60s, contains: [{ type: issue }] }
  - expect: { since: begin, within: 5s, exactly: [TEN] }
";

/// Says so when it goes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_leader_whose_lease_is_lost_time_and_again_loses_no_event() {
    if !is_possible(NGINX) {
        return;
    }
    let mocks = free();
    let cluster = Cluster::start_for(NGINX, (1, 10), mocks);
    let scenario = cluster.folder.path().join("events.tabs.yaml");
    fs::write(
        &scenario,
        EVENTS.replace("TEN", &["{ type: issue }"; 10].join(", ")),
    )
    .unwrap();
    let is_over = AtomicBool::new(false);

    let passed = thread::scope(|threads| {
        threads.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                cluster.drop_leases();
                thread::sleep(Duration::from_millis(100));
            }
        });
        // It ends also when a scenario fails.
        let _over = Over(&is_over);
        play(&cluster, mocks, [scenario.into()])
    });

    assert_eq!(passed, 1);
    assert!(cluster.sum("polytab_stale_writes_total") > 0, "none was refused");
}

/// Events of one stream, for tabs at several instances. It is over before tokens are: the mocks' clock goes ten times as
/// fast, the instances' does not.
const EVENTS_FOR_ALL: &str = "format: 1
name: every event of a stream comes once to each tab
users: { ada: { projects: [42] } }
tabs: { A: { user: ada }, B: { user: ada }, C: { user: ada } }
client: bare
waive: { streams-match-subscriptions: each instance holds a stream of its own while Redis is away }
steps:
  - open: [A, B, C]
  - expect: { within: 5s, exactly: [{ type: init }] }
  - send: { tab: [A, B, C], json: { type: subscribe, data: { topic: /project/42/issue } } }
  - expect: { within: 60s, contains: [{ type: ack }] }
  - mark: begin
  - repeat:
      times: 150
      steps:
        - advance: 1s
        - emit: { service: gitlab, topic: /project/42/issue, json: {} }
  - expect: { since: begin, within: 60s, exactly: [ALL] }
";

#[test]
fn no_event_is_lost_while_redis_is_started_anew() {
    if !is_possible(HAPROXY) {
        return;
    }
    let mocks = free();
    let mut cluster = Cluster::start_for(HAPROXY_UNCHECKED, (3, 10), mocks);
    let scenario = cluster.folder.path().join("events.tabs.yaml");
    fs::write(
        &scenario,
        EVENTS_FOR_ALL.replace("ALL", &["{ type: issue }"; 150].join(", ")),
    )
    .unwrap();
    let mut command = playing(&cluster, mocks, [scenario.into()]);
    let playing = command.stdout(Stdio::piped()).spawn().unwrap();

    // What was lost before the first event nobody could know.
    wait_for("each tab has its `init`, its `ack` and an event", || {
        cluster.sum("polytab_messages_total") >= 9
    });
    let is = |cluster: &Cluster, word: &str| (0..3).all(|nth| cluster.get(nth, "/readyz").starts_with(word));
    for is_long in [false, true, false, true, false] {
        cluster.end_redis();
        if is_long {
            wait_for("all are alone", || is(&cluster, "ready, alone"));
        }
        cluster.start_redis();
        wait_for("none is alone", || is(&cluster, "ready\n"));
        wait_for("one leads", || cluster.sum("polytab_channels_led") == 1);
    }

    assert_eq!(passed(&playing.wait_with_output().unwrap()), 1);
}

/// Plays scenarios against the instances, which must pass; gives how many there were.
fn play(cluster: &Cluster, mocks: [u16; 4], scenarios: impl IntoIterator<Item = OsString>) -> usize {
    let mut command = playing(cluster, mocks, scenarios);
    // Nine processes beside the other tests: a busy machine may spoil one try.
    passed(&command.args(["--retries", "1"]).output().unwrap())
}

fn playing(cluster: &Cluster, mocks: [u16; 4], scenarios: impl IntoIterator<Item = OsString>) -> Command {
    let url = format!("{}/ui-server/ws", cluster.public().replace("http", "ws"));
    let config = cluster.folder.path().join("polytab.toml");
    fs::write(&config, TARGET.replace("URL", &url)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_polytab"));
    command
        .args(["run", "--target", "instances", "--message-format", "json"])
        .args(["--mock-ports", &mocks.map(|port| port.to_string()).join(",")])
        .arg("--config")
        .arg(config)
        .args(scenarios)
        .env("CI", "true");
    command
}

/// How many scenarios there were, all of which must have passed.
fn passed(output: &Output) -> usize {
    let text = String::from_utf8_lossy(&output.stdout);
    let reports = text.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let report = line.get("report")?;
        Some((report["verdict"].as_str()?.to_owned(), report.to_string()))
    });
    let (passed, others): (Vec<_>, Vec<_>) =
        reports.partition(|(verdict, _)| ["passed", "flaky"].contains(&verdict.as_str()));
    assert!(others.is_empty(), "{others:#?}");
    passed.len()
}
