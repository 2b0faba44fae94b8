//! A tab's outbox: what waits to be written to it, bounded in messages and bytes.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use polytab_protocol::close::CloseCode;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// How a tab is to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) code: u16,
    pub(crate) reason: String,
}

impl From<CloseCode> for Close {
    fn from(code: CloseCode) -> Self {
        Self {
            code: code.number(),
            reason: code.meaning().to_owned(),
        }
    }
}

/// What comes next out of an outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    Text(Utf8Bytes),
    Close(Close),
}

/// Bounds of an outbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// An outbox. Clones share it; nothing is allocated while it is empty.
#[derive(Clone, Debug)]
pub(crate) struct Outbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bounds: Bounds,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Utf8Bytes>,
    bytes: usize,
    close: Option<Close>,
    overflowed: bool,
}

impl Outbox {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Shared {
            bounds,
            state: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// Adds a message. One too many closes the tab: what waits is dropped, as it could never be delivered whole.
    pub(crate) fn push(&self, text: Utf8Bytes) {
        let mut state = self.state();
        if state.close.is_some() {
            return;
        }
        let Bounds { messages, bytes } = self.0.bounds;
        if state.queue.len() >= messages || state.bytes + text.len() > bytes {
            *state = State {
                close: Some(CloseCode::TooSlow.into()),
                overflowed: true,
                ..State::default()
            };
        } else {
            state.bytes += text.len();
            state.queue.push_back(text);
        }
        drop(state);
        self.0.changed.notify_one();
    }

    /// Closes the tab after what waits already. The first close counts.
    pub(crate) fn close(&self, close: Close) {
        let mut state = self.state();
        state.close.get_or_insert(close);
        drop(state);
        self.0.changed.notify_one();
    }

    /// How many messages and bytes wait.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let state = self.state();
        (state.queue.len(), state.bytes)
    }

    /// Waits until the outbox has overflowed: there is no use in waiting for a write any longer. Cancel safe.
    pub(crate) async fn overflowed(&self) {
        while !self.state().overflowed {
            self.0.changed.notified().await;
        }
    }

    /// What comes next. Cancel safe: nothing is taken before it is given.
    pub(crate) async fn next(&self) -> Outgoing {
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            self.0.changed.notified().await;
        }
    }

    fn take(&self) -> Option<Outgoing> {
        let mut state = self.state();
        if let Some(text) = state.queue.pop_front() {
            state.bytes -= text.len();
            return Some(Outgoing::Text(text));
        }
        // Memory of a burst is given back: most tabs are silent most of the time.
        state.queue.shrink_to_fit();
        state.close.clone().map(Outgoing::Close)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> Outbox {
        Outbox::new(Bounds {
            messages: 2,
            bytes: 10,
        })
    }

    #[tokio::test]
    async fn a_close_comes_after_what_waits() {
        let outbox = outbox();
        outbox.push("a".into());
        outbox.close(CloseCode::SignedOut.into());
        outbox.push("b".into());

        assert_eq!(outbox.next().await, Outgoing::Text("a".into()));
        assert_eq!(outbox.next().await, Outgoing::Close(CloseCode::SignedOut.into()));
    }

    #[tokio::test]
    async fn one_message_too_many_closes_as_too_slow() {
        let (count, bytes) = (outbox(), outbox());
        (0..3).for_each(|_| count.push("a".into()));
        bytes.push("12345678901".into());

        for outbox in [count, bytes] {
            outbox.overflowed().await;
            assert_eq!(outbox.next().await, Outgoing::Close(CloseCode::TooSlow.into()));
        }
    }
}
