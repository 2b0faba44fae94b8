//! An HTTP/1.1 client over [`Dial`], with a bound on every wait and body.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use ::http::{Request, Response, Uri};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use thiserror::Error;
use tower::Service;

use crate::net::{AnyStream, Dial};

/// Bounds of a client.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From the start of a request to the end of its answer (of its head, for [`HttpClient::open`]).
    pub answer: Duration,
    /// The largest body taken.
    pub body_bytes: usize,
    /// How long an idle connection is kept for the next request.
    pub idle: Duration,
    /// How many idle connections are kept per host.
    pub idle_per_host: usize,
}

/// Why a request has no usable answer.
#[derive(Debug, Error)]
pub enum HttpError {
    /// No answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The body passes the limit.
    #[error("answer is over {0} bytes")]
    TooLarge(usize),
    /// No connection, or it broke before the head of the answer.
    #[error("request failed")]
    Request(#[source] hyper_util::client::legacy::Error),
    /// The connection broke inside the body.
    #[error("answer broke off")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A client. Clones share connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: Client<Connector, Full<Bytes>>,
    limits: Limits,
}

impl HttpClient {
    /// A client that dials with `dial`. It follows no redirects.
    pub fn new(dial: Arc<dyn Dial>, limits: Limits) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            // Without it idle connections age by the system's clock, not by a paused one.
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(limits.idle)
            .pool_max_idle_per_host(limits.idle_per_host)
            .build(Connector(dial));
        Self { client, limits }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    ///
    /// When no whole answer within the bounds arrives. An answer of any status is an answer.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, HttpError> {
        let exchange = async {
            let (head, body) = self
                .client
                .request(request)
                .await
                .map_err(HttpError::Request)?
                .into_parts();
            let body = Limited::new(body, self.limits.body_bytes)
                .collect()
                .await
                .map_err(|error| {
                    if error.is::<LengthLimitError>() {
                        HttpError::TooLarge(self.limits.body_bytes)
                    } else {
                        HttpError::Body(error)
                    }
                })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        self.in_time(exchange).await
    }

    /// Sends a request and gives the answer as soon as its head is there; the body follows as a stream, unbounded.
    ///
    /// # Errors
    ///
    /// When no head arrives in time.
    pub async fn open(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, HttpError> {
        self.in_time(async { self.client.request(request).await.map_err(HttpError::Request) })
            .await
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, HttpError>>) -> Result<T, HttpError> {
        let limit = self.limits.answer;
        tokio::time::timeout(limit, work)
            .await
            .unwrap_or(Err(HttpError::TimedOut(limit)))
    }
}

/// Adapts [`Dial`] to what hyper asks of a connector.
#[derive(Clone, Debug)]
struct Connector(Arc<dyn Dial>);

impl Service<Uri> for Connector {
    type Response = Http1Stream;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Http1Stream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dial = Arc::clone(&self.0);
        Box::pin(async move {
            let host = uri
                .host()
                .ok_or_else(|| io::Error::other("a URL without a host"))?;
            let stream = match uri.scheme_str() {
                Some("http") => dial.dial(host, uri.port_u16().unwrap_or(80)).await?,
                Some("https") => dial.dial_tls(host, uri.port_u16().unwrap_or(443)).await?,
                other => {
                    let scheme = other.unwrap_or("");
                    let message = format!("only http and https are spoken here, not `{scheme}`");
                    return Err(io::Error::new(io::ErrorKind::Unsupported, message));
                }
            };
            Ok(Http1Stream(TokioIo::new(stream)))
        })
    }
}

/// An open connection, as hyper wants to see it.
#[derive(Debug)]
struct Http1Stream(TokioIo<AnyStream>);

impl Connection for Http1Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Http1Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Http1Stream {
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
