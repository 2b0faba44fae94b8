//! What the realm says of itself: endpoints and keys. It advertises what works, and nothing else.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{Shared, keycloak::keys::JWKS};

/// `GET …/.well-known/openid-configuration`
pub(super) async fn document(State(shared): State<Arc<Shared>>) -> Response {
    let issuer = shared.config.issuer();
    let at = |path: &str| format!("{issuer}/protocol/openid-connect/{path}");
    let by_client = ["client_secret_basic", "client_secret_post"];
    let document = json!({
        "issuer": issuer,
        "authorization_endpoint": at("auth"),
        "token_endpoint": at("token"),
        "introspection_endpoint": at("token/introspect"),
        "userinfo_endpoint": at("userinfo"),
        "end_session_endpoint": at("logout"),
        "revocation_endpoint": at("revoke"),
        "jwks_uri": at("certs"),
        "grant_types_supported": ["authorization_code", "client_credentials", "password", "refresh_token"],
        "acr_values_supported": ["0", "1"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "fragment"],
        "subject_types_supported": ["public"],
        "prompt_values_supported": ["none", "login"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": by_client,
        "introspection_endpoint_auth_methods_supported": by_client,
        "revocation_endpoint_auth_methods_supported": by_client,
        "claims_supported": [
            "iss", "sub", "aud", "exp", "iat", "auth_time", "name", "given_name", "family_name",
            "preferred_username", "email", "acr", "azp", "nonce",
        ],
        "claim_types_supported": ["normal"],
        "claims_parameter_supported": false,
        "scopes_supported": ["openid", "profile", "email"],
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "code_challenge_methods_supported": ["plain", "S256"],
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
        "authorization_response_iss_parameter_supported": true,
    });
    (
        [(
            header::CACHE_CONTROL,
            "no-cache, must-revalidate, no-transform, no-store",
        )],
        Json(document),
    )
        .into_response()
}

/// `GET …/certs`
pub(super) async fn certs() -> Response {
    let head = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (head, JWKS).into_response()
}
