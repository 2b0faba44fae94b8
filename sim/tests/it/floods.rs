//! Servers that never stop sending.

use std::process::{Command, Output};

use futures_util::{SinkExt, StreamExt};
use tokio::{net::TcpListener, runtime::Runtime, task::JoinSet};
use tokio_tungstenite::{accept_async, tungstenite::Message};

use crate::ports::free;

/// A tab that waits for a message which never comes.
const WAITS: &str = "format: 1
name: the server goes on and on
users: { ada: {} }
tabs: { A: { user: ada, cookie: none } }
client: bare
steps:
  - open: A
  - expect: { within: 20s, tabs: A, contains: [{ type: hello }] }
";

/// Sends this message on every connection until the tab is gone, and reads nothing.
async fn flood(listener: TcpListener, message: Message) {
    let mut tabs = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let message = message.clone();
        tabs.spawn(async move {
            // `polytab` also looks whether anything listens.
            let Ok(socket) = accept_async(stream).await else {
                return;
            };
            let (mut sink, _unread) = socket.split();
            while sink.send(message.clone()).await.is_ok() {}
        });
    }
}

fn run_against(message: Message) -> Output {
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let target = format!("ws://{}/ws", listener.local_addr().unwrap());
    runtime.spawn(flood(listener, message));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flood.tabs.yaml");
    std::fs::write(&path, WAITS).unwrap();
    Command::new(env!("CARGO_BIN_EXE_polytab"))
        .args([
            "run",
            path.to_str().unwrap(),
            "--speed",
            "10",
            "--target",
            &target,
            "--mock-ports",
        ])
        .arg(free::<4>().map(|port| port.to_string()).join(","))
        .output()
        .unwrap()
}

#[test]
fn a_flood_ends_the_tab_and_not_the_run() {
    for message in [
        Message::text(r#"{"type":"tick"}"#),
        Message::text(format!("[{}0]", "0,".repeat(100_000))),
        Message::binary(vec![0; 1000]),
        Message::Ping(vec![0; 100].into()),
    ] {
        let kind = message.is_ping();

        let output = run_against(message);

        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("1 flooded"), "ping: {kind}, {said}");
        assert!(said.contains("tab A received more than a tab takes"), "{said}");
    }
}
