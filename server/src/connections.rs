//! Counts connections, from their acceptance to their end, upgraded or not.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use polytab_seams::net::{AnyStream, ByteStream, Listen};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::metrics::Metrics;

/// A listener whose connections are counted.
#[derive(Debug)]
pub(crate) struct Counted<L> {
    listener: L,
    metrics: Arc<Metrics>,
}

impl<L> Counted<L> {
    pub(crate) fn new(listener: L, metrics: Arc<Metrics>) -> Self {
        Self { listener, metrics }
    }
}

impl<L: Listen> Listen for Counted<L> {
    async fn accept(&mut self) -> (AnyStream, String) {
        let (stream, peer) = self.listener.accept().await;
        self.metrics.connections.inc();
        let metrics = Arc::clone(&self.metrics);
        (AnyStream::new(Connection { stream, metrics }), peer)
    }
}

/// One connection.
struct Connection {
    stream: AnyStream,
    metrics: Arc<Metrics>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

impl ByteStream for Connection {
    fn reset_on_drop(&self) {
        self.stream.reset_on_drop();
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
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
