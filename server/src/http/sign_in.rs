//! Pages and calls about signing in and out.

use std::sync::Arc;

use axum::{
    Form,
    extract::{Query, State},
    response::{IntoResponse, Redirect, Response},
};
use cookie::{Cookie, SameSite};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use super::handshake::credential;
use crate::{auth::Credential, channel::event::Event, host::Host};

/// Cookie that binds a sign-in to the browser that began it.
const STATE_COOKIE: &str = "polytab_sign_in";
/// The same over https: no other host, and nobody on the way, can set it.
const HOST_STATE_COOKIE: &str = "__Host-polytab_sign_in";

/// What a provider says when it refuses (RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6).
const ERRORS: [&str; 11] = [
    "access_denied",
    "account_selection_required",
    "consent_required",
    "interaction_required",
    "invalid_request",
    "invalid_scope",
    "login_required",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_response_type",
];

/// What the provider sends a browser back with.
#[derive(Debug, Deserialize)]
pub(super) struct Callback {
    #[serde(default)]
    code: String,
    #[serde(default)]
    state: String,
    error: Option<String>,
}

/// The body of a back-channel logout.
#[derive(Debug, Deserialize)]
pub(super) struct BackchannelLogout {
    logout_token: String,
}

pub(super) async fn login(State(host): State<Arc<Host>>) -> Response {
    match host.auth.begin_sign_in().await {
        Ok(begun) => {
            let cookie = cookie(&host, state_cookie(&host), &begun.state);
            ([(header::SET_COOKIE, cookie)], Redirect::to(&begun.url)).into_response()
        }
        Err(error) => {
            tracing::warn!(%error, "a sign-in cannot begin");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the identity provider cannot be reached; try again later",
            )
                .into_response()
        }
    }
}

pub(super) async fn callback(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
    Query(callback): Query<Callback>,
) -> Response {
    if let Some(error) = callback.error {
        // A browser brought it, whatever it is: only the words of OAuth are for a log (RFC 6749 §4.1.2.1).
        let error = ERRORS.iter().find(|known| **known == error);
        tracing::info!(error, "a sign-in was refused by the provider");
        return (
            StatusCode::FORBIDDEN,
            "the identity provider refused this sign-in",
        )
            .into_response();
    }
    if named(&headers, state_cookie(&host)).as_deref() != Some(callback.state.as_str()) {
        return (
            StatusCode::BAD_REQUEST,
            "this sign-in was begun in another browser",
        )
            .into_response();
    }
    match host.auth.finish_sign_in(&callback.state, &callback.code).await {
        Ok(session) => {
            let cookie = cookie(&host, &host.config.session_cookie, &session);
            (
                [(header::SET_COOKIE, cookie)],
                Redirect::to(host.config.public_url.as_str()),
            )
                .into_response()
        }
        Err(error) => {
            tracing::warn!(%error, "a sign-in failed");
            (
                StatusCode::BAD_REQUEST,
                "this sign-in did not succeed; begin anew",
            )
                .into_response()
        }
    }
}

pub(super) async fn logout(State(host): State<Arc<Host>>, headers: HeaderMap) -> Response {
    let ended = match credential(&host, &headers) {
        Credential::Cookie(value) => host.auth.sign_out(&value).await,
        Credential::Bearer(_) | Credential::None => None,
    };
    if let Some((id, session)) = &ended {
        host.hub.tell(&session.user, Event::SessionOver(id.clone())).await;
    }
    let there = host
        .auth
        .end_session_url(ended.as_ref().map(|(_, session)| session.as_ref()))
        .await;
    let there = there.unwrap_or_else(|| host.config.public_url.to_string());
    let gone = format!("{}; Max-Age=0", cookie(&host, &host.config.session_cookie, ""));
    ([(header::SET_COOKIE, gone)], Redirect::to(&there)).into_response()
}

pub(super) async fn backchannel_logout(
    State(host): State<Arc<Host>>,
    Form(logout): Form<BackchannelLogout>,
) -> Response {
    let ended = match host.auth.backchannel_logout(&logout.logout_token).await {
        Ok(ended) => ended,
        Err(error) => {
            tracing::warn!(%error, "a back-channel logout is not taken");
            return (StatusCode::BAD_REQUEST, "not a logout token of our provider").into_response();
        }
    };
    for (user, session) in ended {
        host.hub.tell(&user, Event::SessionOver(session)).await;
    }
    ([(header::CACHE_CONTROL, "no-store")], StatusCode::OK).into_response()
}

fn state_cookie(host: &Host) -> &'static str {
    if host.config.is_https() {
        HOST_STATE_COOKIE
    } else {
        STATE_COOKIE
    }
}

/// `Secure` is left out over plain HTTP, or no browser would send the cookie back. The path and the absence of a domain
/// are what the prefix `__Host-` asks for.
fn cookie(host: &Host, name: &str, value: &str) -> String {
    Cookie::build((name.to_owned(), value.to_owned()))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(host.config.is_https())
        .build()
        .to_string()
}

fn named(headers: &HeaderMap, name: &str) -> Option<String> {
    let headers = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut cookies = headers
        .flat_map(|text| Cookie::split_parse(text.to_owned()))
        .flatten();
    cookies
        .find(|cookie| cookie.name() == name)
        .map(|cookie| cookie.value().to_owned())
}
