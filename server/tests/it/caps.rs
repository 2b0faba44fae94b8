//! How many may be connected at once, in all and from one address, also behind a proxy.

use std::{net::SocketAddr, time::Duration};

use polytab_seams::net::{AnyStream, Listen};
use polytab_server::{Config, Network, Span};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::{Instant, interval, timeout},
};

use crate::support::{PATIENCE, answer, head, metric, peer, with_listener, with_server};

/// An upgrade of somebody without a login session, with further header lines.
fn upgrade(lines: &str) -> String {
    format!(
        "GET /ui-server/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Origin: http://127.0.0.1:8080\r\n{lines}\r\n"
    )
}

/// Asks for an upgrade; gives the head of the answer and, while it is kept, the connection.
async fn upgraded(address: SocketAddr, lines: &str) -> (String, TcpStream) {
    let mut peer = peer(address, &upgrade(lines)).await;
    let head = answer(&mut peer).await;
    (head, peer)
}

/// How many were refused for this reason.
async fn refused(address: SocketAddr, reason: &str) -> u64 {
    let series = format!("polytab_handshakes_refused_total{{reason=\"{reason}\"}}");
    metric(address, &series).await
}

fn is_upgraded(head: &str) -> bool {
    head.starts_with("HTTP/1.1 101 ")
}

/// Waits until an upgrade succeeds: that a connection is gone shows a moment later.
async fn is_let_in(address: SocketAddr, lines: &str) {
    let mut tries = interval(Duration::from_millis(10));
    let trying = async {
        while !is_upgraded(&upgraded(address, lines).await.0) {
            tries.tick().await;
        }
    };
    timeout(PATIENCE, trying).await.expect("a place becomes free");
}

/// A setting's networks.
fn networks(texts: &[&str]) -> Vec<Network> {
    let parsed = serde_json::from_value(serde_json::json!(texts));
    parsed.expect("these are networks")
}

/// A listener whose peers are far away.
struct Far(TcpListener);

impl Listen for Far {
    async fn accept(&mut self) -> (AnyStream, String) {
        let (stream, _) = Listen::accept(&mut self.0).await;
        (stream, "198.51.100.1:4711".to_owned())
    }
}

#[tokio::test]
async fn one_tab_more_than_there_are_places_is_told_when_to_come_back() {
    let config = Config {
        connections: 1,
        retry_ms: 2001,
        // A tab without a login session is sent away, and its place is free again once it took that.
        close_timeout: Span(Duration::from_mins(1)),
        ..Config::default()
    };
    with_server(config, async |address| {
        let (first, kept) = upgraded(address, "").await;
        let (second, _) = upgraded(address, "").await;

        assert!(is_upgraded(&first), "{first}");
        assert!(second.starts_with("HTTP/1.1 503 "), "{second}");
        assert!(second.to_lowercase().contains("retry-after: 3\r\n"), "{second}");
        assert_eq!(refused(address, "places").await, 1);
        drop(kept);
        is_let_in(address, "").await;
    })
    .await;
}

#[tokio::test]
async fn an_address_over_its_limit_is_closed_at_accept() {
    let config = Config {
        connections_per_address: 2,
        header_timeout: Span(Duration::from_mins(1)),
        ..Config::default()
    };
    with_listener(config, Far, async |address| {
        let [first, _second] = [peer(address, "").await, peer(address, "").await];
        let mut third = TcpStream::connect(address).await.expect("the server listens");

        let seen = timeout(PATIENCE, third.read(&mut [0; 1])).await;

        assert!(matches!(seen, Ok(Ok(0) | Err(_))), "{seen:?}");
        drop(first);
        let mut tries = interval(Duration::from_millis(10));
        let coming_back = async {
            loop {
                tries.tick().await;
                let mut peer = TcpStream::connect(address).await.expect("the server listens");
                let asked =
                    tokio::io::AsyncWriteExt::write_all(&mut peer, b"GET /healthz HTTP/1.0\r\n\r\n").await;
                let mut text = String::new();
                if asked.is_ok() && peer.read_to_string(&mut text).await.is_ok() && text.ends_with("ok\n") {
                    break;
                }
            }
        };
        timeout(PATIENCE, coming_back)
            .await
            .expect("a place becomes free");
    })
    .await;
}

#[tokio::test]
async fn tabs_behind_a_trusted_proxy_are_counted_by_whom_it_names() {
    let config = Config {
        connections_per_address: 1,
        trusted_proxies: networks(&["127.0.0.0/8"]),
        close_timeout: Span(Duration::from_mins(1)),
        ..Config::default()
    };
    with_server(config, async |address| {
        let (first, kept) = upgraded(address, "X-Forwarded-For: 198.51.100.1\r\n").await;
        assert!(is_upgraded(&first), "{first}");

        for (lines, is_let_in) in [
            ("X-Forwarded-For: 198.51.100.1\r\n", false),
            ("X-Forwarded-For: 203.0.113.9, 198.51.100.1\r\n", false),
            ("X-Forwarded-For: 198.51.100.1, 127.0.0.9\r\n", false),
            (
                "X-Forwarded-For: 198.51.100.1\r\nForwarded: for=203.0.113.9\r\n",
                false,
            ),
            ("X-Forwarded-For: 198.51.100.2\r\n", true),
        ] {
            let (head, _) = upgraded(address, lines).await;

            assert_eq!(is_upgraded(&head), is_let_in, "{lines}: {head}");
            assert!(
                is_let_in || head.contains("503") && head.to_lowercase().contains("retry-after: 1"),
                "{head}"
            );
        }
        assert_eq!(refused(address, "address").await, 4);
        drop(kept);
        is_let_in(address, "X-Forwarded-For: 198.51.100.1\r\n").await;
    })
    .await;
}

#[tokio::test]
async fn nobody_who_is_no_trusted_proxy_is_asked_for_whom_he_comes() {
    let config = Config {
        connections_per_address: 1,
        header_timeout: Span(Duration::from_mins(1)),
        ..Config::default()
    };
    with_listener(config, Far, async |address| {
        let (first, _kept) = upgraded(address, "X-Forwarded-For: 203.0.113.1\r\n").await;
        let mut second = TcpStream::connect(address).await.expect("the server listens");

        let seen = timeout(PATIENCE, second.read(&mut [0; 1])).await;

        assert!(is_upgraded(&first), "{first}");
        assert!(matches!(seen, Ok(Ok(0) | Err(_))), "{seen:?}");
    })
    .await;
}

#[tokio::test]
async fn who_comes_while_handshakes_take_all_places_waits_for_one() {
    const HEADER: Duration = Duration::from_millis(300);
    let config = Config {
        handshakes: 2,
        header_timeout: Span(HEADER),
        ..Config::default()
    };
    with_server(config, async |address| {
        let start = Instant::now();
        let _silent = [peer(address, "").await, peer(address, "").await];

        let head = head(address, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await;

        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(start.elapsed() >= HEADER, "{:?}", start.elapsed());
    })
    .await;
}

#[tokio::test]
async fn tabs_are_no_handshakes() {
    let config = Config {
        handshakes: 1,
        close_timeout: Span(Duration::from_mins(1)),
        ..Config::default()
    };
    with_server(config, async |address| {
        let first = upgraded(address, "").await;
        let second = upgraded(address, "").await;

        assert!(
            is_upgraded(&first.0) && is_upgraded(&second.0),
            "{first:?} {second:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn channels_are_shown_on_the_spot_only() {
    let request = |lines: &str| format!("GET /debug/channels HTTP/1.1\r\n{lines}\r\n\r\n");
    for proxies in [&[][..], &["127.0.0.0/8"]] {
        let config = Config {
            debug_channels: true,
            trusted_proxies: networks(proxies),
            ..Config::default()
        };
        with_server(config.clone(), async |address| {
            for (lines, status) in [
                ("Host: 127.0.0.1:8080", "200"),
                ("Host: LOCALHOST", "200"),
                ("Host: [::1]:1", "200"),
                ("Host: localhost\r\nX-Forwarded-For: 203.0.113.1", "404"),
                ("Host: localhost\r\nX-Forwarded-For: 127.0.0.1", "404"),
                ("Host: localhost\r\nForwarded: for=127.0.0.1", "404"),
                ("Host: localhost\r\nX-Real-IP: 127.0.0.1", "404"),
                ("Host: localhost\r\nVia: 1.1 proxy", "404"),
                // A page whose name was rebound to the loopback sends its own name.
                ("Host: rebound.example", "404"),
                ("Host: 127.0.0.1.rebound.example", "404"),
                ("Host: 198.51.100.1", "404"),
            ] {
                let head = head(address, &request(lines)).await;
                assert_eq!(head.split(' ').nth(1), Some(status), "{lines}: {head}");
            }
        })
        .await;
        with_listener(config, Far, async |address| {
            let head = head(address, &request("Host: localhost")).await;
            assert_eq!(head.split(' ').nth(1), Some("404"), "{head}");
        })
        .await;
    }
}
