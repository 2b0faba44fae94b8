//! Calls of the backend by way of the gateway: on behalf of the browser's user, or of nobody.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use tower::ServiceExt;

use super::{Behind, cookie, tokens};
use crate::{Shared, backend::caller::ANONYMOUS, call::Call, clocks::Mock, world::GATEWAY_COOKIE};

/// Header with the refresh token of the caller.
const REFRESH_TOKEN: HeaderName = HeaderName::from_static("renku-auth-refresh-token");
/// Header with the id of a caller without tokens.
const ANONYMOUS_ID: HeaderName = HeaderName::from_static("renku-auth-anon-id");

/// Any verb on `/api/data/…`, `/api/notebooks/…`, `/api/projects/…`.
pub(super) async fn forward(
    State(shared): State<Arc<Shared>>,
    Extension(call): Extension<Arc<Call>>,
    Extension(behind): Extension<Behind>,
    mut request: Request,
) -> Response {
    strip(request.headers_mut());
    let basic = call.basic().map(|(_, password)| password);
    let own = call.bearer().map(str::to_owned).or(basic);
    if let Some(token) = own {
        // Its session would be thrown away with the call: there is none.
        put(
            request.headers_mut(),
            header::AUTHORIZATION,
            &format!("Bearer {token}"),
        );
        return pass_on(behind, request).await;
    }
    let (new, session) = {
        let mut world = shared.world();
        let (random, now) = (world.seams.random.clone(), world.now_at(Mock::Gateway));
        let found = call
            .cookie(GATEWAY_COOKIE)
            .and_then(|value| world.gateway.touch(value, now));
        if let Some(session) = found {
            (None, session)
        } else {
            let (value, session) = world.gateway.begin(&random, now);
            world.secrets.keep("gateway_cookie", &value);
            (Some(value), session)
        }
    };
    let good = match &session.who {
        Some(who) => tokens::good(&shared, &behind, (&who.user, call.agent())).await,
        None => None,
    };
    let headers = request.headers_mut();
    match good {
        Some(tokens) => {
            put(
                headers,
                header::AUTHORIZATION,
                &format!("Bearer {}", tokens.access),
            );
            put(headers, REFRESH_TOKEN, &tokens.refresh);
        }
        None => put(headers, ANONYMOUS_ID, &format!("{ANONYMOUS}{}", session.id)),
    }
    let mut response = pass_on(behind, request).await;
    if let Some(value) = new {
        response
            .headers_mut()
            .append(header::SET_COOKIE, cookie(&shared, &value));
    }
    response
}

async fn pass_on(behind: Behind, request: Request) -> Response {
    behind.backend.oneshot(request).await.into_response()
}

/// Takes away what only the gateway may say, and what only it may see.
fn strip(headers: &mut HeaderMap) {
    for name in [header::AUTHORIZATION, REFRESH_TOKEN, ANONYMOUS_ID] {
        headers.remove(name);
    }
    let cookies: Vec<_> = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .map(str::trim)
        .filter(|pair| {
            let name = pair.split('=').next();
            name != Some(GATEWAY_COOKIE)
                && !name.is_some_and(|name| name.eq_ignore_ascii_case(ANONYMOUS_ID.as_str()))
        })
        .collect();
    let cookies = cookies.join("; ");
    headers.remove(header::COOKIE);
    if !cookies.is_empty() {
        put(headers, header::COOKIE, &cookies);
    }
}

/// Sets a header; what cannot stand in one is left out.
fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}
