//! What surrounds a run: a target that is not there, a port that is taken, somebody who interrupts.

use std::{
    fs,
    net::TcpListener,
    process::{Command, Stdio},
};

use crate::command_line::{code, polytab, run, text};

#[test]
fn an_unreachable_target_is_the_surroundings_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.xml");

    let target = "ws://127.0.0.1:1/ui-server/ws";
    let report = format!("junit={}", path.display());
    let output = run(&[
        "run",
        "passes.tabs.yaml",
        "--target",
        target,
        "--mock-ports",
        "0,0,0,0",
        "--report",
        &report,
    ]);

    assert_eq!(code(&output), 6);
    let says = text(&output.stderr);
    assert!(
        says.contains(&format!("cannot reach the target at `{target}`")),
        "{says}"
    );
    assert!(fs::read_to_string(path).unwrap().contains(r#"tests="0""#));
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();

    let ports = format!("{port},0,0,0");
    let target = [
        "run",
        "passes.tabs.yaml",
        "--target",
        "ws://127.0.0.1:1/",
        "--mock-ports",
        &ports,
    ];
    let own = port.to_string();
    for arguments in [
        &target[..],
        &["mock", "--keycloak-port", &own],
        &["serve", "--port", &own],
    ] {
        let output = run(arguments);

        assert_eq!(code(&output), 6, "{arguments:?}");
        assert!(text(&output.stderr).contains(&own), "{}", text(&output.stderr));
    }
}

#[test]
fn an_interrupted_run_reports_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.xml");
    let report = format!("junit={}", path.display());
    let mut child = polytab()
        .args([
            "run",
            "passes.tabs.yaml",
            "hours.tabs.yaml",
            "--clock",
            "real",
            "-j",
            "2",
            "--report",
            &report,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The first scenario is over once its line is there; the second would last for days.
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("passed passes") {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut out, &mut line).unwrap(), 0);
    }

    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut out, &mut rest).unwrap();
    let status = child.wait().unwrap();

    assert!(killed.success());
    assert_eq!(status.code(), Some(130));
    assert!(rest.contains("interrupted hours"), "{rest}");
    let xml = fs::read_to_string(path).unwrap();
    assert!(
        xml.contains(r#"name="passes""#) && xml.contains(r#"name="hours""#),
        "{xml}"
    );
}

/// A wish to stop is heard while a target that may still come is waited for.
#[cfg(unix)]
#[test]
fn waiting_for_a_target_can_be_interrupted() {
    let mut child = polytab()
        .args([
            "run",
            "passes.tabs.yaml",
            "--target",
            "ws://127.0.0.1:1/",
            "--mock-ports",
            "0,0,0,0",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It has said what it is about to do, so it listens to signals.
    let mut head = [0; 1];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut head).unwrap();

    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );

    assert_eq!(child.wait().unwrap().code(), Some(130));
}
