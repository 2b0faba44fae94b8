//! Keycloak as browsers and applications meet it: its pages, what it tells of a logout, and what discovery names.

use std::{sync::Arc, time::Duration};

use crate::support::{OIDC, auth_path, get, mocks, mocks_with, send, sign_in, text, tokens};
use axum::{Form, Router, body::Body, routing::post};
use http::{Request, header};
use polytab_mocks::{config::MocksConfig, order::EndHow};
use serde_json::{Value, json};
use tokio::sync::mpsc;

#[tokio::test(start_paused = true)]
async fn what_may_not_be_answered_by_a_redirect_is_a_page() {
    let mocks = mocks();
    let page = async |query: &str| get(mocks.keycloak(), &format!("{OIDC}/auth?{query}"), None).await;

    for query in [
        "",
        "client_id=eve&redirect_uri=http://server/x",
        "client_id=renku-ui&redirect_uri=http://evil/",
    ] {
        let answer = page(query).await;

        assert_eq!(answer.status, 400, "{query}");
        assert!(
            answer.headers[header::CONTENT_TYPE]
                .to_str()
                .unwrap()
                .starts_with("text/html")
        );
    }
    let wrong = get(mocks.keycloak(), &auth_path(&[("prompt", "none")]), None).await;
    assert_eq!(wrong.status, 302);
    assert!(wrong.location().query().unwrap().contains("error=login_required"));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_shows_the_page_again() {
    let mocks = mocks();

    let again = sign_in(&mocks, "wrong", &[]).await;

    assert_eq!(again.status, 200);
    assert!(again.text.contains("id=\"input-error\""));
    assert!(again.text.contains("id=\"kc-form-login\""));
}

#[tokio::test(start_paused = true)]
async fn a_browser_that_is_signed_in_sees_no_page() {
    let mocks = mocks();
    let cookies = sign_in(&mocks, "password-of-ada", &[]).await.cookies();
    let visit = async |more: &[(&str, &str)]| {
        let request = Request::get(auth_path(more))
            .header(header::COOKIE, &cookies)
            .body(Body::empty())
            .unwrap();
        send(mocks.keycloak(), request).await
    };

    assert_eq!(visit(&[]).await.status, 302);
    assert_eq!(visit(&[("prompt", "login")]).await.status, 200);
}

#[tokio::test]
async fn a_client_is_told_of_a_logout_with_a_token_that_verifies() {
    let (told, mut tokens_told) = mpsc::channel(1);
    let told = Arc::new(told);
    let app = Router::new().route(
        "/bye",
        post(move |Form(form): Form<Value>| async move { told.send(form).await.unwrap() }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/bye", listener.local_addr().unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { axum_serve(listener, app).await });
    let mut config = MocksConfig::default();
    config.client.backchannel_logout_url = Some(url.parse().unwrap());
    let mocks = mocks_with(config);
    tokens(&mocks).await;

    mocks
        .end_session("ada", "desk", EndHow::Backchannel)
        .await
        .unwrap();

    let form = tokens_told.recv().await.unwrap();
    let claims = payload(text(&form, "logout_token"));
    assert_eq!(claims["sub"], json!(mocks.subject("ada").unwrap().0));
    assert_eq!(claims["aud"], "renku-ui");
    assert_eq!(
        claims["events"],
        json!({"http://schemas.openid.net/event/backchannel-logout": {}})
    );
    assert_eq!(claims.get("nonce"), None);
}

async fn axum_serve(listener: tokio::net::TcpListener, app: Router) {
    let limits = polytab_seams::serve::Limits {
        header_read: Duration::from_secs(5),
        header_bytes: 16 * 1024,
        header_fields: 100,
        connections: 8,
        life: None,
    };
    polytab_seams::serve::serve(
        listener,
        app,
        limits,
        (tokio_util::sync::CancellationToken::new(), Duration::ZERO),
    )
    .await;
}

/// The claims of a token, unverified: what a person would look at.
#[expect(clippy::unwrap_used, reason = "a token that is none fails the test")]
fn payload(token: &str) -> Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn discovery_names_only_what_is_there() {
    let mocks = mocks();
    let document = get(
        mocks.keycloak(),
        "/auth/realms/Renku/.well-known/openid-configuration",
        None,
    )
    .await
    .json();

    assert_eq!(document["issuer"], "http://keycloak/auth/realms/Renku");
    let endpoints = document
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| name.ends_with("_endpoint") || *name == "jwks_uri");
    for (name, url) in endpoints {
        let path = url.as_str().unwrap().strip_prefix("http://keycloak").unwrap();
        let answer = get(mocks.keycloak(), path, None).await;

        assert_ne!(answer.status, 404, "{name}");
    }
    let keys = get(mocks.keycloak(), &format!("{OIDC}/certs"), None).await.json();
    let uses: Vec<_> = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["use"].clone())
        .collect();
    assert_eq!(uses, ["sig", "enc"]);
}
