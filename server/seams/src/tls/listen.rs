//! TLS for incoming connections. The handshake is made by whoever reads the connection first, which is its own task,
//! and so a peer that is slow at it keeps no other waiting.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    sync::watch,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::certificate::Identity;
use crate::net::{AnyStream, ByteStream, Listen};

/// What every TLS connection begins with: a record of the handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// What a peer is told that speaks HTTP as if there were no TLS.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
    This port speaks https, and the request came as plain http: begin the URL with `https://`.\n";

/// A listener whose connections speak TLS.
pub struct TlsListen<L> {
    inner: L,
    identity: watch::Receiver<Identity>,
    handshake: Duration,
}

impl<L> fmt::Debug for TlsListen<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsListen")
            .field("handshake", &self.handshake)
            .finish_non_exhaustive()
    }
}

impl<L: Listen> TlsListen<L> {
    /// Listens as `identity`; a peer has `handshake` time to agree on keys.
    pub fn new(inner: L, identity: &Identity, handshake: Duration) -> Self {
        let (_, identity) = watch::channel(identity.clone());
        Self::following(inner, identity, handshake)
    }

    /// Listens as whatever `identity` is when a connection comes: a certificate can be renewed under way.
    pub fn following(inner: L, identity: watch::Receiver<Identity>, handshake: Duration) -> Self {
        Self {
            inner,
            identity,
            handshake,
        }
    }
}

impl<L: Listen> Listen for TlsListen<L> {
    async fn accept(&mut self) -> (AnyStream, String) {
        let (stream, peer) = self.inner.accept().await;
        let acceptor = TlsAcceptor::from(Arc::clone(&self.identity.borrow().config));
        let handshake = handshake(stream, acceptor);
        let (limit, name) = (self.handshake, peer.clone());
        let secured = Secured::Beginning(Box::pin(async move {
            let made = tokio::time::timeout(limit, handshake).await;
            let made = made.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
            made.inspect_err(|error| tracing::debug!(peer = name, %error, "no TLS handshake"))
        }));
        (AnyStream::new(secured), peer)
    }
}

type Open = TlsStream<Begun>;

async fn handshake(mut stream: AnyStream, acceptor: TlsAcceptor) -> io::Result<Open> {
    let first = stream.read_u8().await?;
    if first == HANDSHAKE {
        let first = Some(first);
        return acceptor.accept(Begun { first, stream }).await;
    }
    stream.write_all(PLAIN).await?;
    stream.shutdown().await?;
    // Closed with something unread the connection would be reset, and what was said lost.
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "the peer speaks no TLS",
    ))
}

/// A connection that makes its handshake when it is first read.
enum Secured {
    Beginning(BoxFuture<'static, io::Result<Open>>),
    Open(Box<Open>),
    Over,
}

impl Secured {
    /// The connection, once the handshake is made. That it failed is said once; after that the connection is over.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut Open>>> {
        if let Self::Beginning(handshake) = self {
            let made = ready!(handshake.as_mut().poll(cx));
            *self = Self::Over;
            *self = Self::Open(Box::new(made?));
        }
        Poll::Ready(match self {
            Self::Open(stream) => Ok(Pin::new(&mut **stream)),
            Self::Beginning(_) | Self::Over => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

impl ByteStream for Secured {
    fn reset_on_drop(&self) {
        match self {
            Self::Open(stream) => stream.get_ref().0.stream.reset_on_drop(),
            // Nobody asked for anything yet, and so nobody is to be cut off.
            Self::Beginning(_) | Self::Over => {}
        }
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx))?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Open(stream) => Pin::new(&mut **stream).poll_flush(cx),
            // Nothing was written, and whoever reads goes on with the handshake.
            Self::Beginning(_) | Self::Over => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Open(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Self::Beginning(_) | Self::Over => {
                *self = Self::Over;
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// A stream of which the first byte was read to see what it is.
struct Begun {
    first: Option<u8>,
    stream: AnyStream,
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0
            && let Some(byte) = self.first.take()
        {
            buffer.put_slice(&[byte]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Begun {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
