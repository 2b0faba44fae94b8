//! The command line as people and pipelines meet it: output, exit codes, reports on disk.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use regex::Regex;
use serde_json::Value;

use crate::process;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cli")
}

/// `polytab` where the scenarios of these tests are, as a pipeline runs it.
pub(crate) fn polytab() -> Command {
    let mut command = process::polytab(&folder(), &[]);
    command.env("CI", "true");
    command
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    polytab().args(arguments).output().unwrap()
}

/// Output without what differs from run to run.
pub(crate) fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let wall = Regex::new(r"of tabs in .*").unwrap();
    wall.replace_all(&text, "of tabs in <wall time>").into_owned()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn a_failure_shows_what_was_wrong_where_and_what_to_type_next() {
    let output = run(&["run", "passes.tabs.yaml", "fails.tabs.yaml", "--seed", "7"]);

    assert_eq!(code(&output), 1);
    insta::assert_snapshot!(text(&output.stdout));
    assert_eq!(text(&output.stderr), "");
}

/// Arguments, the exit code, and what standard error says.
const ENDS: &[(&[&str], i32, &str)] = &[
    (&["run", "passes.tabs.yaml"], 0, ""),
    (&["run", "fails.tabs.yaml"], 1, ""),
    (&["run", "--nonsense"], 2, "--nonsense"),
    (
        &["run", "--target", "nonesuch"],
        2,
        "no target is called `nonesuch`",
    ),
    (&["run", "--target", "wss://127.0.0.1/"], 2, "not by `wss://`"),
    (&["run", "--shard", "3/2"], 2, "--shard 3/2"),
    (&["run", "--report", "pdf=x"], 2, "--report pdf=x"),
    (&["run", "--mock-ports", "1,2"], 2, "--mock-ports 1,2"),
    (&["run", "--clock", "virtual", "--speed", "3"], 2, "--speed 3"),
    (
        &["run", "--clock", "real", "--speed", "1000"],
        2,
        "speed is 1 to 100",
    ),
    (&["run", "--repeat", "0"], 2, "--repeat 0"),
    (&["run", "--config", "nonesuch.toml"], 2, "nonesuch.toml"),
    (&["run", "nonesuch.tabs.yaml"], 3, "there is no such file"),
    (
        &["run", "passes.tabs.yaml", "--filter", "nonesuch"],
        4,
        "none of 1 scenarios is selected",
    ),
    (
        &["run", "passes.tabs.yaml", "--tag", "!quick"],
        4,
        "none of 1 scenarios is selected",
    ),
    (&["check", "passes.tabs.yaml"], 0, ""),
    (
        &["run"],
        3,
        "`scenarios` cannot be read: there is no such file or folder",
    ),
    (&["run"], 3, "name the file or folder to read"),
    (&["run", "--seed=-1"], 2, "'-1'"),
    (&["run", "-j", "0"], 2, "'0'"),
    (
        &["run", "passes.tabs.yaml", "--report", "junit=."],
        6,
        "cannot write `.`",
    ),
    (&["explain", "unknown-kee"], 2, "did you mean `unknown-key`?"),
    (
        &["explain", "zork"],
        2,
        "`polytab explain` lists what can be explained",
    ),
    (&["snapshot", "list", "nonesuch"], 6, "cannot read `nonesuch`"),
    (&["explain", "4001"], 0, ""),
    (&["explain", "no-cross-user"], 0, ""),
    (&["explain", "exit"], 0, ""),
    (&["explain", "3"], 0, ""),
    (
        &["run", "passes.tabs.yaml", "--repeat", "1000000000"],
        2,
        "--repeat 1000000000 is none of 1 to 1000000",
    ),
    (
        &["check", "/dev/zero"],
        3,
        "`/dev/zero` cannot be read: it is not a regular file",
    ),
    (&["snapshot", "accept", "passes.tabs.yaml"], 0, ""),
    (&["explain"], 0, ""),
    (&["schema", "scenario"], 0, ""),
    (&["schema", "control"], 0, ""),
    (&["completions", "bash"], 0, ""),
    (&["snapshot", "list", "."], 0, ""),
    (&["--version"], 0, ""),
    (&[], 2, "Usage"),
];

#[test]
fn exit_codes_tell_what_kind_of_end_it_was() {
    for (arguments, exit, says) in ENDS {
        let output = run(arguments);

        assert_eq!(code(&output), *exit, "{arguments:?}: {}", text(&output.stderr));
        assert!(
            text(&output.stderr).contains(says),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
    }
}

/// A disk that is full is the surroundings' fault, wherever the output goes; it is no defect of the tool.
#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error() {
    for arguments in [
        &["run", "passes.tabs.yaml"][..],
        &["run", "passes.tabs.yaml", "--message-format", "json"],
        &["check", "passes.tabs.yaml"],
        &["schema", "scenario"],
        &["schema", "control"],
        &["explain"],
        &["completions", "bash"],
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = polytab().args(arguments).stdout(full).output().unwrap();

        assert_eq!(code(&output), 6, "{arguments:?}: {}", text(&output.stderr));
        assert!(
            text(&output.stderr).contains("cannot write to standard output"),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
    }
}

/// What is suggested can be typed: also for a path with a blank and for one row of a matrix.
#[test]
fn the_command_to_run_again_runs_what_failed_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = "format: 1\nname: sings\nmatrix: { song: [la, lo] }\nusers: { ada: {} }\ntabs: { A: { user: ada } }\n\
                    steps:\n  - open: A\n  - expect: { within: 1s, tabs: A, contains: [{ type: \"${song}\" }] }\n";
    fs::write(folder.path().join("a song.tabs.yaml"), scenario).unwrap();
    let run = |arguments: &[&str]| {
        polytab()
            .current_dir(folder.path())
            .args(arguments)
            .output()
            .unwrap()
    };

    let first = run(&["run", "."]);
    let shown = text(&first.stdout);
    let again = shown
        .lines()
        .find_map(|line| line.trim().strip_prefix("again: polytab "))
        .unwrap();
    let words = shlex::split(again).unwrap();
    let second = run(&words.iter().map(String::as_str).collect::<Vec<_>>());

    assert_eq!((code(&first), code(&second)), (1, 1), "{again}");
    assert!(text(&first.stdout).contains("2 failed"));
    assert!(
        text(&second.stdout).contains("0 passed, 1 failed"),
        "{}",
        text(&second.stdout)
    );
}

#[test]
fn an_empty_folder_runs_nothing_and_says_so() {
    let folder = tempfile::tempdir().unwrap();

    let output = polytab().arg("run").arg(folder.path()).output().unwrap();

    assert_eq!(code(&output), 4);
    assert!(text(&output.stderr).contains("no scenario file (*.tabs.yaml) in"));
}

#[test]
fn the_event_stream_is_lines_of_json_that_end_with_a_summary() {
    let output = run(&["run", "passes.tabs.yaml", "--message-format", "json"]);

    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["start"]["format"], 1);
    assert!(lines.iter().any(|line| line["event"]["event"] == "tab_received"));
    assert_eq!(lines[lines.len() - 2]["report"]["verdict"], "passed");
    assert_eq!(lines[lines.len() - 1]["summary"]["passed"], 1);
}

#[test]
fn a_junit_report_tells_failures_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/report.xml");

    let report = format!("junit={}", path.display());
    let output = run(&["run", "passes.tabs.yaml", "fails.tabs.yaml", "--report", &report]);

    let xml = fs::read_to_string(path).unwrap();
    assert_eq!(code(&output), 1);
    assert!(
        xml.contains(r#"tests="2""#) && xml.contains(r#"failures="1""#),
        "{xml}"
    );
    assert!(xml.contains("fails.tabs.yaml:14"), "{xml}");
}

#[test]
fn github_gets_annotations_and_a_summary() {
    let folder = tempfile::tempdir().unwrap();
    let summary = folder.path().join("summary.md");

    let output = polytab()
        .args(["run", "passes.tabs.yaml", "fails.tabs.yaml", "--quiet"])
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", &summary)
        .output()
        .unwrap();

    let annotation = "::error file=fails.tabs.yaml,line=14,title=fails::step 4: tab B";
    assert!(
        text(&output.stdout).contains(annotation),
        "{}",
        text(&output.stdout)
    );
    insta::assert_snapshot!(text(&fs::read(summary).unwrap()));
}

#[test]
fn the_project_file_is_read_and_its_mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("polytab.toml");
    let with = |toml: &str| {
        fs::write(&config, toml).unwrap();
        polytab().args(["run", "--config"]).arg(&config).output().unwrap()
    };

    let good = with("[run]\npaths = [\"passes.tabs.yaml\"]\nseed = 9\n");
    let bad = with("[run]\nsead = 9\n");

    assert_eq!(code(&good), 0, "{}", text(&good.stderr));
    assert!(text(&good.stdout).contains("seed 9"));
    assert_eq!(code(&bad), 2);
    assert!(
        text(&bad.stderr).contains("unknown field `sead`"),
        "{}",
        text(&bad.stderr)
    );
}

#[test]
fn a_flaky_scenario_is_one_that_passed_at_another_try() {
    let output = run(&[
        "run",
        "fails.tabs.yaml",
        "--retries",
        "2",
        "--message-format",
        "json",
    ]);

    let text = text(&output.stdout);
    let report = text.lines().find(|line| line.contains("\"report\"")).unwrap();
    let report: Value = serde_json::from_str(report).unwrap();
    assert_eq!(
        (&report["report"]["verdict"], &report["report"]["tries"]),
        (&"failed".into(), &3.into())
    );
}

#[test]
fn a_snapshot_is_written_reviewed_and_then_held_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("greeting.tabs.yaml");
    let scenario = fs::read_to_string(super_path("passes.tabs.yaml")).unwrap();
    fs::write(&file, format!("{scenario}  - snapshot: greeted\n")).unwrap();
    let polytab = |arguments: &[&str], ci: bool| {
        let mut command = polytab();
        if !ci {
            command.env_remove("CI");
        }
        command.args(arguments).arg(folder.path()).output().unwrap()
    };

    let missing = polytab(&["run"], true);
    let first = polytab(&["run"], false);
    let review = polytab(&["snapshot", "review"], false);
    let accepted = polytab(&["snapshot", "accept"], false);
    let second = polytab(&["run"], true);
    fs::write(folder.path().join("greeting.greeted.snap"), "A opened\n").unwrap();
    let changed = polytab(&["run"], true);

    assert_eq!(
        [&missing, &first, &review, &accepted, &second, &changed].map(code),
        [1, 0, 1, 0, 0, 1]
    );
    assert!(text(&first.stdout).contains("snapshot `greeted` is new"));
    assert!(text(&review.stdout).contains("+ A < user/init"));
    assert!(text(&changed.stdout).contains("+ A < user/init"));
}

fn super_path(name: &str) -> PathBuf {
    folder().join(name)
}

#[test]
fn help_is_there_for_every_command() {
    for command in [
        "run",
        "check",
        "serve",
        "mock",
        "snapshot",
        "schema",
        "explain",
        "completions",
    ] {
        let output = run(&[command, "--help"]);

        assert_eq!(code(&output), 0, "{command}");
    }
    insta::assert_snapshot!(text(&run(&["run", "--help"]).stdout));
}

#[test]
fn serve_says_where_everything_is_and_stops_when_asked() {
    let ports = [
        "--port",
        "0",
        "--keycloak-port",
        "0",
        "--backend-port",
        "0",
        "--gitlab-port",
        "0",
        "--control-port",
        "0",
        "--gateway-port",
        "0",
    ];
    let mut child = polytab()
        .arg("serve")
        .args(ports)
        .args(["--message-format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();

    let ready: Value = serde_json::from_str(&line).unwrap();
    let server = ready["server"].as_str().unwrap().trim_end_matches('/');
    let health = process::get(&format!("{server}/healthz"));
    Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();

    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
