//! Verdicts of runs against targets that cannot be judged.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::SinkExt;
use polytab_load::{
    plan::{InitialState, MakeChange, Notification, Page},
    report,
    result::LoadResult,
    tally::{Count, Metric},
    threshold::Outcome,
    verdict::{Ending, Verdict},
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_tungstenite::{accept_async, tungstenite::Message};

use crate::servers::{
    answer, hang, made, notification, page, plan, read_on, say, server, unchanged, with_changes,
    with_thresholds,
};

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
    pending.limits.closing = Duration::from_millis(200);
    let mut timed_out = with_thresholds(plan(address, 300, Page::default()), &["errors < 0.1%"]);

    timed_out.limits.connect = Duration::from_millis(300);

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

    let (greeted, unmet) = tokio::join!(
        made(plan(greeting, 1000, page())),
        made(plan(silent, 1000, page()))
    );

    let pattern = r#"waited for {"type":"hello"} (`ready`)"#;
    assert_invalid(
        &greeted,
        &["no tab became ready", pattern, r#"{"type":"\u{1b}[31mwelcome"}"#],
    );
    let counted = greeted.total();
    assert!(counted.get(Count::TextFrames) > 0 && counted.get(Count::JoinedFrames) > 0);
    assert_invalid(&greeted, &["not JSON", "JSON with more behind it"]);
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
    let strict = with_thresholds(plan(address, 1000, page()), &UNMEASURED.map(|(text, _)| text));
    let mut lenient = strict.clone();
    lenient.allow_unmeasured = UNMEASURED
        .map(|(text, _)| text.split(['.', ' ']).next().unwrap().to_owned())
        .into();
    let missed = with_thresholds(plan(address, 1000, page()), &["missed == 0", "opened >= 1000"]);

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
    let mut nobody = with_changes(plan(silent, 1000, page()), unchanged());
    nobody.site.change = None;

    let misread = server(&mut tasks, move |stream, _| {
        say(
            stream,
            vec![
                hello(),
                Message::text(r#"{"kind":"note","text":"see polytab-3-1."}"#),
            ],
        )
    })
    .await;

    let (failed, nobody, binary, misread) = tokio::join!(
        made(with_changes(plan(silent, 1000, page()), failing)),
        made(nobody),
        made(plan(binary, 1000, page())),
        made(with_changes(plan(misread, 1000, page()), unchanged())),
    );

    assert_invalid(
        &failed,
        &[
            "the profile has `changes`, and none was made",
            "/test answered 404",
        ],
    );
    assert_invalid(
        &misread,
        &[
            "no message matched `notification`, although",
            r#"carried the mark of a change; these came: `{"kind":"note""#,
        ],
    );
    assert_invalid(
        &nobody,
        &["nothing can make changes; give `--change-url` or `--control`"],
    );
    assert_invalid(
        &binary,
        &["no message matched `notification`", " binary", "`\\0\\u{1}ÿ`"],
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
