//! Backend and GitLab as a server meets them, and faults and holds on their routes.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{get, mocks, mocks_with, text, tokens};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use polytab_mocks::{
    config::MocksConfig,
    fault::action::FaultAction,
    observation::Observation,
    order::{Change, FaultOrder, HoldOrder},
};
use serde_json::{Value, json};
use tower::ServiceExt;

async fn access(mocks: &polytab_mocks::Mocks) -> String {
    text(&tokens(mocks).await, "access_token").to_owned()
}

#[tokio::test(start_paused = true)]
async fn the_backend_never_refuses_a_list_and_gives_strangers_none() {
    let mocks = mocks();
    let token = access(&mocks).await;
    let list = async |bearer: Option<&str>| get(mocks.backend(), "/api/data/sessions", bearer).await;

    let (good, none, bad) = (
        list(Some(&token)).await,
        list(None).await,
        list(Some("made-up")).await,
    );
    tokio::time::advance(Duration::from_secs(301)).await;
    let expired = list(Some(&token)).await;

    assert_eq!(good.json()[0]["name"], "s1");
    for answer in [none, bad, expired] {
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "[]"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_old_list_is_gone_until_somebody_wants_it_back() {
    let mocks = mocks();
    let token = access(&mocks).await;
    let list = async || get(mocks.backend(), "/api/notebooks/servers", Some(&token)).await;

    let gone = list().await;
    let change = Change {
        user: Some("ada".into()),
        servers: Some([("s1".to_owned(), json!({}))].into()),
        ..Change::default()
    };
    mocks.change(change).unwrap();

    assert_eq!(
        (gone.status.as_u16(), &gone.json()["error"]["code"]),
        (404, &json!(1404))
    );
    assert_eq!(list().await.json()["servers"]["s1"]["status"]["state"], "running");
}

#[tokio::test(start_paused = true)]
async fn graph_status_is_of_public_projects_and_ones_own() {
    let mocks = mocks();
    let token = access(&mocks).await;
    let graph = [("42".to_owned(), json!(50)), ("7".to_owned(), json!(60))].into();
    mocks
        .change(Change {
            graph: Some(graph),
            ..Change::default()
        })
        .unwrap();
    let status = async |id: &str, bearer: Option<&str>| {
        get(
            mocks.backend(),
            &format!("/api/projects/{id}/graph/status"),
            bearer,
        )
        .await
    };

    assert_eq!(
        status("42", Some(&token)).await.json()["progress"]["percentage"],
        50.0
    );
    assert_eq!(status("42", None).await.status, 404);
    assert_eq!(status("7", None).await.status, 200);
    assert_eq!(status("9", Some(&token)).await.status, 404);
    assert_eq!(status("42", Some("made-up")).await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn gitlab_shows_a_project_to_its_members_only() {
    let mocks = mocks();
    let token = access(&mocks).await;

    for (path, bearer, status) in [
        ("/api/v4/projects/42", Some(token.as_str()), 200),
        ("/api/v4/projects/7", Some(&token), 404),
        ("/api/v4/projects/42", None, 401),
        ("/project/7/issue", Some(&token), 404),
        ("/project/42/nonsense", Some(&token), 400),
        ("/project/42/issue", Some("made-up"), 401),
        ("/api/v4/user", Some(&token), 200),
        ("/api/v4/nonesuch", Some(&token), 404),
    ] {
        assert_eq!(get(mocks.gitlab(), path, bearer).await.status, status, "{path}");
    }
}

/// What the next `chunks` chunks of an open stream say.
async fn chunks(body: &mut Body, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..count {
        let frame = body.frame().await.unwrap().unwrap();
        seen.push(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap());
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_at_once_beats_and_resumes() {
    let mocks = mocks();
    let token = access(&mocks).await;
    let open = async |last: Option<&str>| {
        let mut request = Request::get("/project/42/issue").header("private-token", &token);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        mocks
            .gitlab()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap()
            .into_body()
    };
    let topic = "/project/42/issue".parse().unwrap();

    let mut first = open(None).await;
    let id = mocks.emit(topic, &json!({"n": 1}));
    let begin = chunks(&mut first, 3).await;
    mocks.emit(topic, &json!({"n": 2}));
    let mut second = open(Some(&id)).await;
    let resumed = chunks(&mut second, 2).await;

    assert!(begin[0].starts_with("retry: 3000\n:"));
    assert_eq!(begin[1], format!("id: {id}\nevent: issue\ndata: {{\"n\":1}}\n\n"));
    assert_eq!(begin[2], ": heartbeat\n\n");
    assert!(resumed[1].ends_with("data: {\"n\":2}\n\n"), "{resumed:?}");
}

#[tokio::test(start_paused = true)]
async fn losing_access_ends_the_stream() {
    let mocks = mocks();
    let token = access(&mocks).await;
    let request = Request::get("/project/42/issue")
        .header("private-token", &token)
        .body(Body::empty())
        .unwrap();
    let mut body = mocks.gitlab().oneshot(request).await.unwrap().into_body();
    chunks(&mut body, 1).await;

    let change = Change {
        user: Some("ada".into()),
        projects: Some(vec![]),
        ..Change::default()
    };
    mocks.change(change).unwrap();

    assert!(body.frame().await.is_none());
}

fn fault(action: FaultAction, times: Option<u32>) -> FaultOrder {
    FaultOrder {
        times,
        ..FaultOrder::on("backend.sessions", action)
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_meets_as_many_calls_as_ordered_and_is_reported_when_it_met_none() {
    let mocks = mocks();
    let token = access(&mocks).await;
    let list = async || get(mocks.backend(), "/api/data/sessions", Some(&token)).await;

    mocks.arm(fault(FaultAction::status(503), Some(2))).unwrap();
    let statuses = [list().await.status, list().await.status, list().await.status];
    mocks.arm(fault(FaultAction::Empty, None)).unwrap();
    mocks.heal("backend").unwrap();

    assert_eq!(statuses.map(|status| status.as_u16()), [503, 503, 200]);
    assert_eq!(mocks.unused_faults().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_held_answer_is_made_at_once_and_sent_on_release() {
    let mocks = mocks();
    let token = access(&mocks).await;
    let hold = HoldOrder {
        route: "backend.sessions".into(),
        user: Some("ada".into()),
        times: None,
    };
    mocks.hold(hold).unwrap();
    let asking = get(mocks.backend(), "/api/data/sessions", Some(&token));
    tokio::pin!(asking);

    assert!(
        tokio::time::timeout(Duration::from_mins(10), &mut asking)
            .await
            .is_err()
    );
    let change = Change {
        user: Some("ada".into()),
        sessions: Some(vec![]),
        ..Change::default()
    };
    mocks.change(change).unwrap();
    let released = mocks.release("backend.sessions").unwrap();

    assert_eq!(released, 1);
    assert_eq!(asking.await.json()[0]["name"], "s1");
}

#[tokio::test(start_paused = true)]
async fn whoever_watches_sees_who_asked_and_no_secret() {
    let mocks = mocks();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    mocks.observe(Arc::new(move |observation| {
        log.lock().unwrap().push(format!("{observation:?}"));
    }));

    let token = access(&mocks).await;
    get(mocks.backend(), "/api/data/sessions", Some(&token)).await;

    let seen = seen.lock().unwrap();
    assert!(seen.iter().any(|text| text.contains("backend.sessions")
        && text.contains("\"ada\"")
        && text.contains("\"desk\"")));
    for (kind, secret) in mocks.secrets() {
        assert!(!seen.iter().any(|text| text.contains(&secret)), "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_leaves_nothing_behind() {
    let mocks = mocks_with(MocksConfig::default());
    let token = access(&mocks).await;
    let resets: Arc<Mutex<Vec<Observation>>> = Arc::default();
    let log = Arc::clone(&resets);
    mocks.observe(Arc::new(move |observation| {
        log.lock().unwrap().push(observation.clone());
    }));
    let request = Request::get("/project/42/issue")
        .header("private-token", &token)
        .body(Body::empty())
        .unwrap();
    let _open = mocks.gitlab().oneshot(request).await.unwrap();

    mocks.reset(crate::support::seams());

    assert_eq!(mocks.subject("ada"), None);
    assert!(mocks.unmatched().is_empty());
    let closed = resets
        .lock()
        .unwrap()
        .iter()
        .any(|seen| matches!(seen, Observation::StreamClosed { reason, .. } if reason == "reset"));
    assert!(closed);
    assert_eq!(
        get(mocks.backend(), "/api/data/sessions", Some(&token))
            .await
            .json(),
        Value::Array(vec![])
    );
}
