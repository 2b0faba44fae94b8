//! `polytab load` and `polytab report` as people and pipelines meet them.

mod shards;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Process, polytab};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/load")
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    polytab(folder, arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// How busy the machine of a test is decides nothing.
const PATIENT: &str = "limits: {lag: 1h}\n";

/// A profile in a folder of its own.
fn profile(content: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("my.load.yaml"), format!("{content}{PATIENT}")).unwrap();
    folder
}

const SMALL: &str = "\
users: 6
tabs_per_user: {1: 50%, 3: 50%}
phases:
  - {name: arrive, for: 1s, arrival: poisson}
  - {name: steady, for: 2s}
changes: every 1s
reference: {server: {start_delay: 100ms, short_loop: 200ms}}
";

#[test]
fn the_reference_server_is_started_loaded_and_judged() {
    let folder = profile(&format!(
        "{SMALL}thresholds: [missed == 0, doubled == 0, cross_user == 0, errors == 0, fanout.count >= 6]\n"
    ));

    let output = run(folder.path(), &["load", "my.load.yaml", "--out", "result.json"]);

    let said = text(&output.stdout);
    assert_eq!(code(&output), 0, "{said}{}", text(&output.stderr));
    assert!(said.contains("passed: my, "), "{said}");
    assert_eq!(said.matches("held ").count(), 5, "{said}");
    let page = run(
        folder.path(),
        &["report", "html", "result.json", "-o", "result.html"],
    );
    assert_eq!(code(&page), 0);
    let page = fs::read_to_string(folder.path().join("result.html")).unwrap();
    assert!(page.contains("<h1>my <b>passed</b></h1>"));
    let shown = run(folder.path(), &["report", "show", "result.json"]);
    assert_eq!(text(&shown.stdout), said);
}

#[test]
fn a_missed_threshold_is_99_and_told() {
    let folder = profile(&format!("{SMALL}thresholds: [opened >= 1000]\n"));

    let output = run(folder.path(), &["load", "my.load.yaml", "--out", "result.json"]);

    let said = text(&output.stdout);
    assert_eq!(code(&output), 99, "{said}");
    assert!(said.contains("missed  opened >= 1000"), "{said}");
    let junit = run(folder.path(), &["report", "junit", "result.json"]);
    assert_eq!(code(&junit), 99);
    assert!(text(&junit.stdout).contains("failures=\"1\""));
}

#[test]
fn everything_that_is_wrong_with_a_profile_is_told_with_its_place() {
    let output = run(&data(), &["load", "broken.load.yaml"]);

    assert_eq!(code(&output), 3);
    insta::assert_snapshot!(text(&output.stderr));
}

#[test]
fn a_profile_is_checked_without_a_run() {
    let good = profile(SMALL);

    let (good, bad) = (
        run(good.path(), &["check", "my.load.yaml"]),
        run(&data(), &["check", "broken.load.yaml"]),
    );

    assert_eq!(
        (code(&good), text(&good.stdout)),
        (0, "load profiles without problems: 1\n".to_owned())
    );
    assert_eq!(
        (code(&bad), bad.stderr),
        (3, run(&data(), &["load", "broken.load.yaml"]).stderr)
    );
}

/// Arguments, the exit code, and what standard error says.
const ENDS: &[(&[&str], i32, &str)] = &[
    (&["load"], 2, "PROFILE"),
    (&["load", "smok"], 2, "`smoke` is nearest"),
    (&["load", "none.load.yaml"], 3, "none.load.yaml"),
    (
        &["load", "smoke", "--url", "wss://example.org/ws"],
        2,
        "`example.org` is not this machine",
    ),
    (
        &["load", "smoke", "--beside", "wss://example.org/ws"],
        2,
        "`example.org` is not this machine",
    ),
    (
        &[
            "load",
            "soak",
            "--url",
            "ws://example.org/ws",
            "--i-own-this-server",
            "--duration",
            "2h",
        ],
        2,
        "--duration",
    ),
    (
        &[
            "load",
            "smoke",
            "--url",
            "ws://example.org/ws",
            "--i-own-this-server",
            "--users",
            "100000000",
        ],
        3,
        "100000000 users are too many",
    ),
    (
        &["load", "smoke", "--url", "http://127.0.0.1/"],
        2,
        "`ws://…` or `wss://…`",
    ),
    (&["load", "smoke", "--shard", "4/4"], 2, "no shard"),
    (&["load", "smoke", "--shard", "auto"], 2, "JOB_COMPLETION_INDEX"),
    (
        &["load", "smoke", "--start-at", "2020-01-01T00:00:00Z"],
        2,
        "has passed",
    ),
    (
        &["load", "smoke", "--threshold", "fanot.p99 < 3ms"],
        3,
        "`fanot.p99`",
    ),
    (&["load", "smoke", "--allow-unmeasured", "fanot"], 2, "`fanot`"),
    (
        &["load", "smoke", "--url", "ws://127.0.0.1:1/"],
        3,
        "nothing makes them; add `--change-url URL`",
    ),
    (&["load", "smoke", "--tabs", "1:50%"], 2, "add up to 50%"),
    (
        &[
            "load",
            "smoke",
            "--url",
            "ws://127.0.0.1:1/",
            "--sign-in",
            "password",
        ],
        2,
        "--token-url",
    ),
    (&["report", "html", "none.json"], 3, "cannot read `none.json`"),
    (&["report", "html", "broken.load.yaml"], 3, "holds no result"),
];

#[test]
fn every_wrong_command_says_what_to_do() {
    for (arguments, exit, part) in ENDS {
        let output = run(&data(), arguments);
        let said = text(&output.stderr);
        assert_eq!(code(&output), *exit, "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}

#[test]
fn a_target_that_is_not_there_is_the_surroundings_fault() {
    let folder = profile("users: 2\nphases: [{name: one, for: 1s}]\nclient: bare\n");

    let arguments = [
        "load",
        "my.load.yaml",
        "--url",
        "ws://127.0.0.1:1/",
        "--out",
        "result.json",
    ];
    let output = polytab(folder.path(), &arguments)
        .env("GITHUB_STEP_SUMMARY", folder.path().join("summary.md"))
        .output()
        .unwrap();

    let reports = ["show", "junit", "html", "merge", "prometheus"]
        .map(|kind| run(folder.path(), &["report", kind, "result.json"]));
    let codes = reports.each_ref().map(code);
    assert_eq!((code(&output), codes), (6, [6; 5]));
    let [shown, junit, page, merged, metrics] = reports.map(|report| text(&report.stdout));
    let reason = "no tab opened: 2 attempts, 2 refused; most often: connection failed: connection refused";
    assert_eq!(shown, text(&output.stdout));
    let summary = fs::read_to_string(folder.path().join("summary.md")).unwrap();
    assert!(summary.starts_with("### load my: invalid\n"), "{summary}");
    assert!(
        summary.contains("- no tab opened&#58; 2 attempts, 2 refused;"),
        "{summary}"
    );
    for (said, verdict) in [
        (&shown, "invalid: my, ".to_owned()),
        (&junit, format!("<error message=\"invalid: {reason}\"/>")),
        (&page, "<b>invalid</b>".to_owned()),
        (&merged, "\"verdict\":\"invalid\"".to_owned()),
        (&metrics, "polytab_load_passed{profile=\"my\"} 0".to_owned()),
    ] {
        assert!(said.contains(&verdict), "{verdict}: {said}");
    }
    assert!(
        [&shown, &junit, &page, &merged]
            .iter()
            .all(|said| said.contains(reason))
    );
}

#[test]
fn users_who_are_not_signed_in_get_no_passed_smoke_test() {
    let folder = profile("");
    let output = run(
        folder.path(),
        &[
            "load",
            "smoke",
            "--sign-in",
            "none",
            "--duration",
            "4s",
            "--message-format",
            "json",
        ],
    );

    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((code(&output), &result["verdict"]), (6, &"invalid".into()));
    let reason = result["invalid"].to_string();
    for part in ["no tab became ready", "\\\"type\\\":\\\"init\\\"", "auth_missing"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
}

#[test]
fn results_of_another_version_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let line = "{\"format\":\"polytab-load/1\",\"profile\":\"my\"}\n";
    for content in [line.to_owned(), format!("a line of a log\n{line}")] {
        fs::write(folder.path().join("old.json"), content).unwrap();

        let output = run(folder.path(), &["report", "show", "old.json"]);

        let said = text(&output.stderr);
        assert_eq!(code(&output), 3, "{said}");
        assert!(
            said.contains("`polytab-load/1`, and this version reads `polytab-load/2`"),
            "{said}"
        );
    }
}

#[test]
fn who_interrupts_a_run_gets_its_result() {
    let folder = profile(&SMALL.replace("for: 2s", "for: 10m"));
    let mut child = polytab(folder.path(), &["load", "my.load.yaml", "--out", "result.json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The first line of progress: the run has begun.
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    lines
        .by_ref()
        .map(Result::unwrap)
        .find(|line| line.contains(" s "))
        .unwrap();

    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();

    assert_eq!(code(&output), 130);
    assert!(
        text(&output.stdout).contains("interrupted: my, "),
        "{}",
        text(&output.stdout)
    );
    let result: Value =
        serde_json::from_slice(&fs::read(folder.path().join("result.json")).unwrap()).unwrap();
    assert_eq!(result["verdict"], "interrupted");
}

/// A server of our own with its mocks, until it is dropped.
struct Served {
    _process: Process,
    ready: Value,
}

impl Served {
    fn start(folder: &Path) -> Self {
        let ports = [
            "--port",
            "--keycloak-port",
            "--backend-port",
            "--gitlab-port",
            "--control-port",
            "--gateway-port",
        ];
        let ports = ports.iter().flat_map(|flag| [*flag, "0"]);
        let arguments: Vec<_> = ["serve", "--message-format", "json"]
            .into_iter()
            .chain(ports)
            .collect();
        let mut child = polytab(folder, &arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready = serde_json::from_str(&line).unwrap();
        Self {
            _process: Process(child),
            ready,
        }
    }

    fn url(&self, key: &str) -> &str {
        self.ready[key].as_str().unwrap()
    }
}

#[test]
fn two_servers_are_loaded_in_turns_and_compared() {
    let folder = profile("users: 2\nphases: [{name: one, for: 5s, arrival: spike}]\n");
    let (one, other) = (Served::start(folder.path()), Served::start(folder.path()));
    let arguments = [
        "load",
        "my.load.yaml",
        "--url",
        one.url("tabs"),
        "--control",
        one.url("control"),
        "--beside",
        other.url("tabs"),
        "--beside-control",
        other.url("control"),
        "--sign-in",
        "code",
        "--repeat",
        "2",
        "--out",
        "both.json",
    ];

    let output = run(folder.path(), &arguments);

    assert_eq!(code(&output), 0, "{}", text(&output.stdout));
    let both = fs::read_to_string(folder.path().join("both.json")).unwrap();
    let targets: Vec<_> = both
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["target"].clone())
        .collect();
    let turn = [one.url("tabs"), other.url("tabs")];
    assert_eq!(targets, [turn, turn].concat());
    let compared = run(folder.path(), &["load", "compare", "both.json"]);
    for said in [text(&output.stdout), text(&compared.stdout)] {
        let heads = format!("first: {}\nsecond: {}\n", turn[0], turn[1]);
        assert!(said.contains(&heads) && said.contains("connect.p99"), "{said}");
    }
    let alone: Vec<_> = both.lines().step_by(2).collect();
    fs::write(folder.path().join("one.json"), alone.join("\n")).unwrap();
    let compared = run(folder.path(), &["load", "compare", "one.json"]);
    assert_eq!(code(&compared), 3);
    assert!(text(&compared.stderr).contains("does not hold results of two servers"));
}

#[test]
fn the_doctor_says_what_a_load_would_lack() {
    let folder = tempfile::tempdir().unwrap();

    let few = run(folder.path(), &["doctor", "--tabs", "10"]);
    let many = run(folder.path(), &["doctor", "--tabs", "1000000000"]);
    fs::write(folder.path().join("polytab.toml"), "[run]\njob = 3\n").unwrap();
    let unsettled = run(folder.path(), &["doctor", "--tabs", "10"]);

    // How late a busy machine's timer is, and which ports are taken, decides nothing here.
    let said = text(&few.stdout);
    assert!(said.contains("266 needed for 10 tabs"), "{said}");
    let said = text(&many.stdout);
    assert_eq!(code(&many), 6, "{said}");
    assert!(
        said.contains("`ulimit -n 1000000256`") && said.contains("drive fewer tabs"),
        "{said}"
    );
    let said = text(&unsettled.stdout);
    assert_eq!(code(&unsettled), 6, "{said}");
    assert!(
        said.contains("`polytab.toml` is not a project file") && said.contains("job"),
        "{said}"
    );
}

#[test]
fn each_user_plays_a_scenario_and_leaves() {
    let folder = profile(
        "\
users: 5
phases: [{name: one, for: 12s, arrival: spike}]
behaviour: user.tabs.yaml
reference: {server: {start_delay: 100ms, short_loop: 200ms}}
thresholds: [users == 5, opened == 15, changes == 5, missed == 0, doubled == 0, errors == 0]
",
    );
    let scenario = "\
format: 1
name: a user of two tabs
users: { ada: {} }
tabs: { A: { user: ada }, B: { user: ada } }
steps:
  - open: [A, B]
  - advance: 1s
  - set: { user: ada, sessions: [] }
  - advance: 1s
  - reload: A
  - send: { tab: B, json: { type: ping, data: {} } }
  - advance: 500ms
  - close: B
  - advance: 5s
";
    let path = folder.path().join("user.tabs.yaml");
    fs::write(&path, scenario).unwrap();

    let output = run(folder.path(), &["load", "my.load.yaml", "--out", "result.json"]);
    let result: Value =
        serde_json::from_slice(&fs::read(folder.path().join("result.json")).unwrap()).unwrap();
    let too_many = run(folder.path(), &["load", "my.load.yaml", "--tabs", "3"]);
    fs::write(&path, format!("{scenario}  - restart: {{}}\n")).unwrap();
    let refused = run(folder.path(), &["check", "my.load.yaml"]);

    assert_eq!(code(&output), 0, "{}", text(&output.stdout));
    let last = result["intervals"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["users"], &last["tabs"]), (&0.into(), &0.into()), "{last}");
    assert_eq!(code(&too_many), 3);
    assert!(text(&too_many.stderr).contains("leave out `tabs_per_user`, `--tabs`"));
    assert_eq!(code(&refused), 3);
    let said = text(&refused.stderr);
    assert!(
        said.contains("user.tabs.yaml:15") && said.contains("leave it out of a behaviour"),
        "{said}"
    );
}
