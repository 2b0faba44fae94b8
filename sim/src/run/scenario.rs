//! Running one scenario once: set up, steps, tail, standing rules.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use polytab_mocks::loose_end::LooseEnd;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::{
    error::RunError,
    evidence,
    panics::{PanicLog, PanicNote, PanicOrigin},
    stage::{Flow, Stage},
    step::execute_all,
    tabs,
};
use crate::{
    events::{Event, Failure, Kind, Report, Trouble, Verdict},
    judge::standing::Run,
    scenario::{
        model::Scenario,
        step::{Names, TabsSettings},
    },
    snapshot::store::SnapshotMode,
    target::ClockKind,
    testbed::bed::{Bed, BedPlan, chain},
};

/// Short loops that pass after the last step with every tab closed, so that a loop which did not stop shows.
const TAIL_SHORT_LOOPS: u32 = 2;

/// Runs a scenario on a runtime of its own, so that runs share nothing.
pub(crate) fn run(
    scenario: &Arc<Scenario>,
    plan: &BedPlan,
    snapshots: SnapshotMode,
    stop: &CancellationToken,
) -> Report {
    let mut report = blank_report(scenario, plan.seed);
    let missing = scenario
        .needs()
        .into_iter()
        .find(|needed| !plan.target.capabilities.contains(needed));
    if let Some(missing) = missing {
        report.verdict = Verdict::Skipped;
        report.reason = Some(format!("the target cannot do `{}`", crate::target::word(missing)));
        return report;
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "real time is what is wanted: how long a virtual run took"
    )]
    let started = std::time::Instant::now();
    let panics = PanicLog::default();
    let outcome = {
        let _watch = panics.watch_while();
        let playing = AssertUnwindSafe(|| play_on_runtime(scenario, plan, (snapshots, &panics), stop));
        // A defect of Polytab ends this run only.
        catch_unwind(playing).unwrap_or_else(|_| Played::panicked(&panics.take()))
    };
    report.wall_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    report.scenario_ms = outcome.events.last().map_or(0, |event| event.at_ms);
    report.verdict = outcome.verdict;
    report.reason = outcome.reason;
    report.trouble = outcome.trouble;
    report.failures = outcome.failures;
    report.events = outcome.events;
    report
}

/// The report of a run of which nothing is known yet.
pub(super) fn blank_report(scenario: &Scenario, seed: u64) -> Report {
    Report {
        id: scenario.id(),
        name: scenario.file.name.value.clone(),
        path: scenario.source.path.display().to_string(),
        verdict: Verdict::Passed,
        reason: None,
        trouble: None,
        seed,
        tries: 1,
        scenario_ms: 0,
        wall_ms: 0,
        failures: Vec::new(),
        events: Vec::new(),
    }
}

fn play_on_runtime(
    scenario: &Arc<Scenario>,
    plan: &BedPlan,
    (snapshots, panics): (SnapshotMode, &PanicLog),
    stop: &CancellationToken,
) -> Played {
    match runtime(plan.clock, panics) {
        Ok(runtime) => {
            let played = runtime.block_on(play(scenario, plan, (snapshots, panics), stop));
            runtime.shutdown_background();
            played
        }
        Err(error) => Played::broken(format!("no runtime: {error}"), Trouble::Surroundings),
    }
}

/// The virtual clock needs one thread and no driver for real I/O: whatever tries to use one panics, and is found.
pub(super) fn runtime(clock: ClockKind, panics: &PanicLog) -> std::io::Result<Runtime> {
    let panics = panics.clone();
    match clock {
        ClockKind::Virtual => Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build(),
        ClockKind::Real => Builder::new_multi_thread()
            .worker_threads(2)
            .on_thread_start(move || panics.watch_thread())
            .enable_all()
            .build(),
    }
}

struct Played {
    verdict: Verdict,
    reason: Option<String>,
    trouble: Option<Trouble>,
    failures: Vec<(String, Failure)>,
    events: Vec<Event>,
}

impl Played {
    fn broken(reason: String, trouble: Trouble) -> Self {
        Self {
            verdict: Verdict::Broken,
            reason: Some(reason),
            trouble: Some(trouble),
            failures: Vec::new(),
            events: Vec::new(),
        }
    }

    /// A run whose own thread panicked.
    fn panicked(notes: &[PanicNote]) -> Self {
        let reason = notes
            .last()
            .map_or_else(|| "Polytab panicked".to_owned(), tool_panic);
        Self::broken(reason, Trouble::Tool)
    }

    fn interrupted() -> Self {
        Self {
            verdict: Verdict::Interrupted,
            reason: Some("interrupted".to_owned()),
            trouble: None,
            failures: Vec::new(),
            events: Vec::new(),
        }
    }
}

async fn play(
    scenario: &Arc<Scenario>,
    plan: &BedPlan,
    (snapshots, panics): (SnapshotMode, &PanicLog),
    stop: &CancellationToken,
) -> Played {
    let setting_up = Bed::set_up(scenario, plan);
    let bed = tokio::select! {
        biased;
        () = stop.cancelled() => return Played::interrupted(),
        bed = setting_up => match bed {
            Ok(bed) => bed,
            Err(error) => {
                let mut broken = Played::broken(chain(&error), error.trouble());
                // A server that panics at its start answers nothing. No secret has been issued yet.
                judge_panics(panics, &mut broken, str::to_owned);
                return broken;
            }
        },
    };
    let stage = Stage::new(bed, Arc::clone(scenario), (snapshots, plan.strict));
    let played = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        played = steps_and_tail(&stage) => Some(played),
    };
    let mut failures = stage.failures();
    let mut outcome = match played {
        None => Played::interrupted(),
        Some(Err(error)) => Played::broken(chain(&error), error.trouble()),
        Some(Ok(())) => {
            let unmet = unmet_parts(&stage);
            failures.extend(stage.failures().split_off(failures.len()));
            failures.extend(standing_rules(&stage, plan));
            let verdict = match (failures.is_empty(), unmet.is_empty()) {
                (false, _) => Verdict::Failed,
                (true, false) => Verdict::Inconclusive,
                (true, true) => Verdict::Passed,
            };
            Played {
                verdict,
                reason: (verdict == Verdict::Inconclusive).then(|| unmet.join("; ")),
                trouble: None,
                ..Played::interrupted()
            }
        }
    };
    outcome.failures = failures;
    outcome.events = stage.site().recorder.take_events();
    judge_floods(&mut outcome);
    judge_panics(panics, &mut outcome, |message| stage.site().redact(message).0);
    outcome
}

/// Puts floods before all that followed from them.
fn judge_floods(outcome: &mut Played) {
    let flood = |event: &Event| match &event.kind {
        Kind::TabFlooded { tab, intake, .. } => {
            let message = format!("tab {tab} received more than a tab takes, and closed: {intake}");
            Some(("flood".to_owned(), Failure::of_run(message, event.at_ms)))
        }
        _ => None,
    };
    let floods: Vec<_> = outcome.events.iter().filter_map(flood).collect();
    if !floods.is_empty() {
        (outcome.verdict, outcome.reason, outcome.trouble) = (Verdict::Flooded, None, None);
        outcome.failures.splice(0..0, floods);
    }
}

/// Judges the panics of the run: those of the server fail the scenario, before all that followed from them; one of
/// Polytab breaks it. `redact` takes secrets out of a message.
fn judge_panics(panics: &PanicLog, outcome: &mut Played, redact: impl Fn(&str) -> String) {
    let (server, tool): (Vec<_>, Vec<_>) = panics
        .take()
        .into_iter()
        .partition(|note| note.origin == PanicOrigin::Server);
    if let Some(note) = tool.first() {
        let broken = Played::broken(tool_panic(note), Trouble::Tool);
        (outcome.verdict, outcome.reason, outcome.trouble) = (broken.verdict, broken.reason, broken.trouble);
    } else if !server.is_empty() && outcome.verdict != Verdict::Interrupted {
        (outcome.verdict, outcome.reason, outcome.trouble) = (Verdict::Failed, None, None);
    }
    let end_ms = outcome.events.last().map_or(0, |event| event.at_ms);
    let failure = |note: &PanicNote| {
        let message = format!("the server panicked at {}: {}", note.place, redact(&note.message));
        ("panic".to_owned(), Failure::of_run(message, end_ms))
    };
    outcome.failures.splice(0..0, server.iter().map(failure));
}

fn tool_panic(note: &PanicNote) -> String {
    format!("Polytab panicked at {}: {}", note.place, note.message)
}

pub(super) async fn steps_and_tail(stage: &Stage) -> Result<(), RunError> {
    let _flow: Flow = execute_all(
        stage,
        &stage.scenario.file.steps,
        (&stage.scenario.source, String::new()),
    )
    .await?;
    let all = stage.scenario.file.tabs.keys().cloned().collect();
    let everyone = TabsSettings {
        tabs: Names::Many(all),
        is_async: false,
        gap: None,
        code: None,
    };
    stage.bed.open_gates(everyone.tabs.as_slice()).await;
    tabs::close(stage, &everyone).await?;
    stage
        .pass(stage.site().target.intervals.short_loop * TAIL_SHORT_LOOPS)
        .await;
    stage.bed.end_pages().await?;
    loose_ends(stage);
    match stage.site().recorder.lost() {
        0 => Ok(()),
        lost => Err(RunError::TooMuch(lost)),
    }
}

/// Stubs that took nothing, requests that nobody takes: told, and failures of a strict run.
fn loose_ends(stage: &Stage) {
    for end in stage.site().mocks.loose_ends() {
        let text = end.to_string();
        match end {
            LooseEnd::Stub(_) | LooseEnd::Unmatched(_) if stage.strict => {
                stage.fail_as_a_whole("strict", text);
            }
            LooseEnd::Stub(_) => stage.record(Kind::Notice { text }),
            // An unused fault makes the scenario inconclusive; an unmatched request was recorded when it came.
            LooseEnd::Fault(_) | LooseEnd::Unmatched(_) => {}
        }
    }
}

/// The parts of the scenario that were never met; in a strict run each is a failure.
fn unmet_parts(stage: &Stage) -> Vec<String> {
    let unmet = evidence::unmet(stage);
    if stage.strict {
        for text in &unmet {
            stage.fail_as_a_whole("strict", text.clone());
        }
    }
    unmet
}

fn standing_rules(stage: &Stage, plan: &BedPlan) -> Vec<(String, Failure)> {
    let broken = stage
        .site()
        .recorder
        .events(|events| Run::new(events, &stage.scenario, &plan.target).judge(&stage.scenario.file.waive));
    for (rule, failure) in &broken {
        stage.record(Kind::RuleBroken {
            rule: rule.name().to_owned(),
            failure: failure.clone(),
        });
    }
    broken
        .into_iter()
        .map(|(rule, failure)| (rule.name().to_owned(), failure))
        .collect()
}
