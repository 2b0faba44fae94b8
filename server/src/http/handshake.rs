//! The WebSocket handshake: what is checked before `101`, in the order of PROTOCOL A1.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use cookie::Cookie;
use futures_util::FutureExt;
use http::{HeaderMap, Method, StatusCode, Version, header};
use polytab_seams::serve::Peer;
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use url::Url;

use super::forwarded::{Source, source};
use crate::{admission::Held, auth::Credential, host::Host, tab};

/// The only version of the protocol (RFC 6455 §4.1).
const WEBSOCKET_VERSION: &str = "13";

/// Answers an upgrade request. Who the user is shows only inside: a browser's page cannot read the status of a refused
/// upgrade.
pub(super) async fn upgrade(State(host): State<Arc<Host>>, mut request: Request) -> Response {
    let checked = check(&host, &request).and_then(|key| Ok((key, admit(&host, &request)?)));
    let (key, place) = match checked {
        Ok(checked) => checked,
        Err(refusal) => {
            host.metrics.refused(refusal.reason);
            return refusal.answer;
        }
    };
    let credential = credential(&host, request.headers());
    let upgrade = hyper::upgrade::on(&mut request);
    let tab = tab::run(Arc::clone(&host), upgrade, credential);
    switch(&host, &key, tab.map(move |()| drop(place)))
}

/// An upgrade for tests of the protocol alone: whoever comes gets back what it sends.
#[cfg(feature = "echo")]
pub(super) async fn echo(State(host): State<Arc<Host>>, mut request: Request) -> Response {
    let key = match key(&request) {
        Ok(key) => key,
        Err(refusal) => return refusal.answer,
    };
    let upgrade = hyper::upgrade::on(&mut request);
    switch(&host, &key, tab::echo(Arc::clone(&host), upgrade))
}

/// Answers `101` to who showed this key, and starts what goes on after it.
fn switch(host: &Host, key: &str, task: impl Future<Output = ()> + Send + 'static) -> Response {
    // Boxed: each of the futures around it would hold it twice, 8 kB a tab instead of 3.
    let task = host.killed.clone().run_until_cancelled_owned(Box::pin(task));
    host.tasks.spawn(task);
    let answer = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()))
        .body(Body::empty());
    answer.unwrap_or_else(|_| StatusCode::BAD_REQUEST.into_response())
}

/// Why an upgrade is refused.
struct Refusal {
    /// As metrics count it.
    reason: &'static str,
    answer: Response,
}

impl Refusal {
    fn new(reason: &'static str, answer: impl IntoResponse) -> Box<Self> {
        let answer = answer.into_response();
        Box::new(Self { reason, answer })
    }

    /// For now; whole seconds are all that `Retry-After` can say.
    fn later(host: &Host, reason: &'static str, text: &'static str) -> Box<Self> {
        let retry = [(header::RETRY_AFTER, host.config.retry_ms.div_ceil(1000))];
        Self::new(reason, (StatusCode::SERVICE_UNAVAILABLE, retry, text))
    }
}

/// Gives the key of a request that may be upgraded, or the refusal.
fn check(host: &Host, request: &Request) -> Result<String, Box<Refusal>> {
    let key = key(request)?;
    if !origin_is_allowed(host, request.headers()) {
        let answer = (StatusCode::FORBIDDEN, "pages of this origin may not connect");
        return Err(Refusal::new("origin", answer));
    }
    Ok(key)
}

/// A tab's place among all, and among those of its address; given back when dropped.
type Place = (OwnedSemaphorePermit, Option<Held>);

/// Gives a tab its place, or the refusal.
fn admit(host: &Host, request: &Request) -> Result<Place, Box<Refusal>> {
    if host.draining.is_cancelled() {
        return Err(Refusal::later(host, "draining", "draining"));
    }
    let place = Arc::clone(&host.places).try_acquire_owned();
    let place = place.map_err(|_| Refusal::later(host, "places", "all places are taken"))?;
    let peer = request.extensions().get::<Peer>();
    let source = peer.map(|peer| source(&host.config, &peer.name, request.headers()));
    let held = match source {
        // The connection was counted when it was accepted.
        None | Some(Source::Direct | Source::Behind(None)) => None,
        Some(Source::Behind(Some(address))) => {
            let text = "your address holds too many connections";
            let held = host.addresses.take(address);
            Some(held.ok_or_else(|| Refusal::later(host, "address", text))?)
        }
    };
    Ok((place, held))
}

/// Gives the key of a request that is an upgrade in the protocol's form (RFC 6455 §4.2.1), or the refusal.
fn key(request: &Request) -> Result<String, Box<Refusal>> {
    let headers = request.headers();
    let bad = |text: &'static str| Refusal::new("form", (StatusCode::BAD_REQUEST, text));
    if request.version() != Version::HTTP_11 || request.method() != Method::GET {
        return Err(bad("a WebSocket begins with GET over HTTP/1.1"));
    }
    if !lists(headers, header::CONNECTION, "upgrade") || !lists(headers, header::UPGRADE, "websocket") {
        return Err(bad(
            "this is a WebSocket: `Connection: upgrade` and `Upgrade: websocket` are needed",
        ));
    }
    if single(headers, header::SEC_WEBSOCKET_VERSION) != Some(WEBSOCKET_VERSION) {
        let version = [(header::SEC_WEBSOCKET_VERSION, WEBSOCKET_VERSION)];
        let answer = (StatusCode::UPGRADE_REQUIRED, version, "version 13 is spoken");
        return Err(Refusal::new("version", answer));
    }
    let key = single(headers, header::SEC_WEBSOCKET_KEY);
    let key = key.filter(|key| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16));
    key.map(str::to_owned)
        .ok_or_else(|| bad("`Sec-WebSocket-Key` is 16 bytes in base64"))
}

/// The value of a header that must not be repeated.
fn single(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

fn lists(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    let values = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case(word))
}

/// Compares scheme, host and port as parsed, not as text. Only clients that are no browsers send none, and they show
/// a token instead of a cookie: what else is called authorization would leave it to the cookie who the tab is.
fn origin_is_allowed(host: &Host, headers: &HeaderMap) -> bool {
    if !headers.contains_key(header::ORIGIN) {
        return matches!(credential(host, headers), Credential::Bearer(_));
    }
    let origin = single(headers, header::ORIGIN).and_then(|text| Url::parse(text).ok());
    let Some(origin) = origin.map(|url| url.origin()).filter(url::Origin::is_tuple) else {
        return false;
    };
    let mut allowed = host
        .config
        .allowed_origins
        .iter()
        .chain([&host.config.public_url]);
    allowed.any(|url| url.origin() == origin)
}

/// What the tab shows to say who it is: a token goes before the cookie, as it was sent on purpose.
pub(super) fn credential(host: &Host, headers: &HeaderMap) -> Credential {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    if let Some((_, token)) = bearer {
        return Credential::Bearer(token.trim().to_owned());
    }
    let headers = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut cookies = headers
        .flat_map(|text| Cookie::split_parse(text.to_owned()))
        .flatten();
    let own = cookies.find(|cookie| cookie.name() == host.config.session_cookie);
    own.map_or(Credential::None, |cookie| {
        Credential::Cookie(cookie.value().to_owned())
    })
}
