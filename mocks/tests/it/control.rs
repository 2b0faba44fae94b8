//! The control API: orders by HTTP, refusals as problem details, the journal.

use std::time::Duration;

use crate::support::{Answer, get, mocks, send, text, tokens};
use axum::body::Body;
use http::{Method, Request, header};
use polytab_mocks::{Mocks, journal::Filter};
use serde_json::{Value, json};

async fn order(mocks: &Mocks, method: Method, path: &str, body: &Value) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    send(mocks.control(), request).await
}

#[tokio::test(start_paused = true)]
async fn what_can_be_ordered_by_function_can_be_ordered_by_http() {
    let mocks = mocks();

    for (method, path, body, status) in [
        (
            Method::PUT,
            "/users/bob",
            json!({"password": "p", "access_token": "1m"}),
            200,
        ),
        (
            Method::POST,
            "/change",
            json!({"user": "bob", "sessions": [{"name": "s9"}]}),
            204,
        ),
        (Method::POST, "/users/bob/sessions/s9/hibernate", json!({}), 204),
        (
            Method::POST,
            "/events",
            json!({"topic": "/project/42/issue", "payload": {}}),
            201,
        ),
        (
            Method::POST,
            "/faults",
            json!({"match": {"route": "backend"}, "do": {"status": 500}, "times": 1}),
            201,
        ),
        (Method::DELETE, "/faults/1", json!({}), 204),
        (
            Method::POST,
            "/faults",
            json!({"match": {"route": "backend"}, "do": {"delay": "2s"}, "for": "1m"}),
            201,
        ),
        (Method::POST, "/heal", json!({"route": "all"}), 204),
        (
            Method::POST,
            "/hold",
            json!({"route": "backend.sessions", "times": 1}),
            204,
        ),
        (
            Method::POST,
            "/release",
            json!({"route": "backend.sessions"}),
            200,
        ),
        (
            Method::PUT,
            "/cookies/abc",
            json!({"user": "bob", "browser": "desk"}),
            204,
        ),
        (Method::GET, "/state", json!({}), 200),
        (Method::GET, "/routes", json!({}), 200),
        (Method::POST, "/reset", json!({}), 204),
    ] {
        let answer = order(&mocks, method.clone(), path, &body).await;

        assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.text);
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_that_cannot_be_carried_out_says_why_and_what_was_meant() {
    let mocks = mocks();

    for (path, body, status, nearest) in [
        (
            "/faults",
            json!({"match": {"route": "backend.sesions"}, "do": "hang"}),
            404,
            "backend.sessions",
        ),
        (
            "/faults",
            json!({"match": {"route": "backend"}, "do": "hang", "times": 0}),
            422,
            "",
        ),
        (
            "/faults",
            json!({"match": {"route": "backend", "user": "adda"}, "do": "hang"}),
            404,
            "ada",
        ),
        (
            "/faults",
            json!({"match": {"route": "backend"}, "do": "hang", "tims": 1}),
            400,
            "",
        ),
        (
            "/faults",
            json!({"match": {"route": "backend"}, "do": {"status": 99}}),
            422,
            "",
        ),
        (
            "/change",
            json!({"user": "ada", "sessions": [{"status": {"state": "runing"}}]}),
            422,
            "running",
        ),
        ("/change", json!({"projects": [1]}), 422, ""),
        ("/events", json!({"topic": "/project/x/issue"}), 422, ""),
        (
            "/logins/end",
            json!({"user": "ada", "browser": "desk", "how": "silent"}),
            404,
            "",
        ),
        (
            "/logins/end",
            json!({"user": "ada", "browser": "desk", "how": "backchannel"}),
            409,
            "",
        ),
        ("/nonesuch", json!({}), 404, ""),
        ("/journal", json!({}), 405, ""),
    ] {
        let answer = order(&mocks, Method::POST, path, &body).await;

        assert_eq!(answer.status.as_u16(), status, "{path} {body}: {}", answer.text);
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(
            answer.json()["nearest"].as_str().unwrap_or(""),
            nearest,
            "{path} {body}"
        );
        assert!(!text(&answer.json(), "detail").is_empty());
    }
    assert_eq!(
        order(&mocks, Method::GET, "/faults", &json!({})).await.json()["armed"],
        json!([])
    );
}

#[tokio::test(start_paused = true)]
async fn the_journal_knows_who_asked_and_waits_for_calls() {
    let mocks = mocks();
    let token = text(&tokens(&mocks).await, "access_token").to_owned();
    let wait = json!({"match": {"route": "backend.sessions", "user": "ada"}, "at_least": 2, "within": "1m"});

    get(mocks.backend(), "/api/data/sessions", Some(&token)).await;
    let waiting = order(&mocks, Method::POST, "/journal/wait", &wait);
    let asking = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        get(mocks.backend(), "/api/data/sessions", Some(&token)).await
    };
    let (waited, _) = tokio::join!(waiting, asking);
    let in_vain = order(
        &mocks,
        Method::POST,
        "/journal/wait",
        &json!({"at_least": 99, "within": "1s"}),
    )
    .await;
    let journal = order(&mocks, Method::GET, "/journal?route=keycloak.token", &json!({}))
        .await
        .json();
    let count = order(
        &mocks,
        Method::POST,
        "/journal/count",
        &json!({"user": "ada", "browser": "desk", "route": "backend"}),
    )
    .await;

    assert_eq!(
        (waited.status.as_u16(), &waited.json()["count"]),
        (200, &json!(2))
    );
    assert_eq!(in_vain.status, 408);
    assert_eq!(journal[0]["form"]["grant_type"], "authorization_code");
    assert!(text(&journal[0]["form"], "code").starts_with("sha256:"));
    assert_eq!(count.json()["count"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_no_route_takes_is_kept_with_the_nearest_route() {
    let mocks = mocks();

    get(mocks.backend(), "/api/data/session", None).await;

    let unmatched = order(&mocks, Method::GET, "/unmatched", &json!({})).await.json();
    assert_eq!(unmatched[0]["nearest"], "backend.sessions");
}

#[tokio::test(start_paused = true)]
async fn a_page_shows_people_what_there_is() {
    let mocks = mocks();
    tokens(&mocks).await;
    get(mocks.backend(), "/%3Cscript%3E", None).await;

    let page = get(mocks.control(), "/", None).await;

    assert_eq!(page.status, 200);
    for shown in [
        "ada",
        "s1 (running)",
        "keycloak.token",
        "desk",
        "/%3Cscript%3E",
        "until healed",
    ] {
        let is_there = page.text.contains(shown);
        assert_eq!(is_there, shown != "until healed", "{shown}");
    }
    assert!(!page.text.contains("password-of-ada"));
    assert!(!page.text.contains("<script>"));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_setting_of_a_realm_is_refused_with_the_nearest() {
    let mocks = mocks();

    let unknown = order(
        &mocks,
        Method::PUT,
        "/realms/Renku",
        &json!({"revokeRefreshTokens": true}),
    )
    .await;
    let nowhere = order(&mocks, Method::PUT, "/realms/Rengu", &json!({})).await;
    let wrong = order(
        &mocks,
        Method::PUT,
        "/realms/Renku",
        &json!({"notBefore": "soon"}),
    )
    .await;

    assert_eq!(unknown.status, 422);
    assert_eq!(unknown.json()["nearest"], "revokeRefreshToken");
    assert_eq!((nowhere.status.as_u16(), wrong.status.as_u16()), (404, 422));
}

#[tokio::test(start_paused = true)]
async fn the_journal_is_asked_by_function_as_over_http() {
    let mocks = mocks();
    let of = |route: &str| Filter {
        route: Some(route.to_owned()),
        user: Some("ada".to_owned()),
        ..Filter::default()
    };
    let wait = mocks.await_calls(of("keycloak.token"), 1, Duration::from_secs(30));

    let (waited, _) = tokio::join!(wait, tokens(&mocks));
    let calls = mocks.calls(of("keycloak.token")).unwrap();
    let total = mocks.total_calls()["keycloak.token"];
    mocks.clear_calls();
    let after = mocks
        .await_calls(of("keycloak"), 1, Duration::from_secs(30))
        .await;

    assert_eq!(waited.unwrap(), (1, true));
    assert_eq!((calls.len(), total), (1, 1));
    assert_eq!(calls[0].seen.party.client.as_deref(), Some("renku-ui"));
    assert_eq!(after.unwrap(), (0, false));
    assert!(mocks.count_calls(of("keycloack")).is_err());
}
