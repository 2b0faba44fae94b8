//! The Rust crate `openidconnect` through its full sequence, refusals included.

use std::future::Future;

use crate::support::{REDIRECT, SECRET, mocks, send, sign_in_at};
use axum::body::Body;
use openidconnect::{
    AccessTokenHash, AuthorizationCode, ClientId, ClientSecret, CsrfToken, HttpRequest, HttpResponse,
    IssuerUrl, Nonce, OAuth2TokenResponse, PkceCodeChallenge, RedirectUrl, RequestTokenError, Scope,
    StandardErrorResponse, TokenIntrospectionResponse, TokenResponse,
    core::{
        CoreAuthenticationFlow, CoreClient, CoreErrorResponseType, CoreProviderMetadata, CoreUserInfoClaims,
    },
};
use polytab_mocks::Mocks;

type Refused = RequestTokenError<std::io::Error, StandardErrorResponse<CoreErrorResponseType>>;

/// The crate's way to the network: straight into the mock.
fn calls(
    mocks: &Mocks,
) -> impl Fn(HttpRequest) -> std::pin::Pin<Box<dyn Future<Output = Result<HttpResponse, std::io::Error>> + Send>>
{
    let keycloak = mocks.keycloak();
    move |request| {
        let keycloak = keycloak.clone();
        Box::pin(async move {
            let answer = send(keycloak, request.map(Body::from)).await;
            let mut response = HttpResponse::new(answer.text.into_bytes());
            *response.status_mut() = answer.status;
            *response.headers_mut() = answer.headers;
            Ok(response)
        })
    }
}

fn words(refused: &Refused) -> (String, String) {
    let RequestTokenError::ServerResponse(answer) = refused else {
        panic!("{refused}");
    };
    let description = answer.error_description().cloned().unwrap_or_default();
    (answer.error().to_string(), description)
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "it is one conversation")]
async fn the_whole_life_of_a_session() {
    let mocks = mocks();
    let calls = calls(&mocks);
    let issuer = IssuerUrl::new("http://keycloak/auth/realms/Renku".to_owned()).unwrap();
    let metadata = CoreProviderMetadata::discover_async(issuer, &calls)
        .await
        .unwrap();
    let client = CoreClient::from_provider_metadata(
        metadata,
        ClientId::new("renku-ui".to_owned()),
        Some(ClientSecret::new(SECRET.to_owned())),
    )
    .set_redirect_uri(RedirectUrl::new(REDIRECT.to_owned()).unwrap())
    .set_introspection_url(
        openidconnect::IntrospectionUrl::new(
            "http://keycloak/auth/realms/Renku/protocol/openid-connect/token/introspect".to_owned(),
        )
        .unwrap(),
    );
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let (address, state, nonce) = client
        .authorize_url(
            CoreAuthenticationFlow::AuthorizationCode,
            CsrfToken::new_random,
            Nonce::new_random,
        )
        .add_scope(Scope::new("email".to_owned()))
        .set_pkce_challenge(challenge)
        .url();

    let back = sign_in_at(&mocks, &address, "password-of-ada").await;
    let field = |name: &str| {
        back.query_pairs()
            .find(|(found, _)| found == name)
            .unwrap()
            .1
            .into_owned()
    };
    assert_eq!(field("state"), *state.secret());
    let code = || AuthorizationCode::new(field("code"));
    let tokens = client
        .exchange_code(code())
        .unwrap()
        .set_pkce_verifier(verifier)
        .request_async(&calls)
        .await
        .unwrap();
    let id = tokens.id_token().unwrap();
    // The mock's clock is the tests'.
    let start = || "2026-01-01T00:00:00Z".parse().unwrap();
    let verifier = client.id_token_verifier().set_time_fn(start);
    let claims = id.claims(&verifier, &nonce).unwrap();
    assert_eq!(claims.email().unwrap().as_str(), "ada@example.org");
    let hash = AccessTokenHash::from_token(
        tokens.access_token(),
        id.signing_alg().unwrap(),
        id.signing_key(&verifier).unwrap(),
    );
    assert_eq!(claims.access_token_hash(), Some(&hash.unwrap()));

    let userinfo: CoreUserInfoClaims = client
        .user_info(tokens.access_token().clone(), Some(claims.subject().clone()))
        .unwrap()
        .request_async(&calls)
        .await
        .unwrap();
    assert_eq!(userinfo.preferred_username().unwrap().as_str(), "ada");
    let introspected = client
        .introspect(tokens.access_token())
        .request_async(&calls)
        .await
        .unwrap();
    assert!(introspected.active());
    let refresh = tokens.refresh_token().unwrap();
    let fresh = client
        .exchange_refresh_token(refresh)
        .unwrap()
        .request_async(&calls)
        .await
        .unwrap();
    assert_ne!(fresh.access_token().secret(), tokens.access_token().secret());

    let again = client
        .exchange_code(code())
        .unwrap()
        .request_async(&calls)
        .await
        .unwrap_err();
    assert_eq!(
        words(&again),
        ("invalid_grant".to_owned(), "Code not valid".to_owned())
    );
    let after = client
        .exchange_refresh_token(refresh)
        .unwrap()
        .request_async(&calls)
        .await
        .unwrap_err();
    let detached = "Session doesn't have required client";
    assert_eq!(words(&after), ("invalid_grant".to_owned(), detached.to_owned()));
}
