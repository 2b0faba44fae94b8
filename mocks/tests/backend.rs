//! The data service as its callers meet it: each answer and each refusal (MOCKS B1).

#![expect(clippy::unwrap_used, reason = "what cannot be in a test may panic")]

mod support;

use std::time::Duration;

use axum::body::Body;
use http::Request;
use polytab_mocks::{
    Mocks,
    backend::{
        fault::PollFault,
        pace::{PaceOrder, Trouble},
        plan::{LaunchOrder, PlanOrder, Preset, SessionOrder},
    },
    order::{Change, FaultAction, FaultOrder, UserSpec, Verb},
};
use polytab_protocol::sessions::SessionsReading;
use serde_json::{Value, json};
use support::{Answer, access_of, get, mocks, schema, send, send_json, text};

const SESSIONS: &str = "/api/data/sessions";
const LAUNCHER: &str = "01HZZZZZZZZZZZZZZZZZZZZZZZ";

/// Mocks and a caller whose sessions are as they are named.
struct Stage {
    mocks: Mocks,
    token: String,
}

impl Stage {
    async fn new() -> Self {
        let mocks = mocks();
        let change = Change {
            user: Some("ada".into()),
            // Longer than any test: whoever comes with an old token is a stranger.
            access_token: Some(Duration::from_hours(9)),
            ..Change::default()
        };
        mocks.change(change).unwrap();
        let token = access_of(&mocks, "ada", "password-of-ada").await;
        Self { mocks, token }
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let path = format!("{SESSIONS}{path}");
        send_json(self.mocks.backend(), (method, &path), Some(&self.token), body).await
    }

    async fn look(&self, name: &str) -> Value {
        self.call("GET", &format!("/{name}"), &json!({})).await.json()
    }

    /// State and counts.
    async fn shown(&self, name: &str) -> String {
        let status = &self.look(name).await["status"];
        match status["state"].as_str() {
            Some(state) => format!(
                "{state} {}/{}",
                status["ready_containers"], status["total_containers"]
            ),
            None => "gone".to_owned(),
        }
    }

    fn launch(&self, name: &str, trouble: Trouble, pace: PaceOrder) {
        let order = LaunchOrder {
            user: "ada".into(),
            name: name.into(),
            trouble,
            pace,
            item: json!({}),
        };
        self.mocks.launch(&order).unwrap();
    }

    fn order(&self, name: &str, verb: Verb) {
        self.mocks
            .order_session(name, verb, &SessionOrder::default())
            .unwrap();
    }
}

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

/// A pace without chance.
fn steady() -> PaceOrder {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    PaceOrder {
        lag: seconds(3),
        schedule: seconds(2),
        pull: seconds(10),
        start: seconds(1),
        notice: seconds(60),
        hibernate: seconds(600),
        delete: seconds(1000),
        turn: seconds(20),
        work: seconds(30),
        containers: Some(3),
        ticks: None,
    }
}

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
async fn a_life_takes_its_course_by_the_clock() {
    let stage = Stage::new().await;
    stage.launch("happy-1", Trouble::None, steady());

    let mut seen = Vec::new();
    for seconds in [0, 2, 10, 1, 1, 60, 525, 1, 3, 1000, 3, 3] {
        pass(seconds).await;
        seen.push(stage.shown("happy-1").await);
    }

    assert_eq!(
        seen,
        [
            "starting 0/0",
            "starting 0/3",
            "starting 1/3",
            "starting 2/3",
            "running 3/3",
            "running 3/3",
            "running 3/3",
            "hibernated 3/3", // shown early
            "hibernated 0/0",
            "hibernated 0/0", // while the delete is under way
            "stopping 0/0",
            "gone",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn times_are_told_while_they_count() {
    let stage = Stage::new().await;
    stage.launch("still-1", Trouble::None, steady());
    let ticks = PaceOrder {
        ticks: Some(Duration::from_secs(30)),
        ..steady()
    };
    stage.launch("ticks-1", Trouble::None, ticks);
    let told = async |name: &str| {
        let item = stage.look(name).await;
        let text = |value: &Value| {
            value
                .as_str()
                .unwrap_or("-")
                .get(11..19)
                .unwrap_or("-")
                .to_owned()
        };
        (
            text(&item["lastInteraction"]),
            text(&item["status"]["will_hibernate_at"]),
        )
    };

    for (seconds, still, ticking) in [
        (59, ("00:00:00", "-"), ("00:00:30", "-")),
        (11, ("00:00:00", "00:10:00"), ("00:01:00", "00:11:00")),
        (30, ("00:00:00", "00:10:00"), ("00:01:30", "00:11:30")),
    ] {
        pass(seconds).await;

        for (name, (last, will)) in [("still-1", still), ("ticks-1", ticking)] {
            assert_eq!(told(name).await, (last.to_owned(), will.to_owned()), "{name}");
        }
    }
    pass(1000).await;
    assert_eq!(stage.shown("ticks-1").await, "running 3/3");
    assert_eq!(stage.shown("still-1").await, "hibernated 0/0");
}

#[tokio::test(start_paused = true)]
async fn every_trouble_shows_as_it_should() {
    let stage = Stage::new().await;
    for (name, trouble) in [
        ("crash-1", Trouble::CrashLoop),
        ("image-1", Trouble::ImagePullError),
        ("storm-1", Trouble::Storm),
        ("flaps-1", Trouble::Flapping),
    ] {
        stage.launch(name, trouble, steady());
    }

    let mut seen = Vec::new();
    for seconds in [13, 1, 20, 3, 20, 120] {
        pass(seconds).await;
        let mut row = Vec::new();
        for name in ["crash-1", "image-1", "storm-1", "flaps-1"] {
            row.push(stage.shown(name).await);
        }
        seen.push(row.join(", "));
    }

    assert_eq!(
        seen,
        [
            "starting 2/3, failed 0/3, starting 2/3, starting 2/3",
            "starting 1/3, failed 0/3, running 3/3, running 3/3",
            "starting 2/3, failed 0/3, hibernated 3/3, running 1/3",
            "starting 2/3, failed 0/3, hibernated 0/0, running 1/3",
            "starting 2/3, failed 0/3, starting 0/0, running 3/3",
            "failed 0/3, failed 0/3, starting 0/0, running 3/3",
        ]
    );
    let crashed = stage.look("crash-1").await;
    assert!(text(&crashed["status"], "message").contains("again and again"));
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
async fn verbs_do_what_they_say() {
    let stage = Stage::new().await;
    stage.launch("ada-1", Trouble::None, steady());
    pass(20).await;

    stage.order("ada-1", Verb::Degrade);
    assert_eq!(stage.shown("ada-1").await, "running 1/3");
    pass(20).await;
    assert_eq!(stage.shown("ada-1").await, "running 3/3");
    stage.order("ada-1", Verb::Evict);
    assert_eq!(stage.shown("ada-1").await, "starting 0/0");
    assert_ne!(stage.look("ada-1").await["url"], "None");
    pass(20).await;
    pass(500).await;
    stage.order("ada-1", Verb::Touch);
    pass(500).await;
    assert_eq!(stage.shown("ada-1").await, "running 3/3");
    let why = serde_json::from_value(json!({"user": "ada", "message": "out of memory"})).unwrap();
    stage.mocks.order_session("ada-1", Verb::Fail, &why).unwrap();
    assert_eq!(stage.look("ada-1").await["status"]["message"], "out of memory");
}

#[tokio::test(start_paused = true)]
async fn presets_launch_what_they_are_called_after() {
    for (preset, count) in [
        (Preset::Happy, 1),
        (Preset::CrashLoop, 1),
        (Preset::ImagePullError, 1),
        (Preset::Quota, 1),
        (Preset::Storm, 10),
        (Preset::Fifty, 50),
        (Preset::Flapping, 1),
    ] {
        let stage = Stage::new().await;
        let order = PlanOrder {
            user: "ada".into(),
            preset,
            count: None,
            pace: PaceOrder::default(),
        };

        let names = stage.mocks.plan(&order).unwrap();
        let again = stage.mocks.plan(&order);
        let list = stage.call("GET", "", &json!({})).await;

        assert_eq!(names.len(), count, "{preset:?}");
        assert_eq!(again.is_err(), preset == Preset::Quota, "{preset:?}");
        assert!(SessionsReading::from_v2(list.text.as_bytes()).is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_used_up_quota_refuses_launch_and_resume() {
    let stage = Stage::new().await;
    let hibernate = stage.call("PATCH", "/s1", &json!({"state": "hibernated"})).await;
    let order = PlanOrder {
        user: "ada".into(),
        preset: Preset::Quota,
        count: None,
        pace: PaceOrder::default(),
    };
    stage.mocks.plan(&order).unwrap();

    let launched = stage.call("POST", "", &json!({"launcher_id": LAUNCHER})).await;
    let resumed = stage.call("PATCH", "/s1", &json!({"state": "running"})).await;

    assert_eq!(hibernate.status, 200);
    for answer in [launched, resumed] {
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]["code"]),
            (422, &json!(1422))
        );
    }
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

fn fault(action: FaultAction) -> FaultOrder {
    FaultOrder {
        route: "backend.sessions".into(),
        user: None,
        action,
        times: None,
        duration: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_meets_each_of_its_faults() {
    let stage = Stage::new().await;
    let names = async || -> Vec<String> {
        let list = stage.call("GET", "", &json!({})).await.json();
        let names = list
            .as_array()
            .unwrap()
            .iter()
            .map(|item| text(item, "name").to_owned());
        names.collect()
    };
    names().await;
    let sessions = ["a", "b", "c"].map(|name| json!({ "name": name })).into();
    let change = Change {
        user: Some("ada".into()),
        sessions: Some(sessions),
        ..Change::default()
    };
    stage.mocks.change(change).unwrap();

    for (action, seen) in [
        (PollFault::Stale, 1),
        (PollFault::Partial, 1),
        (PollFault::Anonymous, 0),
        (PollFault::Flicker, 2),
    ] {
        stage.mocks.arm(fault(FaultAction::Backend(action))).unwrap();
        assert_eq!(names().await.len(), seen, "{action}");
        if action == PollFault::Flicker {
            // Once, without being healed.
            assert_eq!(names().await.len(), 3);
        }
        stage.mocks.heal("backend").unwrap();
    }
    assert_eq!(names().await, ["a", "b", "c"]);
    assert!(stage.mocks.unused_faults().is_empty());
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
