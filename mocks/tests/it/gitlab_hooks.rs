//! GitLab's hooks: registered over REST, called with what streams carry, paused when they fail.

use std::{num::NonZeroU32, time::Duration};

use crate::support::{
    Answer, get,
    gitlab::{access, data_lines},
    mocks_on,
    receiver::{Mood, Received, Receiver},
    send,
};
use axum::body::Body;
use http::Request;
use polytab_mocks::{Mocks, config::MocksConfig, gitlab::generate::EventOrder};
use polytab_protocol::topic::EventType;
use serde_json::{Value, json};

const HOOKS: &str = "/api/v4/projects/42/hooks";
/// Longer than anything that is under way takes.
const SOON: Duration = Duration::from_millis(100);
/// Longer than a call, its time limit, and its second try.
const LONG: Duration = Duration::from_secs(40);

async fn register(mocks: &Mocks, token: &str, fields: Value) -> Answer {
    let request = Request::post(HOOKS)
        .header("private-token", token)
        .header("content-type", "application/json")
        .body(Body::from(fields.to_string()))
        .unwrap();
    send(mocks.gitlab(), request).await
}

async fn delete(mocks: &Mocks, token: &str, path: &str) -> u16 {
    let request = Request::delete(path).header("private-token", token);
    send(mocks.gitlab(), request.body(Body::empty()).unwrap())
        .await
        .status
        .as_u16()
}

/// Mocks with a hook for pushes, tag pushes, issues and jobs.
async fn hooked() -> (Receiver, Mocks, String) {
    let receiver = Receiver::new();
    let mocks = mocks_on(receiver.seams.clone(), MocksConfig::default());
    let token = access(&mocks).await;
    let fields = json!({
        "url": "http://receiver/hook", "token": "the-secret",
        "tag_push_events": true, "issues_events": true, "job_events": true,
    });
    assert_eq!(register(&mocks, &token, fields).await.status.as_u16(), 201);
    (receiver, mocks, token)
}

fn generate(mocks: &Mocks, event: EventType) -> String {
    mocks.generate(42, &EventOrder::new(event)).unwrap().remove(0)
}

async fn status(mocks: &Mocks, token: &str) -> String {
    let hook = get(mocks.gitlab(), &format!("{HOOKS}/1"), Some(token))
        .await
        .json();
    hook["alert_status"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_hook_is_sent_byte_for_byte_what_the_stream_carries() {
    let (mut receiver, mocks, token) = hooked().await;

    let mut bodies = Vec::new();
    let mut last = String::new();
    for (event, title) in [
        (EventType::Push, "Push Hook"),
        (EventType::TagPush, "Tag Push Hook"),
        (EventType::Issue, "Issue Hook"),
        (EventType::Job, "Job Hook"),
    ] {
        last = generate(&mocks, event);
        let call = receiver.call(SOON).await.unwrap();
        assert_eq!(call.header("x-gitlab-event"), title);
        bodies.push(call.body);
    }
    last = mocks
        .emit("/project/42/issue".parse().unwrap(), &json!({"as": "given 😀"}))
        .max(last);
    bodies.push(receiver.call(SOON).await.unwrap().body);

    assert_eq!(bodies, data_lines(&mocks, &token, &last).await);
    assert_eq!(bodies[4], "{\"as\":\"given 😀\"}");
}

#[tokio::test(start_paused = true)]
async fn a_call_has_the_headers_of_gitlab() {
    let (mut receiver, mocks, _) = hooked().await;

    generate(&mocks, EventType::Push);
    generate(&mocks, EventType::Push);
    let (first, second) = (
        receiver.call(SOON).await.unwrap(),
        receiver.call(SOON).await.unwrap(),
    );

    for (name, value) in [
        ("host", "receiver"),
        ("content-type", "application/json"),
        ("user-agent", "GitLab/18.5.0"),
        ("x-gitlab-token", "the-secret"),
        ("x-gitlab-instance", "https://gitlab.example.org"),
    ] {
        assert_eq!(first.header(name), value, "{name}");
    }
    for (name, is_same) in [
        ("x-gitlab-webhook-uuid", true),
        ("x-gitlab-event-uuid", false),
        ("idempotency-key", false),
    ] {
        assert_eq!(first.header(name).len(), 36, "{name}");
        assert_eq!(first.header(name) == second.header(name), is_same, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_is_tried_again_with_the_same_key() {
    let (mut receiver, mocks, _) = hooked().await;
    receiver.mood.send_replace(Mood::Silent);
    let begin = tokio::time::Instant::now();

    generate(&mocks, EventType::Push);
    let first = receiver.call(SOON).await.unwrap();
    let second = receiver.call(LONG).await.unwrap();

    // The time limit of 10 s, and 15 s until the next attempt.
    assert_eq!(begin.elapsed().as_secs(), 25);
    for name in ["idempotency-key", "x-gitlab-event-uuid"] {
        assert_eq!(first.header(name), second.header(name), "{name}");
    }
    assert_eq!(first.body, second.body);
    assert!(receiver.call(LONG).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_an_answer_and_four_in_a_row_pause_the_hook() {
    let (mut receiver, mocks, token) = hooked().await;
    receiver.mood.send_replace(Mood::Answer(500));
    let mut call = async || {
        generate(&mocks, EventType::Push);
        receiver
            .call(LONG)
            .await
            .map(|call: Received| call.body)
            .is_some()
    };

    let calls = [
        call().await,
        call().await,
        call().await,
        call().await,
        call().await,
    ];
    let paused = status(&mocks, &token).await;
    tokio::time::advance(Duration::from_mins(1)).await;
    let after = [call().await, call().await];
    tokio::time::advance(Duration::from_mins(1)).await;
    let doubled = status(&mocks, &token).await;
    tokio::time::advance(Duration::from_mins(1)).await;
    receiver.mood.send_replace(Mood::Answer(204));
    generate(&mocks, EventType::Push);
    let good = receiver.call(LONG).await.is_some();
    tokio::time::advance(SOON).await;

    assert_eq!(calls, [true, true, true, true, false]);
    assert_eq!(paused, "temporarily_disabled");
    assert_eq!(after, [true, false]);
    assert_eq!(doubled, "temporarily_disabled");
    assert!(good);
    assert_eq!(status(&mocks, &token).await, "executable");
}

#[tokio::test(start_paused = true)]
async fn a_push_of_more_than_three_branches_calls_no_hook_and_is_streamed() {
    let (mut receiver, mocks, token) = hooked().await;
    let push = |refs| EventOrder {
        refs: NonZeroU32::new(refs).unwrap(),
        ..EventOrder::new(EventType::Push)
    };

    let ids = mocks.generate(42, &push(4)).unwrap();
    let none = receiver.call(LONG).await.is_none();
    mocks.generate(42, &push(3)).unwrap();

    assert!(none);
    for _ in 0..3 {
        assert!(receiver.call(SOON).await.is_some());
    }
    assert_eq!(data_lines(&mocks, &token, &ids[3]).await.len(), 7);
}

#[tokio::test(start_paused = true)]
async fn hooks_are_registered_listed_and_taken_away() {
    let (mut receiver, mocks, token) = hooked().await;
    let second = register(
        &mocks,
        &token,
        json!({"url": "http://receiver/other", "push_events": false}),
    )
    .await;

    let list = get(mocks.gitlab(), HOOKS, Some(&token)).await;

    assert_eq!(list.headers["x-total"], "2");
    assert_eq!(list.json()[0]["issues_events"], true);
    assert_eq!(list.json()[1], second.json());
    assert!(!list.text.contains("the-secret"));
    for (path, status) in [("/1", 204), ("/1", 404), ("/99", 404), ("/x", 404)] {
        assert_eq!(
            delete(&mocks, &token, &format!("{HOOKS}{path}")).await,
            status,
            "{path}"
        );
    }
    assert_eq!(
        get(mocks.gitlab(), &format!("{HOOKS}/1"), Some(&token))
            .await
            .status,
        404
    );
    generate(&mocks, EventType::Push);
    assert!(receiver.call(LONG).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_cannot_be_is_refused() {
    let (_receiver, mocks, token) = hooked().await;

    for (token, fields, status, said) in [
        (&token, json!({}), 400, json!({"error": "url is missing"})),
        (
            &"made-up".to_owned(),
            json!({"url": "http://a"}),
            401,
            json!({"message": "401 Unauthorized"}),
        ),
        (
            &token,
            json!({"url": "ftp://a"}),
            422,
            json!({"message": {"url": ["is blocked: Only allowed schemes are http, https"]}}),
        ),
    ] {
        let answer = register(&mocks, token, fields).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (status, said));
    }
    for n in 2..=101 {
        let status = register(&mocks, &token, json!({"url": "http://a"}))
            .await
            .status
            .as_u16();
        assert_eq!(status, if n <= 100 { 201 } else { 422 }, "hook {n}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_receiver_delays_nobody_and_its_queue_is_bounded() {
    let receiver = Receiver::new();
    let config = MocksConfig {
        hook_queue: 2,
        hook_retries: 0,
        ..MocksConfig::default()
    };
    let mocks = mocks_on(receiver.seams.clone(), config);
    let token = access(&mocks).await;
    register(&mocks, &token, json!({"url": "http://receiver"})).await;
    receiver.mood.send_replace(Mood::Silent);
    let mut receiver = receiver;
    let begin = tokio::time::Instant::now();

    generate(&mocks, EventType::Push);
    receiver.call(SOON).await.unwrap();
    for _ in 0..5 {
        generate(&mocks, EventType::Push);
    }

    assert!(begin.elapsed() < SOON);
    receiver.mood.send_replace(Mood::Answer(200));
    for _ in 0..2 {
        assert!(receiver.call(LONG).await.is_some());
    }
    assert!(receiver.call(LONG).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_reset_takes_hooks_and_what_waits_for_them_away() {
    let (mut receiver, mocks, _) = hooked().await;
    receiver.mood.send_replace(Mood::Silent);
    generate(&mocks, EventType::Push);
    generate(&mocks, EventType::Push);
    receiver.call(SOON).await.unwrap();

    mocks.reset(receiver.seams.clone());

    assert!(receiver.call(LONG).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_journal_keeps_the_secret_of_a_hook_to_itself() {
    let (_receiver, mocks, _) = hooked().await;

    let journal = get(mocks.control(), "/journal?route=gitlab.hooks", None).await;

    assert!(!journal.text.contains("the-secret"));
    assert!(
        journal.json()[0]["json"]["token"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
}
