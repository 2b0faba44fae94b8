//! Runs in shards: side by side in processes of their own, and merged.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use jiff::SignedDuration;
use polytab_seams::clock::Clock;
use serde_json::{Value, json};

use super::{Served, code, profile, run, text};
use crate::process::{get, polytab};

#[test]
fn shards_merged_are_the_whole_and_a_lost_one_is_named() {
    let folder = profile(
        "users: 9\ntabs_per_user: 2\nphases: [{name: one, for: 6s, arrival: spike}]\nthresholds: [opened == 18]\n",
    );
    let lines = |shards: &[&str]| {
        let of = |shard: &&str| {
            let output = run(
                folder.path(),
                &[
                    "load",
                    "my.load.yaml",
                    "--shard",
                    shard,
                    "--message-format",
                    "json",
                ],
            );
            assert_eq!(code(&output), 0, "{}", text(&output.stderr));
            text(&output.stdout)
        };
        shards.iter().map(of).collect::<String>()
    };
    let merged = |lines: &str| {
        let mut child = polytab(folder.path(), &["report", "merge", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        (code(&output), result)
    };
    let parts = lines(&["0/3", "1/3", "2/3"]);
    // They ran one after the other here, and began at one time as far as the merge can tell.
    let began: Vec<Value> = parts
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut lines: Vec<String> = began.iter().map(|part| in_order(part, &began[0])).collect();
    lines.insert(1, "a line of something else".to_owned());
    let together = lines.join("\n");
    let without = lines[1..].join("\n");

    let (exit, whole) = merged(&together);
    let (exit_without, rest) = merged(&without);

    assert_eq!((exit, &whole["verdict"]), (0, &"passed".into()), "{whole}");
    assert_eq!(whole["thresholds"][0]["seen"], "18");
    assert_eq!(exit_without, 6);
    assert_eq!(rest["invalid"][0], "of 3 shards these are missing: 0");
}

/// As a run writes it: the format first, by which the line is known; with the beginning of another.
fn in_order(part: &Value, first: &Value) -> String {
    let mut part = part.clone();
    part["started"] = first["started"].clone();
    let format = part.as_object_mut().unwrap().remove("format").unwrap();
    format!("{{\"format\":{format},{}", &part.to_string()[1..])
}

/// A shard of a run, as a pod of an Indexed Job is one; it is there once a tab is open.
fn shard(folder: &Path, served: &Served, index: u32, start_at: &str) -> Child {
    let arguments = [
        "load",
        "my.load.yaml",
        "--url",
        served.url("tabs"),
        "--control",
        served.url("control"),
        "--sign-in",
        "code",
        "--shard",
        "auto",
        "--start-at",
        start_at,
        "--message-format",
        "json",
        "--metrics",
        "127.0.0.1:0",
    ];
    polytab(folder, &arguments)
        .env("JOB_COMPLETION_INDEX", index.to_string())
        .env("POLYTAB_SHARDS", "4")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until a shard has an open tab.
fn await_tab(shard: &mut Child) {
    let line = BufReader::new(shard.stderr.take().unwrap())
        .lines()
        .next()
        .unwrap()
        .unwrap();
    let url = line.strip_prefix("metrics: ").unwrap();
    for _ in 0..600 {
        let text = get(url);
        let tabs = text
            .lines()
            .find(|line| line.starts_with("polytab_load_tabs{"))
            .unwrap();
        if !tabs.ends_with(" 0") {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("no tab opened within 30 s");
}

#[test]
fn shards_in_processes_of_their_own_some_of_which_are_killed() {
    let folder =
        profile("users: 12\nphases: [{name: one, for: 4s, arrival: spike}]\nthresholds: [opened == 12]\n");
    let served = Served::start(folder.path());
    let start_at = (Clock::system().wall() + SignedDuration::from_secs(2)).to_string();

    let mut shards: Vec<_> = (0..4)
        .map(|index| shard(folder.path(), &served, index, &start_at))
        .collect();
    await_tab(&mut shards[1]);
    shards[1].kill().unwrap();
    await_tab(&mut shards[2]);
    let asked = Command::new("kill")
        .arg(shards[2].id().to_string())
        .status()
        .unwrap();
    assert!(asked.success());
    let outputs: Vec<_> = shards
        .into_iter()
        .map(|shard| shard.wait_with_output().unwrap())
        .collect();

    let codes: Vec<_> = outputs.iter().map(|output| output.status.code()).collect();
    assert_eq!(codes, [Some(0), None, Some(130), Some(0)]);
    let lines: Vec<_> = outputs.iter().map(|output| text(&output.stdout)).collect();
    let merged = |lines: &str| {
        fs::write(folder.path().join("lines"), lines).unwrap();
        let output = run(folder.path(), &["report", "merge", "lines"]);
        (
            code(&output),
            serde_json::from_slice::<Value>(&output.stdout).unwrap(),
        )
    };
    let (exit, ended) = merged(&lines.concat());
    assert_eq!((exit, &ended["verdict"]), (130, &"interrupted".into()), "{ended}");
    assert_eq!(ended["invalid"], json!(["of 4 shards these are missing: 1"]));
    assert!(
        ended["notes"]
            .as_array()
            .unwrap()
            .contains(&"shard 2 was interrupted".into()),
        "{ended}"
    );
    let (exit, rest) = merged(&[lines[0].as_str(), lines[3].as_str()].concat());
    assert_eq!(exit, 6);
    assert_eq!(rest["invalid"], json!(["of 4 shards these are missing: 1, 2"]));
    assert_eq!(rest["thresholds"][0]["seen"], "6");
}
