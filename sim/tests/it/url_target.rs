//! A server at a URL that looks at its own clock, as every server but those in tests does: tokens must be of today.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Output},
};

use polytab_seams::Seams;
use polytab_server::{Config, Server};
use serde_json::Value;
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

fn run(target: &str, mock_ports: [u16; 4]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_polytab"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cli"))
        .args(["run", "passes.tabs.yaml", "--target", target, "--mock-ports"])
        .arg(mock_ports.map(|port| port.to_string()).join(","))
        .output()
        .unwrap()
}

#[test]
fn a_server_that_checks_tokens_by_its_own_clock_can_be_judged() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mock_ports = free();
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(config(&format!("http://{address}"), mock_ports), Seams::system());
    let stop = CancellationToken::new();
    let serving = runtime.spawn(async move { server.serve(listener, stop).await });

    let output = run(&format!("ws://{address}/ui-server/ws"), mock_ports);
    serving.abort();

    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}
