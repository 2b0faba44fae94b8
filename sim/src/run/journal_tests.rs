//! One scenario and one seed give one journal of the mocks, byte for byte, whatever runs beside it.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{
    scenario::{runtime, steps_and_tail},
    stage::Stage,
};
use crate::{
    scenario::{load, model::Scenario},
    snapshot::store::SnapshotMode,
    target::{ClockKind, Target},
    testbed::bed::{Bed, BedPlan},
};

fn suite() -> Vec<Arc<Scenario>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let routes: Vec<_> = polytab_mocks::route::ROUTES
        .iter()
        .map(|route| route.name)
        .collect();
    let loaded = load::load(&[folder], &routes);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    loaded.scenarios.into_iter().map(Arc::new).collect()
}

/// Runs a scenario; gives what `GET /journal` then answers.
fn journal(scenario: &Arc<Scenario>, seed: u64) -> String {
    let plan = BedPlan {
        strict: false,
        target: Target::reference(ClockKind::Virtual, 1).unwrap(),
        clock: ClockKind::Virtual,
        seed,
        hosts: None,
    };
    runtime(ClockKind::Virtual, &super::panics::PanicLog::default())
        .unwrap()
        .block_on(async {
            let bed = Bed::set_up(scenario, &plan).await.unwrap();
            let stage = Stage::new(bed, Arc::clone(scenario), (SnapshotMode::Check, false));
            steps_and_tail(&stage).await.unwrap();
            let request = Request::get("/journal").body(Body::empty()).unwrap();
            let answer = stage.site().mocks.control().oneshot(request).await.unwrap();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            String::from_utf8(body.to_vec()).unwrap()
        })
}

/// The journals of all, run by so many threads, the last scenario first.
fn journals(scenarios: &[Arc<Scenario>], seed: u64, threads: usize) -> Vec<String> {
    let left = AtomicUsize::new(scenarios.len());
    let found = Mutex::new(vec![String::new(); scenarios.len()]);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let take = |left: usize| left.checked_sub(1);
                while let Ok(left) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
                    let journal = journal(&scenarios[left - 1], seed);
                    found.lock().unwrap()[left - 1] = journal;
                }
            });
        }
    });
    found.into_inner().unwrap()
}

#[test]
fn one_seed_gives_one_journal_whatever_runs_beside_it() {
    let scenarios = suite();

    let alone: Vec<_> = scenarios.iter().map(|scenario| journal(scenario, 7)).collect();

    // A scenario whose only tab is refused has no calls.
    let spoken = alone.iter().filter(|journal| journal.contains("keycloak.token"));
    assert!(spoken.count() > scenarios.len() / 2);
    for threads in [1, 2, 8] {
        let beside = journals(&scenarios, 7, threads);
        for ((scenario, alone), beside) in scenarios.iter().zip(&alone).zip(&beside) {
            assert!(
                alone == beside,
                "{} with {threads} threads:\n{alone}\n{beside}",
                scenario.id()
            );
        }
    }
}

#[test]
fn another_seed_gives_another_journal() {
    let scenarios = suite();

    assert_ne!(journal(&scenarios[0], 1), journal(&scenarios[0], 2));
}
