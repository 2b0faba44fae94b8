//! A scenario whose subject was never met is inconclusive in every output, and never passed.

use std::{fs, path::Path, process::Command};

/// A scenario of one tab with these steps after `open`.
fn scenario(folder: &Path, steps: &str) {
    let head = "format: 1\nname: x\nusers: { ada: {} }\ntabs: { A: { user: ada } }\nsteps:\n  - open: A\n";
    fs::write(folder.join("x.tabs.yaml"), format!("{head}{steps}")).unwrap();
}

/// Exit code and standard output of `polytab run` in a folder.
fn run(folder: &Path, flags: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_polytab"))
        .current_dir(folder)
        .args(["run", "x.tabs.yaml"])
        .args(flags)
        .env_remove("GITHUB_ACTIONS")
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_scenario_whose_subject_was_never_met_is_inconclusive() {
    let folder = tempfile::tempdir().unwrap();
    for (steps, reason) in [
        (
            "  - fault: { route: gitlab, do: reset }\n",
            "the fault `reset` on `gitlab` was met by no call",
        ),
        (
            "  - hold: { route: gitlab }\n",
            "the hold was met by no call of `gitlab`",
        ),
        (
            "  - advance: 1s\n  - rotate_keys: { drop: false }\n",
            "the rotation of keys was met by no call of `keycloak`",
        ),
        (
            "  - calls: { check: [{ route: gitlab.stream, count: { max: 3 } }] }\n",
            "`calls` bounds `gitlab.stream`, which was never called",
        ),
    ] {
        scenario(
            folder.path(),
            &format!("{steps}  - expect: {{ within: 1s, stays_open: true }}\n"),
        );

        let (code, text) = run(folder.path(), &["--report", "junit=report.xml"]);

        assert_eq!(code, Some(4), "{text}");
        assert!(text.contains(&format!("inconclusive x: {reason}")), "{text}");
        assert!(text.contains("0 passed, 1 inconclusive"), "{text}");
        let junit = fs::read_to_string(folder.path().join("report.xml")).unwrap();
        assert!(junit.contains("<skipped message=\"inconclusive: "), "{junit}");
        assert_eq!(run(folder.path(), &["--strict"]).0, Some(1));
    }
}

#[test]
fn a_scenario_whose_subject_was_met_passes() {
    let folder = tempfile::tempdir().unwrap();
    scenario(
        folder.path(),
        "  - fault: { route: backend.sessions, do: { status: 503 }, times: 1 }\n  - hold: { route: backend.sessions }\n\
         \x20 - advance: 12s\n  - calls: { check: [{ route: backend.sessions, count: { max: 9 } }] }\n",
    );

    assert_eq!(run(folder.path(), &[]).0, Some(0));
}

#[test]
fn a_failed_expectation_is_a_failure_also_when_the_subject_was_never_met() {
    let folder = tempfile::tempdir().unwrap();
    scenario(
        folder.path(),
        "  - fault: { route: gitlab, do: reset }\n  - expect: { within: 1s, closed: 4001 }\n",
    );

    assert_eq!(run(folder.path(), &[]).0, Some(1));
}
