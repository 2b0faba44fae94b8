//! The server's HTTP side: the WebSocket handshake, sign-in, and what operators look at.

mod body;
mod forwarded;
mod handshake;
mod operations;
mod sign_in;

use std::sync::Arc;

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{any, get, post},
};

use crate::host::Host;

/// All routes.
pub(crate) fn router(host: &Arc<Host>) -> Router {
    let router = Router::new();
    #[cfg(feature = "echo")]
    let router = router.route("/echo", any(handshake::echo));
    router
        .route(&host.config.path, any(handshake::upgrade))
        .route("/auth/login", get(sign_in::login))
        .route("/auth/callback", get(sign_in::callback))
        .route("/auth/logout", get(sign_in::logout))
        .route("/auth/backchannel-logout", post(sign_in::backchannel_logout))
        .route("/", get(operations::home))
        .route("/healthz", get(operations::healthz))
        .route("/readyz", get(operations::readyz))
        .route("/metrics", get(operations::metrics))
        .route("/version", get(operations::version))
        .route("/debug/channels", get(operations::channels))
        .layer(from_fn_with_state(Arc::clone(host), body::whole))
        .with_state(Arc::clone(host))
}
