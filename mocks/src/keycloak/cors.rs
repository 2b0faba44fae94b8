//! Which pages may call (MOCKS K6): those of the client's web origins.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{InRealm, authority::Authority, keys};
use crate::call::Call;

/// Lets the page that calls read the answer, if the client behind the call has it among its origins.
pub(super) async fn allow(
    State(at): State<InRealm>,
    Extension(call): Extension<Arc<Call>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    let Some(origin) = call
        .header("origin")
        .and_then(|origin| HeaderValue::from_str(origin).ok())
    else {
        return response;
    };
    let is_allowed = at.decide(&call, |authority| authority.allows(&call, &origin));
    let headers = response.headers_mut();
    if is_allowed && !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        admit(headers, origin);
        let exposed = HeaderValue::from_static("Access-Control-Allow-Methods");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    response
}

fn admit(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        HeaderValue::from_static("true"),
    );
}

/// `OPTIONS` of an endpoint: who calls is not known yet, so every page may try.
pub(super) async fn preflight(Extension(call): Extension<Arc<Call>>) -> Response {
    let mut response = StatusCode::OK.into_response();
    if let Some(origin) = call
        .header("origin")
        .and_then(|origin| HeaderValue::from_str(origin).ok())
    {
        let headers = response.headers_mut();
        admit(headers, origin);
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "DELETE, POST, GET, PUT"),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                "Origin, Accept, X-Requested-With, Content-Type, Access-Control-Request-Method, \
                 Access-Control-Request-Headers, Authorization, DPoP",
            ),
            (header::ACCESS_CONTROL_MAX_AGE, "3600"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    response
}

impl Authority<'_> {
    fn allows(&self, call: &Call, origin: &HeaderValue) -> bool {
        let path = call.uri.path();
        // What the realm says of itself is no secret.
        if path.ends_with("/certs") || path.ends_with("/openid-configuration") || path == self.realm.path {
            return true;
        }
        let by_basic = call.basic().map(|(id, _)| id);
        let by_form = call.form("client_id").map(str::to_owned);
        let by_token = || keys::claim(call.bearer()?, "azp");
        let id = by_basic.or(by_form).or_else(by_token);
        let client = id.and_then(|id| self.realm.clients.get(&id));
        client.is_some_and(|client| origin.to_str().is_ok_and(|origin| client.allows_origin(origin)))
    }
}
