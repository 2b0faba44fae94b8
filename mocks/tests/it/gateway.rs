//! The gateway as browsers meet it, and what the backend is told by it (MOCKS B4).

use std::time::Duration;

use crate::support::{Answer, access_of, get, mocks, mocks_with, send, send_json};
use axum::body::Body;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{Request, header};
use polytab_mocks::{
    Mocks,
    config::MocksConfig,
    fault::action::FaultAction,
    order::{EndHow, Expiry, FaultOrder},
};
use serde_json::{Value, json};
use url::Url;

const SESSIONS: &str = "/api/data/sessions";
const SHORTCUT: &str = "/api/auth/login?redirect_url=/tabs&user=ada";

/// What a browser asks of the gateway.
async fn visit(mocks: &Mocks, path: &str, (agent, cookie): (&str, &str)) -> Answer {
    let request = Request::get(path)
        .header(header::USER_AGENT, agent)
        .header(header::COOKIE, cookie)
        .body(Body::empty())
        .unwrap();
    send(mocks.gateway(), request).await
}

/// Signs ada in without a page; gives the cookie.
async fn signed_in(mocks: &Mocks, agent: &str) -> String {
    let answer = visit(mocks, SHORTCUT, (agent, "")).await;
    assert_eq!((answer.status.as_u16(), answer.location().path()), (302, "/tabs"));
    answer.cookies()
}

/// Whether the list is ada's.
async fn sees_list(mocks: &Mocks, cookie: &str) -> bool {
    let answer = visit(mocks, SESSIONS, ("desk", cookie)).await;
    assert_eq!(answer.status, 200, "a list is never refused");
    answer.json()[0]["name"] == "s1"
}

async fn count(mocks: &Mocks, filter: &Value) -> Value {
    let answer = send_json(mocks.control(), ("POST", "/journal/count"), None, filter).await;
    answer.json()["count"].clone()
}

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_keycloaks_is_for_the_browser_that_began_and_only_once() {
    let mocks = mocks();
    let begin = visit(&mocks, "/api/auth/login?redirect_url=/tabs", ("desk", "")).await;
    let to = begin.location();
    let page = get(
        mocks.keycloak(),
        &format!("{}?{}", to.path(), to.query().unwrap()),
        None,
    )
    .await;
    let action = page
        .text
        .split("action=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let action = Url::parse(&action.replace("&amp;", "&")).unwrap();
    let request = Request::post(format!("{}?{}", action.path(), action.query().unwrap()))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::COOKIE, page.cookies())
        .body(Body::from("username=ada&password=password-of-ada"))
        .unwrap();
    let back = send(mocks.keycloak(), request).await.location();
    let callback = format!("{}?{}", back.path(), back.query().unwrap());

    let stolen = visit(&mocks, &callback, ("desk", "_renku_session=made-up")).await;
    let spent = visit(&mocks, &callback, ("desk", &begin.cookies())).await;

    assert_eq!((stolen.status.as_u16(), spent.status.as_u16()), (400, 400));
    assert!(!sees_list(&mocks, &begin.cookies()).await);
    assert_eq!(back.path(), "/api/auth/callback");
}

#[tokio::test(start_paused = true)]
async fn a_callback_signs_in_the_browser_that_began() {
    let mocks = mocks();
    let begin = visit(&mocks, "/ui-server/auth/login?redirect_url=/tabs", ("desk", "")).await;
    let to = begin.location();
    // Keycloak knows the browser already.
    let identity = crate::support::sign_in(&mocks, "password-of-ada", &[])
        .await
        .cookies();
    let request = Request::get(format!("{}?{}", to.path(), to.query().unwrap()))
        .header(header::COOKIE, identity)
        .body(Body::empty())
        .unwrap();
    let back = send(mocks.keycloak(), request).await.location();

    let callback = format!("{}?{}", back.path(), back.query().unwrap());
    let done = visit(&mocks, &callback, ("desk", &begin.cookies())).await;

    assert_eq!((done.status.as_u16(), done.location().path()), (302, "/tabs"));
    assert!(sees_list(&mocks, &begin.cookies()).await);
}

#[tokio::test(start_paused = true)]
async fn the_cookie_has_its_attributes_and_names_nobody() {
    let mocks = mocks();

    let answer = visit(&mocks, SHORTCUT, ("desk", "")).await;

    let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("_renku_session="));
    assert!(!cookie.contains("ada"));
    for attribute in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
        assert!(cookie.split("; ").any(|found| found == attribute), "{attribute}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_other_path_answers_as_it_should() {
    let mocks = mocks();

    for (path, status) in [
        ("/health", 200),
        ("/api/auth/health", 200),
        ("/ui-server/auth/health", 200),
        ("/api/auth/user-profile", 302),
        ("/api/auth/callback?code=x&state=y", 400),
        ("/api/auth/login?provider_id=nobody", 404),
        ("/api/auth/login?user=nobody", 401),
        ("/api/notebooks/servers", 404),
        ("/api/nonesuch", 404),
    ] {
        let answer = visit(&mocks, path, ("desk", "")).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
    }
    assert_eq!(mocks.unmatched().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_backend_sees_the_browsers_user() {
    let mocks = mocks();
    let cookie = signed_in(&mocks, "desk").await;

    assert!(sees_list(&mocks, &cookie).await);
    assert!(!sees_list(&mocks, "").await);
    assert!(!sees_list(&mocks, "_renku_session=made-up").await);
    for (route, calls) in [
        ("gateway.forward", 1),
        ("backend.sessions", 1),
        ("keycloak.token", 1),
    ] {
        let filter = json!({"route": route, "user": "ada", "browser": "desk"});
        assert_eq!(count(&mocks, &filter).await, calls, "{route}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stranger_gets_a_session_and_keeps_what_is_launched_in_it() {
    let mocks = mocks();
    let first = visit(&mocks, SESSIONS, ("desk", "renku-auth-anon-id=anon-forged")).await;
    let cookie = first.cookies();
    let launch = Request::post(SESSIONS)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::COOKIE, &cookie)
        .header("renku-auth-anon-id", "anon-forged")
        .body(Body::from(r#"{"launcher_id": "01HZZZZZZZZZZZZZZZZZZZZZZZ"}"#))
        .unwrap();

    let launched = send(mocks.gateway(), launch).await;
    let again = visit(&mocks, SESSIONS, ("desk", &cookie)).await;
    let other = visit(&mocks, SESSIONS, ("desk", "")).await;

    assert_eq!((first.text.as_str(), launched.status.as_u16()), ("[]", 201));
    assert!(cookie.starts_with("_renku_session="));
    assert_eq!(again.json()[0]["name"], launched.json()["name"]);
    assert_eq!(again.cookies(), "");
    assert_eq!(other.text, "[]");
    let forged = Request::get(SESSIONS).header("renku-auth-anon-id", "anon-forged");
    let forged = send(mocks.backend(), forged.body(Body::empty()).unwrap()).await;
    assert_eq!(forged.text, "[]");
}

#[tokio::test(start_paused = true)]
async fn a_token_of_ones_own_passes_without_a_session() {
    let mocks = mocks();
    let token = access_of(&mocks, "ada", "password-of-ada").await;
    let basic = format!("Basic {}", STANDARD.encode(format!("ada:{token}")));

    for authorization in [format!("Bearer {token}"), basic] {
        let request = Request::get(SESSIONS)
            .header(header::AUTHORIZATION, authorization)
            .body(Body::empty())
            .unwrap();
        let answer = send(mocks.gateway(), request).await;

        assert_eq!(answer.json()[0]["name"], "s1");
        assert_eq!(answer.cookies(), "");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_refreshed_when_less_than_three_minutes_are_left() {
    let mocks = mocks();
    let cookie = signed_in(&mocks, "desk").await;
    let refreshes = json!({"route": "keycloak.token"});

    for (seconds, trades) in [(0, 1), (120, 1), (1, 2), (119, 2), (2, 3), (1700, 4)] {
        pass(seconds).await;

        assert!(sees_list(&mocks, &cookie).await, "after {trades}");
        assert_eq!(count(&mocks, &refreshes).await, trades);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_refresh_calls_go_on_as_long_as_the_token_and_then_without() {
    let mocks = mocks();
    let cookie = signed_in(&mocks, "desk").await;
    mocks
        .arm(FaultOrder::on("keycloak.token", FaultAction::Hang))
        .unwrap();

    pass(200).await;
    let while_good = sees_list(&mocks, &cookie).await;
    pass(200).await;
    let after = sees_list(&mocks, &cookie).await;

    assert_eq!((while_good, after), (true, false));
}

#[tokio::test(start_paused = true)]
async fn what_expires_on_order_shows_at_the_next_call() {
    for (what, sees) in [
        (Expiry::Access, true),
        (Expiry::Tokens, false),
        (Expiry::Sessions, false),
    ] {
        let mocks = mocks();
        let cookie = signed_in(&mocks, "desk").await;

        mocks.expire_at_gateway("ada", what).unwrap();

        assert_eq!(sees_list(&mocks, &cookie).await, sees, "{what:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_second_browsers_login_overwrites_the_firsts_tokens() {
    let mocks = mocks();
    let (desk, phone) = (signed_in(&mocks, "desk").await, signed_in(&mocks, "phone").await);
    mocks.end_session("ada", "phone", EndHow::Silent).await.unwrap();

    // Both use the tokens of the session that is over, so neither can refresh them.
    pass(301).await;

    assert!(!sees_list(&mocks, &desk).await);
    assert!(!sees_list(&mocks, &phone).await);
}

#[tokio::test(start_paused = true)]
async fn a_logout_is_a_page_that_tells_keycloak() {
    let mocks = mocks();
    let cookie = signed_in(&mocks, "desk").await;

    let page = visit(&mocks, "/api/auth/logout?redirect_url=/bye", ("desk", &cookie)).await;

    assert_eq!(page.status, 200);
    assert!(
        page.headers[header::SET_COOKIE]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    let frame = page
        .text
        .split("src=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    assert!(frame.contains("/protocol/openid-connect/logout?id_token_hint="));
    assert!(page.text.contains("https://renku.example.org/bye"));
    assert!(!sees_list(&mocks, &cookie).await);
}

#[tokio::test(start_paused = true)]
async fn with_rotation_only_one_of_two_gateways_wins() {
    let mocks = mocks_with(MocksConfig {
        settings: polytab_mocks::realm::RealmSettings {
            revoke_refresh_token: true,
            ..Default::default()
        },
        ..MocksConfig::default()
    });
    let cookie = signed_in(&mocks, "desk").await;
    pass(301).await;

    // Two copies of the gateway share a store and no lock.
    let (left, right) = tokio::join!(sees_list(&mocks, &cookie), sees_list(&mocks, &cookie));

    assert!(left && right, "the loser finds what the winner stored");
}

#[tokio::test(start_paused = true)]
async fn the_control_api_knows_who_is_signed_in_and_expires() {
    let mocks = mocks();
    signed_in(&mocks, "desk").await;
    let list = async || get(mocks.control(), "/gateway/sessions", None).await.json();
    let expire = async |body: Value| {
        let answer = send_json(mocks.control(), ("POST", "/gateway/expire"), None, &body).await;
        answer.status.as_u16()
    };

    let before = list().await;

    assert_eq!(
        (&before[0]["user"], &before[0]["browser"]),
        (&json!("ada"), &json!("desk"))
    );
    assert_eq!(expire(json!({"user": "ada", "what": "sessions"})).await, 204);
    assert_eq!(expire(json!({"user": "nobody", "what": "sessions"})).await, 404);
    assert_eq!(expire(json!({"user": "ada", "what": "all"})).await, 400);
    assert_eq!(list().await, json!([]));
}
