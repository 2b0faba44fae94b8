//! One step: all branching over actions is here.

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, join_all};

use super::{
    error::RunError,
    services,
    stage::{Flow, Place, Stage},
    tabs,
};
use crate::{
    events::Kind,
    judge::{calls, expect::OpenExpect, wait},
    scenario::{
        claim::{Calls, Expect, Wait},
        located::Located,
        people::TabState,
        source::Source,
        step::Step,
        text::step_text,
        window::Window,
    },
    snapshot,
};

/// The window of an `expect` that names none.
const USUAL_WINDOW: Duration = Duration::from_secs(1);

/// Executes steps one after the other, until one does not hold.
pub(crate) fn execute_all<'a>(
    stage: &'a Stage,
    steps: &'a [Located<Step>],
    (source, prefix): (&'a Arc<Source>, String),
) -> BoxFuture<'a, Result<Flow, RunError>> {
    Box::pin(async move {
        for (nth, step) in steps.iter().enumerate() {
            let place = Place {
                step: format!("{prefix}{}", nth + 1),
                line: source.line_column(step.at.start).0,
                source: Arc::clone(source),
            };
            let text = step_text(source, step);
            let (acting, name, line) = (acts(&step.value), place.step.clone(), place.line);
            stage.record(Kind::StepStarted {
                step: name.clone(),
                line,
                acting,
                text,
            });
            let flow = execute(stage, &step.value, &place).await?;
            stage.record(Kind::StepEnded { step: name });
            if flow == Flow::Over {
                return Ok(Flow::Over);
            }
        }
        Ok(Flow::On)
    })
}

/// Whether a step does something, rather than look: `others: nothing` counts from the last that did.
fn acts(step: &Step) -> bool {
    !matches!(
        step,
        Step::Expect(_)
            | Step::Calls(_)
            | Step::Snapshot(_)
            | Step::Mark(_)
            | Step::Note(_)
            | Step::Repeat(_)
            | Step::Parallel(_)
            | Step::Include(_)
    )
}

async fn execute(stage: &Stage, step: &Step, place: &Place) -> Result<Flow, RunError> {
    match step {
        Step::Open(step) => tabs::open(stage, &step.settings(), place).await,
        Step::Close(step) => tabs::close(stage, &step.settings()).await,
        Step::Drop(step) => tabs::vanish(stage, &step.settings()).await,
        Step::Reload(step) => tabs::reload(stage, &step.settings()).await,
        Step::Duplicate(step) => tabs::duplicate(stage, step, place).await,
        Step::Background(step) => tabs::show(stage, &step.settings(), TabState::Background).await,
        Step::Foreground(step) => tabs::show(stage, &step.settings(), TabState::Foreground).await,
        Step::Freeze(step) => tabs::freeze(stage, &step.settings()).await,
        Step::Resume(step) => tabs::thaw(stage, &step.settings()).await,
        Step::SleepMachine(step) => tabs::sleep_machine(stage, step).await,
        Step::Offline(step) => Ok(tabs::offline(stage, &step.settings())),
        Step::Online(step) => tabs::online(stage, &step.settings()).await,
        Step::Send(step) => tabs::send(stage, step, place).await,
        Step::SendRaw(step) => tabs::send_raw(stage, step, place).await,
        Step::Expect(step) => Ok(expect(stage, step, place).await),
        Step::Calls(step) => Ok(count(stage, step, place).await),
        Step::Wait(step) => Ok(wait_for(stage, step, place).await),
        Step::Snapshot(name) => snapshot::judge(stage, name, place),
        Step::Set(step) => services::set(stage, step, place),
        Step::Launch(order) => services::launch(stage, order, place),
        Step::Plan(order) => services::plan(stage, order, place),
        Step::BackendSession(step) => services::backend_session(stage, step, place),
        Step::Clock(order) => services::clock(stage, *order, place),
        Step::Realm(settings) => services::realm(stage, settings, place),
        Step::RotateKeys(rotation) => services::rotate_keys(stage, *rotation, place),
        Step::Emit(step) => services::emit(stage, step, place),
        Step::Fault(step) => services::fault(stage, step, place),
        Step::Heal(route) => services::heal(stage, route, place),
        Step::Login(step) => services::login(stage, step, place).await,
        Step::Logout(step) => services::logout(stage, step, place).await,
        Step::Expire(step) => services::expire(stage, step, place).await,
        Step::Hold(step) => services::hold(stage, step, place),
        Step::Release(route) => services::release(stage, route, place),
        Step::Restart(step) => services::restart(stage, step, place).await,
        Step::Advance(window) => {
            tokio::time::sleep(stage.real(*window)).await;
            Ok(Flow::On)
        }
        Step::Mark(name) => {
            stage.record(Kind::Mark { name: name.clone() });
            Ok(Flow::On)
        }
        Step::Repeat(step) => repeat(stage, step.times, &step.steps, place).await,
        Step::Parallel(lists) => parallel(stage, lists, place).await,
        Step::Include(other) => {
            execute_all(stage, &other.steps, (&other.source, format!("{}.", place.step))).await
        }
        Step::Note(_) => Ok(Flow::On),
    }
}

async fn repeat(stage: &Stage, times: u32, steps: &[Located<Step>], place: &Place) -> Result<Flow, RunError> {
    for nth in 1..=times {
        let prefix = format!("{}#{nth}.", place.step);
        if execute_all(stage, steps, (&place.source, prefix)).await? == Flow::Over {
            return Ok(Flow::Over);
        }
    }
    Ok(Flow::On)
}

async fn parallel(stage: &Stage, lists: &[Vec<Located<Step>>], place: &Place) -> Result<Flow, RunError> {
    let branches = lists.iter().enumerate();
    let branches = branches.map(|(nth, steps)| {
        let letter = u8::try_from(nth).map_or('z', |nth| char::from(b'a' + nth.min(25)));
        execute_all(stage, steps, (&place.source, format!("{}{letter}.", place.step)))
    });
    let mut flow = Flow::On;
    for ended in join_all(branches).await {
        if ended? == Flow::Over {
            flow = Flow::Over;
        }
    }
    Ok(flow)
}

async fn expect(stage: &Stage, step: &Expect, place: &Place) -> Flow {
    let source = &place.source;
    let site = stage.site();
    let now_ms = site.recorder.now_ms();
    let open = site
        .recorder
        .judge(|record| OpenExpect::open(step, record, (place.line, |at| source.line_column(at).0), now_ms))
        .with_slack(site.target.slack_ms());
    let window = window_or(stage, step.within, USUAL_WINDOW);
    stage
        .decide(place, window, |record, until, now_ms| {
            open.judge(record, until, now_ms)
        })
        .await
}

async fn count(stage: &Stage, step: &Calls, place: &Place) -> Flow {
    let source = &place.source;
    let judge = |record: &mut _, until, now_ms| {
        calls::judge(step, record, (until, now_ms), |at| source.line_column(at).0)
    };
    let Some(window) = step.within else {
        let now_ms = stage.site().recorder.now_ms();
        let standing = stage
            .site()
            .recorder
            .judge(|record| judge(record, crate::judge::expect::Until::End, now_ms));
        return stage.settle(place, standing);
    };
    stage.decide(place, stage.real(window), judge).await
}

async fn wait_for(stage: &Stage, step: &Wait, place: &Place) -> Flow {
    let usual = stage.site().target.intervals.long_loop * 2;
    let window = window_or(stage, step.within, usual);
    stage
        .decide(place, window, |record, until, now_ms| {
            wait::judge(step, record, (until, now_ms), place.line)
        })
        .await
}

fn window_or(stage: &Stage, window: Option<Window>, usual: Duration) -> Duration {
    window.map_or_else(|| stage.site().real(usual), |window| stage.real(window))
}
