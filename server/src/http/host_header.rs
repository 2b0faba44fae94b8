//! The `Host` field of requests (RFC 9112 §3.2).
//!
//! A missing or repeated field lets a proxy and this server disagree about the host that was asked for. A page whose
//! name was rebound to this machine's address sends its own name, so that a loopback name shows a local caller.

use std::net::IpAddr;

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, Version, header, uri::Authority};

/// Refuses HTTP/1.1 requests without exactly one valid `Host`, and any request with several.
pub(super) async fn require_one(request: Request, next: Next) -> Response {
    let count = request.headers().get_all(header::HOST).iter().count();
    let may_be_absent = request.version() < Version::HTTP_11;
    let is_valid = match count {
        0 => may_be_absent,
        1 => authority(request.headers()).is_some(),
        _ => false,
    };
    if is_valid {
        next.run(request).await
    } else {
        let text = "the request must have one `Host` field with a valid host\n";
        (StatusCode::BAD_REQUEST, text).into_response()
    }
}

/// Returns `true` if the request names this machine's loopback as its host.
pub(super) fn is_loopback(headers: &HeaderMap) -> bool {
    authority(headers).is_some_and(|authority| {
        let host = authority.host();
        let address = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        match address {
            Ok(address) => address.is_loopback(),
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        }
    })
}

fn authority(headers: &HeaderMap) -> Option<Authority> {
    let authority: Authority = headers.get(header::HOST)?.to_str().ok()?.parse().ok()?;
    let is_bare = !authority.host().is_empty() && !authority.as_str().contains('@');
    is_bare.then_some(authority)
}
