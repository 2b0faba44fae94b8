//! One WebSocket of one tab: connecting, and what the ends of it mean.

use std::{io, time::Duration};

use http::{HeaderValue, Request, StatusCode, header};
use polytab_seams::net::Dial;
use thiserror::Error;
use tokio::time::timeout;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self, Message, client::IntoClientRequest, error::CapacityError, protocol::WebSocketConfig,
    },
};
use url::Url;

use super::{
    browser::Jar,
    gate::{Gate, Gated},
};
use crate::{events::Closer, scenario::people::Cookie};

/// The largest message a tab takes; a browser has no such limit, a test must.
const MESSAGE_BYTES: usize = 4 << 20;

/// The most that waits to be written, in bytes; more than the largest message that a scenario sends at once.
const WRITE_BUFFER_BYTES: usize = 32 << 20;

pub(crate) type Socket = WebSocketStream<Gated>;

/// What a tab shows when it connects.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) url: Url,
    pub(crate) origin: String,
    /// The browser's cookies: a tab that comes back shows those of then.
    pub(crate) jar: Jar,
    /// Name of the target's session cookie, for a browser that has none yet.
    pub(crate) cookie_name: Option<String>,
    /// Which of them it shows.
    pub(crate) shows: Cookie,
}

/// A value that names no login session.
const UNKNOWN_COOKIE: &str = "00000000-0000-4000-8000-000000000000";

impl Credentials {
    fn cookie(&self) -> Option<String> {
        let own = self.jar.cookies_for(&self.url);
        match self.shows {
            Cookie::Own => own,
            Cookie::None => None,
            // The name of the cookie is the target's affair: every cookie keeps its name and loses its value.
            Cookie::Unknown => match own {
                Some(own) => Some(own.split("; ").map(unknown).collect::<Vec<_>>().join("; ")),
                None => self.cookie_name.as_deref().map(unknown),
            },
        }
    }
}

fn unknown(pair: &str) -> String {
    let name = pair.split('=').next().unwrap_or(pair);
    format!("{name}={UNKNOWN_COOKIE}")
}

/// Why a tab could not connect.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    #[error("the machine is offline")]
    Offline,
    #[error("connection refused")]
    Unreachable(#[source] io::Error),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// Another answer than `101`; the text names where it leads, or begins its body.
    #[error("answered {status}{text}")]
    Status { status: StatusCode, text: String },
    #[error("the answer is not a WebSocket handshake: {0}")]
    Handshake(Box<tungstenite::Error>),
}

/// The most characters of a refusal's body that are shown.
const EXCERPT: usize = 200;

/// The answer of a server that refuses a handshake; of its body, only what came with the head.
fn refused(answer: &http::Response<Option<Vec<u8>>>) -> Refusal {
    let header = |name| {
        answer
            .headers()
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let body = String::from_utf8_lossy(answer.body().as_deref().unwrap_or_default());
    let text = match header(header::LOCATION) {
        Some(location) => format!(", which leads to {}", excerpt(location)),
        None if body.trim().is_empty() => String::new(),
        None => format!(": {}", excerpt(body.trim())),
    };
    Refusal::Status {
        status: answer.status(),
        text,
    }
}

/// The beginning of a text on one line.
fn excerpt(text: &str) -> String {
    let mut characters = text.chars();
    let shown: String = characters.by_ref().take(EXCERPT).collect();
    let rest = characters.as_str().len();
    let shown = shown.escape_debug().to_string().replace("\\\"", "\"");
    match rest {
        0 => shown,
        rest => format!("{shown}… {rest} more bytes"),
    }
}

impl Refusal {
    /// The status of the HTTP answer, if there was one.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(status.as_u16()),
            Self::Offline | Self::Unreachable(_) | Self::TimedOut(_) | Self::Handshake(_) => None,
        }
    }
}

/// Opens a WebSocket as a browser does.
pub(crate) async fn connect(
    dial: &dyn Dial,
    credentials: &Credentials,
    gate: Gate,
    patience: Duration,
) -> Result<Socket, Refusal> {
    if gate.is_shut() {
        return Err(Refusal::Offline);
    }
    let handshake = async {
        let host = credentials.url.host_str().unwrap_or("");
        let port = credentials.url.port_or_known_default().unwrap_or(80);
        let stream = dial.dial(host, port).await.map_err(Refusal::Unreachable)?;
        let request = request(credentials)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            // A server that pings and does not read the answers fills this, and no more.
            .max_write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(Some(MESSAGE_BYTES))
            .max_frame_size(Some(MESSAGE_BYTES));
        match client_async_with_config(request, Gated::new(stream, gate), Some(config)).await {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::Error::Http(answer)) => Err(refused(&answer)),
            Err(error) => Err(Refusal::Handshake(Box::new(error))),
        }
    };
    timeout(patience, handshake)
        .await
        .unwrap_or(Err(Refusal::TimedOut(patience)))
}

fn request(credentials: &Credentials) -> Result<Request<()>, Refusal> {
    let mut request = credentials
        .url
        .as_str()
        .into_client_request()
        .map_err(|error| Refusal::Handshake(Box::new(error)))?;
    let mut put = |name, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            request.headers_mut().insert(name, value);
        }
    };
    put(header::ORIGIN, &credentials.origin);
    if let Some(cookie) = credentials.cookie() {
        put(header::COOKIE, &cookie);
    }
    Ok(request)
}

/// How a WebSocket ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) code: u16,
    pub(crate) reason: String,
    pub(crate) by: Closer,
}

impl Ended {
    /// The connection broke without a close frame.
    pub(crate) fn broken() -> Self {
        Self {
            code: 1006,
            reason: String::new(),
            by: Closer::Network,
        }
    }

    /// What a read that gave no message means; `None` if it gave one.
    pub(crate) fn from_read(read: Option<&Result<Message, tungstenite::Error>>) -> Option<Self> {
        match read {
            Some(Ok(Message::Close(Some(frame)))) => Some(Self {
                code: frame.code.into(),
                reason: frame.reason.to_string(),
                by: Closer::Server,
            }),
            // A close frame without a code is 1005 to a browser (RFC 6455 §7.1.5).
            Some(Ok(Message::Close(None))) => Some(Self {
                code: 1005,
                reason: String::new(),
                by: Closer::Server,
            }),
            Some(Ok(_)) => None,
            Some(Err(tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. }))) => Some(Self {
                code: 1009,
                reason: format!("the server sent more than {MESSAGE_BYTES} bytes at once"),
                by: Closer::Tab,
            }),
            Some(Err(_)) | None => Some(Self::broken()),
        }
    }
}
