//! What `polytab` says about scenario files that are wrong, and that it reads those that are right.

use std::{
    fs,
    path::{Path, PathBuf},
};

use polytab::scenario::{
    explain,
    load::{Loaded, load},
    model::Scenario,
    problem::render,
    schema,
    step::Step,
    text::step_text,
};
use proptest::prelude::*;

/// The routes of the mocks that the files here name.
const ROUTES: &[&str] = &[
    "keycloak.discovery",
    "keycloak.certs",
    "keycloak.auth",
    "keycloak.login",
    "keycloak.token",
    "keycloak.introspect",
    "keycloak.userinfo",
    "keycloak.logout",
    "keycloak.revoke",
    "backend.sessions",
    "backend.servers",
    "backend.graph",
    "gitlab.stream",
    "gitlab.project",
    "gitlab.user",
];

const HEAD: &str =
    "format: 1\nname: x\nusers: { ada: {}, bob: {} }\ntabs: { A: { user: ada }, B: { user: bob } }\n";

fn data(path: &str) -> PathBuf {
    Path::new("tests/data").join(path)
}

fn loaded(paths: &[PathBuf]) -> Loaded {
    load(paths, ROUTES)
}

/// What is said about a text, as if it were the file `broken.tabs.yaml`.
fn said(text: impl AsRef<[u8]>) -> String {
    folder(&[("broken.tabs.yaml", text.as_ref())])
}

fn said_about(file: &Path) -> String {
    let loaded = loaded(&[file.to_owned()]);

    assert!(loaded.problems.is_empty() || loaded.scenarios.is_empty());
    let said: Vec<_> = loaded
        .problems
        .iter()
        .map(|problem| render(problem, false, 120))
        .collect();
    // Only the folder differs from run to run.
    let folder = format!("{}/", file.parent().expect("a file lies in a folder").display());
    said.join("\n\n").replace(&folder, "")
}

fn steps(steps: &str) -> String {
    said(format!("{HEAD}steps:\n{steps}"))
}

#[test]
fn the_examples_load_as_they_stand() {
    let loaded = loaded(&[data("examples")]);

    assert_eq!(loaded.problems, []);
    assert_eq!(loaded.files, 3);
    let ids: Vec<_> = loaded.scenarios.iter().map(Scenario::id).collect();
    assert_eq!(
        ids,
        [
            "gitlab-two-tabs[event=issue]",
            "gitlab-two-tabs[event=pipeline]",
            "reload-storm",
            "token-expiry"
        ]
    );
}

#[test]
fn values_of_vars_and_matrix_are_put_in_and_captures_stay() {
    let loaded = loaded(&[data("examples/gitlab-two-tabs.tabs.yaml")]);

    let sent: Vec<_> = loaded.scenarios[1]
        .file
        .steps
        .iter()
        .filter_map(|step| {
            if let Step::Send(send) = &step.value {
                Some(send.json["data"]["topic"].clone())
            } else {
                None
            }
        })
        .collect();
    assert_eq!(sent, ["/project/42/pipeline", "${topic}", "${topic}"]);
}

#[test]
fn a_step_is_told_in_one_line() {
    let loaded = loaded(&[data("examples")]);

    let lines: Vec<_> = loaded.scenarios[1..]
        .iter()
        .flat_map(|scenario| {
            scenario
                .file
                .steps
                .iter()
                .map(|step| step_text(&scenario.source, step))
        })
        .collect();

    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_typo_in_a_key_is_named_with_the_key_that_is_meant() {
    insta::assert_snapshot!(steps("  - expect: { within: 1s, exacty: [{ type: init }] }\n"));
}

#[test]
fn an_undeclared_tab_is_named_with_the_tab_that_is_meant() {
    insta::assert_snapshot!(steps(
        "  - open: [A, B]\n  - send: { tab: a, json: { type: ping, data: {} } }\n"
    ));
}

#[test]
fn a_bad_duration_is_told_how_durations_look() {
    insta::assert_snapshot!(steps("  - advance: 5\n  - advance: 5sec\n  - advance: 1.5s\n"));
}

#[test]
fn a_duplicate_key_shows_both_places() {
    insta::assert_snapshot!(steps(
        "  - expect:\n      within: 1s\n      nothing: true\n      within: 2s\n"
    ));
}

#[test]
fn a_tab_character_is_told_in_a_plain_sentence() {
    insta::assert_snapshot!(steps("  - open: A\n\t- close: A\n"));
}

#[test]
fn a_wrong_type_says_what_is_expected_and_what_was_found() {
    insta::assert_snapshot!(steps(
        "  - repeat: { times: many, steps: [{ open: A }] }\n  - expect: { within: 1s, stays_open: yes }\n  - mark: 7\n  - expect: { exactly: { type: init } }\n  - open: { tabs: A, async: \"true\" }\n"
    ));
}

#[test]
fn an_empty_exactly_is_told_to_say_nothing() {
    insta::assert_snapshot!(steps("  - expect: { within: 1s, exactly: [] }\n"));
}

#[test]
fn an_unknown_placeholder_is_named_with_the_one_that_is_meant() {
    insta::assert_snapshot!(steps(
        "  - expect:\n      within: 1s\n      exactly:\n        - { type: init }\n        - { type: x, data: { n: \"<itn>\" } }\n"
    ));
}

#[test]
fn a_name_that_nothing_binds_is_named_with_those_bound() {
    insta::assert_snapshot!(steps(
        "  - expect: { within: 1s, contains: [{ data: { topic: \"<string:topic>\", other: \"${late}\" } }] }\n  - send: { tab: A, json: { topic: \"${topc}\" } }\n  - note: ${this} is for the reader\n  - expect: { within: 1s, contains: [{ data: \"<uuid:late>\" }] }\n  - emit: { service: gitlab, topic: \"${zzzzzzzzz}\", json: {} }\n"
    ));
}

#[test]
fn a_window_of_zero_in_which_nothing_can_arrive_is_refused() {
    insta::assert_snapshot!(steps(
        "  - open: A\n  - expect: { within: 0s, contains: [{ type: init }] }\n  - expect: { within: 1s, skew: 5s, exactly: [{ type: init }] }\n  - advance: 5s\n  - expect: { within: 0s, contains: [{ type: init }] }\n"
    ));
}

#[test]
fn a_file_that_is_not_utf8_shows_the_byte() {
    insta::assert_snapshot!(said([HEAD.as_bytes(), b"note: caf\xe9\nsteps: []\n"].concat()));
}

#[test]
fn fifty_megabytes_of_nesting_are_refused_unread() {
    insta::assert_snapshot!(said("[".repeat(50 << 20)));
}

#[test]
fn nesting_within_the_size_is_refused_at_its_bound() {
    insta::assert_snapshot!(said("[".repeat(1 << 20)));
}

#[test]
fn several_errors_are_told_in_one_run() {
    insta::assert_snapshot!(said(
        "format: 1\nnam: typo\ntags: reload\nusers: { ada: { acess_token: 60s, refresh: maybe } }\ntabs: { A: { user: ada } }\nsteps:\n  - opne: A\n  - repeat:\n      times: 2\n      steps:\n        - close: { tabs: A, gpa: 1s }\n        - advance: soon\n  - parallel:\n      - - wait: { pol: ada }\n      - - mark: []\n  - expect:\n    within: 1s\n  - open: C\n"
    ));
}

#[test]
fn every_check_of_a_step_says_what_to_do() {
    insta::assert_snapshot!(steps(include_str!("../data/broken/steps.yaml")));
}

#[test]
fn a_file_of_another_format_is_told_only_that() {
    insta::assert_snapshot!(said("format: 2\nnonsense: true\n"));
}

#[test]
fn what_is_missing_is_named() {
    let texts = [
        "",
        "[]",
        "format: 1\n",
        "format: 1\nname: x\nusers:\nsteps: []\n",
        "format: 1\nname: x\nusers: {}\nsteps: []\n",
    ];

    let said: Vec<_> = texts
        .iter()
        .map(|text| format!("{text:?}\n{}", said(text)))
        .collect();

    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn a_matrix_without_values_or_with_too_many_is_refused() {
    let many = (0..40).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let said = said(format!(
        "{HEAD}vars: {{ a: 1 }}\nmatrix: {{ a: [], b: [{many}], c: [{many}] }}\nsteps: [{{ open: A }}]\n"
    ));

    insta::assert_snapshot!(said);
}

#[test]
fn values_that_double_each_time_end_at_a_bound() {
    let vars: Vec<_> = (1..64)
        .map(|n| {
            format!(
                "  v{n}: \"${{v{0}}}${{v{0}}}\"
",
                n - 1
            )
        })
        .collect();
    let vars = vars.concat();

    let said = said(format!(
        "{HEAD}vars:\n  v0: xxxxxxxx\n{vars}steps: [{{ open: A }}]\n"
    ));

    insta::assert_snapshot!(said);
}

#[test]
fn a_path_that_is_not_there_is_told_with_its_neighbour() {
    insta::assert_snapshot!(said_about(&data("examples/reload-strom.tabs.yaml")));
}

/// Writes files into a folder and says what is wrong with the first.
fn folder(files: &[(&str, &[u8])]) -> String {
    let folder = tempfile::tempdir().expect("a folder for the test");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a fresh folder can be written");
    }

    said_about(&folder.path().join(files[0].0))
}

#[test]
fn an_include_brings_the_steps_of_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "a.tabs.yaml",
        &format!(
            "{HEAD}vars: {{ who: A }}\nsteps:\n  - include: sign-in.steps.yaml\n  - expect: {{ since: begun, nothing: true }}\n"
        ),
    );
    write(
        "sign-in.steps.yaml",
        "- open: \"${who}\"\n- repeat: { times: 2, steps: [{ include: sub.steps.yaml }] }\n- mark: begun\n",
    );
    write(
        "sub.steps.yaml",
        "note: shared\nvars: { who: B, wait: 1s }\nsteps:\n  - advance: \"${wait}\"\n  - close: \"${who}\"\n",
    );

    let loaded = loaded(&[folder.path().to_owned()]);

    assert_eq!(loaded.problems, []);
    assert_eq!(loaded.files, 1);
    let Step::Include(include) = &loaded.scenarios[0].file.steps[0].value else {
        panic!("no include")
    };
    assert_eq!(step_text(&include.source, &include.steps[2]), "mark: begun");
    let Step::Repeat(repeat) = &include.steps[1].value else {
        panic!("no repeat")
    };
    let Step::Include(sub) = &repeat.steps[0].value else {
        panic!("no include")
    };
    let Step::Close(close) = &sub.steps[1].value else {
        panic!("no close")
    };
    assert_eq!(close.names(), ["A"]);
}

#[test]
fn what_is_wrong_in_an_included_file_also_shows_where_it_is_included() {
    let main = format!(
        "{HEAD}steps:\n  - include: b.steps.yaml\n  - include: c.steps.yaml\n  - include: gone.steps.yaml\n  - include: /etc/x\n"
    );

    insta::assert_snapshot!(folder(&[
        ("a.tabs.yaml", main.as_bytes()),
        (
            "b.steps.yaml",
            b"- opne: A\n- open: Z\n- send: { tab: A, json: \"${gone}\" }\n"
        ),
        ("c.steps.yaml", b"steps: [\n"),
    ]));
}

#[test]
fn includes_that_include_each_other_are_refused() {
    let main = format!("{HEAD}steps:\n  - include: b.steps.yaml\n");

    insta::assert_snapshot!(folder(&[
        ("a.tabs.yaml", main.as_bytes()),
        ("b.steps.yaml", b"- include: c.steps.yaml\n"),
        ("c.steps.yaml", b"- include: b.steps.yaml\n"),
    ]));
}

#[test]
fn a_byte_order_mark_and_line_ends_of_windows_change_nothing() {
    let text = format!("\u{feff}{HEAD}steps:\n  - open: A\n").replace('\n', "\r\n");

    assert_eq!(said(text), "");
}

#[test]
fn every_problem_can_be_explained() {
    let said = steps(include_str!("../data/broken/steps.yaml"));

    let codes = said
        .lines()
        .filter_map(|line| line.strip_prefix("error[")?.split(']').next());
    for code in codes {
        assert!(
            explain::find(code).is_some_and(|explanation| explanation.text.len() > 80),
            "{code}"
        );
    }
}

#[test]
fn a_file_named_twice_is_loaded_once() {
    let loaded = loaded(&[
        data("examples"),
        data("examples/reload-storm.tabs.yaml"),
        data("./examples"),
    ]);

    assert_eq!(loaded.files, 3);
}

#[test]
fn colours_are_there_only_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.tabs.yaml");
    fs::write(&file, "format: \x1b[31m\n").unwrap();

    let problems = loaded(&[file]).problems;

    assert!(!render(&problems[0], false, 100).contains('\x1b'));
    assert!(render(&problems[0], true, 100).contains('\x1b'));
}

#[test]
fn the_schema_is_as_reviewed() {
    insta::assert_json_snapshot!(schema::scenario());
}

/// Every place where keys are known, with a key there that no place knows.
const PLACES: &[&str] = &[
    "zzzzzzzz: 1",
    "users: { u: { zzzzzzzz: 1 } }",
    "tabs: { T: { zzzzzzzz: 1 } }",
    "client: { zzzzzzzz: 1 }",
    "steps: [{ zzzzzzzz: 1 }]",
    "steps: [{ open: { zzzzzzzz: 1 } }]",
    "steps: [{ duplicate: { zzzzzzzz: 1 } }]",
    "steps: [{ sleep_machine: { zzzzzzzz: 1 } }]",
    "steps: [{ send: { zzzzzzzz: 1 } }]",
    "steps: [{ send_raw: { zzzzzzzz: 1 } }]",
    "steps: [{ expect: { zzzzzzzz: 1 } }]",
    "steps: [{ expect: { all: [{ zzzzzzzz: 1 }] } }]",
    "steps: [{ expect: { closed: { zzzzzzzz: 1 } } }]",
    "steps: [{ calls: { zzzzzzzz: 1 } }]",
    "steps: [{ calls: { check: [{ zzzzzzzz: 1 }] } }]",
    "steps: [{ calls: { check: [{ count: { zzzzzzzz: 1 } }] } }]",
    "steps: [{ set: { zzzzzzzz: 1 } }]",
    "steps: [{ emit: { zzzzzzzz: 1 } }]",
    "steps: [{ fault: { zzzzzzzz: 1 } }]",
    "steps: [{ fault: { do: { zzzzzzzz: 1 } } }]",
    "steps: [{ heal: { zzzzzzzz: 1 } }]",
    "steps: [{ login: { zzzzzzzz: 1 } }]",
    "steps: [{ logout: { zzzzzzzz: 1 } }]",
    "steps: [{ expire: { zzzzzzzz: 1 } }]",
    "steps: [{ wait: { zzzzzzzz: 1 } }]",
    "steps: [{ hold: { zzzzzzzz: 1 } }]",
    "steps: [{ repeat: { zzzzzzzz: 1 } }]",
    "steps: [{ restart: { zzzzzzzz: 1 } }]",
    "requires: [zzzzzzzz]",
    "waive: { zzzzzzzz: why }",
    "steps: [{ logout: { via: zzzzzzzz } }]",
    "tabs: { T: { state: zzzzzzzz } }",
    "tabs: { T: { cookie: zzzzzzzz } }",
];

#[test]
fn the_schema_knows_every_key_that_loading_knows() {
    let schema = schema::scenario().to_string();

    for place in PLACES {
        let said = said(format!("{place}\n"));
        let (_, known) = said
            .split_once(" are: ")
            .unwrap_or_else(|| panic!("{place}: {said}"));
        let known = known.lines().next().unwrap();
        for key in known.split(", ").map(|key| key.trim_matches('`')) {
            assert!(schema.contains(&format!("\"{key}\"")), "{place}: {key}");
        }
    }
}

/// Pieces that scenario files are made of, so that random texts reach further than the first line.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("format: 1\n".to_owned()),
        Just("name: x\n".to_owned()),
        Just("users: { ada: {} }\n".to_owned()),
        Just("tabs: { A: { user: ada } }\n".to_owned()),
        Just("vars: { a: \"${a}\", b: [\"${a}\"] }\n".to_owned()),
        Just("matrix: { m: [1, x] }\n".to_owned()),
        Just("steps:\n".to_owned()),
        Just("  - ".to_owned()),
        Just("expect: { within: 0s, exactly: [{ a: \"<int:n>\" }] }\n".to_owned()),
        Just("open: [\"${b}\", ü]\n".to_owned()),
        Just("\"${".to_owned()),
        Just("include: x\n".to_owned()),
        "[a-z]{1,6}: ",
        "[ \t\n]{1,4}",
        "[\\[\\]{},:&*!|>'\"%@`#<>$-]{1,3}",
        "\\PC{0,6}",
    ];
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(text in pieces()) {
        _ = said(text);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        _ = said(bytes);
    }

    #[test]
    fn no_broken_example_makes_the_parser_panic(from in 0_usize..1500, length in 0_usize..40, put in "[ -~\n\t]{0,4}") {
        let mut text = fs::read_to_string(data("examples/token-expiry.tabs.yaml")).unwrap();
        let from = from.min(text.len());
        text.replace_range(from..(from + length).min(text.len()), &put);

        _ = said(text);
    }
}
