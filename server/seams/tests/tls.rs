//! TLS at the seams, over pipes in memory and on a paused clock: who is believed, who is kept waiting, what is said to
//! a peer that speaks none.

#![expect(clippy::unwrap_used, reason = "what cannot be in a test may panic")]

mod pipes;

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use polytab_seams::{
    clock::Clock,
    http::{self as client, HttpClient, HttpError},
    serve::{Limits, serve},
    tls::{
        certificate::{Identity, Made},
        dial::{TlsDial, Trust},
        listen::TlsListen,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use self::pipes::{Door, pipes};

const HANDSHAKE: Duration = Duration::from_secs(10);

/// A server named `mocks`, the way to it, and what its clients must trust.
fn site() -> (JoinSet<usize>, Door, Identity) {
    let names = ["mocks", "::1"].map(str::to_owned);
    // Certificates are checked against the real time.
    let Made { identity, .. } = Identity::made(&names, Clock::system().wall()).unwrap();
    let (listener, door) = pipes();
    let listener = TlsListen::new(listener, &identity, HANDSHAKE);
    let limits = Limits {
        header_read: Duration::from_mins(1),
        header_bytes: 16 * 1024,
        header_fields: 100,
        connections: 8,
        life: None,
    };
    let router = Router::new().route("/", get(|| async { "hello" }));
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(
        listener,
        router,
        limits,
        (CancellationToken::new(), Duration::ZERO),
    ));
    (tasks, door, identity)
}

async fn ask(door: &Door, trust: Trust, url: &str) -> Result<Bytes, HttpError> {
    let limits = client::Limits {
        answer: Duration::from_mins(1),
        body_bytes: 1024,
        idle: Duration::from_secs(1),
        idle_per_host: 1,
    };
    let client = HttpClient::new(Arc::new(TlsDial::new(door.clone(), trust)), limits);
    let request = Request::get(url).body(Full::default()).unwrap();
    Ok(client.send(request).await?.into_body())
}

/// The whole chain of reasons.
fn reasons(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<_> = chain.map(ToString::to_string).collect();
    texts.join(": ")
}

fn trusting(identity: &Identity) -> Trust {
    Trust::default().and(identity.authority().clone())
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_believed_for_its_names_by_who_trusts_its_authority() {
    let (_tasks, door, identity) = site();

    for url in ["https://mocks/", "https://[::1]/"] {
        assert_eq!(
            ask(&door, trusting(&identity), url).await.unwrap(),
            "hello",
            "{url}"
        );
    }
    let other = ask(&door, trusting(&identity), "https://others/")
        .await
        .unwrap_err();
    let stranger = ask(&door, Trust::default(), "https://mocks/").await.unwrap_err();

    assert!(
        reasons(&other).contains("not valid for name"),
        "{}",
        reasons(&other)
    );
    assert!(
        reasons(&stranger).contains("UnknownIssuer"),
        "{}",
        reasons(&stranger)
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_keeps_no_other_waiting_and_is_left_in_time() {
    let (_tasks, door, identity) = site();
    let start = Instant::now();
    let mut silent = door.enter().await;

    let answer = ask(&door, trusting(&identity), "https://mocks/").await.unwrap();
    let answered = start.elapsed();
    let end = silent.read(&mut [0; 1]).await.unwrap();

    assert_eq!((answer.as_ref(), end), (&b"hello"[..], 0));
    assert!(answered < HANDSHAKE, "{answered:?}");
    assert_eq!(start.elapsed().as_secs(), HANDSHAKE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn who_speaks_plain_http_is_told() {
    let (_tasks, door, _) = site();
    let mut plain = door.enter().await;

    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: mocks\r\n\r\n")
        .await
        .unwrap();
    let mut told = Vec::new();
    plain.read_to_end(&mut told).await.unwrap();

    let told = String::from_utf8(told).unwrap();
    assert!(
        told.starts_with("HTTP/1.1 400") && told.contains("https"),
        "{told}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_dialler_without_tls_refuses_https() {
    let (_tasks, door, _) = site();
    let limits = client::Limits {
        answer: Duration::from_mins(1),
        body_bytes: 1024,
        idle: Duration::from_secs(1),
        idle_per_host: 1,
    };
    let client = HttpClient::new(Arc::new(door), limits);

    let request = Request::get("https://mocks/").body(Full::default()).unwrap();
    let error = client.send(request).await.unwrap_err();

    assert!(
        reasons(&error).contains("TLS is not spoken here"),
        "{}",
        reasons(&error)
    );
}
