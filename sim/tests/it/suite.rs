//! The suite in `scenarios/`, as a whole: it passes, with many seeds, and the same seed gives the same events.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use polytab::{
    events::{Report, Verdict},
    run::suite::{self, SuiteEvent, SuiteOptions},
    scenario::{load, model::Scenario},
    snapshot::store::SnapshotMode,
    target::{ClockKind, Target},
};
use tokio_util::sync::CancellationToken;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn scenarios(folder: &Path) -> Vec<Arc<Scenario>> {
    let loaded = load::load(
        &[folder.to_owned()],
        &polytab_mocks::route::ROUTES
            .iter()
            .map(|route| route.name)
            .collect::<Vec<_>>(),
    );
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    loaded.scenarios.into_iter().map(Arc::new).collect()
}

fn run(scenarios: &[Arc<Scenario>], seed: u64, jobs: usize) -> Vec<Report> {
    let options = SuiteOptions {
        target: Target::reference(ClockKind::Virtual, 1).unwrap(),
        clock: ClockKind::Virtual,
        seed,
        jobs: NonZeroUsize::new(jobs).unwrap(),
        repeat: 1,
        retries: 0,
        strict: false,
        fail_fast: false,
        mock_ports: [0; 4],
        snapshots: SnapshotMode::Check,
    };
    let mut reports = Vec::new();
    suite::run(scenarios, &options, &CancellationToken::new(), &mut |event| {
        if let SuiteEvent::Finished(report) = event {
            reports.push(report.clone());
        }
    })
    .unwrap();
    reports
}

fn failures(reports: &[Report]) -> Vec<String> {
    let bad = reports.iter().filter(|report| report.verdict != Verdict::Passed);
    bad.map(|report| {
        format!(
            "{} (seed {}): {:?} {:?}",
            report.id, report.seed, report.reason, report.failures
        )
    })
    .collect()
}

#[test]
fn the_suite_passes_with_many_seeds() {
    let scenarios = scenarios(&root().join("scenarios"));

    assert!(scenarios.len() >= 30);
    for seed in 1..=5 {
        assert_eq!(failures(&run(&scenarios, seed, 2)), Vec::<String>::new());
    }
}

#[test]
fn one_seed_gives_one_event_stream_whatever_runs_beside_it() {
    let scenarios = scenarios(&root().join("scenarios"));
    let events = |jobs| -> Vec<_> {
        run(&scenarios, 7, jobs)
            .into_iter()
            .map(|report| (report.id, report.events))
            .collect()
    };

    let alone = events(1);

    assert!(alone == events(4));
}

#[test]
fn seeds_give_different_event_streams() {
    let scenarios = scenarios(&root().join("scenarios/reload"));
    let events = |seed| -> Vec<_> {
        run(&scenarios, seed, 1)
            .into_iter()
            .map(|report| report.events)
            .collect()
    };

    assert!(events(1) != events(2));
}

#[test]
fn the_suite_covers_over_an_hour() {
    let scenarios = scenarios(&root().join("scenarios"));

    let scenario_ms: u64 = run(&scenarios, 1, 2)
        .iter()
        .map(|report| report.scenario_ms)
        .sum();

    assert!(scenario_ms > 60 * 60 * 1000, "{scenario_ms} ms");
}

#[test]
fn the_schema_beside_the_suite_is_what_loading_takes() {
    let stored = std::fs::read_to_string(root().join("scenarios/scenario.schema.json")).unwrap();

    let stored: serde_json::Value = serde_json::from_str(&stored).unwrap();
    assert!(
        stored == polytab::scenario::schema::scenario(),
        "`polytab schema scenario` prints another"
    );
}
