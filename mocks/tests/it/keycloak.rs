//! Keycloak as clients meet it: the whole flow, and every refusal with Keycloak's own status and words (MOCKS K8).

use std::time::Duration;

use crate::support::{
    OIDC, REDIRECT, SECRET, code, get, mocks, mocks_with, post_form, sign_in, text, token, tokens,
};
use http::header;
use polytab_mocks::{
    config::MocksConfig,
    order::{Change, EndHow, Refresh},
    realm::{ClientConfig, RealmSettings},
};

const INVALID: &str = "Invalid client or Invalid client credentials";

#[tokio::test(start_paused = true)]
async fn a_person_signs_in_and_out() {
    let mocks = mocks();

    let back = sign_in(&mocks, "password-of-ada", &[]).await;
    let tokens = tokens(&mocks).await;
    let access = text(&tokens, "access_token");
    let userinfo = get(mocks.keycloak(), &format!("{OIDC}/userinfo"), Some(access)).await;
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", text(&tokens, "refresh_token")),
    ];
    let refreshed = token(&mocks, &refresh).await;
    let client = [("client_id", "renku-ui"), ("client_secret", SECRET)];
    let out = post_form(
        mocks.keycloak(),
        &format!("{OIDC}/logout"),
        &[&client[..], &refresh[1..]].concat(),
    )
    .await;
    let after = token(&mocks, &refresh).await;

    let names: Vec<_> = back
        .location()
        .query_pairs()
        .map(|(name, _)| name.into_owned())
        .collect();
    assert_eq!(names, ["state", "iss", "session_state", "code"]);
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["expires_in"], 300);
    assert_eq!(tokens["refresh_expires_in"], 1800);
    assert_eq!(userinfo.json()["preferred_username"], "ada");
    assert_ne!(refreshed.json()["refresh_token"], tokens["refresh_token"]);
    assert_eq!(out.status, 204);
    assert_eq!(
        after.refusal(),
        (400, "invalid_grant".into(), "Session not active".into())
    );
}

#[tokio::test(start_paused = true)]
#[expect(clippy::too_many_lines, reason = "it is a table")]
async fn every_refusal_of_the_token_endpoint_has_keycloaks_words() {
    let mocks = mocks();
    let tokens = tokens(&mocks).await;
    let refresh = text(&tokens, "refresh_token").to_owned();
    let used = code(&mocks, &[]).await;
    let by_code = |code: &str| {
        vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code.to_owned()),
            ("redirect_uri", REDIRECT.to_owned()),
        ]
    };
    let as_pairs = |form: Vec<(&'static str, String)>| form;
    token(&mocks, &borrowed(&by_code(&used))).await;
    let fresh = code(&mocks, &[]).await;
    let pkce = code(
        &mocks,
        &[("code_challenge", "x"), ("code_challenge_method", "plain")],
    )
    .await;
    let form = |pairs: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        as_pairs(
            pairs
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
        )
    };

    for (sent, status, error, description) in [
        (
            form(&[]),
            400,
            "invalid_request",
            "Missing form parameter: grant_type",
        ),
        (
            form(&[("grant_type", "x")]),
            400,
            "unsupported_grant_type",
            "Unsupported grant_type",
        ),
        (
            form(&[
                ("grant_type", "password"),
                ("username", "ada"),
                ("username", "ada"),
            ]),
            400,
            "invalid_request",
            "duplicated parameter",
        ),
        (
            form(&[("grant_type", "password"), ("username", "ada"), ("password", "x")]),
            401,
            "invalid_grant",
            "Invalid user credentials",
        ),
        (
            form(&[("grant_type", "password"), ("username", "eve"), ("password", "x")]),
            401,
            "invalid_grant",
            "Invalid user credentials",
        ),
        (
            form(&[("grant_type", "authorization_code")]),
            400,
            "invalid_request",
            "Missing parameter: code",
        ),
        (by_code("made.up.code"), 400, "invalid_grant", "Code not valid"),
        (by_code(&used), 400, "invalid_grant", "Code not valid"),
        (
            form(&[
                ("grant_type", "authorization_code"),
                ("code", &fresh),
                ("redirect_uri", "http://server/x"),
            ]),
            400,
            "invalid_grant",
            "Incorrect redirect_uri",
        ),
        (
            by_code(&pkce),
            400,
            "invalid_grant",
            "PKCE code verifier not specified",
        ),
        (
            form(&[("grant_type", "refresh_token")]),
            400,
            "invalid_request",
            "No refresh token",
        ),
        (
            form(&[("grant_type", "refresh_token"), ("refresh_token", "made-up")]),
            400,
            "invalid_grant",
            "Invalid refresh token",
        ),
        (
            form(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", text(&tokens, "access_token")),
            ]),
            400,
            "invalid_grant",
            "Invalid refresh token",
        ),
        (
            form(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", &refresh),
                ("scope", "openid admin"),
            ]),
            400,
            "invalid_scope",
            "Invalid scopes: openid admin",
        ),
    ] {
        let answer = token(&mocks, &borrowed(&sent)).await;

        assert_eq!(
            answer.refusal(),
            (status, error.into(), description.into()),
            "{sent:?}"
        );
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    }
}

fn borrowed<'a>(form: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    form.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_client_must_be_known_and_prove_it() {
    let mocks = mocks();

    for (client, status, error, description) in [
        (vec![], 400, "invalid_client", "Missing client_id parameter"),
        (
            vec![("client_id", "eve"), ("client_secret", SECRET)],
            401,
            "invalid_client",
            INVALID,
        ),
        (
            vec![("client_id", "renku-ui"), ("client_secret", "x")],
            401,
            "unauthorized_client",
            INVALID,
        ),
        (
            vec![("client_id", "renku-ui")],
            401,
            "unauthorized_client",
            INVALID,
        ),
    ] {
        let form = [&client[..], &[("grant_type", "client_credentials")]].concat();
        let answer = post_form(mocks.keycloak(), &format!("{OIDC}/token"), &form).await;
        let introspection = post_form(mocks.keycloak(), &format!("{OIDC}/token/introspect"), &client).await;

        assert_eq!(
            answer.refusal(),
            (status, error.into(), description.into()),
            "{client:?}"
        );
        assert_eq!(
            introspection.refusal(),
            (401, "invalid_request".into(), "Authentication failed.".into())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_proof_key_is_really_checked() {
    let mocks = mocks();
    // The example of RFC 7636, appendix B.
    let challenge = [
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        ("code_challenge_method", "S256"),
    ];

    for (verifier, status) in [
        ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", 200),
        ("wrong", 400),
    ] {
        let code = code(&mocks, &challenge).await;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", REDIRECT),
            ("code_verifier", verifier),
        ];

        assert_eq!(token(&mocks, &form).await.status, status, "{verifier}");
    }
}

#[tokio::test(start_paused = true)]
async fn old_codes_and_tokens_are_told_from_made_up_ones() {
    let mocks = mocks();
    let old = code(&mocks, &[]).await;
    let tokens = tokens(&mocks).await;
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", text(&tokens, "refresh_token")),
    ];

    tokio::time::advance(Duration::from_secs(61)).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", old.as_str()),
        ("redirect_uri", REDIRECT),
    ];
    let code_after = token(&mocks, &form).await;
    tokio::time::advance(Duration::from_mins(30)).await;
    let refresh_after = token(&mocks, &refresh).await;

    assert_eq!(
        code_after.refusal(),
        (400, "invalid_grant".into(), "Code is expired".into())
    );
    assert_eq!(
        refresh_after.refusal(),
        (400, "invalid_grant".into(), "Token is not active".into())
    );
}

#[tokio::test(start_paused = true)]
async fn four_refreshes_at_once_all_succeed_without_rotation() {
    let mocks = mocks();
    let tokens = tokens(&mocks).await;
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", text(&tokens, "refresh_token")),
    ];

    for _ in 0..4 {
        assert_eq!(token(&mocks, &refresh).await.status, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn with_rotation_a_second_use_costs_everybody_the_session() {
    let mocks = mocks_with(MocksConfig {
        settings: RealmSettings {
            revoke_refresh_token: true,
            ..RealmSettings::default()
        },
        ..MocksConfig::default()
    });
    let tokens = tokens(&mocks).await;
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", text(&tokens, "refresh_token")),
    ];

    let winner = token(&mocks, &refresh).await;
    let losers = [token(&mocks, &refresh).await, token(&mocks, &refresh).await];
    let winners = winner.json();
    let winner_again = [
        ("grant_type", "refresh_token"),
        ("refresh_token", text(&winners, "refresh_token")),
    ];
    let after = token(&mocks, &winner_again).await;

    let said = losers.each_ref().map(|loser| loser.refusal().2);
    assert_eq!(
        said,
        [
            "Maximum allowed refresh token reuse exceeded",
            "Session doesn't have required client"
        ]
    );
    assert_eq!(after.refusal().2, "Session doesn't have required client");
}

#[tokio::test(start_paused = true)]
async fn another_clients_token_is_refused_by_name() {
    let mocks = mocks_with(MocksConfig {
        other_clients: vec![ClientConfig {
            client_id: "renku-cli".into(),
            secret: Some("other".into()),
            redirect_uris: vec![REDIRECT.into()],
            ..ClientConfig::default()
        }],
        ..MocksConfig::default()
    });
    let tokens = tokens(&mocks).await;
    let refresh = text(&tokens, "refresh_token");
    let other = [("client_id", "renku-cli"), ("client_secret", "other")];

    let form = [
        &other[..],
        &[("grant_type", "refresh_token"), ("refresh_token", refresh)],
    ]
    .concat();
    let refreshed = post_form(mocks.keycloak(), &format!("{OIDC}/token"), &form).await;
    let form = [&other[..], &[("token", refresh)]].concat();
    let revoked = post_form(mocks.keycloak(), &format!("{OIDC}/revoke"), &form).await;

    let text = "Invalid refresh token. Token client and authorized client don't match";
    assert_eq!(refreshed.refusal(), (400, "invalid_grant".into(), text.into()));
    assert_eq!(
        revoked.refusal(),
        (400, "invalid_request".into(), "Unmatching clients".into())
    );
}

#[tokio::test(start_paused = true)]
async fn introspection_and_userinfo_notice_what_a_signature_cannot_say() {
    let mocks = mocks();
    let tokens = tokens(&mocks).await;
    let access = text(&tokens, "access_token");
    let is_active = async || {
        let form = [
            ("client_id", "renku-ui"),
            ("client_secret", SECRET),
            ("token", access),
        ];
        let answer = post_form(mocks.keycloak(), &format!("{OIDC}/token/introspect"), &form).await;
        answer.json()["active"] == true
    };

    assert!(is_active().await);
    mocks.end_session("ada", "desk", EndHow::Silent).await.unwrap();
    let userinfo = get(mocks.keycloak(), &format!("{OIDC}/userinfo"), Some(access)).await;
    let sessions = get(mocks.backend(), "/api/data/sessions", Some(access)).await;

    assert!(!is_active().await);
    let text = "User session not found or doesn't have client attached on it";
    assert_eq!(userinfo.refusal(), (401, "invalid_token".into(), text.into()));
    assert!(
        userinfo.headers[header::WWW_AUTHENTICATE]
            .to_str()
            .unwrap()
            .starts_with("Bearer realm=\"Renku\"")
    );
    assert_eq!(sessions.json()[0]["name"], "s1"); // The backend only looks at the signature.
}

#[tokio::test(start_paused = true)]
async fn a_revoked_access_token_is_inactive_and_an_unknown_one_is_said_to_be_so_with_200() {
    let mocks = mocks();
    let tokens = tokens(&mocks).await;
    let access = text(&tokens, "access_token");
    let client = [("client_id", "renku-ui"), ("client_secret", SECRET)];
    let revoke = async |token: &str| {
        let form = [&client[..], &[("token", token)]].concat();
        post_form(mocks.keycloak(), &format!("{OIDC}/revoke"), &form).await
    };

    let first = revoke(access).await;
    let unknown = revoke("made-up").await;
    let userinfo = get(mocks.keycloak(), &format!("{OIDC}/userinfo"), Some(access)).await;

    assert_eq!((first.status.as_u16(), first.text.as_str()), (200, ""));
    assert_eq!(
        unknown.refusal(),
        (200, "invalid_token".into(), "Invalid token".into())
    );
    assert_eq!(userinfo.status, 401);
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_says_that_the_session_is_over() {
    let mocks = mocks();
    let tokens = tokens(&mocks).await;
    let change = Change {
        user: Some("ada".into()),
        refresh: Some(Refresh::Refused),
        ..Change::default()
    };
    mocks.change(change).unwrap();

    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", text(&tokens, "refresh_token")),
    ];
    let answer = token(&mocks, &form).await;

    assert_eq!(
        answer.refusal(),
        (400, "invalid_grant".into(), "Session not active".into())
    );
}
