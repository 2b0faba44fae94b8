//! Keycloak: one realm with its clients, login sessions and tokens. It refuses as the real one does (MOCKS K8).

mod client;
mod discovery;
mod grant;
mod issue;
pub(crate) mod keys;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod session;
mod token;

use std::sync::Arc;

use axum::{
    Json, Router,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;
use tower::ServiceBuilder;

use crate::{
    Shared,
    route::{AUTH, CERTS, DISCOVERY, INTROSPECT, LOGIN, LOGOUT, REVOKE, TOKEN, USERINFO},
};

/// Headers on every answer, as seen on real ones (MOCKS K6).
const HEADERS: [(HeaderName, &str); 4] = [
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "SAMEORIGIN"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (
        header::STRICT_TRANSPORT_SECURITY,
        "max-age=31536000; includeSubDomains",
    ),
];

/// The routes of Keycloak.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let realm = shared.config.realm_path();
    let oidc = format!("{realm}/protocol/openid-connect");
    let at = |path: &str| format!("{oidc}/{path}");
    Router::new()
        .route(
            &format!("{realm}/.well-known/openid-configuration"),
            shared.gated(DISCOVERY, get(discovery::document)),
        )
        .route(&at("certs"), shared.gated(CERTS, get(discovery::certs)))
        .route(
            &at("auth"),
            shared.gated(AUTH, get(login::authorize).post(login::authorize)),
        )
        .route(
            &format!("{realm}/login-actions/authenticate"),
            shared.gated(LOGIN, post(login::authenticate)),
        )
        .route(&at("token"), shared.gated(TOKEN, post(grant::token)))
        .route(
            &at("token/introspect"),
            shared.gated(INTROSPECT, post(token::introspect)),
        )
        .route(
            &at("userinfo"),
            shared.gated(USERINFO, get(token::userinfo).post(token::userinfo)),
        )
        .route(&at("revoke"), shared.gated(REVOKE, post(token::revoke)))
        .route(
            &at("logout"),
            shared.gated(LOGOUT, get(logout::by_browser).post(logout::by_client)),
        )
        .layer(ServiceBuilder::new().map_response(with_headers))
        .with_state(Arc::clone(shared))
}

fn with_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A refusal in OAuth's form (RFC 6749 §5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) error: &'static str,
    pub(crate) description: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, error: &'static str, description: &str) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
            error,
            description: description.to_owned(),
        }
    }

    /// 400 `invalid_grant`
    pub(crate) fn grant(description: &str) -> Self {
        Self::new(400, "invalid_grant", description)
    }

    /// 400 `invalid_request`
    pub(crate) fn request(description: &str) -> Self {
        Self::new(400, "invalid_request", description)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({"error": self.error, "error_description": self.description});
        (self.status, NOT_STORED, Json(body)).into_response()
    }
}

/// Tokens and what is said of them must not be kept by anybody on the way.
const NOT_STORED: [(HeaderName, &str); 2] =
    [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];

/// A page for people that says why it does not go on.
fn error_page(status: StatusCode, text: &str) -> Response {
    let page = format!(
        "<!DOCTYPE html>\n<html><head><title>Sign in</title></head>\n<body><div id=\"kc-error-message\"><p \
         class=\"instruction\">{}</p></div></body></html>\n",
        escaped(text)
    );
    (status, NOT_STORED, Html(page)).into_response()
}

/// Text as it may stand in HTML, attributes too.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
