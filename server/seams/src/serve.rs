//! The accept loop: HTTP/1.1 connections from any listener, each a task that ends with the loop.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{sync::Notify, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::net::{AnyStream, Listen, ResetSwitch};

/// Bounds of an accept loop.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long a peer may take to send the head of a request.
    pub header_read: Duration,
    /// The largest head of a request taken.
    pub header_bytes: usize,
    /// The most header fields taken.
    pub header_fields: usize,
    /// Connections held at once that are not upgraded; further ones wait in the backlog.
    pub connections: usize,
    /// How old a connection that is not upgraded may become before it takes no further request; when it is twice as
    /// old, it is reset, whatever of a request or an answer is still to come. None where answers go on for ever.
    pub life: Option<Duration>,
}

/// A request's connection, found among its extensions.
#[derive(Clone, Debug)]
pub struct Peer {
    /// A name for the far end: an address on TCP.
    pub name: Arc<str>,
    reset: Arc<Notify>,
}

impl Peer {
    /// Resets the connection: the peer sees it break, whatever was still to be sent.
    pub fn reset(&self) {
        self.reset.notify_one();
    }
}

/// Serves `router` on `listener` until `stop`; then lets requests under way end, and gives how many connections were
/// still there after `grace`.
///
/// Dropping the future resets every connection that was not upgraded; the handler of an upgraded one must watch a
/// token of its own.
pub async fn serve(
    mut listener: impl Listen,
    router: Router,
    limits: Limits,
    (stop, grace): (CancellationToken, Duration),
) -> usize {
    let mut connections = JoinSet::new();
    let site = Site { router, limits, stop };
    loop {
        let full = connections.len() >= site.limits.connections;
        tokio::select! {
            biased;
            () = site.stop.cancelled() => break,
            // A connection that panicked has logged it; the others go on.
            Some(_) = connections.join_next() => {}
            (stream, peer) = listener.accept(), if !full => {
                connections.spawn(connection(stream, peer, site.clone()));
            }
        }
    }
    let rest = async { while connections.join_next().await.is_some() {} };
    // A time-out is no failure here: what is left is counted.
    tokio::time::timeout(grace, rest).await.ok();
    connections.len()
}

/// What every connection of one loop shares.
#[derive(Clone)]
struct Site {
    router: Router,
    limits: Limits,
    stop: CancellationToken,
}

async fn connection(stream: AnyStream, peer: String, site: Site) {
    let Site { router, limits, stop } = site;
    let peer = Peer {
        name: peer.into(),
        reset: Arc::default(),
    };
    let reset = Arc::clone(&peer.reset);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        router.clone().oneshot(request)
    });
    let switch = ResetSwitch::default();
    let stream = stream.reset_by(switch.clone());
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read)
        .max_buf_size(limits.header_bytes)
        .max_headers(limits.header_fields)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let aging = passed(limits.life);
    tokio::pin!(serving, aging);
    let (mut stopping, mut is_old) = (false, false);
    loop {
        tokio::select! {
            biased;
            () = reset.notified() => {
                switch.turn();
                return;
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                serving.as_mut().graceful_shutdown();
            }
            () = &mut aging => {
                if is_old {
                    switch.turn();
                    return;
                }
                is_old = true;
                aging.set(passed(limits.life));
                serving.as_mut().graceful_shutdown();
            }
            // How a connection ended is the peer's affair: it left, or broke the protocol and was told so.
            _ended = &mut serving => return,
        }
    }
}

/// Waits for so long, or for ever.
async fn passed(life: Option<Duration>) {
    match life {
        Some(life) => sleep(life).await,
        None => std::future::pending().await,
    }
}
