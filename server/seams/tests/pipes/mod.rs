//! A network of pipes in memory.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use polytab_seams::net::{AnyStream, ByteStream, Dial, Listen};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    sync::mpsc,
};

/// A listener, and the way to it.
pub(crate) fn pipes() -> (Arrivals, Door) {
    let (sender, receiver) = mpsc::channel(8);
    (Arrivals(receiver), Door(sender))
}

/// One end of a pipe.
struct Pipe(DuplexStream);

impl ByteStream for Pipe {
    fn reset_on_drop(&self) {}
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The far ends of pipes, as they come.
pub(crate) struct Arrivals(mpsc::Receiver<DuplexStream>);

impl Listen for Arrivals {
    async fn accept(&mut self) -> (AnyStream, String) {
        match self.0.recv().await {
            Some(pipe) => (AnyStream::new(Pipe(pipe)), "pipe".to_owned()),
            None => std::future::pending().await,
        }
    }
}

/// Where pipes are opened.
#[derive(Clone, Debug)]
pub(crate) struct Door(mpsc::Sender<DuplexStream>);

impl Door {
    /// Opens a pipe; gives its near end.
    pub(crate) async fn enter(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(16 * 1024);
        self.0.send(far).await.unwrap();
        near
    }
}

impl Dial for Door {
    fn dial<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<AnyStream>> {
        Box::pin(async { Ok(AnyStream::new(Pipe(self.enter().await))) })
    }
}
