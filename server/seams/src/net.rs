//! Dialling and listening: byte streams to and from named hosts.

use std::{
    any::Any,
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

/// One end of a connection, in memory or over TCP.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// From now on, dropping this end resets the connection (RST) instead of ending it in order (FIN).
    fn reset_on_drop(&self);
}

/// Any byte stream.
pub struct AnyStream {
    stream: Box<dyn ByteStream>,
    reset: Option<ResetSwitch>,
    /// Dropped after the stream.
    kept: Option<Box<dyn Any + Send>>,
}

impl AnyStream {
    /// Hides what kind of stream this is.
    pub fn new(stream: impl ByteStream) -> Self {
        Self {
            stream: Box::new(stream),
            reset: None,
            kept: None,
        }
    }

    /// Keeps this as long as the stream is there, whoever has it by then.
    #[must_use]
    pub fn keeping(mut self, value: impl Send + 'static) -> Self {
        self.kept = Some(match self.kept.take() {
            None => Box::new(value),
            Some(before) => Box::new((before, value)),
        });
        self
    }

    /// Resets the connection when the stream is dropped after this switch was turned.
    #[must_use]
    pub fn reset_by(mut self, switch: ResetSwitch) -> Self {
        self.reset = Some(switch);
        self
    }
}

/// Decides from afar how a stream ends. Clones are the same switch.
#[derive(Clone, Debug, Default)]
pub struct ResetSwitch(Arc<AtomicBool>);

impl ResetSwitch {
    /// From now on, dropping the stream resets its connection.
    pub fn turn(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Drop for AnyStream {
    fn drop(&mut self) {
        let is_turned = |switch: &ResetSwitch| switch.0.load(Ordering::Acquire);
        if self.reset.as_ref().is_some_and(is_turned) {
            self.stream.reset_on_drop();
        }
    }
}

impl fmt::Debug for AnyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyStream")
    }
}

impl ByteStream for AnyStream {
    fn reset_on_drop(&self) {
        self.stream.reset_on_drop();
    }
}

impl AsyncRead for AnyStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for AnyStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl ByteStream for TcpStream {
    fn reset_on_drop(&self) {
        // A failure means that the connection is gone already, which is what was wanted.
        self.set_zero_linger().ok();
    }
}

/// Opens connections.
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    /// Connects to `host` and `port`.
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<AnyStream>>;

    /// Connects to `host` and `port`, and makes sure over TLS that it is `host`. Only a dialler that speaks TLS can.
    fn dial_tls<'a>(&'a self, host: &'a str, _port: u16) -> BoxFuture<'a, io::Result<AnyStream>> {
        let message = format!("TLS is not spoken here, and `{host}` is to be reached over it");
        Box::pin(async { Err(io::Error::new(io::ErrorKind::Unsupported, message)) })
    }
}

/// Dials over TCP.
#[derive(Clone, Copy, Debug)]
pub struct TcpDial;

impl Dial for TcpDial {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<AnyStream>> {
        Box::pin(async move {
            let stream = TcpStream::connect((bare(host), port)).await?;
            stream.set_nodelay(true)?;
            Ok(AnyStream::new(stream))
        })
    }
}

/// `Url` keeps the brackets of an IPv6 address; resolvers and certificates want it bare.
pub(crate) fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// What the kernel may hold for one peer; Linux doubles it for its own overhead (`man 7 socket`). Without it the buffer
/// grows up to 4 MB (`net.ipv4.tcp_wmem`) for a peer that does not read.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Takes connections.
pub trait Listen: Send + 'static {
    /// The next connection, and a name for its far end.
    ///
    /// Cancel safe. Waits for ever when no further connection can come.
    fn accept(&mut self) -> impl Future<Output = (AnyStream, String)> + Send;
}

impl Listen for TcpListener {
    async fn accept(&mut self) -> (AnyStream, String) {
        loop {
            match TcpListener::accept(self).await {
                Ok((stream, peer)) => {
                    // Without it small frames wait for the peer's acknowledgement; a failure only costs delay.
                    stream.set_nodelay(true).ok();
                    // What the kernel holds for a peer that does not read is held in vain.
                    SockRef::from(&stream)
                        .set_send_buffer_size(SEND_BUFFER_BYTES)
                        .ok();
                    return (AnyStream::new(stream), peer.to_string());
                }
                Err(error) => {
                    // Out of descriptors, mostly: the backlog keeps the peer waiting until some are free.
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}
