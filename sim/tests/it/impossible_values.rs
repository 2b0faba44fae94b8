//! `polytab check` reports values that types accept and that no run could use.

use std::{fs, process::Command};

/// The output of `polytab check` about a scenario with this part between its head and its steps.
fn check(part: &str, steps: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let tabs = if part.contains("tabs:") {
        ""
    } else {
        "tabs: { A: { user: ada } }\n"
    };
    let text = format!(
        "format: 1\nname: x\nusers: {{ ada: {{}}, bob: {{}} }}\n{tabs}{part}\nsteps:\n  - open: A\n{steps}"
    );
    fs::write(folder.path().join("x.tabs.yaml"), text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_polytab"))
        .current_dir(folder.path())
        .args(["check", "x.tabs.yaml"])
        .output()
        .unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn impossible_server_settings_are_reported() {
    for (settings, problem) in [
        ("nope: 1", "no setting is called `nope`"),
        ("short_loop: 0s", "must be more than 0"),
        ("short_loop: -5s", "is not a duration"),
        ("public_url: 3", "invalid type"),
        ("backend_url: here", "relative URL without a base"),
    ] {
        let said = check(&format!("server: {{ {settings} }}"), "");

        assert!(said.contains(problem), "{settings}: {said}");
    }
    assert!(check("server: { backend_url: /next/api, refusal_pause: 5s }", "").contains("no problems"));
}

#[test]
fn a_pattern_that_ignore_hides_is_reported() {
    let wants_init = "  - expect: { contains: [{ type: init, data: { message: <string> } }] }\n";
    for (ignored, is_hidden) in [
        ("{ type: init }", true),
        ("{ type: <string> }", true),
        ("{ type: init, data: { message: hello } }", false),
        ("{ type: version }", false),
    ] {
        let said = check(&format!("ignore: [{ignored}]"), wants_init);

        assert_eq!(
            said.contains("`ignore` hides all that match"),
            is_hidden,
            "{ignored}: {said}"
        );
    }
}

#[test]
fn impossible_realm_settings_are_reported() {
    let said = check("", "  - realm: { revoke_refresh_token: true }\n");
    assert!(said.contains("did you mean `revokeRefreshToken`?"), "{said}");
    let said = check("", "  - realm: { revokeRefreshToken: 7 }\n");
    assert!(said.contains("bad-value"), "{said}");
    assert!(check("", "  - realm: { revokeRefreshToken: true }\n").contains("no problems"));
}

#[test]
fn impossible_snapshot_names_are_reported() {
    for name in ["../x", "a/b", "''", ".x", "\"a\\nb\""] {
        let said = check("", &format!("  - snapshot: {name}\n"));

        assert!(
            said.contains("cannot be the name of a snapshot"),
            "{name}: {said}"
        );
    }
    assert!(check("", "  - snapshot: after-relogin_2\n").contains("no problems"));
}

#[test]
fn a_browser_of_two_users_is_reported() {
    let said = check(
        "tabs: { A: { user: ada, browser: shared }, B: { user: bob, browser: shared } }",
        "",
    );

    assert!(
        said.contains("tab `B` is in the browser `shared` of `ada`, but belongs to `bob`"),
        "{said}"
    );
}

#[test]
fn sizes_that_would_fill_memory_are_reported() {
    for (key, size) in [
        ("nested", "4294967295"),
        ("oversized", "16777217"),
        ("fragments", "100001"),
    ] {
        let text = if key == "fragments" { "text: x, " } else { "" };
        let said = check("", &format!("  - send_raw: {{ tab: A, {text}{key}: {size} }}\n"));

        assert!(
            said.contains(&format!("`{key}` must be at most ")),
            "{key}: {said}"
        );
    }
    let values: Vec<_> = (0..1000).map(|value| value.to_string()).collect();
    let steps = "  - advance: 1ms\n".repeat(2000);

    let said = check(&format!("matrix: {{ n: [{}] }}", values.join(",")), &steps);

    assert!(said.contains("1000 combinations of a file with "), "{said}");
}

#[test]
fn an_include_stays_in_the_project_also_behind_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("project");
    fs::create_dir_all(project.join("scenarios")).unwrap();
    fs::write(project.join("polytab.toml"), "").unwrap();
    fs::write(project.join("shared.yaml"), "- open: A\n").unwrap();
    fs::write(folder.path().join("outside.yaml"), "a secret word\n").unwrap();
    std::os::unix::fs::symlink("../../outside.yaml", project.join("scenarios/link.yaml")).unwrap();
    for (path, is_inside) in [
        ("../shared.yaml", true),
        ("../../outside.yaml", false),
        ("link.yaml", false),
    ] {
        let text = format!(
            "format: 1\nname: x\nusers: {{ ada: {{}} }}\ntabs: {{ A: {{ user: ada }} }}\nsteps:\n  - include: {path}\n"
        );
        fs::write(project.join("scenarios/x.tabs.yaml"), text).unwrap();

        let output = Command::new(env!("CARGO_BIN_EXE_polytab"))
            .current_dir(&project)
            .args(["check", "scenarios/x.tabs.yaml"])
            .output()
            .unwrap();

        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.success(), is_inside, "{path}: {said}");
        assert!(!said.contains("secret word"), "{said}");
    }
}
