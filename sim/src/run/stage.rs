//! The stage: one scenario under way. What steps have in common: time, barriers, verdicts.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout_at};

use super::{error::RunError, evidence::AwaitedCall};
use crate::{
    events::{Failure, Kind},
    judge::{
        expect::{Standing, Until},
        record::Record,
    },
    scenario::{model::Scenario, source::Source, window::Window},
    snapshot::store::SnapshotMode,
    testbed::{bed::Bed, site::Site},
};

/// How long a barrier waits for a step's effect (scenario time). A step whose effect does not come is over all the
/// same: what should have happened is for `expect` to say.
pub(crate) const BARRIER: Duration = Duration::from_secs(15);

/// One scenario under way.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) bed: Bed,
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) snapshots: SnapshotMode,
    /// Whether what nobody met, and what nobody takes, are failures.
    pub(crate) strict: bool,
    failures: Mutex<Vec<(String, Failure)>>,
    awaited: Mutex<Vec<AwaitedCall>>,
}

/// Whether the steps go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// To the next step.
    On,
    /// Something did not hold: what follows would only repeat it.
    Over,
}

/// Where a step stands.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its number, as `3` or `5.2` within a `repeat`.
    pub(crate) step: String,
    /// Its line in its file.
    pub(crate) line: usize,
    /// Its file: the scenario's, or one that it includes.
    pub(crate) source: Arc<Source>,
}

impl Stage {
    pub(crate) fn new(bed: Bed, scenario: Arc<Scenario>, (snapshots, strict): (SnapshotMode, bool)) -> Self {
        Self {
            bed,
            scenario,
            snapshots,
            strict,
            failures: Mutex::default(),
            awaited: Mutex::default(),
        }
    }

    pub(crate) fn site(&self) -> &Arc<Site> {
        &self.bed.site
    }

    pub(crate) fn record(&self, kind: Kind) {
        self.site().record(kind);
    }

    /// What did not hold so far, with the step or rule that says so.
    pub(crate) fn failures(&self) -> Vec<(String, Failure)> {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes that a call of `route` must follow; without one, `subject` was never met.
    pub(crate) fn await_call(&self, subject: &str, route: &str, user: Option<&String>) {
        let from_seq = self.site().recorder.events(|events| events.len() as u64);
        self.awaited
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(AwaitedCall {
                from_seq,
                route: route.to_owned(),
                user: user.cloned(),
                subject: subject.to_owned(),
            });
    }

    /// The calls that must have followed steps.
    pub(crate) fn awaited_calls(&self) -> Vec<AwaitedCall> {
        self.awaited
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How long a window lasts in scenario time.
    pub(crate) fn scenario_time(&self, window: Window) -> Duration {
        window.resolve(&self.site().target.intervals)
    }

    /// How long a window really lasts.
    pub(crate) fn real(&self, window: Window) -> Duration {
        self.site().real(self.scenario_time(window))
    }

    /// Lets scenario time pass.
    pub(crate) async fn pass(&self, scenario: Duration) {
        sleep(self.site().real(scenario)).await;
    }

    /// Waits until `is` holds of the record, at most for a barrier's time.
    pub(crate) async fn barrier(&self, is: impl Fn(&Record) -> bool) {
        let deadline = Instant::now() + self.site().patience(BARRIER);
        let mut changes = self.site().recorder.watch();
        while !self.site().recorder.judge(|record| is(record)) {
            if timeout_at(deadline, changes.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Judges again with everything that happens, until it is decided or the window is over.
    pub(crate) async fn decide(
        &self,
        place: &Place,
        window: Duration,
        judge: impl Fn(&mut Record, Until, u64) -> Standing,
    ) -> Flow {
        let deadline = Instant::now() + window + self.site().target.slack;
        let mut changes = self.site().recorder.watch();
        let standing = loop {
            match self.look(&judge, Until::Now) {
                Standing::Open => {}
                decided => break decided,
            }
            if Instant::now() >= deadline || timeout_at(deadline, changes.changed()).await.is_err() {
                break self.look(&judge, Until::End);
            }
        };
        self.settle(place, standing)
    }

    fn look(&self, judge: &impl Fn(&mut Record, Until, u64) -> Standing, until: Until) -> Standing {
        let now_ms = self.site().recorder.now_ms();
        self.site().recorder.judge(|record| judge(record, until, now_ms))
    }

    /// Puts a decided judgement into the stream.
    pub(crate) fn settle(&self, place: &Place, standing: Standing) -> Flow {
        let mut failures = match standing {
            Standing::Unmet(failures) => failures,
            Standing::Met | Standing::Open => Vec::new(),
        };
        if place.source != self.scenario.source {
            let file = place.source.path.display().to_string();
            for failure in &mut failures {
                failure.file = Some(file.clone());
            }
        }
        let flow = if failures.is_empty() { Flow::On } else { Flow::Over };
        let (step, line) = (place.step.clone(), place.line);
        self.record(Kind::Judged {
            step,
            line,
            failures: failures.clone(),
        });
        let named = failures
            .into_iter()
            .map(|failure| (format!("step {}", place.step), failure));
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(named);
        flow
    }

    /// A step that could not be done because of what the target did before.
    pub(crate) fn fail(&self, place: &Place, tab: Option<&str>, message: String) -> Flow {
        let now_ms = self.site().recorder.now_ms();
        let failure = Failure {
            message,
            tab: tab.map(str::to_owned),
            line: Some(place.line),
            file: None,
            expected: Vec::new(),
            seen: Vec::new(),
            window_ms: (now_ms.saturating_sub(10_000), now_ms),
        };
        self.settle(place, Standing::Unmet(vec![failure]))
    }

    /// A failure of the run as a whole, under the name of what says so.
    pub(crate) fn fail_as_a_whole(&self, name: &str, message: String) {
        let failure = Failure::of_run(message, self.site().recorder.now_ms());
        self.record(Kind::RuleBroken {
            rule: name.to_owned(),
            failure: failure.clone(),
        });
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name.to_owned(), failure));
    }

    /// A step that asks for what there is not: the file's fault.
    pub(crate) fn wrong(place: &Place, problem: impl std::fmt::Display) -> RunError {
        RunError::Step {
            line: place.line,
            problem: problem.to_string(),
        }
    }
}
