//! The server's own process over https: who it is, and which cookies it sets.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use http::{Request, Response, header};
use http_body_util::Full;
use polytab_seams::{
    http::{HttpClient, Limits},
    net::{Dial, TcpDial},
    tls::{
        certificate::Identity,
        dial::{TlsDial, Trust},
    },
};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{interval, timeout},
};
use url::Url;
use wiremock::{Mock, ResponseTemplate, matchers::path};

use crate::{
    process::Process,
    services::{in_an_hour, services, signed},
    support::{PATIENCE, head},
};

/// Starts the server with the certificate in this folder before these services.
fn start(folder: &Path, services: &str) -> Process {
    let file = |name: &str| folder.join(name).display().to_string();
    Process::start(&[
        "public_url=https://127.0.0.1",
        &format!("tls_certificate={}", file("certificate.pem")),
        &format!("tls_key={}", file("key.pem")),
        &format!("oidc_issuer={services}/auth/realms/Renku"),
    ])
}

/// A certificate for the loopback, in files, and the way to whoever shows it.
fn certificate(folder: &Path) -> Arc<TlsDial<TcpDial>> {
    let made =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate can be made");
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).expect("the folder is there");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("the folder is there");
    let identity = Identity::from_files(&certificate, &key).expect("the two belong together");
    let trust = Trust::default().and(identity.authority().clone());
    Arc::new(TlsDial::new(TcpDial, trust))
}

/// The first cookie that an answer sets: its name and value, and its attributes in order, without its age.
fn cookie(answer: &Response<bytes::Bytes>) -> (String, Vec<String>) {
    let text = answer.headers()[header::SET_COOKIE]
        .to_str()
        .expect("a cookie is text");
    let mut parts = text.split("; ").map(str::to_owned);
    let pair = parts.next().expect("a cookie has a name");
    let mut attributes: Vec<_> = parts.filter(|part| !part.starts_with("Max-Age")).collect();
    attributes.sort();
    (pair, attributes)
}

/// Opens a tab with this cookie; gives what came up to its `init`.
async fn opened(dial: &TlsDial<TcpDial>, port: u16, session: &str) -> String {
    let mut tab = dial
        .dial_tls("127.0.0.1", port)
        .await
        .expect("the server listens");
    let upgrade = format!(
        "GET /ui-server/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Origin: https://127.0.0.1\r\nCookie: {session}\r\n\r\n"
    );
    tab.write_all(upgrade.as_bytes()).await.expect("the server reads");
    let reading = async {
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("Connection established.") {
            seen.push(tab.read_u8().await.expect("the tab is let in"));
        }
        String::from_utf8_lossy(&seen).into_owned()
    };
    timeout(PATIENCE, reading).await.expect("the tab is let in")
}

#[tokio::test]
async fn a_browser_signs_in_and_opens_a_tab_over_https() {
    let services = services().await;
    let folder = TempDir::new().expect("there is a place for files");
    let dial = certificate(folder.path());
    let server = start(folder.path(), &services.uri());
    let limits = Limits {
        answer: PATIENCE,
        body_bytes: 1 << 16,
        idle: Duration::from_secs(1),
        idle_per_host: 1,
    };
    let client = HttpClient::new(Arc::<TlsDial<_>>::clone(&dial), limits);
    let get = async |path: &str, cookie: &str| {
        let request = Request::get(format!("https://127.0.0.1:{}{path}", server.port))
            .header(header::COOKIE, cookie)
            .body(Full::default())
            .expect("a path makes a request");
        client.send(request).await.expect("the server answers over TLS")
    };

    let begun = get("/auth/login", "").await;
    let there = begun.headers()[header::LOCATION].to_str().map(Url::parse);
    let there = there.expect("a URL is text").expect("it leads to the provider");
    let asked = |name: &str| {
        let mut pairs = there.query_pairs();
        let found = pairs.find(|(key, _)| key == name);
        found.expect("the provider is told").1.into_owned()
    };
    let claims = json!({
        "iss": format!("{}/auth/realms/Renku", services.uri()),
        "aud": "renku-ui",
        "sub": "ada",
        "nonce": asked("nonce"),
        "exp": in_an_hour(),
        "iat": in_an_hour() - 3600,
    });
    let tokens = json!({ "access_token": "a", "expires_in": 300, "id_token": signed(&claims) });
    Mock::given(path("/token"))
        .respond_with(ResponseTemplate::new(200).set_body_json(tokens))
        .mount(&services)
        .await;
    let (state, state_attributes) = cookie(&begun);
    let done = get(&format!("/auth/callback?code=c&state={}", asked("state")), &state).await;
    let (session, session_attributes) = cookie(&done);
    let seen = opened(&dial, server.port, &session).await;

    assert!(seen.starts_with("HTTP/1.1 101 "), "{seen}");
    assert!(state.starts_with("__Host-polytab_sign_in_"), "{state}");
    assert!(session.starts_with("_renku_session="), "{session}");
    for attributes in [state_attributes, session_attributes] {
        assert_eq!(attributes, ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"]);
    }
}

#[tokio::test]
async fn who_speaks_plain_http_to_it_is_told() {
    let folder = TempDir::new().expect("there is a place for files");
    let _dial = certificate(folder.path());
    let server = start(folder.path(), "http://127.0.0.1:9");

    let head = head(
        ([127, 0, 0, 1], server.port).into(),
        "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await;

    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
}

#[tokio::test]
async fn a_certificate_is_renewed_on_sighup_and_one_that_cannot_be_used_changes_nothing() {
    let folder = TempDir::new().expect("there is a place for files");
    let first = certificate(folder.path());
    let server = start(folder.path(), "http://127.0.0.1:9");
    let reload = || server.signal(Signal::HUP);
    let mut old = first
        .dial_tls("127.0.0.1", server.port)
        .await
        .expect("it is trusted");

    std::fs::write(folder.path().join("key.pem"), "none").expect("the folder is there");
    reload();
    // Its answer comes after the signal was taken, or before: the certificate is the same.
    first
        .dial_tls("127.0.0.1", server.port)
        .await
        .expect("it is still trusted");

    let second = certificate(folder.path());
    reload();
    let renewed = async {
        let mut tries = interval(Duration::from_millis(10));
        while second.dial_tls("127.0.0.1", server.port).await.is_err() {
            tries.tick().await;
        }
    };
    timeout(PATIENCE, renewed).await.expect("the new one is shown");
    assert!(first.dial_tls("127.0.0.1", server.port).await.is_err());
    old.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")
        .await
        .expect("it goes on");
    let mut text = String::new();
    old.read_to_string(&mut text).await.expect("it is answered");
    assert!(text.ends_with("ok\n"), "{text}");
}

#[test]
fn a_certificate_that_is_not_there_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_polytab-server"))
        .args([
            "--set",
            "tls_certificate=/nowhere/c.pem",
            "--set",
            "tls_key=/nowhere/k.pem",
        ])
        .args([
            "--set",
            "public_url=https://a.example",
            "--set",
            "listen=127.0.0.1:0",
        ])
        .output()
        .expect("the server's binary starts");

    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{told}");
    assert!(
        told.contains("cannot read the certificate `/nowhere/c.pem`"),
        "{told}"
    );
}
