//! Guards the control API against pages of other sites in a browser on the same machine, and, where it listens for other
//! machines, against whoever does not know its token.
//!
//! - `Host` must name this machine or the name under which the mocks are known. A page whose name was rebound to the
//!   loopback sends its own name.
//! - `Origin`, which browsers send with every order of a page, must be the control API's own.
//! - A body must be `application/json`, which a form and `fetch` with `no-cors` cannot send.
//! - Outside the loopback each request needs the token of the ready line.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use axum::{
    body::HttpBody,
    extract::{Request, State},
    http::{HeaderMap, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use super::problem::Problem;

/// Callers that the control API serves.
#[derive(Clone, Default)]
pub struct ControlAccess {
    /// Host names besides those of the loopback, without port.
    pub hosts: BTreeSet<String>,
    /// The token that each request must show; none on the loopback.
    pub token: Option<String>,
}

impl std::fmt::Debug for ControlAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlAccess")
            .field("hosts", &self.hosts)
            .field("needs_token", &self.token.is_some())
            .finish()
    }
}

/// Passes a request on if its caller may order something.
pub(super) async fn check(
    State(access): State<Arc<ControlAccess>>,
    request: Request,
    next: Next,
) -> Response {
    match access.problem(&request) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}

impl ControlAccess {
    fn problem(&self, request: &Request) -> Option<Problem> {
        let headers = request.headers();
        let authority = single(headers, header::HOST).and_then(|host| host.parse::<Authority>().ok());
        let Some(authority) = authority.filter(|authority| self.is_own_host(authority.host())) else {
            let detail = "`Host` must name the loopback, or the public host that the mocks were given";
            return Some(Problem::new(421, "Foreign host", detail.to_owned()));
        };
        if headers.contains_key(header::ORIGIN) && !is_origin_of(headers, &authority) {
            let detail = "pages of other origins may not use the control API".to_owned();
            return Some(Problem::new(403, "Foreign origin", detail));
        }
        if !self.is_authorized(headers) {
            let detail =
                "send the token of the ready line: `Authorization: Bearer <control_token>`".to_owned();
            return Some(Problem::new(401, "Token needed", detail));
        }
        if !request.body().is_end_stream() && !is_json(headers) {
            let detail = "an order is sent with `Content-Type: application/json` (curl: `--json`)".to_owned();
            return Some(Problem::new(415, "Not JSON", detail));
        }
        None
    }

    fn is_own_host(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        is_loopback
            || bare.eq_ignore_ascii_case("localhost")
            || self.hosts.contains(&bare.to_ascii_lowercase())
    }

    fn is_authorized(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let shown = single(headers, header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        // The time of a comparison of digests says nothing of the token.
        shown.is_some_and(|shown| Sha256::digest(shown) == Sha256::digest(token))
    }
}

/// The value of a field that stands there once.
fn single(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(first)
}

/// Compares host and port; the scheme is that of the listener itself.
fn is_origin_of(headers: &HeaderMap, authority: &Authority) -> bool {
    single(headers, header::ORIGIN)
        .and_then(|origin| origin.split_once("://"))
        .is_some_and(|(_, origin)| origin.eq_ignore_ascii_case(authority.as_str()))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = single(headers, header::CONTENT_TYPE).and_then(|value| value.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    /// The status that a request with these fields gets; 0 if it is passed on.
    fn status(access: &ControlAccess, fields: &[(&str, &str)], body: &'static str) -> u16 {
        let mut request = axum::http::Request::post("/reset");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).unwrap();
        access
            .problem(&request)
            .map_or(0, |problem| problem.into_response().status().as_u16())
    }

    #[test]
    fn only_callers_on_this_machine_order_something() {
        let access = ControlAccess {
            hosts: BTreeSet::from(["mocks".to_owned()]),
            token: None,
        };
        let own = ("host", "127.0.0.1:7084");
        let json = ("content-type", "application/json; charset=utf-8");
        for (fields, body, wanted) in [
            (vec![own, json], "{}", 0),
            (vec![own], "", 0),
            (vec![("host", "LOCALHOST"), json], "{}", 0),
            (vec![("host", "[::1]:7084"), json], "{}", 0),
            (vec![("host", "Mocks:7084"), json], "{}", 0),
            (vec![own, ("origin", "http://127.0.0.1:7084"), json], "{}", 0),
            (vec![], "", 421),
            (vec![own, ("host", "localhost")], "", 421),
            (vec![("host", "rebound.example:7084"), json], "{}", 421),
            (vec![("host", "127.0.0.1.rebound.example"), json], "{}", 421),
            (vec![own, ("origin", "http://127.0.0.1:3000"), json], "{}", 403),
            (vec![own, ("origin", "null")], "", 403),
            (vec![own, ("origin", "https://evil.example")], "", 403),
            (vec![own, ("content-type", "text/plain")], "{}", 415),
            (
                vec![own, ("content-type", "application/x-www-form-urlencoded")],
                "{}",
                415,
            ),
            (vec![own], "{}", 415),
        ] {
            assert_eq!(status(&access, &fields, body), wanted, "{fields:?} {body:?}");
        }
    }

    #[test]
    fn outside_the_loopback_a_token_is_needed() {
        let access = ControlAccess {
            hosts: BTreeSet::from(["mocks".to_owned()]),
            token: Some("secret".to_owned()),
        };
        let host = ("host", "mocks:7084");
        for (fields, wanted) in [
            (vec![host], 401),
            (vec![host, ("authorization", "Bearer secre")], 401),
            (vec![host, ("authorization", "Basic secret")], 401),
            (vec![host, ("authorization", "Bearer secret")], 0),
            (vec![("host", "localhost")], 401),
        ] {
            assert_eq!(status(&access, &fields, ""), wanted, "{fields:?}");
        }
    }
}
