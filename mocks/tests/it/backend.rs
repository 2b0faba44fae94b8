//! The data service as its callers meet it: each answer and each refusal (MOCKS B1).

use crate::support::{
    access_of, get, mocks, schema, send, send_json,
    stage::{LAUNCHER, SESSIONS, Stage, pass, steady},
    text,
};
use axum::body::Body;
use http::Request;
use polytab_mocks::{backend::pace::Trouble, order::UserSpec};
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn a_launcher_gives_one_session_however_often_it_is_asked() {
    let stage = Stage::new().await;
    let body = json!({"launcher_id": LAUNCHER, "resource_class_id": 2, "disk_storage": 7});

    let first = stage.call("POST", "", &body).await;
    pass(1).await;
    let second = stage.call("POST", "", &body).await;

    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 200));
    let item = first.json();
    schema::check(&item).unwrap();
    assert_eq!(item["name"], second.json()["name"]);
    assert_eq!(item["started"], second.json()["started"]);
    assert_eq!(item["url"], "None");
    assert_eq!(
        item["status"],
        json!({"state": "starting", "ready_containers": 0, "total_containers": 0})
    );
    assert_eq!(
        item["resources"],
        json!({"requests": {"cpu": 2.0, "gpu": 0, "memory": 8, "storage": 7}})
    );
}

#[tokio::test(start_paused = true)]
async fn every_refusal_has_its_status_and_code() {
    let stage = Stage::new().await;
    let future = json!({"lastInteraction": "2026-01-02T00:00:00Z"});

    for (method, path, body, status) in [
        ("GET", "?session_type=both", json!({}), 422),
        ("POST", "", json!({}), 422),
        ("POST", "", json!([]), 422),
        ("POST", "", json!({"launcher_id": "x"}), 422),
        (
            "POST",
            "",
            json!({"launcher_id": LAUNCHER, "disk_storage": 0}),
            422,
        ),
        (
            "POST",
            "",
            json!({"launcher_id": LAUNCHER, "session_type": "both"}),
            422,
        ),
        (
            "POST",
            "",
            json!({"launcher_id": LAUNCHER, "resource_class_id": 99}),
            404,
        ),
        ("GET", "/nobodys", json!({}), 404),
        ("PATCH", "/nobodys", json!({}), 404),
        ("GET", "/nobodys/logs", json!({}), 404),
        ("PATCH", "/s1", json!({"state": "stopped"}), 422),
        ("PATCH", "/s1", json!({"resource_class_id": 3}), 422),
        (
            "PATCH",
            "/s1",
            json!({"lastInteraction": "2026-01-01T00:00:00"}),
            422,
        ),
        ("PATCH", "/s1", json!({"lastInteraction": "yesterday"}), 422),
        ("PATCH", "/s1", future, 422),
        ("GET", "/s1/logs?max_lines=some", json!({}), 422),
        ("GET", "/images", json!({}), 422),
        (
            "GET",
            "/images?image_url=registry.example.org/renku/missing:1.0",
            json!({}),
            404,
        ),
        ("PUT", "/s1", json!({}), 405),
    ] {
        let answer = stage.call(method, path, &body).await;

        assert_eq!(
            answer.status.as_u16(),
            status,
            "{method} {path} {body}: {}",
            answer.text
        );
        assert_eq!(answer.json()["error"]["code"], 1000 + status, "{method} {path}");
        assert!(!text(&answer.json()["error"], "message").is_empty());
    }
    assert_eq!(stage.shown("s1").await, "running 2/2");
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_changes_nothing_is_no_mistake() {
    let stage = Stage::new().await;
    let before = stage.look("s1").await;

    for body in [
        json!({}),
        json!({"state": "running"}),
        json!({"resource_class_id": 1}),
    ] {
        let answer = stage.call("PATCH", "/s1", &body).await;

        assert_eq!(
            (answer.status.as_u16(), answer.json()),
            (200, before.clone()),
            "{body}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_patch_changes_class_and_interaction_and_not_the_start() {
    let stage = Stage::new().await;
    let before = stage.look("s1").await;
    pass(100).await;

    let moved = stage
        .call("PATCH", "/s1", &json!({"resource_class_id": 2}))
        .await
        .json();
    let told = json!({"lastInteraction": "2026-01-01T01:00:30+01:00"});
    let told = stage.call("PATCH", "/s1", &told).await.json();
    let touched = stage
        .call("PATCH", "/s1", &json!({"lastInteraction": "now"}))
        .await
        .json();

    assert_eq!(moved["resources"]["requests"]["memory"], 8);
    assert_eq!(told["lastInteraction"], "2026-01-01T00:00:30Z");
    assert_eq!(touched["lastInteraction"], "2026-01-01T00:01:40Z");
    assert_eq!(touched["started"], before["started"]);
}

#[tokio::test(start_paused = true)]
async fn orders_show_at_once_what_they_do_later() {
    let stage = Stage::new().await;
    let started = stage.look("s1").await["started"].clone();
    let patch = async |state: &str| stage.call("PATCH", "/s1", &json!({ "state": state })).await;

    assert_eq!(patch("hibernated").await.json()["status"]["state"], "hibernated");
    assert_eq!(stage.shown("s1").await, "hibernated 2/2");
    pass(10).await;
    assert_eq!(stage.shown("s1").await, "hibernated 0/0");
    assert!(stage.look("s1").await["status"]["will_delete_at"].is_string());
    assert_eq!(patch("running").await.json()["status"]["state"], "starting");
    pass(200).await;
    assert_eq!(stage.shown("s1").await, "running 2/2");
    assert_eq!(stage.look("s1").await["started"], started);
}

#[tokio::test(start_paused = true)]
async fn a_delete_is_always_well_and_takes_its_time() {
    let stage = Stage::new().await;

    for name in ["s1", "s1", "never-was", "Not A Name!"] {
        let path = format!("/{}", name.replace(' ', "%20"));
        let answer = stage.call("DELETE", &path, &json!({})).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text.as_str()),
            (204, ""),
            "{name}"
        );
    }

    assert_eq!(stage.shown("s1").await, "running 2/2");
    pass(2).await;
    assert_eq!(stage.shown("s1").await, "stopping 0/2");
    pass(2).await;
    assert_eq!(stage.shown("s1").await, "gone");
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_once_and_says_when_it_was_done() {
    let stage = Stage::new().await;
    let body = json!({
        "launcher_id": LAUNCHER, "session_type": "non-interactive",
        "submission_id": "one", "command_args": ["make", "all"],
    });
    let other = json!({
        "launcher_id": LAUNCHER, "session_type": "non-interactive", "submission_id": "two",
    });

    let job = stage.call("POST", "", &body).await.json();
    let second = stage.call("POST", "", &other).await;
    pass(400).await;

    let done = stage.look(text(&job, "name")).await;
    schema::check(&done).unwrap();
    assert_eq!(second.status, 201);
    assert_eq!(done["status"]["state"], "succeeded");
    assert_eq!(
        (&done["command_args"], &done["submission_id"]),
        (&json!(["make", "all"]), &json!("one"))
    );
    assert!(done["job_completed_at"].is_string() && done.get("lastInteraction").is_none());
    let count = async |kind: &str| {
        let list = stage.call("GET", kind, &json!({})).await.json();
        list.as_array().unwrap().len()
    };
    assert_eq!(
        [
            count("").await,
            count("?session_type=interactive").await,
            count("?session_type=non-interactive").await
        ],
        [3, 1, 2]
    );
}

#[tokio::test(start_paused = true)]
async fn strangers_keep_what_they_launch_under_their_id() {
    let mocks = mocks();
    let ask = async |name: &str, value: &str| {
        let request = Request::get(SESSIONS)
            .header(name, value)
            .body(Body::empty())
            .unwrap();
        send(mocks.backend(), request).await.text
    };
    let request = Request::post(SESSIONS)
        .header("content-type", "application/json")
        .header("renku-auth-anon-id", "anon-one")
        .body(Body::from(json!({"launcher_id": LAUNCHER}).to_string()))
        .unwrap();

    let launched = send(mocks.backend(), request).await;

    assert_eq!(launched.status, 201);
    for (header, value, owns) in [
        ("renku-auth-anon-id", "anon-one", true),
        ("cookie", "Renku-Auth-Anon-Id=anon-one", true),
        ("renku-auth-anon-id", "anon-two", false),
        ("renku-auth-anon-id", "one", false),
        ("authorization", "Bearer made-up", false),
    ] {
        assert_eq!(ask(header, value).await != "[]", owns, "{header}: {value}");
    }
}

#[tokio::test(start_paused = true)]
async fn logs_are_of_what_runs_and_no_longer_than_wished() {
    let stage = Stage::new().await;
    stage.launch("ada-1", Trouble::None, steady());

    let before = stage.call("GET", "/ada-1/logs", &json!({})).await;
    pass(20_000).await;
    stage.launch("ada-2", Trouble::None, steady());
    pass(100).await;
    let lines = async |path: &str| {
        let logs = stage.call("GET", path, &json!({})).await.json();
        let container = logs["container-3"].as_str().unwrap_or("").to_owned();
        (logs.as_object().unwrap().len(), container.lines().count())
    };

    assert_eq!(before.text, "{}");
    assert_eq!(lines("/ada-2/logs").await, (3, 11));
    assert_eq!(lines("/ada-2/logs?max_lines=4").await, (3, 4));
    assert_eq!(lines("/s1/logs").await, (2, 0));
    let image = "/images?image_url=registry.example.org/renku/environment:1.0";
    assert_eq!(stage.call("GET", image, &json!({})).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn nobody_sees_or_touches_what_is_somebody_elses() {
    let stage = Stage::new().await;
    stage.mocks.put_user("bob", UserSpec::default()).unwrap();
    let bob = access_of(&stage.mocks, "bob", &UserSpec::default().password).await;
    let path = format!("{SESSIONS}/s1");

    let (look, delete) = (
        get(stage.mocks.backend(), &path, Some(&bob)).await,
        send_json(stage.mocks.backend(), ("DELETE", &path), Some(&bob), &json!({})).await,
    );
    pass(10).await;

    assert_eq!((look.status.as_u16(), delete.status.as_u16()), (404, 204));
    assert_eq!(stage.shown("s1").await, "running 2/2");
}
