//! A tab that writes frames byte by byte, as no library would.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{PATIENCE, answer};

/// The bit of a frame that ends its message.
pub(crate) const FIN: u8 = 0x80;
/// Opcodes (RFC 6455 §5.2).
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;

const MASKED: u8 = 0x80;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What a tab saw.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    /// A message.
    Text(Value),
    /// An answer to a ping, and how long it is.
    Pong(usize),
    /// A close frame with this code.
    Close(u16),
    /// The end of the connection.
    End,
}

/// A frame with this first byte, masked as a client must.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = announced(first, payload.len() as u64);
    bytes.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

/// The head of a frame that is so long, without what it announces.
pub(crate) fn announced(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..=125), _) => bytes.push(MASKED | short),
        (_, Ok(middle)) => {
            bytes.push(MASKED | 0x7e);
            bytes.extend(middle.to_be_bytes());
        }
        (_, Err(_)) => {
            bytes.push(MASKED | 0x7f);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes
}

/// A whole text message.
pub(crate) fn text(text: &str) -> Vec<u8> {
    frame(FIN | TEXT, text.as_bytes())
}

/// A command with this data.
pub(crate) fn command(kind: &str, data: &Value) -> String {
    json!({ "timestamp": 1, "type": kind, "data": data }).to_string()
}

/// A tab that was let in.
pub(crate) struct Tab(TcpStream);

impl Tab {
    /// Opens a tab with an access token, up to its `init`.
    pub(crate) async fn open(address: SocketAddr, token: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        Self::over(stream, token).await
    }

    /// The same over a connection that is there.
    pub(crate) async fn over(stream: TcpStream, token: &str) -> Self {
        let mut tab = Self::upgraded(stream, token).await;
        let init = tab.seen().await;
        assert!(
            matches!(&init, Seen::Text(init) if init["type"] == "init"),
            "{init:?}"
        );
        tab
    }

    /// A tab of which the server does not know yet whose it is.
    pub(crate) async fn upgraded(stream: TcpStream, token: &str) -> Self {
        let mut tab = Self(stream);
        tab.send(
            format!(
                "GET /ui-server/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Authorization: Bearer {token}\r\n\r\n"
            )
            .as_bytes(),
        )
        .await;
        let head = answer(&mut tab.0).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        tab
    }

    /// Writes bytes. That the server is gone shows on what is seen.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let sending = timeout(PATIENCE, self.0.write_all(bytes)).await;
        sending.expect("the server reads, or ends it").ok();
    }

    /// Reads the next frame.
    pub(crate) async fn seen(&mut self) -> Seen {
        let reading = timeout(PATIENCE, self.read()).await;
        reading.expect("something comes").unwrap_or(Seen::End)
    }

    /// What a command is answered with; what else comes is passed over.
    pub(crate) async fn asked(&mut self, command: &str) -> Seen {
        self.send(&text(command)).await;
        loop {
            match self.seen().await {
                Seen::Text(message) if message["type"] != "ack" && message["type"] != "error" => {}
                Seen::Pong(_) => {}
                seen @ (Seen::Text(_) | Seen::Close(_) | Seen::End) => return seen,
            }
        }
    }

    async fn read(&mut self) -> std::io::Result<Seen> {
        loop {
            let first = self.0.read_u8().await?;
            let length = match self.0.read_u8().await? {
                126 => self.0.read_u16().await?.into(),
                127 => self.0.read_u64().await?,
                short => short.into(),
            };
            let mut payload = Vec::new();
            (&mut self.0).take(length).read_to_end(&mut payload).await?;
            return Ok(match first & 0x0f {
                TEXT => Seen::Text(serde_json::from_slice(&payload)?),
                PONG => Seen::Pong(payload.len()),
                CLOSE => Seen::Close(
                    payload
                        .first_chunk()
                        .map_or(1005, |code| u16::from_be_bytes(*code)),
                ),
                _ => continue,
            });
        }
    }
}
