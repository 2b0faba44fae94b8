//! The server's HTTP side: the WebSocket handshake, sign-in, and what operators look at.

mod body;
mod forwarded;
mod handshake;
mod host_header;
mod operations;
mod sign_in;

use std::sync::Arc;

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
    routing::{MethodRouter, any, get, post},
};

use crate::host::Host;

/// A path, and what answers there.
type Page = (&'static str, fn() -> MethodRouter<Arc<Host>>);

/// Pages that are there whatever `path` says.
const OWN: [Page; 10] = [
    ("/auth/login", || get(sign_in::login)),
    ("/auth/callback", || get(sign_in::callback)),
    ("/auth/logout", || get(sign_in::logout).post(sign_in::logout)),
    ("/auth/backchannel-logout", || post(sign_in::backchannel_logout)),
    ("/", || get(operations::home)),
    ("/healthz", || get(operations::healthz)),
    ("/readyz", || get(operations::readyz)),
    ("/metrics", || get(operations::metrics)),
    ("/version", || get(operations::version)),
    ("/debug/channels", || get(operations::channels)),
];
/// Where the upgrade for tests of the protocol alone is, in builds that have it.
const ECHO: &str = "/echo";

/// Whether a page of the server's own is there, so that the WebSocket cannot be.
pub(crate) fn is_own(path: &str) -> bool {
    path == ECHO || OWN.iter().any(|(own, _)| *own == path)
}

/// All routes.
pub(crate) fn router(host: &Arc<Host>) -> Router {
    let router = Router::new();
    #[cfg(feature = "echo")]
    let router = router.route(ECHO, any(handshake::echo));
    OWN.iter()
        .fold(router, |router, (path, page)| router.route(path, page()))
        .route(&host.config.path, any(handshake::upgrade))
        .layer(from_fn_with_state(Arc::clone(host), body::whole))
        .layer(from_fn(host_header::require_one))
        .with_state(Arc::clone(host))
}
