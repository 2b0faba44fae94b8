//! One in-memory connection with the manners of a network: latency, jitter, a bounded window, resets.
//!
//! Each direction is a queue of chunks with the time each is due. Closing follows the kernel: the reader first gets
//! what was sent, then the end (or the reset).

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf, Bytes};
use polytab_seams::{net::ByteStream, random::Random};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// What one direction holds in flight at most, like a kernel's socket buffers.
const WINDOW_BYTES: usize = 64 * 1024;

/// How long bytes are under way.
#[derive(Clone, Debug)]
pub(crate) struct Delay {
    /// At least this long.
    pub(crate) latency: Duration,
    /// And up to this much longer, drawn for each chunk.
    pub(crate) jitter: Duration,
    /// Where the draws come from.
    pub(crate) random: Random,
    /// The stream of draws: who to whom.
    pub(crate) purpose: String,
}

impl Delay {
    fn draw(&self) -> Duration {
        let jitter_ms = u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX);
        self.latency + Duration::from_millis(self.random.below(&self.purpose, jitter_ms.saturating_add(1)))
    }
}

/// How a direction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    InOrder,
    Reset,
}

/// One direction.
#[derive(Debug)]
struct Way {
    delay: Delay,
    chunks: VecDeque<(Instant, Bytes)>,
    held_bytes: usize,
    end: Option<(Instant, End)>,
    last_due: Instant,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Way {
    fn new(delay: Delay) -> Self {
        Self {
            delay,
            chunks: VecDeque::new(),
            held_bytes: 0,
            end: None,
            last_due: Instant::now(),
            reader_gone: false,
            reader: None,
            writer: None,
        }
    }

    /// When something sent now is due: never before what was sent earlier.
    fn due(&mut self) -> Instant {
        let due = (Instant::now() + self.delay.draw()).max(self.last_due);
        self.last_due = due;
        due
    }

    fn finish(&mut self, end: End) {
        if self.end.is_none() {
            let due = self.due();
            self.end = Some((due, end));
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
    }
}

type SharedWay = Arc<Mutex<Way>>;

fn lock(way: &SharedWay) -> MutexGuard<'_, Way> {
    way.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One end of a link.
#[derive(Debug)]
pub(crate) struct LinkEnd {
    incoming: SharedWay,
    outgoing: SharedWay,
    due: Pin<Box<Sleep>>,
    reset: Mutex<bool>,
}

/// A link, as its two ends: bytes written to the first are read from the second after `there`, and back after `back`.
pub(crate) fn link(there: Delay, back: Delay) -> (LinkEnd, LinkEnd) {
    let (there, back) = (
        Arc::new(Mutex::new(Way::new(there))),
        Arc::new(Mutex::new(Way::new(back))),
    );
    let end = |incoming: &SharedWay, outgoing: &SharedWay| LinkEnd {
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
        due: Box::pin(tokio::time::sleep(Duration::ZERO)),
        reset: Mutex::new(false),
    };
    (end(&back, &there), end(&there, &back))
}

impl AsyncRead for LinkEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let mut way = lock(&this.incoming);
            let next = way
                .chunks
                .front()
                .map(|(due, _)| *due)
                .or(way.end.map(|(due, _)| due));
            let Some(due) = next else {
                way.reader = Some(cx.waker().clone());
                return Poll::Pending;
            };
            if due > Instant::now() {
                way.reader = Some(cx.waker().clone());
                drop(way);
                this.due.as_mut().reset(due);
                match this.due.as_mut().poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => continue,
                }
            }
            return Poll::Ready(way.take(buffer));
        }
    }
}

impl Way {
    /// Moves what is due into `buffer`; leaves it as it is at an end in order.
    fn take(&mut self, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        let before = buffer.filled().len();
        while let Some((due, chunk)) = self.chunks.front_mut() {
            let taken = chunk.len().min(buffer.remaining());
            if *due > Instant::now() || taken == 0 {
                break;
            }
            buffer.put_slice(&chunk[..taken]);
            chunk.advance(taken);
            self.held_bytes -= taken;
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
        }
        if buffer.filled().len() > before {
            if let Some(writer) = self.writer.take() {
                writer.wake();
            }
            return Ok(());
        }
        match self.end {
            Some((_, End::Reset)) => Err(io::ErrorKind::ConnectionReset.into()),
            Some((_, End::InOrder)) | None => Ok(()),
        }
    }
}

impl AsyncWrite for LinkEnd {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if lock(&self.incoming)
            .end
            .is_some_and(|(due, end)| end == End::Reset && due <= Instant::now())
        {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let mut way = lock(&self.outgoing);
        if way.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        // As with a kernel, bytes to a peer that is gone vanish; the peer's reset says so a moment later.
        if way.reader_gone {
            return Poll::Ready(Ok(bytes.len()));
        }
        let room = WINDOW_BYTES - way.held_bytes;
        if room == 0 {
            way.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = bytes.len().min(room);
        let due = way.due();
        way.held_bytes += taken;
        way.chunks
            .push_back((due, Bytes::copy_from_slice(&bytes[..taken])));
        if let Some(reader) = way.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.outgoing).finish(End::InOrder);
        Poll::Ready(Ok(()))
    }
}

impl ByteStream for LinkEnd {
    fn reset_on_drop(&self) {
        *self.reset.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

impl Drop for LinkEnd {
    fn drop(&mut self) {
        let mut incoming = lock(&self.incoming);
        incoming.reader_gone = true;
        // A kernel that is asked to close with unread bytes, or told to linger for none, sends a reset.
        let unread = !incoming.chunks.is_empty();
        incoming.chunks.clear();
        incoming.held_bytes = 0;
        if let Some(writer) = incoming.writer.take() {
            writer.wake();
        }
        drop(incoming);
        let reset = unread || *self.reset.lock().unwrap_or_else(PoisonError::into_inner);
        let mut outgoing = lock(&self.outgoing);
        if reset {
            outgoing.chunks.clear();
            outgoing.end = None;
        }
        outgoing.finish(if reset { End::Reset } else { End::InOrder });
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair(jitter_ms: u64) -> (LinkEnd, LinkEnd) {
        let delay = |purpose: &str| Delay {
            latency: Duration::from_millis(2),
            jitter: Duration::from_millis(jitter_ms),
            random: Random::seeded(7),
            purpose: purpose.to_owned(),
        };
        link(delay("there"), delay("back"))
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_arrive_in_order_after_their_latency() {
        let (mut left, mut right) = pair(5);
        let start = Instant::now();

        for byte in 0..50 {
            left.write_all(&[byte]).await.unwrap();
        }
        drop(left);

        let mut read = Vec::new();
        right.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, (0..50).collect::<Vec<u8>>());
        assert!((2..=7).contains(&start.elapsed().as_millis()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_does_not_read_stops_the_writer() {
        let (mut left, mut right) = pair(0);

        let stuck =
            tokio::time::timeout(Duration::from_mins(1), left.write_all(&vec![1; WINDOW_BYTES + 1])).await;

        assert!(stuck.is_err());
        right.read_exact(&mut [0; 10]).await.unwrap();
        left.write_all(&[1]).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_is_seen_by_reader_and_writer() {
        let (left, mut right) = pair(0);

        left.reset_on_drop();
        drop(left);

        assert_eq!(
            right.read_u8().await.unwrap_err().kind(),
            io::ErrorKind::ConnectionReset
        );
        assert_eq!(
            right.write_all(b"x").await.unwrap_err().kind(),
            io::ErrorKind::ConnectionReset
        );
    }
}
