//! Verdicts need evidence, and every intended action ends in exactly one outcome, whatever the target does.

#![expect(clippy::unwrap_used, reason = "what goes wrong beside the test ends it")]

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
    plan::{
        Arrival, Happening, InitialState, Limits, MakeChange, Needle, Notification, Pace, Page, Phase, Plan,
        Process, Request, Site, Template,
    },
    report,
    result::LoadResult,
    run::{Order, run},
    tally::{Count, Metric},
    threshold::Outcome,
    verdict::{Ending, Verdict},
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::Message};
use tokio_util::sync::CancellationToken;

/// Times of the tests, which wait for none of the limits that people need.
fn limits() -> Limits {
    Limits {
        connect: Duration::from_millis(300),
        reply: Duration::from_millis(200),
        notification: Duration::from_millis(300),
        settling: Duration::ZERO,
        closing: Duration::from_millis(200),
        // How busy the machine of a test is decides nothing.
        lag: Duration::from_mins(1),
        ..Limits::default()
    }
}

fn site(address: SocketAddr) -> Site {
    Site {
        url: format!("ws://{address}/").parse().unwrap(),
        name: "a server of the test".to_owned(),
        tls: None,
        sources: Vec::new(),
        user_name: Arc::new(|user| format!("user-{user}")),
        sign_in: Arc::new(|_| Box::pin(async { Ok(HeaderMap::new()) })),
        sign_out: None,
        change: None,
        polls: None,
    }
}

/// Ten users with two tabs each, for so many milliseconds.
fn plan(address: SocketAddr, millis: u64, page: Page) -> Plan {
    Plan {
        name: "test".to_owned(),
        seed: 7,
        phases: vec![Phase {
            name: "only".to_owned(),
            length: Duration::from_millis(millis),
            users: 10,
            arrival: Arrival::Spike,
            events: Vec::new(),
        }],
        tabs_per_user: vec![(2, 1.0)],
        shard: None,
        page,
        script: None,
        site: site(address),
        thresholds: Vec::new(),
        allow_unmeasured: Vec::new(),
        abort_after: None,
        limits: limits(),
    }
}

async fn made(plan: Plan) -> LoadResult {
    ended_by(plan, CancellationToken::new()).await
}

async fn ended_by(plan: Plan, stop: CancellationToken) -> LoadResult {
    let order = Order {
        begins_in: Duration::ZERO,
        begins_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        stop,
    };
    run(plan, order, |_| {}).await.unwrap()
}

/// A server that does this with each connection, and its number from 1.
async fn server<F>(
    tasks: &mut JoinSet<()>,
    serve: impl Fn(TcpStream, u64) -> F + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        for nth in 1.. {
            let (stream, _) = listener.accept().await.unwrap();
            connections.spawn(serve(stream, nth));
        }
    });
    address
}

/// Accepts, and answers nothing.
async fn hang(mut stream: TcpStream) {
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
}

/// Answers the handshake with this.
async fn answer(mut stream: TcpStream, status: &str) {
    let mut request = tokio::io::BufReader::new(&mut stream).lines();
    while request
        .next_line()
        .await
        .is_ok_and(|line| line.is_some_and(|line| !line.is_empty()))
    {}
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.ok();
}

/// Takes the tab, says this, and reads until its end.
async fn say(stream: TcpStream, frames: Vec<Message>) {
    let Ok(mut socket) = accept_async(stream).await else {
        return;
    };
    for frame in frames {
        socket.send(frame).await.ok();
    }
    read_on(socket).await;
}

async fn read_on(mut socket: WebSocketStream<TcpStream>) {
    while let Some(Ok(_)) = socket.next().await {}
}

fn notification() -> Notification {
    Notification {
        is: Needle::Json(json!({"type": "note"})),
        seq: None,
        superseded: None,
        stream: None,
        user: None,
        mark: None,
        initial: InitialState::Absent,
    }
}

fn page() -> Page {
    Page {
        ready: Some(Needle::Json(json!({"type": "hello"}))),
        notification: Some(notification()),
        ..Page::default()
    }
}

fn with_thresholds(mut plan: Plan, thresholds: &[&str]) -> Plan {
    plan.thresholds = thresholds.iter().map(|text| text.parse().unwrap()).collect();
    plan
}

fn with_changes(mut plan: Plan, change: MakeChange) -> Plan {
    plan.phases[0].events.push(Process {
        happening: Happening::Change,
        rate: 10.0,
    });
    plan.site.change = Some(change);
    plan
}

fn unchanged() -> MakeChange {
    Arc::new(|_, _| Box::pin(async { Ok(()) }))
}

/// The verdict is the same in all outputs, and each reason contains its part.
fn assert_invalid(result: &LoadResult, parts: &[&str]) {
    let reasons = result.invalid.join("\n");
    assert_eq!(result.verdict, Verdict::Invalid, "{reasons}");
    for part in parts {
        assert!(reasons.contains(part), "`{part}` is not in: {reasons}");
    }
    let junit = report::junit(result).unwrap();
    assert!(
        junit.contains("errors=\"1\"") && junit.contains("message=\"invalid: "),
        "{junit}"
    );
    assert!(report::html(result).contains("<b>invalid</b>"));
    assert!(report::prometheus(result).contains("polytab_load_passed{profile=\"test\"} 0"));
}

#[tokio::test]
async fn handshakes_that_never_end_are_pending_or_timed_out_and_no_run_passes() {
    let mut tasks = JoinSet::new();
    let address = server(&mut tasks, |stream, _| hang(stream)).await;
    let mut pending = with_thresholds(plan(address, 300, Page::default()), &["errors < 0.1%"]);
    pending.limits.connect = Duration::from_mins(1);
    let timed_out = with_thresholds(plan(address, 300, Page::default()), &["errors < 0.1%"]);

    let (pending, timed_out) = tokio::join!(made(pending), made(timed_out));

    for (result, count, word) in [
        (&pending, Count::PendingOpens, "pending at the end"),
        (&timed_out, Count::TimedOutOpens, "timed out"),
    ] {
        let total = result.total();
        assert!(total.get(count) > 0, "{total:?}");
        assert!(total.errors() >= total.get(count));
        assert_invalid(result, &["no tab opened", word]);
        assert_eq!(result.thresholds[0].outcome, Outcome::Missed);
    }
}

#[tokio::test]
async fn a_target_that_takes_no_tab_ends_the_run_early() {
    let mut tasks = JoinSet::new();
    let forbidding = server(&mut tasks, |stream, _| answer(stream, "403 Forbidden")).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let nothing = listener.local_addr().unwrap();
    drop(listener);
    let again = Page {
        reconnect_on: vec![1006],
        reconnect_after: Duration::from_millis(100),
        ..Page::default()
    };
    let mut unknown = plan(nothing, 600_000, again.clone());
    unknown.site.sign_in = Arc::new(|_| Box::pin(async { Err("sign-in: who are you?".to_owned()) }));

    let (refused, forbidden, unknown) = tokio::join!(
        made(plan(nothing, 600_000, again.clone())),
        made(plan(forbidding, 600_000, again)),
        made(unknown),
    );

    for (result, parts) in [
        (
            &refused,
            [
                "no tab opened",
                "refused; most often: connection failed: connection refused",
            ],
        ),
        (
            &forbidden,
            ["no tab opened", "refused; most often: handshake answered 403"],
        ),
        (
            &unknown,
            [
                "no user could sign in",
                "failed; most often: sign-in: who are you?",
            ],
        ),
    ] {
        assert_eq!(result.ending, Ending::Unreachable);
        assert!(result.length() < Duration::from_mins(1), "{:?}", result.length());
        assert_invalid(result, &parts);
        assert_invalid(result, &["the run ended early, as"]);
    }
}

#[tokio::test]
async fn tabs_that_never_become_ready_are_told_with_what_came_instead() {
    let mut tasks = JoinSet::new();
    let greeting = server(&mut tasks, |stream, _| {
        let frames = [
            "{\"type\":\"\u{1b}[31mwelcome\"}",
            "0{\"sid\":1}",
            "{\"a\":1}\n{\"b\":2}",
        ];
        say(stream, frames.map(Message::text).into())
    })
    .await;
    let silent = server(&mut tasks, |stream, _| say(stream, Vec::new())).await;

    let (greeted, unmet) = tokio::join!(made(plan(greeting, 300, page())), made(plan(silent, 300, page())));

    let pattern = r#"waited for {"type":"hello"} (`ready`)"#;
    assert_invalid(
        &greeted,
        &["no tab became ready", pattern, r#"{"type":"\u{1b}[31mwelcome"}"#],
    );
    let counted = greeted.total();
    assert!(counted.get(Count::TextFrames) > 0 && counted.get(Count::JoinedFrames) > 0);
    assert_invalid(&greeted, &["not JSON", "several JSON values in one message"]);
    assert_invalid(&unmet, &["no tab became ready", pattern, "no message arrived"]);
}

/// Thresholds, and the reason why each has nothing to go by in a run of tabs that are ready and hear nothing.
const UNMEASURED: [(&str, &str); 8] = [
    ("missed == 0", "the profile makes no changes"),
    ("fanout.p99 < 1s", "the profile makes no changes"),
    ("doubled == 0", "names neither `seq` nor `mark`"),
    ("out_of_order == 0", "names neither `seq` nor `mark`"),
    ("cross_user == 0", "names neither `user`, `stream` nor `mark`"),
    ("polls_per_user_and_turn <= 1.05", "`--control`"),
    ("unanswered == 0", "the profile has no `requests`"),
    ("reply.p99 < 1s", "the profile has no `requests`"),
];

#[tokio::test]
async fn thresholds_without_samples_are_not_measured_unless_the_profile_allows_it() {
    let mut tasks = JoinSet::new();
    let hello = || vec![Message::text(r#"{"type":"hello"}"#)];
    let address = server(&mut tasks, move |stream, _| say(stream, hello())).await;
    let strict = with_thresholds(plan(address, 300, page()), &UNMEASURED.map(|(text, _)| text));
    let mut lenient = strict.clone();
    lenient.allow_unmeasured = UNMEASURED
        .map(|(text, _)| text.split(['.', ' ']).next().unwrap().to_owned())
        .into();
    let missed = with_thresholds(plan(address, 300, page()), &["missed == 0", "opened >= 1000"]);

    let (strict, lenient, missed) = tokio::join!(made(strict), made(lenient), made(missed));

    for (judged, (text, reason)) in strict.thresholds.iter().zip(UNMEASURED) {
        assert_eq!(judged.outcome, Outcome::NotMeasured, "{text}");
        assert!(judged.reason.as_ref().unwrap().contains(reason), "{judged:?}");
        assert_invalid(&strict, &[&format!("`{text}` was not measured")]);
    }
    assert_eq!(lenient.verdict, Verdict::Passed, "{:?}", lenient.invalid);
    assert!(
        lenient
            .notes
            .iter()
            .any(|note| note.contains("no threshold was judged"))
    );
    // What was seen to be wrong stays wrong.
    assert_eq!((missed.verdict, missed.invalid.len()), (Verdict::Failed, 0));
}

#[tokio::test]
async fn changes_that_cannot_be_made_and_notifications_that_no_pattern_matches_are_no_pass() {
    let mut tasks = JoinSet::new();
    let hello = || Message::text(r#"{"type":"hello"}"#);
    let silent = server(&mut tasks, move |stream, _| say(stream, vec![hello()])).await;
    let binary = server(&mut tasks, move |stream, _| {
        say(stream, vec![hello(), Message::binary(vec![0_u8, 1, 255])])
    })
    .await;
    let failing: MakeChange =
        Arc::new(|_, _| Box::pin(async { Err("change: /test answered 404".to_owned()) }));
    let mut nobody = with_changes(plan(silent, 400, page()), unchanged());
    nobody.site.change = None;

    let (failed, nobody, binary) = tokio::join!(
        made(with_changes(plan(silent, 400, page()), failing)),
        made(nobody),
        made(plan(binary, 300, page())),
    );

    assert_invalid(
        &failed,
        &[
            "the profile has `changes`, and none was made",
            "/test answered 404",
        ],
    );
    assert_invalid(
        &nobody,
        &["nothing can make changes; give `--change-url` or `--control`"],
    );
    assert_invalid(
        &binary,
        &["no message matched `notification`", " binary, as `\\0\\u{1}ÿ`"],
    );
}

/// A server whose tabs are told the state when they open, and never anything else.
async fn stateful(tasks: &mut JoinSet<()>) -> SocketAddr {
    server(tasks, |stream, _| async move {
        let Ok(mut socket) = accept_async(stream).await else {
            return;
        };
        socket.send(Message::text(r#"{"type":"hello"}"#)).await.ok();
        // After the first changes: one is made every 100 ms.
        tokio::time::sleep(Duration::from_millis(250)).await;
        socket.send(Message::text(r#"{"type":"note"}"#)).await.ok();
        read_on(socket).await;
    })
    .await
}

#[tokio::test]
async fn an_initial_state_is_no_notification_of_a_change() {
    let mut tasks = JoinSet::new();
    let address = stateful(&mut tasks).await;
    let with_initial = |initial| {
        let notification = Some(Notification {
            initial,
            ..notification()
        });
        let page = Page {
            notification,
            ..page()
        };
        let mut plan = with_changes(plan(address, 1000, page), unchanged());
        plan.limits.settling = Duration::from_secs(10);
        with_thresholds(plan, &["missed == 0", "fanout.p99 < 1s"])
    };

    let (sent, unknown, absent) = tokio::join!(
        made(with_initial(InitialState::Sent)),
        made(with_initial(InitialState::Unknown)),
        made(with_initial(InitialState::Absent)),
    );

    for result in [&sent, &unknown] {
        let total = result.total();
        assert!(total.metric(Metric::Fanout).is_none(), "{total:?}");
        assert!(
            total.get(Count::Covered) > 0 && total.get(Count::Missed) > 0,
            "{total:?}"
        );
        assert_eq!(result.verdict, Verdict::Failed);
    }
    assert!(absent.total().metric(Metric::Fanout).is_some());
}

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
