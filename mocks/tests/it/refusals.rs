//! Every refusal that Keycloak has a word for (MOCKS K8, K9): status, `error`, `error_description`.

use std::time::Duration;

use crate::support::{Answer, OIDC, REDIRECT, SECRET, code, get, mocks_with, post_form, send, text, tokens};
use axum::body::Body;
use http::{Method, Request, header};
use polytab_mocks::{
    Mocks,
    config::MocksConfig,
    realm::{ClientConfig, Quirks, RealmSettings, ReuseCount},
};
use serde_json::{Value, json};

/// Mocks with a second confidential client and a public one.
fn realm_with(settings: RealmSettings) -> Mocks {
    let client = |id: &str, secret: Option<&str>| ClientConfig {
        client_id: id.to_owned(),
        secret: secret.map(str::to_owned),
        redirect_uris: vec![REDIRECT.to_owned()],
        ..ClientConfig::default()
    };
    mocks_with(MocksConfig {
        other_clients: vec![client("renku-cli", Some("other")), client("page", None)],
        settings,
        ..MocksConfig::default()
    })
}

fn realm() -> Mocks {
    realm_with(RealmSettings::default())
}

async fn order(mocks: &Mocks, method: Method, path: &str, body: Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::from(body.to_string()))
        .unwrap();
    let answer = send(mocks.control(), request).await;
    assert!(answer.status.is_success(), "{path}: {}", answer.text);
}

/// A call of an endpoint by the client of this id.
async fn call(mocks: &Mocks, endpoint: &str, client: &str, form: &[(&str, &str)]) -> Answer {
    let secret = match client {
        "renku-ui" => Some(SECRET),
        "renku-cli" => Some("other"),
        _ => None,
    };
    let own: Vec<_> = [("client_id", Some(client)), ("client_secret", secret)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    post_form(
        mocks.keycloak(),
        &format!("{OIDC}/{endpoint}"),
        &[form, &own].concat(),
    )
    .await
}

async fn refresh(mocks: &Mocks, client: &str, token: &str) -> Answer {
    let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
    call(mocks, "token", client, &form).await
}

async fn password(mocks: &Mocks, client: &str, password: &str) -> Answer {
    let form = [
        ("grant_type", "password"),
        ("username", "ada"),
        ("password", password),
    ];
    call(mocks, "token", client, &form).await
}

#[track_caller]
fn refused(case: &str, answer: &Answer, (status, error, description): (u16, &str, &str)) {
    assert_eq!(
        answer.refusal(),
        (status, error.to_owned(), description.to_owned()),
        "{case}"
    );
}

const INVALID: &str = "Invalid client or Invalid client credentials";

#[tokio::test(start_paused = true)]
async fn a_client_that_may_not() {
    let mocks = realm();
    let own = [("grant_type", "client_credentials")];

    for (case, client, expected) in [
        ("unknown", "eve", (401, "invalid_client", INVALID)),
        (
            "public, for itself",
            "page",
            (
                401,
                "unauthorized_client",
                "Public client not allowed to retrieve service account",
            ),
        ),
        (
            "without an account",
            "renku-cli",
            (
                401,
                "unauthorized_client",
                "Client not enabled to retrieve service account",
            ),
        ),
    ] {
        refused(case, &call(&mocks, "token", client, &own).await, expected);
    }
    let wrong = [("client_id", "renku-ui"), ("client_secret", "x"), own[0]];
    let wrong = post_form(mocks.keycloak(), &format!("{OIDC}/token"), &wrong).await;
    refused("wrong secret", &wrong, (401, "unauthorized_client", INVALID));
    let nobody = post_form(mocks.keycloak(), &format!("{OIDC}/token"), &own).await;
    refused(
        "no client",
        &nobody,
        (400, "invalid_client", "Missing client_id parameter"),
    );
    let none = call(&mocks, "token/introspect", "eve", &[("token", "x")]).await;
    refused(
        "introspection",
        &none,
        (401, "invalid_request", "Authentication failed."),
    );
}

#[tokio::test(start_paused = true)]
async fn a_realm_that_lets_nobody_in() {
    let mocks = realm();
    for (setting, value, expected) in [
        (
            "sslRequired",
            json!("all"),
            (403, "invalid_request", "HTTPS required"),
        ),
        (
            "enabled",
            json!(false),
            (403, "access_denied", "Realm not enabled"),
        ),
    ] {
        order(&mocks, Method::PUT, "/realms/Renku", json!({setting: value})).await;
        refused(
            setting,
            &password(&mocks, "renku-ui", "password-of-ada").await,
            expected,
        );
        let usual = json!({"sslRequired": "external", "enabled": true});
        order(&mocks, Method::PUT, "/realms/Renku", usual).await;
    }

    let answer = get(
        mocks.keycloak(),
        "/auth/realms/nowhere/protocol/openid-connect/certs",
        None,
    )
    .await;

    assert_eq!(
        (answer.status.as_u16(), answer.json()),
        (404, json!({"error": "Realm does not exist"}))
    );
}

#[tokio::test(start_paused = true)]
async fn a_password_that_is_wrong_or_of_no_use() {
    let mocks = realm();

    let wrong = password(&mocks, "renku-ui", "x").await;
    order(&mocks, Method::POST, "/realms/Renku/users/ada/disable", json!({})).await;
    let disabled = password(&mocks, "renku-ui", "password-of-ada").await;

    refused(
        "wrong",
        &wrong,
        (401, "invalid_grant", "Invalid user credentials"),
    );
    refused("user off", &disabled, (400, "invalid_grant", "Account disabled"));
}

#[tokio::test(start_paused = true)]
async fn a_code_whose_session_is_over() {
    let mocks = realm();
    let code = code(&mocks, &[]).await;
    order(&mocks, Method::POST, "/realms/Renku/users/ada/logout", json!({})).await;

    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", REDIRECT),
    ];
    let answer = call(&mocks, "token", "renku-ui", &form).await;

    refused(
        "session over",
        &answer,
        (400, "invalid_grant", "Session not active"),
    );
}

#[tokio::test(start_paused = true)]
async fn a_code_used_twice_takes_back_what_it_gave() {
    let mocks = realm();
    let code = code(&mocks, &[]).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", REDIRECT),
    ];

    let first = call(&mocks, "token", "renku-ui", &form).await.json();
    let second = call(&mocks, "token", "renku-ui", &form).await;
    let after = refresh(&mocks, "renku-ui", text(&first, "refresh_token")).await;

    refused("second use", &second, (400, "invalid_grant", "Code not valid"));
    refused(
        "what it gave",
        &after,
        (400, "invalid_grant", "Session doesn't have required client"),
    );
}

/// Does something to the realm; then ada's refresh token, got before, is refused with these words.
async fn spoilt(case: &str, path: &str, body: Value, description: &str) {
    let mocks = realm();
    let token = tokens(&mocks).await;
    tokio::time::advance(Duration::from_secs(2)).await;
    let sid = text(&token, "session_state").to_owned();

    let method = if path == "/realms/Renku" {
        Method::PUT
    } else {
        Method::POST
    };
    order(&mocks, method, &path.replace("{sid}", &sid), body).await;

    let answer = refresh(&mocks, "renku-ui", text(&token, "refresh_token")).await;
    refused(case, &answer, (400, "invalid_grant", description));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_of_what_is_no_good_any_more() {
    let later = 1_767_225_601; // A second after the start of the tests.
    for (case, path, body, description) in [
        (
            "logged out",
            "/realms/Renku/sessions/{sid}/logout",
            json!({}),
            "Session not active",
        ),
        (
            "expired",
            "/realms/Renku/sessions/{sid}/expire",
            json!({}),
            "Session not active",
        ),
        (
            "client detached",
            "/realms/Renku/sessions/{sid}/detach",
            json!({}),
            "Session doesn't have required client",
        ),
        (
            "user off",
            "/realms/Renku/users/ada/disable",
            json!({}),
            "User disabled",
        ),
        (
            "user's not-before",
            "/realms/Renku/users/ada/not_before",
            json!({}),
            "Stale token",
        ),
        (
            "realm's not-before",
            "/realms/Renku",
            json!({"notBefore": later}),
            "Stale token",
        ),
    ] {
        spoilt(case, path, body, description).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_with_a_token_that_is_none() {
    let mocks = realm();
    let token = tokens(&mocks).await;
    let foreign = json!({"claims": {"typ": "Refresh", "iss": "http://elsewhere"}, "alg": "HS512"});
    let minted = {
        let request = Request::post("/realms/Renku/tokens/mint")
            .body(Body::from(foreign.to_string()))
            .unwrap();
        send(mocks.control(), request).await.json()
    };
    let issuer = "Invalid token issuer. Expected 'http://keycloak/auth/realms/Renku'";
    let other = "Invalid refresh token. Token client and authorized client don't match";

    for (case, client, sent, description) in [
        ("made up", "renku-ui", "made-up", "Invalid refresh token"),
        (
            "access token",
            "renku-ui",
            text(&token, "access_token"),
            "Invalid refresh token",
        ),
        ("other issuer", "renku-ui", text(&minted, "token"), issuer),
        (
            "other client's",
            "renku-cli",
            text(&token, "refresh_token"),
            other,
        ),
    ] {
        refused(
            case,
            &refresh(&mocks, client, sent).await,
            (400, "invalid_grant", description),
        );
    }
    tokio::time::advance(Duration::from_mins(30)).await;
    let old = refresh(&mocks, "renku-ui", text(&token, "refresh_token")).await;
    refused(
        "past its end",
        &old,
        (400, "invalid_grant", "Token is not active"),
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_has_a_grace_that_its_refresh_token_has_not() {
    let mocks = realm_with(RealmSettings {
        access_token_lifespan: 3_600,
        ..RealmSettings::default()
    });
    let token = tokens(&mocks).await;
    let is_active = async || {
        let form = [("token", text(&token, "access_token"))];
        call(&mocks, "token/introspect", "renku-ui", &form).await.json()["active"] == true
    };

    tokio::time::advance(Duration::from_secs(1_801)).await;
    let refused_then = refresh(&mocks, "renku-ui", text(&token, "refresh_token")).await;
    let active_then = is_active().await;
    tokio::time::advance(Duration::from_mins(2)).await;

    refused(
        "idle",
        &refused_then,
        (400, "invalid_grant", "Token is not active"),
    );
    assert!(active_then);
    assert!(!is_active().await);
}

#[tokio::test(start_paused = true)]
async fn tokens_shrink_near_the_end_of_their_session() {
    let mocks = realm_with(RealmSettings {
        sso_session_max_lifespan: 400,
        ..RealmSettings::default()
    });
    let token = tokens(&mocks).await;

    tokio::time::advance(Duration::from_secs(350)).await;
    let last = refresh(&mocks, "renku-ui", text(&token, "refresh_token"))
        .await
        .json();
    tokio::time::advance(Duration::from_secs(50)).await;
    let over = refresh(&mocks, "renku-ui", text(&last, "refresh_token")).await;

    assert_eq!(
        (&token["expires_in"], &token["refresh_expires_in"]),
        (&json!(300), &json!(400))
    );
    assert_eq!(
        (&last["expires_in"], &last["refresh_expires_in"]),
        (&json!(50), &json!(50))
    );
    refused("over", &over, (400, "invalid_grant", "Token is not active"));
}

#[tokio::test(start_paused = true)]
async fn userinfo_and_revocation() {
    let mocks = realm();
    let token = tokens(&mocks).await;
    let access = text(&token, "access_token");
    let userinfo = async |bearer| get(mocks.keycloak(), &format!("{OIDC}/userinfo"), bearer).await;
    let revoke = async |client, token| call(&mocks, "revoke", client, &[("token", token)]).await;

    for (case, answer, expected) in [
        (
            "no token",
            userinfo(None).await,
            (401, "invalid_token", "Missing token"),
        ),
        (
            "bad",
            userinfo(Some("x")).await,
            (401, "invalid_token", "Token verification failed"),
        ),
        (
            "unknown",
            revoke("renku-ui", "x").await,
            (200, "invalid_token", "Invalid token"),
        ),
        (
            "other's",
            revoke("renku-cli", access).await,
            (400, "invalid_request", "Unmatching clients"),
        ),
        (
            "wrong type",
            revoke("renku-ui", text(&token, "id_token")).await,
            (400, "unsupported_token_type", "Unsupported token type"),
        ),
    ] {
        refused(case, &answer, expected);
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store", "{case}");
    }
    assert_eq!(
        revoke("renku-ui", text(&token, "refresh_token")).await.status,
        200
    );
    let gone = "User session not found or doesn't have client attached on it";
    refused(
        "session gone",
        &userinfo(Some(access)).await,
        (401, "invalid_token", gone),
    );
}

/// Verdicts of four refreshes of one token at once, sorted; and of the winner's fresh token afterwards.
async fn race(rotation: bool, reuse: ReuseCount) -> (Vec<String>, String) {
    let mocks = mocks_with(MocksConfig {
        settings: RealmSettings {
            revoke_refresh_token: rotation,
            ..RealmSettings::default()
        },
        quirks: Quirks {
            reuse,
            ..Quirks::default()
        },
        ..MocksConfig::default()
    });
    let token = text(&tokens(&mocks).await, "refresh_token").to_owned();
    let mut refreshes = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (mocks, token) = (mocks.clone(), token.clone());
        refreshes.spawn(async move { refresh(&mocks, "renku-ui", &token).await });
    }
    let answers = refreshes.join_all().await;
    let verdict = |answer: &Answer| match answer.status.as_u16() {
        200 => "200".to_owned(),
        _ => answer.refusal().2,
    };
    let mut verdicts: Vec<_> = answers.iter().map(verdict).collect();
    verdicts.sort();
    let winner = answers.iter().find(|answer| answer.status == 200).unwrap().json();
    let after = refresh(&mocks, "renku-ui", text(&winner, "refresh_token")).await;
    (verdicts, verdict(&after))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_refreshes_at_once_have_the_same_verdicts_a_hundred_times() {
    let (max, none) = (
        "Maximum allowed refresh token reuse exceeded",
        "Session doesn't have required client",
    );
    for (rotation, reuse, verdicts, after) in [
        (false, ReuseCount::PerLogin, ["200"; 4], "200"),
        (true, ReuseCount::PerLogin, ["200", max, none, none], none),
        (true, ReuseCount::PerClient, ["200", max, none, none], none),
        (true, ReuseCount::Racy, ["200"; 4], "200"),
    ] {
        for _ in 0..100 {
            let found = race(rotation, reuse).await;

            assert_eq!(
                found,
                (verdicts.map(str::to_owned).to_vec(), after.to_owned()),
                "{rotation} {reuse:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rotation_that_is_turned_on_counts_from_the_next_refresh() {
    let mocks = realm();
    let token = tokens(&mocks).await;
    let first = text(&token, "refresh_token");
    assert_eq!(refresh(&mocks, "renku-ui", first).await.status, 200);
    order(
        &mocks,
        Method::PUT,
        "/realms/Renku",
        json!({"revokeRefreshToken": true}),
    )
    .await;

    let next = refresh(&mocks, "renku-ui", first).await;
    let again = refresh(&mocks, "renku-ui", first).await;

    assert_eq!(next.status, 200);
    let text = "Maximum allowed refresh token reuse exceeded";
    refused("second use", &again, (400, "invalid_grant", text));
}
