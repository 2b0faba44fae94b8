//! Answers whose body went wrong: what a fault makes of a good one.

use std::{convert::Infallible, io, pin::Pin, time::Duration};

use axum::{
    body::{Body, Bytes, HttpBody, to_bytes},
    http::{HeaderValue, header},
    response::Response,
};
use futures_util::{Stream, StreamExt, stream};
use polytab_seams::{random::Random, serve::Peer};
use serde_json::Value;
use tokio::sync::oneshot;

/// What a proxy answers where JSON was promised.
const PAGE: &str = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>\n";
/// Chunks in which a body comes that is no stream, when each is to be late.
const CHUNKS: usize = 10;

/// How a body ends before its time.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// The connection is closed.
    Close,
    /// The connection is reset; one that has none of its own is closed.
    Reset(Option<Peer>),
}

impl End {
    /// Ends the body.
    async fn come(self) -> io::Error {
        // The bytes before must be on their way when the connection ends.
        tokio::task::yield_now().await;
        if let Self::Reset(Some(peer)) = self {
            peer.reset();
            // The connection's task ends now and takes this future with it.
            std::future::pending::<Infallible>().await;
        }
        io::Error::other("cut off on order")
    }
}

/// A page, whatever the head says. The old body is dropped: a stream under it ends.
pub(crate) fn malformed(response: Response) -> Response {
    with_body(response, PAGE)
}

/// The same head over nothing.
pub(crate) fn empty(response: Response) -> Response {
    with_body(response, "")
}

fn with_body(response: Response, body: impl Into<Body>) -> Response {
    let (mut head, _) = response.into_parts();
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, body.into())
}

/// The same under a head that calls it something else.
pub(crate) fn called(mut response: Response, kind: &str) -> Response {
    // Whoever ordered it was told, had it been no value of a header field.
    if let Ok(kind) = HeaderValue::try_from(kind) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

/// As many bytes that mean nothing; of a stream, as many as its first chunk has.
pub(crate) async fn garbage(response: Response, random: &Random) -> Response {
    let (head, body) = response.into_parts();
    let mut bytes = first(body).await.to_vec();
    random.fill("fault/garbage", &mut bytes);
    with_body(Response::from_parts(head, Body::empty()), bytes)
}

/// A JSON list the other way round; anything else as it is.
pub(crate) async fn reorder(response: Response) -> Response {
    if is_stream(&response) {
        return response;
    }
    let (head, body) = response.into_parts();
    let bytes = whole(body).await;
    let Ok(Value::Array(mut items)) = serde_json::from_slice(&bytes) else {
        return Response::from_parts(head, Body::from(bytes));
    };
    items.reverse();
    with_body(
        Response::from_parts(head, Body::empty()),
        Value::Array(items).to_string(),
    )
}

/// The first half of the body, then the connection breaks. Of a stream, the first half of its first chunk.
pub(crate) async fn truncate(response: Response) -> Response {
    let is_stream = is_stream(&response);
    let (mut head, body) = response.into_parts();
    let bytes = first(body).await;
    if !is_stream {
        head.headers
            .insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len().max(1)));
    }
    let half = bytes.slice(..bytes.len() / 2);
    Response::from_parts(head, cut(Body::from(half), u64::MAX, End::Close, Short::Ends))
}

/// What becomes of a body that ends before it could be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Short {
    /// It ends as it would have.
    Stays,
    /// It is cut where it ends.
    Ends,
}

/// So many bytes of the body, and then this end. A shorter body comes whole.
pub(crate) fn cut_after(response: Response, bytes: u64, end: End) -> Response {
    let (mut head, body) = response.into_parts();
    // What is promised in the head stays what the whole body has.
    if let Some(length) = body.size_hint().exact() {
        head.headers
            .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Response::from_parts(head, cut(body, bytes, end, Short::Stays))
}

fn cut(body: Body, bytes: u64, end: End, short: Short) -> Body {
    let chunks: Chunks = Box::pin(body.into_data_stream());
    Body::from_stream(stream::unfold(Some((chunks, bytes)), move |state| {
        let end = end.clone();
        async move {
            let (mut chunks, left) = state?;
            if left == 0 {
                return Some((Err(end.come().await), None));
            }
            match chunks.next().await {
                Some(Ok(mut chunk)) => {
                    chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    let left = left - chunk.len() as u64;
                    Some((Ok(chunk), Some((chunks, left))))
                }
                Some(Err(error)) => Some((Err(io::Error::other(error)), None)),
                None if short == Short::Ends => Some((Err(end.come().await), None)),
                None => None,
            }
        }
    }))
}

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, axum::Error>> + Send>>;

/// A body that is broken off before its first byte.
pub(crate) fn broken() -> Body {
    cut(Body::empty(), u64::MAX, End::Close, Short::Ends)
}

/// The head, and nothing after it until `healed`; then the connection is reset.
pub(crate) fn stalled(response: Response, healed: oneshot::Receiver<()>, peer: Option<Peer>) -> Response {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers
            .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let end = async move {
        // Whether it was healed or the mocks were reset: either way it ends.
        healed.await.ok();
        Err::<Bytes, _>(End::Reset(peer).come().await)
    };
    // The service goes on writing to a stream that nobody reads, as behind a proxy that hangs.
    let kept = body;
    let body = stream::once(end).map(move |end| {
        let _kept = &kept;
        end
    });
    Response::from_parts(head, Body::from_stream(body))
}

/// The head at once and the body so much later.
pub(crate) fn late(response: Response, time: Duration) -> Response {
    let (head, body) = response.into_parts();
    let chunks = stream::once(tokio::time::sleep(time)).flat_map(move |()| Body::empty().into_data_stream());
    Response::from_parts(head, Body::from_stream(chunks.chain(body.into_data_stream())))
}

/// Each chunk so much later than the one before; a body that is no stream comes in ten.
pub(crate) async fn dripping(response: Response, time: Duration) -> Response {
    let is_stream = is_stream(&response);
    let (mut head, body) = response.into_parts();
    let chunks: Chunks = if is_stream {
        Box::pin(body.into_data_stream())
    } else {
        let bytes = whole(body).await;
        head.headers
            .insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        let size = bytes.len().div_ceil(CHUNKS).max(1);
        let starts = (0..bytes.len()).step_by(size);
        let parts: Vec<_> = starts
            .map(|start| Ok(bytes.slice(start..(start + size).min(bytes.len()))))
            .collect();
        Box::pin(stream::iter(parts))
    };
    let late = chunks.then(move |chunk| async move {
        tokio::time::sleep(time).await;
        chunk
    });
    Response::from_parts(head, Body::from_stream(late))
}

fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// A whole body, or the first chunk of one that does not end by itself.
async fn first(body: Body) -> Bytes {
    if body.size_hint().exact().is_some() {
        return whole(body).await;
    }
    let chunk = body.into_data_stream().next().await;
    chunk.and_then(Result::ok).unwrap_or_default()
}

/// A whole body of ours, which is in memory and cannot fail.
async fn whole(body: Body) -> Bytes {
    to_bytes(body, usize::MAX).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use axum::response::IntoResponse;
    use futures_util::FutureExt;
    use tokio::time::Instant;

    use super::*;

    fn good() -> Response {
        ([(header::CONTENT_TYPE, "application/json")], "[1,2]").into_response()
    }

    async fn read(response: Response) -> Result<String, ()> {
        let bytes = to_bytes(response.into_body(), 1 << 16).await.map_err(|_| ())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn each_fault_spoils_the_body_in_its_way() {
        for (spoilt, text) in [
            (truncate(good()).await, Err(())),
            (malformed(good()), Ok(PAGE)),
            (empty(good()), Ok("")),
            (reorder(good()).await, Ok("[2,1]")),
            (cut_after(good(), 3, End::Close), Err(())),
            (cut_after(good(), 3, End::Reset(None)), Err(())),
            (cut_after(good(), 6, End::Close), Ok("[1,2]")),
        ] {
            assert_eq!(spoilt.status(), 200);
            assert_eq!(spoilt.headers()["content-type"], "application/json");
            assert_eq!(
                read(spoilt).await.as_deref(),
                text.as_ref().copied().map_err(|()| &())
            );
        }
    }

    #[tokio::test]
    async fn a_body_is_cut_after_exactly_so_many_bytes() {
        for bytes in 0..5 {
            let mut chunks = cut_after(good(), bytes, End::Close)
                .into_body()
                .into_data_stream();
            let mut found = Vec::new();
            while let Some(Ok(chunk)) = chunks.next().await {
                found.extend(chunk);
            }

            assert_eq!(found.len() as u64, bytes);
        }
    }

    #[tokio::test]
    async fn garbage_has_the_length_of_what_it_replaces() {
        let spoilt = garbage(good(), &Random::seeded(7)).await;

        let bytes = whole(spoilt.into_body()).await;
        assert_eq!(bytes.len(), 5);
        assert_ne!(bytes, "[1,2]");
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_body_waits_once_and_a_dripping_one_at_each_chunk() {
        let second = Duration::from_secs(1);
        let start = Instant::now();

        assert_eq!(read(late(good(), second)).await, Ok("[1,2]".into()));
        let late = start.elapsed();
        assert_eq!(read(dripping(good(), second).await).await, Ok("[1,2]".into()));

        assert_eq!([late, start.elapsed()].map(|time| time.as_secs()), [1, 6]);
    }

    #[tokio::test]
    async fn a_stalled_body_ends_when_it_is_healed() {
        let (heal, healed) = oneshot::channel();
        let stalled = stalled(good(), healed, None);
        assert_eq!(stalled.headers()["content-length"], "5");
        let mut reading = pin!(read(stalled));
        assert!(reading.as_mut().now_or_never().is_none());

        heal.send(()).unwrap();

        assert_eq!(reading.await, Err(()));
    }
}
