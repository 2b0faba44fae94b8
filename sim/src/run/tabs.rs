//! Steps about tabs. Each ends when its effect is seen, unless it says `async`.

use serde_json::Value;
use tokio::{sync::oneshot, time::timeout};

use super::{
    error::RunError,
    stage::{BARRIER, Flow, Place, Stage},
};
use crate::{
    events::Kind,
    judge::record::TabRecord,
    pattern::fill::fill,
    scenario::{
        people::TabState,
        step::{Duplicate, Send, SendRaw, SleepMachine, TabsSettings},
        window::Span,
    },
    tab::{page::Order, payload::Payload},
};

type Outcome = Result<Flow, RunError>;

/// What a page that is left says (RFC 6455 §7.4.1: going away, as by navigating elsewhere).
const GOING_AWAY: u16 = 1001;
const NORMAL: u16 = 1000;
/// What a browser takes from leaving a page to connecting from the next.
const RELOAD_GAP: std::time::Duration = std::time::Duration::from_millis(50);

pub(super) async fn open(stage: &Stage, step: &TabsSettings, place: &Place) -> Outcome {
    for (nth, tab) in step.tabs.as_slice().iter().enumerate() {
        if is_open(stage, tab) {
            return Err(Stage::wrong(
                place,
                format!("tab `{tab}` is open already; close, drop or reload it"),
            ));
        }
        if let (Some(Span(gap)), true) = (step.gap, nth > 0) {
            stage.pass(gap).await;
        }
        load_next(stage, tab, step.is_async).await;
    }
    Ok(Flow::On)
}

pub(super) async fn close(stage: &Stage, step: &TabsSettings) -> Outcome {
    go(stage, step, |code| Order::Leave { code }).await
}

pub(super) async fn vanish(stage: &Stage, step: &TabsSettings) -> Outcome {
    go(stage, step, |_| Order::Vanish).await
}

async fn go(stage: &Stage, step: &TabsSettings, order: impl Fn(u16) -> Order) -> Outcome {
    let mut gone = Vec::new();
    for tab in step.tabs.as_slice() {
        let (was_there, life) = (is_present(stage, tab), stage.bed.lives(tab));
        stage.bed.order(tab, order(step.code.unwrap_or(NORMAL))).await;
        if was_there {
            gone.push((tab, life));
        }
    }
    if !step.is_async {
        for (tab, life) in gone {
            let is_gone = |seen: &TabRecord| seen.ended_life >= life && !seen.present;
            stage
                .barrier(|record| record.tabs.get(tab).is_some_and(is_gone))
                .await;
        }
    }
    Ok(Flow::On)
}

pub(super) async fn reload(stage: &Stage, step: &TabsSettings) -> Outcome {
    for tab in step.tabs.as_slice() {
        stage
            .bed
            .order(
                tab,
                Order::Leave {
                    code: step.code.unwrap_or(GOING_AWAY),
                },
            )
            .await;
    }
    stage.pass(step.gap.map_or(RELOAD_GAP, |Span(gap)| gap)).await;
    for tab in step.tabs.as_slice() {
        load_next(stage, tab, step.is_async).await;
    }
    Ok(Flow::On)
}

/// Loads a page and waits until its connection has shown what it is: by a message, a refusal or its end.
async fn load_next(stage: &Stage, tab: &str, is_async: bool) {
    let before = stage.bed.lives(tab);
    stage.bed.load_page(tab).await;
    if !is_async {
        stage
            .barrier(|record| {
                record
                    .tabs
                    .get(tab)
                    .is_some_and(|seen| seen.settled_life > before)
            })
            .await;
    }
}

pub(super) async fn duplicate(stage: &Stage, step: &Duplicate, place: &Place) -> Outcome {
    if is_open(stage, &step.copy) {
        return Err(Stage::wrong(
            place,
            format!("tab `{}` is open already", step.copy),
        ));
    }
    load_next(stage, &step.copy, false).await;
    Ok(Flow::On)
}

pub(super) async fn show(stage: &Stage, step: &TabsSettings, shown: TabState) -> Outcome {
    let word = match shown {
        TabState::Foreground => "foreground",
        TabState::Background => "background",
    };
    for tab in step.tabs.as_slice() {
        stage.bed.set_state(tab, shown);
        stage.bed.order(tab, Order::Show(shown)).await;
        changed(stage, tab, word);
    }
    Ok(Flow::On)
}

pub(super) async fn freeze(stage: &Stage, step: &TabsSettings) -> Outcome {
    for tab in step.tabs.as_slice() {
        stage.bed.order(tab, Order::Freeze).await;
        changed(stage, tab, "frozen");
    }
    Ok(Flow::On)
}

pub(super) async fn thaw(stage: &Stage, step: &TabsSettings) -> Outcome {
    for tab in step.tabs.as_slice() {
        changed(stage, tab, "resumed");
        stage.bed.order(tab, Order::Thaw).await;
    }
    Ok(Flow::On)
}

pub(super) fn offline(stage: &Stage, step: &TabsSettings) -> Flow {
    for tab in step.tabs.as_slice() {
        if let Some(gate) = stage.bed.gate(tab) {
            gate.shut();
        }
        changed(stage, tab, "offline");
    }
    Flow::On
}

pub(super) async fn online(stage: &Stage, step: &TabsSettings) -> Outcome {
    for tab in step.tabs.as_slice() {
        changed(stage, tab, "online");
        if let Some(gate) = stage.bed.gate(tab) {
            gate.open();
        }
        stage.bed.order(tab, Order::Flush).await;
    }
    Ok(Flow::On)
}

pub(super) async fn sleep_machine(stage: &Stage, step: &SleepMachine) -> Outcome {
    for tab in step.tabs.as_slice() {
        stage.bed.order(tab, Order::Freeze).await;
        if let Some(gate) = stage.bed.gate(tab) {
            gate.shut();
        }
        changed(stage, tab, "asleep");
    }
    stage.pass(step.duration.0).await;
    for tab in step.tabs.as_slice() {
        changed(stage, tab, "awake");
        if let Some(gate) = stage.bed.gate(tab) {
            gate.open();
        }
        stage.bed.order(tab, Order::Thaw).await;
        stage.bed.order(tab, Order::Flush).await;
    }
    Ok(Flow::On)
}

pub(super) async fn send(stage: &Stage, step: &Send, place: &Place) -> Outcome {
    let site = stage.site();
    let bindings = site.recorder.judge(|record| record.bindings.clone());
    let message: Value = fill(&step.json, &bindings)
        .map_err(|name| Stage::wrong(place, format!("`${{{name}}}` has no value yet")))?;
    let payload = Payload::json(&message, site.wall());
    deliver(stage, step.tab.as_slice(), (payload, step.is_async), place).await
}

pub(super) async fn send_raw(stage: &Stage, step: &SendRaw, place: &Place) -> Outcome {
    let payload = Payload::raw(step, stage.site().wall());
    deliver(stage, step.tab.as_slice(), (payload, false), place).await
}

/// Sends, and waits until the server has read it: it has when it answers a ping that follows, or closes.
async fn deliver(
    stage: &Stage,
    tabs: &[String],
    (payload, is_async): (Payload, bool),
    place: &Place,
) -> Outcome {
    let mut readers = Vec::new();
    for tab in tabs {
        let (read, reader) = oneshot::channel();
        let order = Order::Send {
            payload: payload.clone(),
            read,
        };
        if !is_open(stage, tab) || !stage.bed.order(tab, order).await {
            // Who does not wait for what a message does races with a close that an earlier one brought about.
            if is_async && was_closed(stage, tab) {
                continue;
            }
            return Ok(stage.fail(
                place,
                Some(tab),
                format!("tab {tab} is not open: nothing can be sent from it"),
            ));
        }
        readers.push(reader);
    }
    if !is_async {
        for reader in readers {
            // Without an answer the step is over too: what the tab saw is for `expect` to judge.
            timeout(stage.site().patience(BARRIER), reader).await.ok();
        }
    }
    Ok(Flow::On)
}

fn is_open(stage: &Stage, tab: &str) -> bool {
    is(stage, tab, |seen| seen.open)
}

/// Whether it is open or on its way back.
fn is_present(stage: &Stage, tab: &str) -> bool {
    is(stage, tab, |seen| seen.present)
}

/// Whether the tab was open, and was closed by another's making.
fn was_closed(stage: &Stage, tab: &str) -> bool {
    is(stage, tab, |seen| seen.is_over().is_some())
}

fn is(stage: &Stage, tab: &str, holds: impl Fn(&TabRecord) -> bool) -> bool {
    let recorder = &stage.site().recorder;
    recorder.judge(|record| record.tabs.get(tab).is_some_and(holds))
}

fn changed(stage: &Stage, tab: &str, word: &str) {
    stage.record(Kind::TabChanged {
        tab: tab.to_owned(),
        state: word.to_owned(),
    });
}
