//! Stubs from file to answer: what is said about wrong ones, and that right ones answer on both clocks, in runs and
//! alone.

use std::{
    fs,
    io::{BufRead, BufReader},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
};

use polytab::{
    events::{Kind, Report, Verdict},
    run::suite::{self, SuiteEvent, SuiteOptions},
    scenario::{load::load, problem::render},
    snapshot::store::SnapshotMode,
    target::{ClockKind, Target},
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::process::{self, Process};

const HEAD: &str =
    "format: 1\nname: x\nusers: { ada: {} }\ntabs: { A: { user: ada } }\nsteps: [{ open: A }]\n";

/// Runs what is at the path.
fn run(path: &Path, (clock, speed): (ClockKind, u32)) -> Vec<Report> {
    let loaded = load(&[path.to_owned()], &[]);
    assert_eq!(loaded.problems, []);
    let scenarios: Vec<_> = loaded.scenarios.into_iter().map(Arc::new).collect();
    let options = SuiteOptions {
        strict: false,
        target: Target::reference(clock, speed).unwrap(),
        clock,
        seed: 1,
        jobs: NonZeroUsize::new(8).unwrap(),
        repeat: 1,
        retries: 0,
        fail_fast: false,
        mock_ports: [0; 4],
        snapshots: SnapshotMode::Check,
    };
    let mut reports = Vec::new();
    suite::run(&scenarios, &options, &CancellationToken::new(), &mut |event| {
        if let SuiteEvent::Finished(report) = event {
            reports.push(report.clone());
        }
    })
    .unwrap();
    reports
}

#[test]
fn stubs_answer_on_both_clocks() {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/stubs");

    for clock in [(ClockKind::Virtual, 1), (ClockKind::Real, 10)] {
        let reports = run(&scenarios, clock);

        assert!(reports.len() >= 2);
        for report in reports {
            assert_eq!(
                report.verdict,
                Verdict::Passed,
                "{clock:?} {} {:?}",
                report.id,
                report.failures
            );
        }
    }
}

#[test]
fn a_stub_that_took_no_request_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("unused.tabs.yaml");
    let stub = "stubs: [{ service: gitlab, request: { method: GET, path: /x }, answer: {} }]\n";
    fs::write(&file, format!("{HEAD}{stub}")).unwrap();

    let reports = run(&file, (ClockKind::Virtual, 1));

    let notices: Vec<_> = reports[0]
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            Kind::Notice { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(notices, ["the stub for `gitlab GET /x` took no request"]);
}

/// What is said about files of which the first is looked at.
fn said(files: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let loaded = load(&[folder.path().join(files[0].0)], &[]);
    let said: Vec<_> = loaded
        .problems
        .iter()
        .map(|problem| render(problem, false, 120))
        .collect();
    said.join("\n\n")
        .replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn stubs_that_could_not_answer_are_named_with_their_mend() {
    let stubs = "stubs:
  - { service: backend, request: { path: /api/data/sessions }, answer: {} }
  - { request: { path: api/x, metod: GET }, answer: {} }
  - { request: { path: api/x }, answer: {} }
  - { request: { path_regex: '(' }, answer: {} }
  - { request: {}, answer: { status: 204, text: x } }
  - { request: {}, answer: { delay: 5 } }
  - { request: {}, answer: { delay: 5parsecs } }
  - { request: {}, answer: {}, times: 0 }
  - { request: { query: { page: 2 } }, answer: {} }
  - { request: {} }
  - { service: backnd, request: {}, answer: {} }
  - { file: no-such.yaml }
  - { file: /etc/stubs.yaml }
  - { file: stubs.yaml, times: 2 }
  - { request: { path: \"${nowhere}\" }, answer: {} }
  - stubs.yaml
";

    insta::assert_snapshot!(said(&[
        ("x.tabs.yaml", &format!("{HEAD}{stubs}")),
        ("stubs.yaml", "[]"),
    ]));
}

#[test]
fn what_is_wrong_in_a_file_of_stubs_also_shows_where_it_is_named() {
    let file = "stubs:
  - request: { path: /ok }
    answer: { jsn: {} }
  - request: { path: /realms }
    answer: { headers: { connection: close } }
  - file: others.yaml
";

    insta::assert_snapshot!(said(&[
        ("x.tabs.yaml", &format!("{HEAD}stubs: [{{ file: stubs.yaml }}]\n")),
        ("stubs.yaml", file),
    ]));
}

fn polytab(arguments: &[&str]) -> Command {
    process::polytab(".", arguments)
}

fn mock(files: &[&Path]) -> Command {
    let mut command = polytab(&["mock", "--message-format", "json"]);
    for port in ["keycloak", "backend", "gitlab", "control", "gateway"] {
        command.args([format!("--{port}-port").as_str(), "0"]);
    }
    for file in files {
        command.arg("--stubs").arg(file);
    }
    command
}

fn get(url: &Value, path: &str) -> String {
    process::get(&format!("{}{path}", url.as_str().unwrap()))
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn the_mocks_alone_take_files_of_stubs() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = written(
        folder.path(),
        "stubs.yaml",
        "- { service: gitlab, request: { path_regex: ^/api/v4/groups/ }, answer: { status: 418, text: x } }\n",
    );
    let json = written(
        folder.path(),
        "stubs.json",
        "{\n  \"stubs\": [\n    {\"request\": {\"path\": \"/x\"}, \"answer\": {\"json\": {\"a\": [1]}}}\n  ]\n}\n",
    );
    let mut served = Process(mock(&[&yaml, &json]).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(served.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();

    let group = get(&ready["gitlab"], "/api/v4/groups/7");
    let any = get(&ready["backend"], "/x");
    let neither = get(&ready["backend"], "/api/v4/groups/7");
    let stubs = get(&ready["control"], "/stubs");

    assert!(
        group.starts_with("HTTP/1.1 418") && group.ends_with("\r\n\r\nx"),
        "{group}"
    );
    assert!(
        any.starts_with("HTTP/1.1 200") && any.contains("{\"a\":[1]}"),
        "{any}"
    );
    assert!(neither.starts_with("HTTP/1.1 404"), "{neither}");
    assert!(stubs.contains("\"taken\":1"), "{stubs}");
}

#[test]
fn the_mocks_do_not_start_with_stubs_that_could_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    let bad = written(
        folder.path(),
        "stubs.yaml",
        "- request: { path: /auth/realms/Renku }\n  answer: { status: 20 }\n- answer: {}\n",
    );

    let Output {
        status,
        stdout,
        stderr,
    } = mock(&[&bad]).output().unwrap();
    let missing = mock(&[&folder.path().join("stub.yaml")]).output().unwrap();

    let said = String::from_utf8(stderr).unwrap();
    assert_eq!((status.code(), stdout.len()), (Some(3), 0), "{said}");
    assert!(said.contains("stubs.yaml:2:21"), "{said}");
    assert!(
        said.contains("`answer.status` of a stub cannot be `20`"),
        "{said}"
    );
    assert!(said.contains("the key `request` is missing here"), "{said}");
    assert_eq!(missing.status.code(), Some(3));
}
