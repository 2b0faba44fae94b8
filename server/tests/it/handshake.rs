//! What is checked before `101`, in the order of PROTOCOL A1, and who may hold a connection without it.

use std::{net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use polytab_server::{Config, Span};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{interval, timeout},
};

use crate::{
    services::{config, services, token},
    support::{PATIENCE, head, peer, with_server},
    wire::{FIN, PING, Seen, Tab, frame},
};

/// A request that is upgraded, a field a line. The key is that of RFC 6455 §1.2.
const GOOD: &[&str] = &[
    "GET /ui-server/ws HTTP/1.1",
    "Host: 127.0.0.1:8080",
    "Connection: keep-alive, Upgrade",
    "Upgrade: WebSocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Origin: http://127.0.0.1:8080",
];
/// More than the fields that are taken.
const MANY: &str = "X: 1\r\nX: 1\r\nX: 1\r\nX: 1\r\nX: 1\r\nX: 1\r\nX: 1\r\nX: 1\r\nX: 1\r\nX: 1";

/// A back-channel logout up to the length of its body.
const LOGOUT: &str = "POST /auth/backchannel-logout HTTP/1.1\r\nHost: a\r\n\
                      Content-Type: application/x-www-form-urlencoded\r\nContent-Length: ";

/// The good request with lines changed: each that begins like the first of a pair becomes the second, or goes.
fn request(changes: &[(&str, &str)]) -> String {
    let change = |line: &&str| {
        let found = changes.iter().find(|(start, _)| line.starts_with(start));
        found.map_or_else(|| (*line).to_owned(), |(_, becomes)| (*becomes).to_owned())
    };
    let lines: Vec<_> = GOOD.iter().map(change).filter(|line| !line.is_empty()).collect();
    lines.join("\r\n") + "\r\n\r\n"
}

/// What is sent instead, and what the answer's status is.
const TABLE: &[(&[(&str, &str)], &str)] = &[
    (&[], "101"),
    (&[("Origin", "origin: HTTP://127.0.0.1:8080")], "101"),
    (&[("Origin", "Authorization: Bearer x")], "101"),
    // The form of an upgrade.
    (&[("GET", "POST /ui-server/ws HTTP/1.1")], "400"),
    (&[("GET", "GET /ui-server/ws HTTP/1.0")], "400"),
    (&[("GET", "GET /ui-server/ws HTTP/3.7")], "400"),
    (&[("GET", "GET")], "400"),
    (&[("Host", "")], "400"),
    (&[("Host", "Host: a\r\nHost: b")], "400"),
    (&[("Connection", "")], "400"),
    (&[("Connection", "Connection: keep-alive")], "400"),
    (&[("Upgrade", "Upgrade: h2c")], "400"),
    (&[("Sec-WebSocket-Key", "")], "400"),
    (&[("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhl")], "400"),
    (&[("Sec-WebSocket-Key", "Sec-WebSocket-Key: ****")], "400"),
    (&[("Sec-WebSocket-Version", "")], "426"),
    (&[("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8")], "426"),
    // Bounds of a head.
    (&[("Host", "Host: a\r\nno colon")], "400"),
    // Whose pages may connect, compared as parsed.
    (&[("Origin", "")], "403"),
    // Without one only a token is taken, which no other site's page can make a browser send.
    (&[("Origin", "Cookie: _renku_session=a")], "403"),
    (&[("Origin", "Authorization: Basic YTpi")], "403"),
    (
        &[("Origin", "Authorization: Basic YTpi\r\nCookie: _renku_session=a")],
        "403",
    ),
    (
        &[("Origin", "Authorization: Bearer\r\nCookie: _renku_session=a")],
        "403",
    ),
    (
        &[("Origin", "Authorization: Bearer x\r\nCookie: _renku_session=a")],
        "101",
    ),
    (&[("Origin", "Origin: null")], "403"),
    (&[("Origin", "Origin: https://127.0.0.1:8080")], "403"),
    (&[("Origin", "Origin: http://127.0.0.1")], "403"),
    (&[("Origin", "Origin: http://127.0.0.1:8080.evil.example")], "403"),
    (&[("Origin", "Origin: http://127.0.0.1:8080@evil.example")], "403"),
    (
        &[("Origin", "Origin: http://evil.example/http://127.0.0.1:8080")],
        "403",
    ),
    (
        &[(
            "Origin",
            "Origin: http://127.0.0.1:8080\r\nOrigin: http://127.0.0.1:8080",
        )],
        "403",
    ),
    (
        &[(
            "Origin",
            "Origin: http://evil.example\r\nOrigin: http://127.0.0.1:8080",
        )],
        "403",
    ),
    (
        &[("Origin", "Origin: http://evil.example\r\nAuthorization: Bearer x")],
        "403",
    ),
    // In this order: the form goes before the origin.
    (
        &[
            ("Sec-WebSocket-Key", ""),
            ("Origin", "Origin: http://evil.example"),
        ],
        "400",
    ),
    (
        &[
            ("Sec-WebSocket-Version", ""),
            ("Origin", "Origin: http://evil.example"),
        ],
        "426",
    ),
];

#[tokio::test]
async fn each_handshake_meets_its_answer() {
    with_server(Config::default(), async |address| {
        for (changes, status) in TABLE {
            let head = head(address, &request(changes)).await;

            assert_eq!(head.split(' ').nth(1), Some(*status), "{changes:?}: {head}");
            let names_version = head.to_lowercase().contains("sec-websocket-version: 13");
            assert_eq!(names_version, *status == "426", "{changes:?}: {head}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_head_over_its_bounds_is_refused() {
    let long = format!("Cookie: a={}", "x".repeat(16 << 10));
    let many = [MANY; 7].join("\r\n");
    with_server(Config::default(), async |address| {
        for lines in [long, many] {
            let head = head(address, &request(&[("Host", &format!("Host: a\r\n{lines}"))])).await;

            assert_eq!(head.split(' ').nth(1), Some("431"), "{head}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_body_over_its_bounds_is_refused() {
    let config = Config {
        header_timeout: Span(Duration::from_millis(200)),
        ..Config::default()
    };
    let long = "x".repeat((16 << 10) + 1);
    with_server(config, async |address| {
        for (length, body, status) in [(long.len(), &*long, "413"), (9, "x", "408"), (1, "x", "422")] {
            let head = head(address, &format!("{LOGOUT}{length}\r\n\r\n{body}")).await;

            assert_eq!(head.split(' ').nth(1), Some(status), "{head}");
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_holds_a_connection_with_half_a_body() {
    let config = Config {
        handshakes: 50,
        header_timeout: Span(Duration::from_millis(200)),
        ..Config::default()
    };
    with_server(config, async |address| {
        let half = format!("{LOGOUT}9\r\n\r\nx");
        let _all = join_all((0..50).map(|_| peer(address, &half))).await;

        let head = head(address, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await;

        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    })
    .await;
}

#[tokio::test]
async fn nobody_holds_a_connection_with_answers_that_are_not_read() {
    let config = Config {
        handshakes: 50,
        ..brief()
    };
    with_server(config, async |address| {
        let all = (0..50).map(|_| timeout(PATIENCE, reads_nothing(address)));

        let left = join_all(all).await.into_iter().filter(Result::is_err).count();

        assert_eq!(left, 0);
        let head = head(address, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    })
    .await;
}

#[tokio::test]
async fn nobody_keeps_a_connection_for_ever_with_requests_and_a_tab_does() {
    let services = services().await;
    let config = Config {
        header_timeout: brief().header_timeout,
        // The tab's keys must be had in this time; a connection that is no tab lasts three times as long.
        upstream_timeout: Span(Duration::from_secs(1)),
        ..config(&services)
    };
    with_server(config, async |address| {
        let mut tab = Tab::open(address, &token(&services, "ada")).await;

        // Its connection came later than the tab's, and is as old as one may become.
        timeout(PATIENCE, asks_on(address))
            .await
            .expect("the connection ends");
        tab.send(&frame(FIN | PING, b"here")).await;

        assert_eq!(tab.seen().await, Seen::Pong(4));
    })
    .await;
}

/// Settings with which a connection that is no tab lasts half a second, and as long again at most.
fn brief() -> Config {
    Config {
        header_timeout: Span(Duration::from_millis(200)),
        upstream_timeout: Span(Duration::from_millis(100)),
        ..Config::default()
    }
}

/// Asks for what is long, again and again, and reads no answer, until the server has ended the connection.
async fn reads_nothing(address: SocketAddr) {
    let mut peer = peer(address, "").await;
    let requests = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100);
    while peer.write_all(requests.as_bytes()).await.is_ok() {}
}

/// Asks for what is short and reads the answer, again and again, until the server has ended the connection.
async fn asks_on(address: SocketAddr) {
    let mut peer = peer(address, "").await;
    let request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut answer = [0; 1024];
    while peer.write_all(request).await.is_ok() && matches!(peer.read(&mut answer).await, Ok(1..)) {}
}

#[tokio::test]
async fn nobody_holds_a_connection_with_half_a_handshake() {
    let config = Config {
        header_timeout: Span(Duration::from_millis(200)),
        ..Config::default()
    };

    let left = with_server(config, async |address| {
        let all = (0..50).map(|nth| timeout(PATIENCE, half(address, nth)));
        join_all(all).await.into_iter().filter(Result::is_err).count()
    })
    .await;

    assert_eq!(left, 0);
}

/// Sends nothing, half a head, or one byte after another, until the server has ended the connection.
async fn half(address: SocketAddr, nth: usize) {
    let request = request(&[]);
    let begin = match nth % 3 {
        0 => "",
        1 => &request[..request.len() / 2],
        _ => "G",
    };
    let peer = peer(address, begin).await;
    let (mut read, mut write) = peer.into_split();
    let ended = async { while let Ok(1..) = read.read_u8().await.map(usize::from) {} };
    let dripping = async {
        // A slow peer, not a wait for the server: it goes on as long as it is let.
        let mut drops = interval(Duration::from_millis(50));
        for byte in request.bytes().skip(1) {
            drops.tick().await;
            if nth % 3 < 2 || write.write_all(&[byte]).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = ended => {}
        () = dripping => {}
    }
}

#[tokio::test]
async fn every_page_wants_exactly_one_valid_host() {
    with_server(Config::default(), async |address| {
        for (request, status) in [
            ("GET /healthz HTTP/1.1\r\nHost: a:1\r\n\r\n", "200"),
            ("GET /healthz HTTP/1.0\r\n\r\n", "200"),
            ("GET /healthz HTTP/1.1\r\n\r\n", "400"),
            ("GET /healthz HTTP/1.1\r\nHost:\r\n\r\n", "400"),
            ("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
            ("GET /healthz HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
            ("GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n", "400"),
            ("GET /healthz HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"),
            ("GET /healthz HTTP/1.1\r\nHost: user@a\r\n\r\n", "400"),
            ("GET /auth/login HTTP/1.1\r\n\r\n", "400"),
        ] {
            let head = head(address, request).await;
            assert_eq!(head.split(' ').nth(1), Some(status), "{request}: {head}");
        }
    })
    .await;
}
