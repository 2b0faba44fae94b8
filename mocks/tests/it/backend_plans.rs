//! Lives of backend sessions on order, and polls that go wrong (MOCKS B2).

use std::time::Duration;

use crate::support::{
    mocks, send_json,
    stage::{LAUNCHER, Stage, pass, steady},
    text,
};
use polytab_mocks::{
    backend::{
        fault::PollFault,
        pace::{PaceOrder, Trouble},
        plan::{PlanOrder, Preset},
    },
    fault::action::FaultAction,
    order::{Change, FaultOrder, Verb},
};
use polytab_protocol::sessions::SessionsReading;
use serde_json::{Value, json};

fn fault(action: FaultAction) -> FaultOrder {
    FaultOrder::on("backend.sessions", action)
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
async fn every_order_about_sessions_can_be_given_by_http() {
    let mocks = mocks();

    for (path, body, status) in [
        (
            "/sessions",
            json!({"user": "ada", "name": "ada-1", "trouble": "flapping", "pace": {"pull": "5s"}}),
            201,
        ),
        ("/sessions/ada-1/fail", json!({"message": "out of memory"}), 204),
        ("/sessions/ada-1/evict", json!({"user": "ada"}), 204),
        (
            "/plans",
            json!({"user": "ada", "preset": "storm", "count": 2}),
            201,
        ),
        (
            "/faults",
            json!({"match": {"route": "backend"}, "do": {"backend": "stale"}}),
            201,
        ),
        (
            "/faults",
            json!({"match": {"route": "backend"}, "do": {"status": 500}}),
            201,
        ),
        (
            "/faults",
            json!({"match": {"route": "backend"}, "do": {"backend": "stael"}}),
            400,
        ),
        ("/sessions", json!({"user": "ada", "name": "ada-1"}), 422),
        ("/sessions", json!({"user": "ada", "name": "A b"}), 422),
        (
            "/sessions",
            json!({"user": "ada", "name": "ada-2", "trouble": "image_pull_error", "item": [1]}),
            422,
        ),
        ("/sessions", json!({"user": "nobody", "name": "ada-2"}), 404),
        (
            "/sessions",
            json!({"user": "ada", "name": "ada-2", "pace": {"pul": "5s"}}),
            400,
        ),
        ("/sessions/nobodys/delete", json!({}), 404),
        ("/sessions/s1/explode", json!({}), 404),
        ("/plans", json!({"user": "ada", "preset": "bad luck"}), 400),
        (
            "/plans",
            json!({"user": "ada", "preset": "fifty", "count": 100_000}),
            422,
        ),
    ] {
        let answer = send_json(mocks.control(), ("POST", path), None, &body).await;

        assert_eq!(answer.status.as_u16(), status, "{path} {body}: {}", answer.text);
    }
    let faults = send_json(mocks.control(), ("GET", "/faults"), None, &json!({})).await;
    assert_eq!(
        faults.json()["armed"][0]["order"]["do"],
        json!({"backend": "stale"})
    );
}
