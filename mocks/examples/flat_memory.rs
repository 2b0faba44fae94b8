//! That the mocks' memory does not grow with the calls made to them: resident memory before and after many real
//! requests, once the journal is full.
//!
//! ```sh
//! cargo run --release -p polytab-mocks --example flat_memory -- 100000 1000    # requests, entries of the journal
//! ```
//!
//! The requests go over TCP to mocks in this process: polls of the backend with and without a token, introspections,
//! refreshes, and paths that are none.

use std::{fs, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use polytab_mocks::{Mocks, config::MocksConfig, order::UserSpec};
use polytab_seams::{
    Seams,
    http::{self as seams_http, HttpClient},
    net::TcpDial,
    serve::{Limits, serve},
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);
const CLIENT: &str = "client_id=renku-ui&client_secret=client-secret-for-tests-only";
const OIDC: &str = "/auth/realms/Renku/protocol/openid-connect";
/// Rounds after which every bounded thing is full: of secrets and of paths that are none 10,000 are kept.
const WARM_UP: usize = 10_000;
/// Requests of one round.
const ROUND: usize = 5;

/// Resident memory of this process, in kilobytes.
fn resident_kb() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(number.context("no VmRSS")?.parse()?)
}

/// The mocks over TCP.
struct Site {
    client: HttpClient,
    keycloak: String,
    backend: String,
    _serving: JoinSet<usize>,
}

impl Site {
    async fn start(journal_entries: usize) -> anyhow::Result<Self> {
        let config = MocksConfig {
            journal_entries,
            ..MocksConfig::default()
        };
        let mocks = Mocks::new(config, Seams::system());
        let spec = UserSpec {
            password: "p".to_owned(),
            ..UserSpec::default()
        };
        mocks.put_user("ada", spec)?;
        let mut serving = JoinSet::new();
        let mut bases = Vec::new();
        for router in [mocks.keycloak(), mocks.backend()] {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            bases.push(format!("http://{}", listener.local_addr()?));
            let limits = Limits {
                header_read: PATIENCE,
                header_bytes: 64 * 1024,
                header_fields: 100,
                connections: 16,
                life: None,
            };
            let end = (CancellationToken::new(), Duration::ZERO);
            serving.spawn(serve(listener, router, limits, end));
        }
        let limits = seams_http::Limits {
            answer: PATIENCE,
            body_bytes: 1 << 20,
            idle: PATIENCE,
            idle_per_host: 1,
        };
        Ok(Self {
            client: HttpClient::new(Arc::new(TcpDial), limits),
            keycloak: bases.remove(0),
            backend: bases.remove(0),
            _serving: serving,
        })
    }

    async fn send(&self, request: Request<Full<Bytes>>, status: u16) -> anyhow::Result<Value> {
        let answer = self.client.send(request).await?;
        if answer.status().as_u16() != status {
            bail!(
                "answered {} and not {status}: {:?}",
                answer.status(),
                answer.body()
            );
        }
        Ok(serde_json::from_slice(answer.body()).unwrap_or_default())
    }

    async fn form(&self, endpoint: &str, fields: &str) -> anyhow::Result<Value> {
        let request = Request::post(format!("{}{OIDC}/{endpoint}", self.keycloak))
            .header(header::HOST, "keycloak")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(format!("{CLIENT}&{fields}")))?;
        self.send(request, 200).await
    }

    async fn poll(&self, path: &str, token: Option<&str>, status: u16) -> anyhow::Result<Value> {
        let mut request = Request::get(format!("{}{path}", self.backend)).header(header::HOST, "backend");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        self.send(request.body(Full::default())?, status).await
    }

    /// One request of each kind; gives the next refresh token.
    async fn round(&self, refresh: &str) -> anyhow::Result<String> {
        let fields = format!("grant_type=refresh_token&refresh_token={refresh}");
        let tokens = self.form("token", &fields).await?;
        let text = |name: &str| tokens[name].as_str().map(str::to_owned).context("no token");
        let access = text("access_token")?;
        self.form("token/introspect", &format!("token={access}")).await?;
        self.poll("/api/data/sessions", Some(&access), 200).await?;
        self.poll("/api/data/sessions", None, 200).await?;
        self.poll("/api/nothing", None, 404).await?;
        text("refresh_token")
    }
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
async fn main() -> anyhow::Result<()> {
    let number = |nth: usize, usual: usize| std::env::args().nth(nth).map_or(Ok(usual), |text| text.parse());
    let (requests, entries) = (number(1, 100_000)?, number(2, 1_000)?);
    let site = Site::start(entries).await?;
    let sign_in = "grant_type=password&username=ada&password=p&scope=openid";
    let tokens = site.form("token", sign_in).await?;
    let mut refresh = tokens["refresh_token"].as_str().context("no token")?.to_owned();
    let empty_kb = resident_kb()?;
    println!("{empty_kb} kB at the start");
    for _ in 0..WARM_UP {
        refresh = site.round(&refresh).await?;
    }
    let before_kb = resident_kb()?;
    println!(
        "{before_kb} kB after {} requests, when all is full",
        WARM_UP * ROUND
    );
    for _ in 0..requests / ROUND {
        refresh = site.round(&refresh).await?;
    }
    let after_kb = resident_kb()?;
    println!(
        "{after_kb} kB after {requests} more: {:+} kB",
        i128::from(after_kb) - i128::from(before_kb)
    );
    Ok(())
}
