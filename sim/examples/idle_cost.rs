//! What idle tabs cost the reference server: resident memory per tab, and backend calls per user and turn.
//!
//! Starts `polytab-server` and `polytab-mocks` as processes of their own, over TCP, opens the tabs, and lets them idle
//! for a minute:
//!
//! ```sh
//! cargo build --release --workspace
//! cargo run --release -p polytab --example idle_cost -- 2000 5    # users, tabs of each
//! ```
//!
//! Needs as many file descriptors as tabs, and a few hundred more (`ulimit -n`).

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, header};
use http_body_util::Full;
use polytab_seams::{
    http::{HttpClient, Limits},
    net::TcpDial,
};
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{Message, client::IntoClientRequest, protocol::WebSocketConfig},
};

/// Handshakes under way at once.
const AT_ONCE: usize = 64;
/// After the last tab, until memory and loops have settled.
const SETTLE: Duration = Duration::from_secs(30);
/// How long the tabs idle while calls are counted: twelve short turns.
const IDLE: Duration = Duration::from_mins(1);
/// Short turns in that time.
const TURNS: u64 = 12;

/// A process that ends with this value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Process {
    /// Starts a binary from beside this one; gives it with its first line of output.
    fn start(name: &str, arguments: &[String]) -> anyhow::Result<(Self, String)> {
        let example = std::env::current_exe()?;
        let folder = example
            .parent()
            .and_then(|folder| folder.parent())
            .context("no folder of binaries")?;
        let path: PathBuf = folder.join(name);
        let mut child = Command::new(&path)
            .args(arguments)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{}`: build the workspace first", path.display()))?;
        let out = child.stdout.take().context("no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        Ok((Self(child), line))
    }

    /// Resident memory, in kilobytes.
    fn resident_kb(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .context("no VmRSS")?;
        Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
    }
}

/// The mocks, by HTTP.
#[derive(Clone)]
struct Mocks {
    client: HttpClient,
    urls: Arc<Value>,
}

impl Mocks {
    async fn call(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Value> {
        let answer = self.client.send(request).await?;
        if !answer.status().is_success() {
            bail!("the mocks answered {}: {:?}", answer.status(), answer.body());
        }
        Ok(serde_json::from_slice(answer.body()).unwrap_or(Value::Null))
    }

    async fn control(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.urls["control"].as_str().unwrap_or(""));
        let request = Request::builder()
            .method(method)
            .header(header::HOST, "127.0.0.1")
            .header(header::CONTENT_TYPE, "application/json")
            .uri(url)
            .body(Full::from(body.to_string()))?;
        self.call(request).await
    }

    /// An access token of a user who exists from now on.
    async fn token(&self, user: &str) -> anyhow::Result<String> {
        let spec = json!({"password": "p", "access_token": "1h", "sessions": [{"name": "s1"}]});
        self.control("PUT", &format!("/users/{user}"), &spec).await?;
        let issuer = self.urls["issuer"].as_str().unwrap_or("");
        let form = format!(
            "grant_type=password&client_id=renku-ui&client_secret=client-secret-for-tests-only&username={user}&password=p"
        );
        let request = Request::post(format!("{issuer}/protocol/openid-connect/token"))
            .header(header::HOST, "127.0.0.1")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(form))?;
        let answer = self.call(request).await?;
        Ok(answer["access_token"].as_str().context("no token")?.to_owned())
    }

    async fn polls_after(&self, seq: u64) -> anyhow::Result<u64> {
        let filter = json!({"route": "backend.sessions", "since": seq});
        let answer = self.control("POST", "/journal/count", &filter).await?;
        answer["count"].as_u64().context("no count")
    }
}

/// One idle tab: pulls once, answers pings, reports that it is there, stays.
async fn tab(address: String, token: String, ready: mpsc::Sender<()>) -> anyhow::Result<()> {
    let mut request = format!("ws://{address}/ui-server/ws").into_client_request()?;
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, format!("Bearer {token}").parse()?);
    let stream = tokio::net::TcpStream::connect(&address).await?;
    let small = WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(0);
    let (mut socket, _) = client_async_with_config(request, stream, Some(small)).await?;
    let pull = json!({"timestamp": "t", "type": "pullSessionStatusV2", "data": {}});
    socket.send(Message::text(pull.to_string())).await?;
    let first = socket.next().await.context("closed at once")??;
    if !first.to_text()?.contains("\"init\"") {
        bail!("greeted with {first}");
    }
    ready.send(()).await?;
    while let Some(message) = socket.next().await {
        message?;
    }
    bail!("closed")
}

/// Opens the tabs; they stay as long as the set.
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
async fn open_tabs(
    mocks: &Mocks,
    address: &str,
    (users, tabs_each): (usize, usize),
) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let begin = Instant::now();
    let (ready, mut is_ready) = mpsc::channel(AT_ONCE);
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let mut tabs = JoinSet::new();
    for user in 0..users {
        let token = mocks.token(&format!("user-{user}")).await?;
        for _ in 0..tabs_each {
            let permit = Arc::clone(&gate).acquire_owned().await?;
            let (address, token, ready) = (address.to_owned(), token.clone(), ready.clone());
            tabs.spawn(async move { tab(address, token, ready).await });
            timeout(Duration::from_secs(30), is_ready.recv())
                .await
                .context("a tab was not greeted")?;
            drop(permit);
        }
    }
    println!(
        "{} tabs of {users} users opened in {:.1} s",
        users * tabs_each,
        begin.elapsed().as_secs_f64()
    );
    Ok(tabs)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
async fn main() -> anyhow::Result<()> {
    let number = |nth: usize, usual: usize| std::env::args().nth(nth).map_or(Ok(usual), |text| text.parse());
    let (users, tabs_each) = (number(1, 2000)?, number(2, 5)?);
    let ports = ["keycloak", "backend", "gitlab", "control"].map(|mock| format!("--{mock}-port=0"));
    let (_mocks, line) = Process::start("polytab-mocks", &[&ports[..], &["--json".to_owned()]].concat())?;
    let limits = Limits {
        answer: Duration::from_secs(30),
        body_bytes: 1 << 20,
        idle: Duration::from_secs(30),
        idle_per_host: AT_ONCE,
    };
    let mocks = Mocks {
        client: HttpClient::new(Arc::new(TcpDial), limits),
        urls: Arc::new(serde_json::from_str(&line)?),
    };
    let url = |name: &str| mocks.urls[name].as_str().unwrap_or("").to_owned();
    let settings = [
        "listen=127.0.0.1:0".to_owned(),
        format!("oidc_issuer={}", url("issuer")),
        "oidc_client_secret=client-secret-for-tests-only".to_owned(),
        format!("backend_url={}/api", url("backend")),
        format!("gitlab_url={}", url("gitlab")),
    ];
    let (server, line) = Process::start(
        "polytab-server",
        &settings.map(|setting| format!("--set={setting}")),
    )?;
    let address = line.trim().rsplit(' ').next().context("no address")?.to_owned();
    sleep(Duration::from_secs(2)).await;
    let empty_kb = server.resident_kb()?;

    let mut tabs = open_tabs(&mocks, &address, (users, tabs_each)).await?;
    sleep(SETTLE).await;

    let newest = mocks.control("GET", "/journal?limit=1", &json!({})).await?;
    let before = newest[0]["seq"].as_u64().context("no calls")?;
    sleep(IDLE).await;
    let polls = mocks.polls_after(before).await?;
    let full_kb = server.resident_kb()?;
    if let Some(gone) = tabs.try_join_next() {
        bail!("a tab did not stay: {:?}", gone?);
    }
    let tab_count = u64::try_from(users * tabs_each)?;
    let expected = u64::try_from(users)? * TURNS;
    println!("resident memory: {empty_kb} kB without tabs, {full_kb} kB with them");
    println!(
        "per tab: {:.1} kB",
        f64::from(u32::try_from(full_kb - empty_kb)?) / f64::from(u32::try_from(tab_count)?)
    );
    println!(
        "backend calls in {} s: {polls}, per user and turn {:.3}",
        IDLE.as_secs(),
        f64::from(u32::try_from(polls)?) / f64::from(u32::try_from(expected)?)
    );
    Ok(())
}
