//! A server and its mocks over TCP, all that they say, and all that must not be in it.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Request, Response, header};
use http_body_util::Full;
use polytab_mocks::{Mocks, settings::Settings, standalone::Standalone};
use polytab_seams::{
    Seams,
    http::{HttpClient, Limits},
    net::TcpDial,
};
use polytab_server::{Config, Server};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, Layer, fmt, layer::SubscriberExt};

/// What takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Shorter values may be in a text by chance.
const SECRET_CHARS: usize = 8;

/// Text that is written by one and read by another.
#[derive(Clone, Default)]
struct Sheet(Arc<Mutex<Vec<u8>>>);

impl Write for Sheet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sheet {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// The server, the mocks, and what was seen and is to be kept secret.
pub(crate) struct Site {
    pub(crate) mocks: Mocks,
    pub(crate) control: String,
    /// As `127.0.0.1:8080`.
    pub(crate) address: String,
    pub(crate) stop: CancellationToken,
    http: HttpClient,
    seen: Mutex<Vec<(String, String)>>,
    secrets: Mutex<BTreeSet<(String, String)>>,
}

/// Plays `work` against a server with its mocks; gives what was seen, logs of all levels included, and the secrets.
pub(crate) async fn with_site(work: impl AsyncFnOnce(&Site)) -> Findings {
    let (text, json) = (Sheet::default(), Sheet::default());
    let sheets = [text.clone(), json.clone()];
    let [text_writer, json_writer] = sheets.map(|sheet| move || sheet.clone());
    let own = || EnvFilter::new("polytab=trace");
    let logs = tracing_subscriber::registry()
        .with(
            fmt::layer()
                .with_ansi(false)
                .with_writer(text_writer)
                .with_filter(own()),
        )
        .with(fmt::layer().json().with_writer(json_writer).with_filter(own()));
    // With a single subscriber, an event that another thread meets first would be switched off for all.
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    // Of this thread, on which all tasks run.
    let mut findings = {
        let _logs = tracing::subscriber::set_default(logs);
        served(work).await
    };
    for (place, sheet) in [("the log as text", text), ("the log as JSON", json)] {
        findings.seen.push((place.to_owned(), sheet.text()));
    }
    findings
}

async fn served(work: impl AsyncFnOnce(&Site)) -> Findings {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let logout = format!("http://{address}/auth/backchannel-logout")
        .parse()
        .unwrap();
    let settings = Settings {
        keycloak_port: Some(0),
        backend_port: Some(0),
        gitlab_port: Some(0),
        control_port: Some(0),
        gateway_port: Some(0),
        users: Some(["ada", "bob", "cid", "dan"].map(str::to_owned).to_vec()),
        rotation: Some(true),
        backchannel_logout_url: Some(logout),
        ..Settings::default()
    };
    let standalone = Standalone::bind(&settings).await.unwrap();
    let config = config(&address, &standalone);
    let site = Site {
        mocks: standalone.mocks().clone(),
        control: standalone.ready_json()["control"].as_str().unwrap().to_owned(),
        address,
        stop: CancellationToken::new(),
        http: client(),
        seen: Mutex::default(),
        secrets: Mutex::default(),
    };
    let server = Server::new(config, Seams::system());
    let playing = async {
        work(&site).await;
        site.stop.cancel();
    };
    let (over, kept) = (CancellationToken::new(), site.stop.clone());
    let ended = over.clone();
    let serving = async {
        server.serve(listener, kept).await;
        over.cancel();
    };
    tokio::join!(playing, serving, standalone.serve(ended));
    let issued = site.mocks.secrets();
    let own = site.secrets.into_inner().unwrap();
    Findings {
        seen: site.seen.into_inner().unwrap(),
        secrets: issued.into_iter().chain(own).collect(),
    }
}

/// Turns follow each other fast; each finds the token about to expire, and refreshes it.
fn config(address: &str, standalone: &Standalone) -> Config {
    let [issuer, backend, gitlab] = standalone.settings();
    let values = json!({
        "public_url": format!("http://{address}"),
        "oidc_issuer": issuer,
        "oidc_client_secret": standalone.client_secret(),
        "backend_url": backend,
        "gitlab_url": gitlab,
        "start_delay": "50ms",
        "short_loop": "100ms",
        "introspection_interval": "0s",
        "token_leeway": "1h",
        "drain_time": "10ms",
        "debug_channels": true,
    });
    Config::from_values(&serde_json::from_value(values).unwrap()).unwrap()
}

fn client() -> HttpClient {
    let limits = Limits {
        answer: PATIENCE,
        body_bytes: 1 << 20,
        idle: Duration::from_secs(1),
        idle_per_host: 1,
    };
    HttpClient::new(Arc::new(TcpDial), limits)
}

impl Site {
    pub(crate) fn saw(&self, place: &str, text: impl Into<String>) {
        self.seen.lock().unwrap().push((place.to_owned(), text.into()));
    }

    fn keep(&self, kind: &str, secret: &str) {
        self.secrets
            .lock()
            .unwrap()
            .insert((kind.to_owned(), secret.to_owned()));
    }

    /// A request with these header fields.
    pub(crate) async fn ask(
        &self,
        (method, url): (&str, &str),
        fields: &[(&str, &str)],
        body: &str,
    ) -> Response<Bytes> {
        let url = if url.starts_with('/') {
            format!("http://{}{url}", self.address)
        } else {
            url.to_owned()
        };
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body.to_owned())).unwrap();
        self.http.send(request).await.unwrap()
    }

    /// The same, of what anybody may read.
    pub(crate) async fn look(&self, (method, url): (&str, &str), fields: &[(&str, &str)], body: &str) {
        let answer = self.ask((method, url), fields, body).await;
        let text = String::from_utf8_lossy(answer.body());
        let place = url.split('?').next().unwrap_or_default();
        let place = format!("the answer of {method} {place}");
        self.saw(&place, format!("{} {text}", answer.status()));
    }

    /// Signs a user in as a browser does; gives the `Cookie` field that names the login session.
    pub(crate) async fn sign_in(&self, user: &str) -> String {
        let begun = self.ask(("GET", "/auth/login"), &[], "").await;
        let state = set_cookie(begun.headers());
        self.keep("cookie", state.split_once('=').unwrap().1);
        let page = format!("{}&sign_in_as={user}", location(&begun));
        for (name, value) in url::Url::parse(&page).unwrap().query_pairs() {
            if ["state", "nonce"].contains(&name.as_ref()) {
                self.keep(&name, &value);
            }
        }
        let back = self.ask(("GET", &page), &[], "").await;
        let done = self
            .ask(("GET", &location(&back)), &[("cookie", &state)], "")
            .await;
        let cookie = set_cookie(done.headers());
        self.keep("cookie", cookie.split_once('=').unwrap().1);
        cookie
    }

    /// Opens a tab.
    pub(crate) async fn open(&self, query: &str, fields: &[(&'static str, &str)]) -> Tab<'_> {
        let url = format!("ws://{}/ui-server/ws{query}", self.address);
        let mut request = url.into_client_request().unwrap();
        let origin = format!("http://{}", self.address);
        for (name, value) in fields.iter().chain([&("origin", origin.as_str())]) {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let (socket, _) = client_async(request, stream).await.unwrap();
        Tab { site: self, socket }
    }
}

/// One tab; all that it hears is seen.
pub(crate) struct Tab<'a> {
    site: &'a Site,
    socket: WebSocketStream<TcpStream>,
}

impl Tab<'_> {
    pub(crate) async fn send(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).await.unwrap();
    }

    pub(crate) async fn command(&mut self, kind: &str, data: &Value) {
        self.send(json!({ "timestamp": 0, "type": kind, "data": data }).to_string())
            .await;
    }

    /// Hears until a message of this type.
    pub(crate) async fn hear(&mut self, kind: &str) {
        let wanted = format!("\"type\":\"{kind}\"");
        let hearing = async { while !self.next().await.contains(&wanted) {} };
        timeout(PATIENCE, hearing).await.expect(kind);
    }

    /// Hears to the end; gives the close code.
    pub(crate) async fn end(&mut self) -> u16 {
        let hearing = async {
            loop {
                let heard = self.next().await;
                if let Some(close) = heard.strip_prefix("close ") {
                    return close[..4].parse().unwrap();
                }
            }
        };
        timeout(PATIENCE, hearing).await.expect("the tab is closed")
    }

    /// What is heard next; of a ping, nothing.
    async fn next(&mut self) -> String {
        let message = self.socket.next().await.expect("the tab is closed in order");
        let text = match message.unwrap() {
            Message::Text(text) => text.to_string(),
            Message::Close(Some(frame)) => format!("close {} {}", u16::from(frame.code), frame.reason),
            _ => return String::new(),
        };
        self.site.saw("what a tab heard", text.as_str());
        text
    }
}

/// What was seen, and what must not be in it.
pub(crate) struct Findings {
    pub(crate) seen: Vec<(String, String)>,
    secrets: Vec<(String, String)>,
}

impl Findings {
    /// Where which kind of secret was seen.
    pub(crate) fn leaks(&self) -> BTreeSet<(&str, &str)> {
        let told = |secret: &str, text: &str| secret.len() >= SECRET_CHARS && text.contains(secret);
        self.seen
            .iter()
            .flat_map(|(place, text)| {
                let found = self.secrets.iter().filter(move |(_, secret)| told(secret, text));
                found.map(move |(kind, _)| (place.as_str(), kind.as_str()))
            })
            .collect()
    }

    /// How many secrets of each kind there were.
    pub(crate) fn kinds(&self) -> BTreeSet<&str> {
        self.secrets.iter().map(|(kind, _)| kind.as_str()).collect()
    }
}

pub(crate) fn location(answer: &Response<Bytes>) -> String {
    answer.headers()[header::LOCATION].to_str().unwrap().to_owned()
}

/// The cookie that is set, as it is sent back; others are removed beside it.
fn set_cookie(headers: &HeaderMap) -> String {
    let all = headers.get_all(header::SET_COOKIE).iter();
    let mut set = all
        .map(|field| field.to_str().unwrap())
        .filter(|field| !field.contains("Max-Age=0"));
    set.next().unwrap().split(';').next().unwrap().to_owned()
}
