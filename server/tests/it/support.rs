//! A server of the test's own, and peers that write what they like.

use std::{net::SocketAddr, time::Duration};

use polytab_seams::{Seams, net::Listen};
use polytab_server::{Config, Server};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// An answer that takes longer will not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);

/// Does `work` with the address of a server that ends with it.
pub(crate) async fn with_server<T>(config: Config, work: impl AsyncFnOnce(SocketAddr) -> T) -> T {
    with_listener(config, |listener| listener, work).await
}

/// The same with a listener made of the one on the loopback.
pub(crate) async fn with_listener<L: Listen, T>(
    config: Config,
    listen: impl FnOnce(TcpListener) -> L,
    work: impl AsyncFnOnce(SocketAddr) -> T,
) -> T {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("the loopback has a free port");
    let address = listener.local_addr().expect("a listener has an address");
    let server = Server::new(config, Seams::system());
    let done = tokio::select! {
        _ = server.serve(listen(listener), CancellationToken::new()) => unreachable!("nobody stops it"),
        done = work(address) => done,
    };
    // The test's mock services are dropped next, and block until they have a lock of tokio's: who has read so much that
    // its turn is over would never get it (`tokio::task::coop`).
    tokio::task::yield_now().await;
    done
}

/// Opens a connection and writes this.
pub(crate) async fn peer(address: SocketAddr, text: &str) -> TcpStream {
    let mut peer = TcpStream::connect(address).await.expect("the server listens");
    peer.write_all(text.as_bytes()).await.expect("the server reads");
    peer
}

/// The head of the answer to a request, without the blank line that ends it.
pub(crate) async fn head(address: SocketAddr, request: &str) -> String {
    let mut peer = peer(address, request).await;
    answer(&mut peer).await
}

/// The head of an answer that is to come.
pub(crate) async fn answer(peer: &mut TcpStream) -> String {
    let reading = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(peer.read_u8().await.expect("an answer comes whole"));
        }
        String::from_utf8(head).expect("a head is text")
    };
    let head = timeout(PATIENCE, reading).await.expect("an answer comes");
    head.trim_end().to_owned()
}

/// A series of the server's metrics; 0 while there is no such series.
pub(crate) async fn metric(address: SocketAddr, series: &str) -> u64 {
    let mut peer = peer(address, "GET /metrics HTTP/1.0\r\n\r\n").await;
    let mut text = String::new();
    peer.read_to_string(&mut text).await.expect("metrics are text");
    let mut series = text
        .lines()
        .filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    series
        .next()
        .map_or(0, |value| value.parse().expect("a count is a number"))
}
