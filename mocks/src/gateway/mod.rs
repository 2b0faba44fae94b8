//! Renku's gateway: signs browsers in, keeps their tokens, and lets the backend see them (MOCKS B4).

mod auth;
mod forward;
pub(crate) mod store;
mod tokens;

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    http::HeaderValue,
    routing::{any, get},
};
use cookie::{Cookie, SameSite};
use serde_json::{Value, json};

use crate::{
    Mocks, Shared,
    route::{FORWARD, GATEWAY_CALLBACK, GATEWAY_HEALTH, GATEWAY_LOGIN, GATEWAY_LOGOUT, GATEWAY_PROFILE},
    world::GATEWAY_COOKIE,
};

/// The services behind the gateway, in process.
#[derive(Clone, Debug)]
struct Behind {
    keycloak: Router,
    backend: Router,
}

/// The routes of the gateway.
pub(crate) fn router(mocks: &Mocks) -> Router {
    let shared = &mocks.0;
    let behind = Behind {
        keycloak: mocks.keycloak(),
        backend: mocks.backend(),
    };
    let mut router = Router::new().route("/health", shared.gated(GATEWAY_HEALTH, get(health)));
    // The UI server's own paths are an alias.
    for base in ["/api/auth", "/ui-server/auth"] {
        let at = |path: &str| format!("{base}{path}");
        router = router
            .route(&at("/login"), shared.gated(GATEWAY_LOGIN, get(auth::login)))
            .route(
                &at("/callback"),
                shared.gated(GATEWAY_CALLBACK, get(auth::callback)),
            )
            .route(&at("/logout"), shared.gated(GATEWAY_LOGOUT, get(auth::logout)))
            .route(
                &at("/user-profile"),
                shared.gated(GATEWAY_PROFILE, get(auth::profile)),
            )
            .route(&at("/health"), shared.gated(GATEWAY_HEALTH, get(health)));
    }
    for service in ["data", "notebooks", "projects"] {
        let path = format!("/api/{service}/{{*rest}}");
        router = router.route(&path, shared.gated(FORWARD, any(forward::forward)));
    }
    router.layer(Extension(behind)).with_state(Arc::clone(shared))
}

async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// The gateway's cookie with this value. Over plain HTTP no browser would send a `Secure` one back.
fn cookie(shared: &Shared, value: &str) -> HeaderValue {
    header_of(&base_cookie(shared, value).build())
}

/// The cookie that takes the gateway's away.
fn no_cookie(shared: &Shared) -> HeaderValue {
    header_of(
        &base_cookie(shared, "")
            .max_age(cookie::time::Duration::ZERO)
            .build(),
    )
}

fn base_cookie<'a>(shared: &Shared, value: &'a str) -> cookie::CookieBuilder<'a> {
    Cookie::build((GATEWAY_COOKIE, value))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(shared.config.gateway.url.scheme() == "https")
}

fn header_of(cookie: &Cookie<'_>) -> HeaderValue {
    HeaderValue::try_from(cookie.to_string()).unwrap_or(HeaderValue::from_static(""))
}
