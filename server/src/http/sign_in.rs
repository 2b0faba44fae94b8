//! Pages and calls about signing in and out.

use std::sync::Arc;

use axum::{
    Form,
    extract::{Query, State},
    response::{AppendHeaders, IntoResponse, Redirect, Response},
};
use cookie::{Cookie, SameSite};
use http::{HeaderMap, Method, StatusCode, header};
use serde::Deserialize;

use super::handshake::credential;
use crate::{auth::Credential, channel::event::Event, host::Host};

/// Cookies of sign-ins under way begin so; the beginning of the state follows, for tabs may sign in at once.
const SIGN_IN_COOKIE: &str = "polytab_sign_in_";
/// The same over https: no other host, and nobody on the way, can set it.
const HOST_SIGN_IN_COOKIE: &str = "__Host-polytab_sign_in_";
/// As much of the state.
const STATE_PREFIX: usize = 16;
/// Sign-ins under way in one browser. A cookie is about 400 bytes, and a head may have 16 KiB.
const SIGN_INS: usize = 5;

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

pub(super) async fn login(State(host): State<Arc<Host>>, headers: HeaderMap) -> Response {
    let begun = match host.auth.begin_sign_in().await {
        Ok(begun) => begun,
        Err(error) => {
            tracing::warn!(%error, "a sign-in cannot begin");
            let text = "the identity provider cannot be reached; try again later";
            return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
        }
    };
    let there = Redirect::to(&begun.url);
    // Browsers send the oldest first (RFC 6265 §5.4): those were given up, most likely.
    let mut under_way: Vec<_> = cookies(&headers)
        .map(|cookie| cookie.name().to_owned())
        .filter(|name| name.starts_with(sign_in_cookie(&host)))
        .collect();
    under_way.truncate((under_way.len() + 1).saturating_sub(SIGN_INS));
    let mut set: Vec<_> = under_way.iter().map(|name| gone(&host, name)).collect();
    if let Some(name) = named_after(&host, &begun.state) {
        let life = host.config.sign_in_life.0.as_secs();
        let begun = format!("{}; Max-Age={life}", cookie(&host, &name, &begun.sealed));
        set.insert(0, begun);
    }
    (setting(set), there).into_response()
}

pub(super) async fn callback(
    State(host): State<Arc<Host>>,
    headers: HeaderMap,
    Query(callback): Query<Callback>,
) -> Response {
    let brought = named_after(&host, &callback.state)
        .and_then(|name| cookies(&headers).find(|cookie| cookie.name() == name));
    let mut set = Vec::new();
    if let Some(brought) = &brought {
        set.push(gone(&host, brought.name()));
    }
    if let Some(error) = callback.error {
        // A browser brought it, whatever it is: only the words of OAuth are for a log (RFC 6749 §4.1.2.1).
        let error = ERRORS.iter().find(|known| **known == error);
        tracing::info!(error, "a sign-in was refused by the provider");
        let text = "the identity provider refused this sign-in";
        return (StatusCode::FORBIDDEN, setting(set), text).into_response();
    }
    let there = Redirect::to(host.config.public_url.as_str());
    let flow = brought.and_then(|brought| host.auth.take_sign_in(&callback.state, brought.value()));
    let Some(flow) = flow else {
        // A page that is loaded again, mostly.
        let shown = credential(&host, &headers);
        if host.auth.identify(&shown).await.is_ok() {
            return (setting(set), there).into_response();
        }
        let text = "this sign-in was begun in another browser, or is over; begin anew";
        return (StatusCode::BAD_REQUEST, setting(set), text).into_response();
    };
    match host.auth.finish_sign_in(flow, &callback.code).await {
        Ok(session) => {
            set.insert(0, cookie(&host, &host.config.session_cookie, &session));
            (setting(set), there).into_response()
        }
        Err(error) => {
            tracing::warn!(%error, "a sign-in failed");
            let text = "this sign-in did not succeed; begin anew";
            (StatusCode::BAD_REQUEST, setting(set), text).into_response()
        }
    }
}

/// Signs out who comes here because a person wanted to; to `HEAD`, which changes nothing, it says that it is there.
pub(super) async fn logout(State(host): State<Arc<Host>>, method: Method, headers: HeaderMap) -> Response {
    if method == Method::HEAD {
        return StatusCode::OK.into_response();
    }
    if !is_wanted(&method, &headers) {
        let text = "to sign out, open this page";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
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
    let gone = gone(&host, &host.config.session_cookie);
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

fn sign_in_cookie(host: &Host) -> &'static str {
    if host.config.is_https() {
        HOST_SIGN_IN_COOKIE
    } else {
        SIGN_IN_COOKIE
    }
}

/// The name of the cookie for the sign-in of this state; `None` for what is no state of ours.
fn named_after(host: &Host, state: &str) -> Option<String> {
    let start = state.get(..STATE_PREFIX)?;
    let is_ours = start.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_ours.then(|| format!("{}{start}", sign_in_cookie(host)))
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

/// What takes a cookie away.
fn gone(host: &Host, name: &str) -> String {
    format!("{}; Max-Age=0", cookie(host, name, ""))
}

/// The headers that set these cookies: first those that are new, then those that are taken away.
fn setting(cookies: Vec<String>) -> AppendHeaders<Vec<(header::HeaderName, String)>> {
    AppendHeaders(
        cookies
            .into_iter()
            .map(|cookie| (header::SET_COOKIE, cookie))
            .collect(),
    )
}

/// Whether a person wanted this request, as far as a browser says so (Fetch Metadata Request Headers §2): no page of
/// another site made it in the background, nothing on a page did with `GET`, and it was not made in advance.
fn is_wanted(method: &Method, headers: &HeaderMap) -> bool {
    let is = |name: &str, word: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.map(|value| value.split(';').any(|part| part.trim() == word))
    };
    if ["sec-purpose", "purpose"]
        .map(|name| is(name, "prefetch"))
        .contains(&Some(true))
    {
        return false;
    }
    let navigates = is("sec-fetch-mode", "navigate");
    if is("sec-fetch-site", "cross-site") == Some(true) {
        return navigates == Some(true) && is("sec-fetch-dest", "document") == Some(true);
    }
    method != Method::GET || navigates.unwrap_or(true)
}

/// The cookies of a request, in their order.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = Cookie<'static>> {
    let headers = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    headers
        .flat_map(|text| Cookie::split_parse(text.to_owned()))
        .flatten()
}
