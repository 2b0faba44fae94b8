//! Every intended action ends in exactly one outcome, whatever the target does.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use http::HeaderMap;
use polytab_load::{
    histogram::Histogram,
    ledger::Action,
    plan::{Happening, Needle, Pace, Page, Plan, Process, Request, Template},
    tally::{Count, Metric},
};
use serde_json::json;
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet};
use tokio_tungstenite::{accept_async, tungstenite::Message};
use tokio_util::sync::CancellationToken;

use crate::servers::{answer, ended_by, hang, page, plan, server, with_changes};

/// Does with each connection what its number says.
async fn misbehave(stream: TcpStream, nth: u64) {
    match nth * 7 % 10 {
        0 => hang(stream).await,
        1 => answer(stream, "503 Service Unavailable").await,
        2 => drop(stream),
        kind => {
            let Ok(mut socket) = accept_async(stream).await else {
                return;
            };
            let (say, mut said) = mpsc::channel(8);
            say.send(Message::text(r#"{"type":"hello"}"#)).await.ok();
            let end = Duration::from_millis(40 * kind * kind);
            let serve = async {
                loop {
                    tokio::select! {
                        Some(message) = said.recv() => { socket.send(message).await.ok(); }
                        message = socket.next() => match message {
                            // Some kinds answer nothing.
                            Some(Ok(Message::Text(text))) if kind > 4 => { say.send(Message::Text(text)).await.ok(); }
                            Some(Ok(_)) => {}
                            Some(Err(_)) | None => break,
                        },
                    }
                }
            };
            tokio::time::timeout(end, serve).await.ok();
        }
    }
}

/// A plan in which everything happens to users, and sign-ins, sign-outs and changes succeed, fail or hang by turns.
fn eventful(address: SocketAddr, seed: u64) -> Plan {
    let turns = Arc::new(AtomicU64::new(seed));
    let turn = move || turns.fetch_add(1, Ordering::Relaxed) % 5;
    let outcome = move || {
        let turn = turn();
        Box::pin(async move {
            match turn {
                0 => Err("refused".to_owned()),
                1 if seed.is_multiple_of(2) => std::future::pending().await,
                _ => Ok(()),
            }
        })
    };
    let (sign_in, sign_out, change) = (outcome.clone(), outcome.clone(), outcome);
    let page = Page {
        requests: [Pace::Every(Duration::from_millis(60)), Pace::BackToBack]
            .map(|pace| Request {
                send: Template::new(json!({"pace": format!("{pace:?}")}).to_string()),
                reply: Needle::Json(json!({"pace": format!("{pace:?}")})),
                pace,
            })
            .into(),
        reconnect_on: vec![1006],
        reconnect_after: Duration::from_millis(50),
        stay: seed.is_multiple_of(3).then_some(Duration::from_millis(200)),
        away: Duration::from_millis(80),
        ..page()
    };
    let mut plan = with_changes(plan(address, 700, page), Arc::new(move |_, _| change()));
    plan.seed = seed;
    plan.limits.workers = 1 + usize::try_from(seed % 2).unwrap();
    plan.limits.under_way = 4;
    plan.limits.connect = Duration::from_millis(300);
    plan.limits.closing = Duration::from_millis(200);
    plan.limits.queue = 2;
    plan.site.sign_in = Arc::new(move |_| {
        let signing = sign_in();
        Box::pin(async { signing.await.map(|()| HeaderMap::new()) })
    });
    plan.site.sign_out = Some(Arc::new(move |_| sign_out()));
    for happening in Happening::ALL
        .into_iter()
        .filter(|happening| *happening != Happening::Change)
    {
        plan.phases[0].events.push(Process { happening, rate: 1.5 });
    }
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_of_intended_actions_add_up_under_random_faults() {
    let mut tasks = JoinSet::new();
    let address = server(&mut tasks, misbehave).await;
    let mut runs = JoinSet::new();
    for seed in 1..=12 {
        let stop = CancellationToken::new();
        let interrupt = stop.clone();
        runs.spawn(async move {
            let run = ended_by(eventful(address, seed), stop);
            if seed % 4 != 0 {
                return run.await;
            }
            // A person ends some of them in the middle.
            let ending = async {
                tokio::time::sleep(Duration::from_millis(400)).await;
                interrupt.cancel();
            };
            tokio::join!(run, ending).0
        });
    }

    let results = runs.join_all().await;

    let mut seen = [0; Count::ALL.len()];
    for result in &results {
        let total = result.total();
        for action in Action::ALL {
            let sum = total.sum(action.outcomes());
            assert_eq!(
                total.get(action.intended()),
                sum,
                "{action:?}, seed {}: {total:?}",
                result.seed
            );
        }
        let heard = total.metric(Metric::Fanout).map_or(0, Histogram::count);
        let ends = [Count::Unheard, Count::Covered, Count::Withdrawn, Count::Missed];
        assert_eq!(
            total.get(Count::Due),
            heard + total.sum(&ends),
            "seed {}: {total:?}",
            result.seed
        );
        for count in Count::ALL {
            seen[count as usize] += total.get(count);
        }
    }
    for action in Action::ALL {
        let outcomes = action.outcomes().iter().map(|outcome| seen[*outcome as usize]);
        let kinds = outcomes.filter(|times| *times > 0).count();
        assert!(kinds > 1, "{action:?} always ended in the same way: {seen:?}");
    }
}
