//! Bodies of requests: taken whole before anything is done with them, within the bounds that a head has.

use std::sync::Arc;

use axum::{
    body::{HttpBody, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use tokio::time::timeout;

use crate::host::Host;

/// Passes on a request with its whole body, if it has one.
pub(super) async fn whole(State(host): State<Arc<Host>>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let reading = to_bytes(body, host.config.header_bytes);
    match timeout(host.config.header_timeout.0, reading).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(head, bytes.into())).await,
        // Or the peer broke off, and hears nothing.
        Ok(Err(_)) => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too long").into_response(),
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time").into_response(),
    }
}
