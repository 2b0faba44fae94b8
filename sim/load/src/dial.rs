//! Opens connections, lean: as little memory as a connection that is mostly idle needs.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri, header};
use polytab_seams::net::{AnyStream, ByteStream};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self,
        handshake::client::generate_key,
        protocol::{Role, WebSocketConfig},
    },
};

use crate::{
    plan::{Limits, Site},
    tab::shown,
    tally::Count,
};

/// Read at once. Notifications are a few hundred bytes; a larger message is read in several pieces.
const READ_BYTES: usize = 1024;

/// A tab's connection. Boxed: a future that takes it in would else hold it several times over.
pub(crate) type Socket = Box<WebSocketStream<Wire>>;

/// A connection; what comes after the handshake's answer is never read together with it.
///
/// The library keeps the buffer that it read the answer with (4 KiB) as long as the connection lives, for there may be
/// frames in it already. As none are given to it, a small buffer can take its place.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    answer: Answer,
    /// What came after the answer.
    surplus: Bytes,
}

/// Plain or encrypted. The plain one is not boxed, as there may be tens of thousands.
#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<AnyStream>),
}

/// How much of the end of a handshake's answer has been seen: an empty line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    matched: usize,
}

const ANSWER_END: &[u8; 4] = b"\r\n\r\n";

impl Answer {
    const BEGIN: Self = Self { matched: 0 };
    const OVER: Self = Self {
        matched: ANSWER_END.len(),
    };

    /// How many of these bytes belong to the answer.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        for byte in bytes {
            if *self == Self::OVER {
                break;
            }
            taken += 1;
            self.matched = match (*byte, self.matched) {
                (byte, matched) if byte == ANSWER_END[matched] => matched + 1,
                (b'\r', _) => 1,
                _ => 0,
            };
        }
        taken
    }
}

/// Why a tab could not be opened.
#[derive(Debug, Error)]
pub(crate) enum DialError {
    #[error("no handshake within {0:?}")]
    TimedOut(Duration),
    #[error("connection failed: {}", kind(.0))]
    Connect(io::Error),
    #[error("handshake answered {0}")]
    Status(u16),
    #[error("handshake failed: {0}")]
    Handshake(tungstenite::Error),
    #[error("a header of the handshake is none")]
    Request(#[from] http::Error),
}

/// What kind of failure it is; addresses and numbers in it would make each one a kind of its own.
fn kind(error: &io::Error) -> String {
    match error.get_ref() {
        // TLS says what is wrong, as with a certificate or a server that does not speak it.
        Some(inner) if error.kind() == io::ErrorKind::InvalidData => {
            let text = inner.to_string();
            format!("TLS: {}", shown(text.chars().take(SHOWN)))
        }
        Some(_) | None => error.kind().to_string(),
    }
}

/// Characters of an error text that are shown.
const SHOWN: usize = 120;

impl DialError {
    /// The outcome of an open that ended with this error.
    pub(crate) fn outcome(&self) -> Count {
        match self {
            Self::TimedOut(_) => Count::TimedOutOpens,
            Self::Connect(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => Count::RefusedOpens,
                io::ErrorKind::TimedOut => Count::TimedOutOpens,
                _ => Count::BrokenOpens,
            },
            Self::Status(_) => Count::RefusedOpens,
            Self::Handshake(_) | Self::Request(_) => Count::BrokenOpens,
        }
    }

    /// Whether it was for want of descriptors or ports of our own.
    pub(crate) fn is_ours(&self) -> bool {
        // EMFILE, ENFILE and EADDRNOTAVAIL.
        let ours = [
            rustix::io::Errno::MFILE,
            rustix::io::Errno::NFILE,
            rustix::io::Errno::ADDRNOTAVAIL,
        ];
        let Self::Connect(error) = self else { return false };
        ours.iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
    }
}

/// The target's addresses, and what to open connections with.
#[derive(Debug)]
pub(crate) struct Dialer {
    site: Site,
    limits: Limits,
    address: SocketAddr,
}

impl Dialer {
    /// Looks the target's name up, once for all tabs.
    ///
    /// # Errors
    ///
    /// When it has no address.
    pub(crate) async fn new(site: &Site, limits: &Limits) -> io::Result<Self> {
        let host = site.url.host().unwrap_or_default();
        let port = site
            .url
            .port_u16()
            .unwrap_or(if site.tls.is_some() { 443 } else { 80 });
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut addresses = tokio::net::lookup_host((host, port)).await?;
        let address = addresses
            .next()
            .ok_or_else(|| io::Error::other("it has no address"))?;
        Ok(Self {
            site: site.clone(),
            limits: limits.clone(),
            address,
        })
    }

    /// Opens a connection; `nth` chooses the address that it comes from.
    pub(crate) async fn open(
        &self,
        nth: u64,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Socket, DialError> {
        let limit = self.limits.connect;
        let opening = async {
            let wire = self.connect(nth).await?;
            let request = self.request(headers)?;
            let config = WebSocketConfig::default()
                .read_buffer_size(READ_BYTES)
                .write_buffer_size(0)
                .max_write_buffer_size(self.limits.message_bytes * 2)
                .max_message_size(Some(self.limits.message_bytes))
                .max_frame_size(Some(self.limits.message_bytes));
            match client_async_with_config(request, wire, Some(config)).await {
                Ok((socket, _)) => {
                    let wire = socket.into_inner();
                    let socket = WebSocketStream::from_raw_socket(wire, Role::Client, Some(config)).await;
                    Ok(Box::new(socket))
                }
                Err(tungstenite::Error::Http(answer)) => Err(DialError::Status(answer.status().as_u16())),
                Err(tungstenite::Error::Io(error)) => Err(DialError::Connect(error)),
                Err(error) => Err(DialError::Handshake(error)),
            }
        };
        tokio::time::timeout(limit, opening)
            .await
            .unwrap_or(Err(DialError::TimedOut(limit)))
    }

    async fn connect(&self, nth: u64) -> Result<Wire, DialError> {
        if let Some(tls) = &self.site.tls {
            let host = self.site.url.host().unwrap_or_default();
            let stream = tls.dial_tls(host, self.address.port()).await;
            let stream = stream.map_err(DialError::Connect)?;
            return Ok(Wire::new(Stream::Tls(Box::new(stream))));
        }
        let stream = match self.source(nth) {
            None => TcpStream::connect(self.address).await,
            Some(source) => {
                let socket = bound(source).map_err(DialError::Connect)?;
                socket.connect(self.address).await
            }
        };
        let stream = stream.map_err(DialError::Connect)?;
        stream.set_nodelay(true).map_err(DialError::Connect)?;
        Ok(Wire::new(Stream::Plain(stream)))
    }

    fn source(&self, nth: u64) -> Option<IpAddr> {
        let of = self.site.sources.len() as u64;
        let index = nth.checked_rem(of)?;
        usize::try_from(index).ok().map(|index| self.site.sources[index])
    }

    fn request(&self, headers: &[(HeaderName, HeaderValue)]) -> Result<Request<()>, DialError> {
        let uri: &Uri = &self.site.url;
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let mut request = Request::get(uri)
            .header(header::HOST, host)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, generate_key());
        for (name, value) in headers {
            request = request.header(name, value.clone());
        }
        Ok(request.body(())?)
    }
}

/// A socket that comes from this address. The port is left to the moment of connecting: one that is taken at once is
/// taken for all destinations, and looked for longer the more there are.
fn bound(source: IpAddr) -> io::Result<TcpSocket> {
    let socket = if source.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    #[cfg(target_os = "linux")]
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(SocketAddr::new(source, 0))?;
    Ok(socket)
}

impl Wire {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            answer: Answer::BEGIN,
            surplus: Bytes::new(),
        }
    }

    /// From now on, dropping it resets the connection.
    pub(crate) fn reset_on_drop(&self) {
        match &self.stream {
            Stream::Plain(stream) => ByteStream::reset_on_drop(stream),
            Stream::Tls(stream) => stream.reset_on_drop(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if !wire.surplus.is_empty() {
            let part = wire.surplus.split_to(wire.surplus.len().min(buffer.remaining()));
            buffer.put_slice(&part);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        std::task::ready!(wire.stream.poll_read(cx, buffer))?;
        if wire.answer != Answer::OVER {
            let came = &buffer.filled()[before..];
            let taken = wire.answer.take(came);
            wire.surplus = Bytes::copy_from_slice(&came[taken..]);
            buffer.set_filled(before + taken);
        }
        Poll::Ready(Ok(()))
    }
}

impl Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_with_an_empty_line_wherever_it_was_cut() {
        let text = b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\r\n\r\n\x81\x02hi\r\n\r\n";
        let end = text.len() - 8;

        for cut in 0..=text.len() {
            let (one, other) = text.split_at(cut);
            let mut answer = Answer::BEGIN;
            let taken = answer.take(one) + answer.take(other);
            assert_eq!((taken, answer), (end, Answer::OVER), "cut at {cut}");
        }
    }
}
