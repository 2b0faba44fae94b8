//! Stubs: they answer what no route owns, as any route does, and nothing else.

use std::time::Duration;

use crate::support::{Answer, get, mocks_on, seams, send, send_json};
use axum::{Router, body::Body};
use http::Request;
use polytab_mocks::{
    Mocks,
    config::{MocksConfig, StubServer},
    error::ControlError,
    fault::action::FaultAction,
    order::{FaultOrder, HoldOrder},
    stub::Stub,
};
use serde_json::{Value, json};

fn mocks(stub_server: StubServer) -> Mocks {
    let config = MocksConfig {
        stub_server,
        ..MocksConfig::default()
    };
    mocks_on(seams(), config)
}

fn stubs(list: Value) -> Vec<Stub> {
    serde_json::from_value(list).unwrap()
}

fn version() -> Value {
    json!({"request": {"path": "/api/data/version"}, "answer": {"json": {"version": "1.2.3"}}})
}

fn with(mut stub: Value, more: &Value) -> Value {
    stub.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    stub
}

async fn ask(router: Router, path: &str) -> (u16, String) {
    let Answer { status, text, .. } = get(router, path, None).await;
    (status.as_u16(), text)
}

async fn journal(mocks: &Mocks) -> Vec<(String, String, Option<u64>)> {
    let entries = get(mocks.control(), "/journal", None).await.json();
    let entry = |entry: &Value| {
        let text = |key: &str| entry[key].as_str().unwrap().to_owned();
        (text("route"), text("path"), entry["status"].as_u64())
    };
    entries.as_array().unwrap().iter().map(entry).collect()
}

fn fault(action: FaultAction) -> FaultOrder {
    FaultOrder::on("backend.stub", action).times(1)
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_stub_takes_is_on_record_and_none_of_the_unmatched() {
    let mocks = mocks(StubServer::InProcess);
    mocks.put_stubs(stubs(json!([version()]))).unwrap();

    let answers = [
        ask(mocks.backend(), "/api/data/version?x=1").await,
        ask(mocks.gateway(), "/api/data/version").await,
        ask(mocks.gitlab(), "/api/v4/nothing").await,
    ];

    let told = (200, json!({"version": "1.2.3"}).to_string());
    assert_eq!(answers[..2], [told.clone(), told]);
    assert_eq!(answers[2].0, 404);
    let path = "/api/data/version".to_owned();
    assert_eq!(
        journal(&mocks).await,
        [
            ("backend.stub".to_owned(), format!("{path}?x=1"), Some(200)),
            ("gateway.forward".to_owned(), path.clone(), Some(200)),
            ("backend.stub".to_owned(), path, Some(200)),
        ]
    );
    let unmatched = mocks.unmatched();
    assert_eq!(unmatched.len(), 1);
    assert_eq!(unmatched[0].path, "/api/v4/nothing");
    assert_ne!(unmatched[0].nearest.as_deref(), Some("gitlab.stub"));
}

#[tokio::test(start_paused = true)]
async fn what_a_route_owns_no_stub_answers() {
    let mocks = mocks(StubServer::InProcess);
    let all = json!([{"request": {"path_regex": "."}, "answer": {"status": 418}}]);
    mocks.put_stubs(stubs(all)).unwrap();

    for (router, path, status) in [
        (mocks.backend(), "/api/data/sessions", 200),
        (mocks.backend(), "/api/data/alerts/no-such", 405),
        (mocks.backend(), "/api/data/none", 418),
        (mocks.keycloak(), "/auth/realms/Renku", 200),
        (mocks.keycloak(), "/auth/realms/none/account", 404),
        (mocks.keycloak(), "/auth/realms/Renku/account", 418),
        (mocks.keycloak(), "/", 418),
        (mocks.gitlab(), "/api/v4/version", 401),
        (mocks.gitlab(), "/api/v4/groups", 418),
        (mocks.gateway(), "/api/auth/health", 200),
        (mocks.gateway(), "/", 418),
    ] {
        assert_eq!(ask(router, path).await.0, status, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stub_comes_late_in_scenario_time() {
    let mocks = mocks_on(
        seams(),
        MocksConfig {
            speed: 10,
            ..MocksConfig::default()
        },
    );
    let late = json!([{"request": {}, "answer": {"delay": "5s"}}]);
    mocks.put_stubs(stubs(late)).unwrap();
    let asked = tokio::time::Instant::now();

    ask(mocks.backend(), "/x").await;

    assert_eq!(asked.elapsed(), Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn faults_and_holds_meet_stubs_as_they_meet_routes() {
    let mocks = mocks(StubServer::InProcess);
    mocks.put_stubs(stubs(json!([version()]))).unwrap();
    mocks.arm(fault(FaultAction::status(503))).unwrap();
    let hold = HoldOrder {
        route: "backend".into(),
        user: None,
        times: Some(1),
    };
    let path = "/api/data/version";

    let refused = ask(mocks.backend(), path).await;
    mocks.hold(hold).unwrap();
    let waiting = ask(mocks.backend(), path);
    tokio::pin!(waiting);
    let before = tokio::time::timeout(Duration::from_mins(1), &mut waiting).await;
    let released = mocks.release("backend.stub").unwrap();
    let answer = waiting.await;

    assert_eq!(refused.0, 503);
    assert!(before.is_err());
    assert_eq!((released, answer.0), (1, 200));
    assert_eq!(mocks.unused_faults(), []);
}

#[tokio::test(start_paused = true)]
async fn stubs_are_ordered_by_http_as_well() {
    let mocks = mocks(StubServer::InProcess);
    let order = async |verb, path, body: Value| {
        let answer = send_json(mocks.control(), (verb, path), None, &body).await;
        (answer.status.as_u16(), answer.json())
    };

    let added = order("POST", "/stubs", with(version(), &json!({"times": 1}))).await;
    let put = order(
        "PUT",
        "/stubs",
        json!({"stubs": [version(), {"request": {}, "answer": {}, "priority": 9}]}),
    )
    .await;
    ask(mocks.backend(), "/api/data/version").await;
    let listed = order("GET", "/stubs", json!({})).await.1;
    let removed = order("DELETE", "/stubs/2", json!({})).await;
    let again = order("DELETE", "/stubs/2", json!({})).await;
    let bad = order(
        "PUT",
        "/stubs",
        json!({"stubs": [version(), {"request": {"path": "x"}, "answer": {}}]}),
    )
    .await;

    assert_eq!(added, (201, json!({"id": 1})));
    assert_eq!(put, (200, json!({"ids": [2, 3]})));
    assert_eq!(listed["stubs"][0]["taken"], 1);
    assert_eq!(listed["stubs"][1]["stub"]["priority"], 9);
    let unused = listed["unused"].as_array().unwrap();
    assert_eq!(unused.iter().map(|stub| &stub["id"]).collect::<Vec<_>>(), [1, 3]);
    assert_eq!((removed.0, again.0), (204, 404));
    let detail = "stub 2: `request.path` of a stub cannot be `x`: it begins with `/`; a path that is only alike is a \
                  `path_regex`";
    assert_eq!((bad.0, &bad.1["detail"]), (422, &json!(detail)));
    assert_eq!(mocks.stubs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reset_takes_stubs_away() {
    let mocks = mocks(StubServer::InProcess);
    mocks.put_stubs(stubs(json!([version()]))).unwrap();

    mocks.reset(seams());

    assert_eq!(mocks.stubs(), []);
    assert_eq!(ask(mocks.backend(), "/api/data/version").await.0, 404);
}

#[test]
fn a_stub_that_could_not_answer_is_refused_with_its_mend() {
    let mocks = mocks(StubServer::InProcess);

    for (stub, said) in [
        (json!({"request": {"path": "/a b"}}), "requests spell it `/a%20b`"),
        (json!({"request": {"path": "/a?b=1"}}), "stands under `query`"),
        (json!({"request": {"path": "/a/../b"}}), "requests spell it `/b`"),
        (
            json!({"request": {"path": "/a", "path_regex": "b"}}),
            "keep one of the two",
        ),
        (json!({"request": {"path_regex": "("}}), "unclosed group"),
        (json!({"request": {"method": "G T"}}), "a verb such as `GET`"),
        (json!({"request": {"headers": {"a b": "c"}}}), "no header's name"),
        (
            json!({"request": {"headers": {"connection": "close"}}}),
            "belongs to the connection",
        ),
        (json!({"answer": {"headers": {"x": "ü"}}}), "visible ASCII"),
        (
            json!({"answer": {"headers": {"Content-Length": "7"}}}),
            "belongs to the connection",
        ),
        (json!({"answer": {"status": 101}}), "from 200 to 599"),
        (json!({"answer": {"status": 204, "text": ""}}), "has no body"),
        (
            json!({"answer": {"json": null, "text": ""}}),
            "keep one of the two",
        ),
        (json!({"answer": {"delay": "2h"}}), "an hour at most"),
        (json!({"priority": 0}), "the first is 1"),
        (json!({"times": 0}), "`times` is zero"),
        (
            json!({"request": {"path": "/api/data/sessions"}}),
            "the route `backend.sessions`",
        ),
        (
            json!({"service": "gateway", "request": {"path": "/api/data/x"}}),
            "the route `gateway.forward`",
        ),
    ] {
        let whole = with(json!({"request": {}, "answer": {}}), &stub);

        let error = mocks
            .add_stub(serde_json::from_value(whole).unwrap())
            .unwrap_err();

        assert!(error.to_string().contains(said), "{stub}: {error}");
    }
    assert_eq!(mocks.stubs(), []);
    assert_eq!(mocks.remove_stub(1), Err(ControlError::UnknownStub(1)));
}

#[test]
fn a_delay_without_a_unit_is_told_how_durations_look() {
    let read: Result<Stub, _> = serde_json::from_value(json!({"request": {}, "answer": {"delay": "5"}}));

    assert!(
        read.unwrap_err()
            .to_string()
            .contains("durations look like `250ms`")
    );
}

#[tokio::test]
async fn wiremock_counts_on_when_other_stubs_come() {
    let mocks = mocks(StubServer::Wiremock);
    let twice = with(version(), &json!({"times": 2, "service": "backend"}));
    mocks.put_stubs(stubs(json!([twice]))).unwrap();
    let path = "/api/data/version";

    let mut statuses = vec![ask(mocks.backend(), path).await.0];
    mocks
        .add_stub(
            serde_json::from_value(json!({"request": {"path": "/y"}, "answer": {"status": 404}})).unwrap(),
        )
        .unwrap();
    for _ in 0..2 {
        statuses.push(ask(mocks.backend(), path).await.0);
    }
    let other = ask(mocks.backend(), "/y").await;

    assert_eq!(statuses, [200, 200, 404]);
    assert_eq!(other.0, 404);
    let unmatched = mocks.unmatched();
    assert_eq!(
        unmatched.iter().map(|call| &call.path).collect::<Vec<_>>(),
        [path]
    );
    let taken: Vec<_> = mocks.stubs().iter().map(|held| held.taken).collect();
    assert_eq!(taken, [2, 1]);
}

#[tokio::test]
async fn a_request_that_wiremock_answers_late_is_on_record_at_once() {
    let mocks = mocks(StubServer::Wiremock);
    let late = json!([{"request": {}, "answer": {"delay": "1h"}}]);
    mocks.put_stubs(stubs(late)).unwrap();
    mocks.arm(fault(FaultAction::Reset)).unwrap();
    let arrived = async |at_least: u32| {
        let wanted = json!({"match": {"route": "backend.stub"}, "at_least": at_least, "within": "30s"});
        send_json(mocks.control(), ("POST", "/journal/wait"), None, &wanted)
            .await
            .status
    };

    let reset = send(mocks.backend(), Request::get("/x").body(Body::empty()).unwrap()).await;
    let late = ask(mocks.backend(), "/x");
    let seen = tokio::select! {
        biased;
        answer = late => panic!("{answer:?} came before its time"),
        seen = arrived(2) => seen,
    };

    assert_eq!(reset.text, "");
    assert_eq!(seen, 200);
}
