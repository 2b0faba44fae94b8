//! A server at a URL that looks at its own clock, as every server but those in tests does: tokens must be of today.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    process::{Command, Output},
};

use polytab_seams::Seams;
use polytab_server::{Config, Server};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::ports::free;

fn config(public: &str, [keycloak, backend, gitlab, _]: [u16; 4]) -> Config {
    let at = |port: u16, path: &str| Value::from(format!("http://127.0.0.1:{port}{path}"));
    let values: BTreeMap<String, Value> = [
        ("public_url", Value::from(public)),
        ("oidc_issuer", at(keycloak, "/auth/realms/Renku")),
        ("oidc_client_secret", "client-secret-for-tests-only".into()),
        ("backend_url", at(backend, "/api")),
        ("gitlab_url", at(gitlab, "")),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    Config::from_values(&values).unwrap()
}

fn run(target: &str, mock_ports: [u16; 4], flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_polytab"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cli"))
        .args(["run", "passes.tabs.yaml", "--target", target, "--mock-ports"])
        .arg(mock_ports.map(|port| port.to_string()).join(","))
        .args(flags)
        .output()
        .unwrap()
}

#[test]
fn a_server_that_checks_tokens_by_its_own_clock_can_be_judged() {
    let runtime = Runtime::new().unwrap();
    let mock_ports = free();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(config(&format!("http://{address}"), mock_ports), Seams::system());
    let stop = CancellationToken::new();
    let serving = runtime.spawn(async move { server.serve(listener, stop).await });

    let output = run(&format!("ws://{address}/ui-server/ws"), mock_ports, &[]);
    serving.abort();

    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

/// Passes connections on to a server, but for the first that asks for a sign-in.
async fn pass_on(listener: TcpListener, to: SocketAddr) {
    const ASKS: &[u8] = b"GET /auth/login";
    let mut refused = false;
    let mut passing = JoinSet::new();
    while let Ok((mut near, _)) = listener.accept().await {
        let mut begins = [0; ASKS.len()];
        // `polytab` looks whether anybody listens, and says nothing.
        let read = near.peek(&mut begins).await.unwrap_or(0);
        if begins[..read] == *ASKS && !std::mem::replace(&mut refused, true) {
            let busy = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            assert!(near.read(&mut [0; 4096]).await.unwrap() > 0);
            near.write_all(busy).await.unwrap();
            continue;
        }
        passing.spawn(async move {
            let mut far = TcpStream::connect(to).await.unwrap();
            copy_bidirectional(&mut near, &mut far).await.ok();
        });
    }
}

#[test]
fn a_run_that_its_surroundings_ended_is_tried_again() {
    let runtime = Runtime::new().unwrap();
    let bind = || runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let mock_ports = free();
    let (listener, front) = (bind(), bind());
    let [address, public] = [&listener, &front].map(|listener| listener.local_addr().unwrap());
    let server = Server::new(config(&format!("http://{public}"), mock_ports), Seams::system());
    runtime.spawn(async move { server.serve(listener, CancellationToken::new()).await });
    runtime.spawn(pass_on(front, address));
    let target = format!("ws://{public}/ui-server/ws");

    let output = run(&target, mock_ports, &["--retries", "1"]);

    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("(passed at try 2): "), "{said}");
    assert!(said.contains("1 flaky"), "{said}");
}

#[test]
fn a_refused_handshake_is_told_with_its_answer() {
    for (answer, told) in [
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 16\r\n\r\nno token \u{1b}[31m!\n",
            "answered 403 Forbidden: no token \\u{1b}[31m!",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n",
            "answered 302 Found, which leads to /login",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: AAAA\r\n\r\n",
            "the answer is not a WebSocket handshake: ",
        ),
    ] {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let target = format!("ws://{}/ws", listener.local_addr().unwrap());
        runtime.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                if stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
                    stream.write_all(answer.as_bytes()).await.ok();
                }
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("refused.tabs.yaml");
        std::fs::write(&path, REFUSED).unwrap();

        let output = Command::new(env!("CARGO_BIN_EXE_polytab"))
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
            .unwrap();

        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(told), "{told} is not in: {said}");
    }
}

/// A tab that needs no sign-in and waits for a first message.
const REFUSED: &str = "format: 1
name: a first message
users: { ada: {} }
tabs: { A: { user: ada, cookie: none } }
client: bare
steps:
  - open: A
  - expect: { within: 5s, tabs: A, contains: [{ type: hello }] }
";
