//! A tab's outbox: what waits to be written to it, bounded in messages and bytes.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use polytab_protocol::{
    close::CloseCode,
    message::{ServerMessage, with_superseded},
};
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

/// A message as every tab that it is for gets it.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    text: Utf8Bytes,
    /// Of a numbered notification its type: the next one of that type says all that this one does.
    kind: Option<Arc<str>>,
}

impl Encoded {
    /// Encodes a message, once for all tabs.
    pub(crate) fn new(message: &ServerMessage, now: Timestamp) -> Self {
        Self {
            text: message.encode(now).into(),
            kind: message.is_notification().then(|| message.kind().into()),
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
    queue: VecDeque<Waiting>,
    /// Of the queue.
    bytes: usize,
    /// Handed to the tab's connection, which did not take them all yet.
    carried: usize,
    close: Option<Close>,
    overflowed: bool,
}

/// A message that waits.
#[derive(Debug)]
struct Waiting {
    encoded: Encoded,
    /// Numbered notifications just before it that were left out.
    superseded: u64,
}

impl Outbox {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Shared {
            bounds,
            state: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// Adds a message. When there is no room, notifications that a later one of their type supersedes are left out, and
    /// it is said how many. When there is none even so, the tab is closed, and what waits is dropped: it could never be
    /// delivered whole.
    pub(crate) fn push(&self, encoded: Encoded) -> usize {
        let mut state = self.state();
        if state.close.is_some() {
            return 0;
        }
        state.bytes += encoded.text.len();
        state.queue.push_back(Waiting {
            encoded,
            superseded: 0,
        });
        let before = state.queue.len();
        if state.is_over(self.0.bounds) {
            state.coalesce();
        }
        let superseded = before - state.queue.len();
        if state.is_over(self.0.bounds) {
            *state = State {
                close: Some(CloseCode::TooSlow.into()),
                overflowed: true,
                ..State::default()
            };
        }
        drop(state);
        self.0.changed.notify_one();
        superseded
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
        (state.queue.len(), state.bytes + state.carried)
    }

    /// So many more bytes were handed to the connection. What it is given out of the outbox counts by itself.
    pub(crate) fn carry(&self, bytes: usize) {
        self.state().carried += bytes;
    }

    /// The connection has taken all that it was handed.
    pub(crate) fn carried(&self) {
        self.state().carried = 0;
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
        if let Some(Waiting { encoded, superseded }) = state.queue.pop_front() {
            state.bytes -= encoded.text.len();
            state.carried += encoded.text.len();
            let text = match superseded {
                0 => encoded.text,
                superseded => with_superseded(&encoded.text, superseded).into(),
            };
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

impl State {
    fn is_over(&self, bounds: Bounds) -> bool {
        self.queue.len() > bounds.messages || self.bytes + self.carried > bounds.bytes
    }

    /// Leaves out numbered notifications that a later one of their type supersedes. The numbered one after a gap says
    /// how many are missing there, as a tab would take it for a loss.
    fn coalesce(&mut self) {
        let mut missing = 0;
        let all = std::mem::take(&mut self.queue);
        let kinds: Vec<_> = all.iter().map(|waiting| waiting.encoded.kind.clone()).collect();
        for (nth, mut waiting) in all.into_iter().enumerate() {
            let is_numbered = waiting.encoded.kind.is_some();
            if is_numbered && kinds[nth + 1..].contains(&waiting.encoded.kind) {
                missing += 1 + waiting.superseded;
                self.bytes -= waiting.encoded.text.len();
                continue;
            }
            if is_numbered {
                waiting.superseded += std::mem::take(&mut missing);
            }
            self.queue.push_back(waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use polytab_protocol::message::Position;
    use serde_json::{Value, json};

    use super::*;

    fn outbox(messages: usize, bytes: usize) -> Outbox {
        Outbox::new(Bounds { messages, bytes })
    }

    fn plain(text: &str) -> Encoded {
        Encoded {
            text: text.into(),
            kind: None,
        }
    }

    fn notification(kind: &str, seq: u64) -> Encoded {
        let position = Position {
            epoch: "e".into(),
            seq,
        };
        Encoded::new(
            &ServerMessage::user(kind, &json!({})).at(position),
            Timestamp::UNIX_EPOCH,
        )
    }

    /// Type, number, and how many were left out before it, of all that waits.
    fn waiting(outbox: &Outbox) -> Vec<(String, u64, u64)> {
        let mut all = Vec::new();
        while let Some(Outgoing::Text(text)) = outbox.take() {
            let frame: Value = serde_json::from_str(&text).unwrap();
            let number = |key: &str| frame[key].as_u64().unwrap_or(0);
            all.push((
                frame["type"].as_str().unwrap().to_owned(),
                number("seq"),
                number("superseded"),
            ));
        }
        all
    }

    #[tokio::test]
    async fn a_close_comes_after_what_waits() {
        let outbox = outbox(2, 10);
        outbox.push(plain("a"));
        outbox.close(CloseCode::SignedOut.into());
        outbox.push(plain("b"));

        assert_eq!(outbox.next().await, Outgoing::Text("a".into()));
        assert_eq!(outbox.next().await, Outgoing::Close(CloseCode::SignedOut.into()));
    }

    #[tokio::test]
    async fn one_message_too_many_closes_as_too_slow() {
        let (count, bytes) = (outbox(2, 10), outbox(2, 10));
        (0..3).for_each(|_| {
            count.push(plain("a"));
        });
        bytes.push(plain("12345678901"));

        for outbox in [count, bytes] {
            outbox.overflowed().await;
            assert_eq!(outbox.next().await, Outgoing::Close(CloseCode::TooSlow.into()));
        }
    }

    #[test]
    fn what_the_connection_did_not_take_yet_counts() {
        let outbox = outbox(9, 10);
        outbox.push(plain("12345"));
        outbox.take();
        outbox.carry(1);
        outbox.push(plain("1234"));
        assert_eq!(outbox.depth(), (1, 10));

        outbox.carried();
        assert_eq!(outbox.depth(), (1, 4));

        outbox.carry(2);
        outbox.push(plain("12345"));
        assert_eq!(outbox.take(), Some(Outgoing::Close(CloseCode::TooSlow.into())));
    }

    #[test]
    fn a_full_outbox_leaves_out_what_is_superseded_and_says_so() {
        let outbox = outbox(4, 10_000);
        for (kind, seq) in [("version", 1), ("activation", 2), ("version", 3), ("version", 4)] {
            assert_eq!(outbox.push(notification(kind, seq)), 0);
        }

        assert_eq!(outbox.push(notification("version", 5)), 3);
        let plain = ServerMessage::user("version", &json!({}));
        outbox.push(Encoded::new(&plain, Timestamp::UNIX_EPOCH));
        outbox.push(notification("activation", 6));
        assert_eq!(outbox.push(notification("activation", 7)), 2);

        let all = [("version", 5, 4), ("version", 0, 0), ("activation", 7, 1)];
        assert_eq!(
            waiting(&outbox),
            all.map(|(kind, seq, left)| (kind.to_owned(), seq, left))
        );
    }

    #[test]
    fn notifications_that_supersede_each_other_never_close_a_tab() {
        let outbox = outbox(4, 1000);
        for seq in 1..=1000 {
            outbox.push(notification(
                ["version", "activation"][usize::from(seq % 3 == 0)],
                seq,
            ));
        }

        let all = waiting(&outbox);
        let (told, left): (u64, u64) = (all.len() as u64, all.iter().map(|(_, _, left)| left).sum());
        assert_eq!(told + left, 1000);
        assert_eq!(all.last().unwrap().1, 1000);
    }
}
