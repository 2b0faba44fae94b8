//! The reference server: one channel per user over all tabs and browsers, a short and a long loop that ask the
//! services on the user's behalf, token checks at each turn, subscriptions to GitLab events.

#[cfg(test)]
extern crate self as polytab_server;

mod admission;
mod auth;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod channel;
mod command;
mod config;
mod coordinator;
mod host;
mod http;
mod hub;
mod iteration;
mod metrics;
mod network;
mod outbox;
mod rate;
mod tab;
mod upstream;

use std::sync::Arc;

use polytab_seams::{
    Seams,
    net::Listen,
    serve::{Limits, serve},
};
use tokio_util::sync::CancellationToken;

use crate::{admission::Counting, host::Host};
pub use crate::{
    config::{Config, ConfigError, ENV_PREFIX, RedisUrl, Span, keys},
    network::{ForwardedHeader, Network},
};

/// One server process.
#[derive(Debug)]
pub struct Server {
    host: Arc<Host>,
}

/// How a server came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Connections and tasks that were still there when the grace period ran out.
    pub left: usize,
}

impl Server {
    /// A server that does not listen yet.
    pub fn new(config: Config, seams: Seams) -> Self {
        Self {
            host: Arc::new(Host::new(config, seams)),
        }
    }

    /// Serves until `stop`; then takes no further tabs, sends those that are here away over the drain time, and ends.
    ///
    /// Dropping the future ends every task at once, as a kill of the process would.
    pub async fn serve(&self, listener: impl Listen, stop: CancellationToken) -> Stopped {
        let host = &self.host;
        let _killed_with_this = host.killed.clone().drop_guard();
        let config = &host.config;
        let limits = Limits {
            header_read: config.header_timeout.0,
            header_bytes: config.header_bytes,
            header_fields: config.header_fields,
            connections: config.handshakes,
            life: Some(config.request_life()),
        };
        let over = CancellationToken::new();
        let listener = Counting::new(listener, host);
        let serving = serve(
            listener,
            http::router(host),
            limits,
            (over.clone(), config.drain_grace.0),
        );
        let draining = async {
            stop.cancelled().await;
            host.draining.cancel();
            host.tasks.close();
            let limit = config.drain_time.0 + config.drain_grace.0;
            // What is left is counted below.
            tokio::time::timeout(limit, host.tasks.wait()).await.ok();
            over.cancel();
        };
        let (connections, ()) = tokio::select! {
            both = async { tokio::join!(serving, draining) } => both,
            never = coordinator::relay(Arc::clone(host)) => match never {},
        };
        Stopped {
            left: connections + host.tasks.len(),
        }
    }
}
