//! A gate in a tab's connection: while it is shut, bytes wait on both sides, as on a machine that lost its network.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use polytab_seams::net::{AnyStream, ByteStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What waits to be sent at most, like a kernel's send buffer.
const HELD_BYTES: usize = 64 * 1024;

/// Opens and shuts. Clones share the gate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    shut: bool,
    waker: Option<Waker>,
}

impl Gate {
    /// From now on bytes wait.
    pub(crate) fn shut(&self) {
        self.state().shut = true;
    }

    /// Bytes pass again.
    pub(crate) fn open(&self) {
        let mut state = self.state();
        state.shut = false;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Whether bytes wait.
    pub(crate) fn is_shut(&self) -> bool {
        self.state().shut
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waits(&self, cx: &Context<'_>) -> bool {
        let mut state = self.state();
        if state.shut {
            state.waker = Some(cx.waker().clone());
        }
        state.shut
    }
}

/// A stream behind a gate.
#[derive(Debug)]
pub(crate) struct Gated {
    stream: AnyStream,
    gate: Gate,
    held: Vec<u8>,
}

impl Gated {
    pub(crate) fn new(stream: AnyStream, gate: Gate) -> Self {
        Self {
            stream,
            gate,
            held: Vec::new(),
        }
    }

    /// From now on, dropping the stream resets the connection.
    pub(crate) fn reset_on_drop(&self) {
        self.stream.reset_on_drop();
    }

    /// Sends what was held while the gate was shut.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.held) {
                Poll::Ready(Ok(sent)) => drop(self.held.drain(..sent)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.gate.waits(cx) {
            return Poll::Pending;
        }
        // Whoever reads wants answers to what was sent before; an error shows on the read as well.
        if let Poll::Ready(Err(error)) = self.poll_held(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.gate.waits(cx) {
            let room = HELD_BYTES - self.held.len();
            let taken = bytes.len().min(room);
            self.held.extend_from_slice(&bytes[..taken]);
            return if taken == 0 {
                Poll::Pending
            } else {
                Poll::Ready(Ok(taken))
            };
        }
        match self.poll_held(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.stream).poll_write(cx, bytes),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gate.is_shut() {
            return Poll::Ready(Ok(()));
        }
        match self.poll_held(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.stream).poll_flush(cx),
            other => other,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gate.is_shut() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
