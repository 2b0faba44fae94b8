//! A build with the feature `otel` sends its spans to a collector.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    process::Command,
    time::timeout,
};

use crate::support::PATIENCE;

#[tokio::test]
async fn spans_reach_a_collector() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let mut server = Command::new(env!("CARGO_BIN_EXE_polytab-server"))
        // Nobody is at this issuer; that it was looked for is a span.
        .args([
            "--set",
            "listen=127.0.0.1:0",
            "--set",
            "oidc_issuer=http://127.0.0.1:1/realm",
        ])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(server.stdout.take().unwrap());
    out.read_line(&mut line).await.unwrap();
    let address = line
        .trim_end()
        .strip_prefix("listening on ")
        .unwrap()
        .parse()
        .unwrap();

    let head = crate::support::head(address, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut sent, _) = timeout(PATIENCE, collector.accept()).await.unwrap().unwrap();
    let mut text = Vec::new();
    let reading = async {
        while !text.windows(9).any(|part| part == b"discovery") {
            assert_ne!(sent.read_buf(&mut text).await.unwrap(), 0);
        }
    };
    timeout(Duration::from_secs(30), reading).await.unwrap();
    sent.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();

    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.starts_with("POST /v1/traces HTTP/1.1"), "{text}");
    for part in ["application/x-protobuf", "polytab-server", "route"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
