//! Opens connections, lean: as little memory as a connection that is mostly idle needs.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Request, Uri, header};
use polytab_seams::net::{AnyStream, ByteStream};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, handshake::client::generate_key, protocol::WebSocketConfig},
};

use crate::plan::{Limits, Site};

/// Read at once. Notifications are a few hundred bytes; a larger message is read in several pieces.
const READ_BYTES: usize = 1024;

/// A tab's connection. Boxed: a future that takes it in would else hold it several times over.
pub(crate) type Socket = Box<WebSocketStream<Wire>>;

/// Plain or encrypted. The plain one is not boxed, as there may be tens of thousands.
#[derive(Debug)]
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<AnyStream>),
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
    error.kind().to_string()
}

impl DialError {
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
                Ok((socket, _)) => Ok(Box::new(socket)),
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
            return Ok(Wire::Tls(Box::new(stream.map_err(DialError::Connect)?)));
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
        Ok(Wire::Plain(stream))
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
    /// From now on, dropping it resets the connection.
    pub(crate) fn reset_on_drop(&self) {
        match self {
            Self::Plain(stream) => ByteStream::reset_on_drop(stream),
            Self::Tls(stream) => stream.reset_on_drop(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
