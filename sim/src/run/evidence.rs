//! Evidence that a scenario tested its subject. A scenario whose central fault, hold, change or count was never met
//! showed nothing: it is inconclusive, not passed.

use polytab_mocks::loose_end::LooseEnd;

use super::stage::Stage;
use crate::{
    events::{Event, Kind},
    judge::calls,
    scenario::{located::Located, step::Step},
};

/// Calls that must follow a step; without one the step had no effect.
#[derive(Clone, Debug)]
pub(crate) struct AwaitedCall {
    /// Position in the event log from which calls count.
    pub(crate) from_seq: u64,
    /// A route, or a service with all its routes.
    pub(crate) route: String,
    /// The user on whose behalf the call is; every user if absent.
    pub(crate) user: Option<String>,
    /// Name of the step for people, as "the hold".
    pub(crate) subject: String,
}

impl AwaitedCall {
    fn is_met_by(&self, event: &Event) -> bool {
        match &event.kind {
            Kind::Call { route, user, .. } => {
                let rest = route.strip_prefix(&self.route);
                event.seq >= self.from_seq
                    && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                    && (self.user.is_none() || self.user == *user)
            }
            _ => false,
        }
    }
}

/// The parts of the scenario that were never met, as sentences.
pub(crate) fn unmet(stage: &Stage) -> Vec<String> {
    let faults = stage.site().mocks.loose_ends().into_iter();
    let mut unmet: Vec<_> = faults
        .filter(|end| matches!(end, LooseEnd::Fault(_)))
        .map(|fault| fault.to_string())
        .collect();
    let mut awaited = stage.awaited_calls();
    stage.site().recorder.events(|events| {
        awaited.retain(|awaited| !events.iter().any(|event| awaited.is_met_by(event)));
    });
    let sentence =
        |awaited: AwaitedCall| format!("{} was met by no call of `{}`", awaited.subject, awaited.route);
    unmet.extend(awaited.into_iter().map(sentence));
    uncalled(stage, &stage.scenario.file.steps, &mut unmet);
    unmet
}

/// Collects counts with an upper bound alone, to which no call of the whole run belongs: nothing was bounded.
fn uncalled(stage: &Stage, steps: &[Located<Step>], unmet: &mut Vec<String>) {
    for step in steps {
        match &step.value {
            Step::Calls(counts) => {
                let recorder = &stage.site().recorder;
                let routes = recorder.judge(|record| calls::bounded_without_calls(counts, record));
                unmet.extend(
                    routes
                        .into_iter()
                        .map(|route| format!("`calls` bounds `{route}`, which was never called")),
                );
            }
            Step::Repeat(repeat) => uncalled(stage, &repeat.steps, unmet),
            Step::Include(include) => uncalled(stage, &include.steps, unmet),
            Step::Parallel(lists) => lists.iter().for_each(|steps| uncalled(stage, steps, unmet)),
            _ => {}
        }
    }
}
