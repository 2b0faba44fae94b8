//! What operators look at: probes, metrics, version, channels.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use polytab_seams::serve::Peer;
use serde_json::json;

use super::{forwarded::is_forwarded, host_header};
use crate::{admission, host::Host};

/// The media type that Prometheus asks for (OpenMetrics 1.0).
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn home() -> &'static str {
    "Polytab reference server. Sign in at /auth/login, then connect your tabs.\n"
}

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready means that a tab which comes now can be let in: the provider is known, and the instance does not drain.
pub(super) async fn readyz(State(host): State<Arc<Host>>) -> Response {
    if host.draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    // A look may be the first need of the provider.
    if !host.auth.provider.is_known()
        && let Err(error) = host.auth.provider.metadata().await
    {
        tracing::debug!(%error, "not ready");
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "the identity provider was not found yet\n",
        )
            .into_response();
    }
    match host.reach.loss() {
        None => "ready\n".into_response(),
        // It serves its own tabs all the same: to take it out would take them away.
        Some(loss) => format!("ready, alone: {}\n", loss.describe()).into_response(),
    }
}

pub(super) async fn metrics(State(host): State<Arc<Host>>) -> Response {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], host.metrics.text()).into_response()
}

pub(super) async fn version(State(host): State<Arc<Host>>) -> Response {
    Json(json!({ "name": "polytab-server", "version": host.config.version })).into_response()
}

/// Shows the channels to callers on this machine. A proxy there may ask for another machine, and a page whose name was
/// rebound to the loopback has a foreign `Host`.
pub(super) async fn channels(
    State(host): State<Arc<Host>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    let is_near = admission::address(&peer.name).is_some_and(|address| address.is_loopback());
    let is_local = is_near && host_header::is_loopback(&headers) && !is_forwarded(&headers);
    if !host.config.debug_channels || !is_local {
        return StatusCode::NOT_FOUND.into_response();
    }
    Json(host.hub.overview().await).into_response()
}
