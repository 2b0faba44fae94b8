//! The clocks of the mocks: each its own, set, moved, stopped, and off by some time.

use std::time::Duration;

use crate::support::{
    Answer, access_of, get, gitlab, mocks, send, send_json,
    stage::{SESSIONS, Stage, steady},
    text, token, tokens,
};
use axum::body::Body;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Request, header};
use polytab_mocks::{Mocks, backend::pace::Trouble, gitlab::generate::EventOrder};
use polytab_protocol::topic::EventType;
use serde_json::{Value, json};

async fn turn(mocks: &Mocks, order: &Value) -> Answer {
    let answer = send_json(mocks.control(), ("POST", "/clock"), None, order).await;
    assert_eq!(answer.status, 200, "{order}: {}", answer.text);
    answer
}

/// A claim of a token, whatever its age.
fn claim(token: &str, name: &str) -> i64 {
    let body = token.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap();
    claims[name].as_i64().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_token_is_expired_where_the_clock_is_ahead_and_nowhere_else() {
    let mocks = mocks();
    let access = text(&tokens(&mocks).await, "access_token").to_owned();
    let seen = async || {
        let sessions = get(mocks.backend(), SESSIONS, Some(&access)).await.json();
        let user = get(mocks.gitlab(), "/api/v4/user", Some(&access)).await;
        let info = get(
            mocks.keycloak(),
            &format!("{}/userinfo", crate::support::OIDC),
            Some(&access),
        )
        .await;
        let is_known = sessions.as_array().is_some_and(|list| !list.is_empty());
        (is_known, user.status.as_u16(), info.status.as_u16())
    };

    assert_eq!(seen().await, (true, 200, 200));
    for (mock, expected) in [
        ("backend", (false, 200, 200)),
        ("gitlab", (true, 401, 200)),
        ("keycloak", (true, 200, 401)),
        ("gateway", (true, 200, 200)),
        ("all", (false, 401, 401)),
    ] {
        turn(&mocks, &json!({"mock": mock, "skew": "6m"})).await;

        assert_eq!(seen().await, expected, "{mock}");
        turn(&mocks, &json!({"mock": "all", "skew": "0s"})).await;
    }
}

#[tokio::test(start_paused = true)]
async fn time_that_is_skipped_at_keycloak_ends_its_refresh_tokens() {
    let mocks = mocks();
    let granted = tokens(&mocks).await;
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", text(&granted, "refresh_token")),
    ];

    turn(&mocks, &json!({"mock": "keycloak", "advance": "29m"})).await;
    let good = token(&mocks, &refresh).await;
    turn(&mocks, &json!({"mock": "keycloak", "advance": "29m"})).await;
    let over = token(&mocks, &refresh).await;

    assert_eq!(good.status, 200, "{}", good.text);
    assert_eq!(over.refusal().2, "Token is not active");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_stands_still_gives_tokens_of_one_second() {
    let mocks = mocks();
    turn(
        &mocks,
        &json!({"mock": "keycloak", "set": "2027-01-01T00:00:00Z"}),
    )
    .await;
    turn(&mocks, &json!({"mock": "keycloak", "freeze": true})).await;
    let mut seen = Vec::new();

    for _ in 0..2 {
        let access = access_of(&mocks, "ada", "password-of-ada").await;
        seen.push((claim(&access, "iat"), claim(&access, "exp")));
        tokio::time::advance(Duration::from_secs(90)).await;
    }
    let shown = turn(&mocks, &json!({"mock": "keycloak", "freeze": false}))
        .await
        .json();
    tokio::time::advance(Duration::from_secs(30)).await;
    let later = access_of(&mocks, "ada", "password-of-ada").await;

    let new_year = 1_798_761_600;
    assert_eq!(seen, [(new_year, new_year + 300); 2]);
    assert_eq!(shown["keycloak"], "2027-01-01T00:00:00Z");
    assert_eq!(shown["gitlab"], "2026-01-01T00:03:00Z");
    assert_eq!(claim(&later, "iat"), new_year + 30);
}

#[tokio::test(start_paused = true)]
async fn lives_of_backend_sessions_follow_the_backends_clock() {
    let stage = Stage::new().await;
    stage.launch("ada-1", Trouble::None, steady());

    turn(&stage.mocks, &json!({"mock": "keycloak", "advance": "1m"})).await;
    let before = stage.shown("ada-1").await;
    turn(&stage.mocks, &json!({"mock": "backend", "advance": "1m"})).await;
    let after = stage.shown("ada-1").await;

    assert_eq!((before.as_str(), after.as_str()), ("starting 0/0", "running 3/3"));
}

#[tokio::test(start_paused = true)]
async fn what_gitlab_tells_has_the_time_of_its_clock() {
    let mocks = mocks();
    let access = gitlab::access(&mocks).await;
    turn(&mocks, &json!({"mock": "gitlab", "skew": "-1h"})).await;

    mocks.generate(42, &EventOrder::new(EventType::Issue)).unwrap();

    let events = get(mocks.gitlab(), "/api/v4/projects/42/events", Some(&access))
        .await
        .json();
    assert!(
        text(&events[0], "created_at").starts_with("2025-12-31T23:00:00"),
        "{events}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_at_the_gateway_ends_by_the_gateways_clock() {
    let mocks = mocks();
    let login = get(mocks.gateway(), "/api/auth/login?user=ada", None).await;
    let cookie = login.cookies();
    let list = async || {
        let request = Request::get(SESSIONS).header(header::COOKIE, &cookie);
        send(mocks.gateway(), request.body(Body::empty()).unwrap())
            .await
            .json()
    };

    let before = list().await;
    turn(&mocks, &json!({"mock": "gateway", "advance": "5h"})).await;
    let after = list().await;

    assert_eq!((before[0]["name"].as_str(), after), (Some("s1"), json!([])));
}

#[tokio::test(start_paused = true)]
async fn an_order_to_a_clock_that_cannot_be_changes_none() {
    let mocks = mocks();

    for (order, status) in [
        (json!({"mock": "backend"}), 400),
        (json!({"mock": "backend", "freeze": true, "skew": "1s"}), 400),
        (json!({"mock": "sundial", "skew": "1s"}), 400),
        (json!({"mock": "backend", "advance": "soon"}), 400),
        (json!({"mock": "backend", "advance": "-1s"}), 422),
        (json!({"mock": "all", "set": "2126-01-01T00:00:00Z"}), 422),
        (json!({"mock": "all", "skew": "-1000000h"}), 422),
    ] {
        let answer = send_json(mocks.control(), ("POST", "/clock"), None, &order).await;

        assert_eq!(answer.status.as_u16(), status, "{order}: {}", answer.text);
        assert!(mocks.state().clock.is_empty());
    }
}
