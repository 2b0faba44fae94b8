//! A receiver of calls over pipes in memory, so that it lives on the paused clock.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State};
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use polytab_seams::{
    Seams,
    net::{AnyStream, ByteStream, Dial, Listen},
    serve::{Limits, serve},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// One call as it arrived.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// What calls are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Answer(u16),
    Silent,
}

/// A host that takes every call, whatever its name.
pub(crate) struct Receiver {
    pub(crate) seams: Seams,
    pub(crate) mood: watch::Sender<Mood>,
    calls: mpsc::Receiver<Received>,
    _tasks: JoinSet<usize>,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        let (dialled, listener) = mpsc::channel(16);
        let (seen, calls) = mpsc::channel(1024);
        let (mood, moods) = watch::channel(Mood::Answer(200));
        let router = Router::new().fallback(take).with_state((seen, moods));
        let limits = Limits {
            header_read: Duration::from_mins(5),
            header_bytes: 64 * 1024,
            header_fields: 100,
            connections: 64,
            life: None,
        };
        let mut tasks = JoinSet::new();
        let until = (CancellationToken::new(), Duration::ZERO);
        tasks.spawn(serve(PipeListen(listener), router, limits, until));
        Self {
            seams: Seams {
                dial: Arc::new(PipeDial(dialled)),
                ..super::seams()
            },
            mood,
            calls,
            _tasks: tasks,
        }
    }

    /// The next call, if one comes within this time.
    pub(crate) async fn call(&mut self, within: Duration) -> Option<Received> {
        tokio::time::timeout(within, self.calls.recv())
            .await
            .ok()
            .flatten()
    }
}

type Site = (mpsc::Sender<Received>, watch::Receiver<Mood>);

async fn take(State((seen, moods)): State<Site>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let body = String::from_utf8(body.to_vec()).unwrap();
    seen.send(Received { headers, body }).await.unwrap();
    let mood = *moods.borrow();
    match mood {
        Mood::Answer(status) => StatusCode::from_u16(status).unwrap(),
        Mood::Silent => std::future::pending().await,
    }
}

#[derive(Debug)]
struct PipeDial(mpsc::Sender<AnyStream>);

impl Dial for PipeDial {
    fn dial<'a>(&'a self, _host: &'a str, _port: u16) -> BoxFuture<'a, io::Result<AnyStream>> {
        Box::pin(async move {
            let (near, far) = tokio::io::duplex(1 << 16);
            let gone = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
            self.0.send(AnyStream::new(Pipe(far))).await.map_err(gone)?;
            Ok(AnyStream::new(Pipe(near)))
        })
    }
}

struct PipeListen(mpsc::Receiver<AnyStream>);

impl Listen for PipeListen {
    async fn accept(&mut self) -> (AnyStream, String) {
        match self.0.recv().await {
            Some(stream) => (stream, "pipe".to_owned()),
            None => std::future::pending().await,
        }
    }
}

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
