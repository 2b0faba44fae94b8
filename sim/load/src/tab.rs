//! One tab: a connection, what waits to be said over it, and the task that drives both. It decides nothing.

use std::{
    cell::RefCell,
    collections::VecDeque,
    fmt::Write,
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message, Utf8Bytes,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::{dial::Socket, hearing::Mark, tally::Count};

/// Nobody says goodbye: the connection broke (RFC 6455, 7.1.5).
pub(crate) const BROKEN: u16 = 1006;
/// A page that is left (RFC 6455, 7.4.1).
pub(crate) const LEFT: u16 = 1001;
/// A message takes no longer to be written; a server that does not read holds nobody up for ever.
const WRITE: Duration = Duration::from_secs(10);

/// What a tab is to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// Say this.
    Say(Utf8Bytes),
    /// Say goodbye and go.
    Leave,
    /// Go without a word.
    Drop,
    /// Read nothing for a while.
    Stall(Duration),
}

/// What a tab is yet to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orders(Rc<RefCell<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    orders: VecDeque<Order>,
    waker: Option<Waker>,
}

impl Orders {
    /// One more; false when there are so many already.
    pub(crate) fn give(&self, order: Order, limit: usize) -> bool {
        let mut waiting = self.0.borrow_mut();
        if waiting.orders.len() >= limit {
            return false;
        }
        waiting.orders.push_back(order);
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
        true
    }

    /// Before all others, which are no longer done.
    pub(crate) fn give_last(&self, order: Order) {
        self.0.borrow_mut().orders.clear();
        self.give(order, usize::MAX);
    }

    fn take(&self) -> Option<Order> {
        self.0.borrow_mut().orders.pop_front()
    }

    fn is_empty(&self) -> bool {
        self.0.borrow().orders.is_empty()
    }

    /// Nobody waits: an order that is given now is found without being woken.
    fn wake_nobody(&self) {
        self.0.borrow_mut().waker = None;
    }
}

/// How a tab ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It left.
    Left,
    /// The server closed it, with this code; or the connection broke.
    Closed(u16),
}

/// A message as it arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Frame<'a> {
    /// Text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

/// Characters of an excerpt.
const EXCERPT: usize = 160;

impl Frame<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The one JSON value that it is.
    ///
    /// # Errors
    ///
    /// The count of messages of its kind that no JSON pattern can match.
    pub(crate) fn read(&self) -> Result<Value, Count> {
        serde_json::from_slice(self.bytes()).map_err(|_| self.kind())
    }

    /// Returns `true` if it contains the mark of a change.
    pub(crate) fn has_mark(&self) -> bool {
        let text = String::from_utf8_lossy(self.bytes());
        Mark::find(&text).is_some()
    }

    fn kind(&self) -> Count {
        let mut values = serde_json::Deserializer::from_slice(self.bytes()).into_iter::<Value>();
        // A number is also the beginning of many texts.
        let begins_with_json = matches!(values.next(), Some(Ok(Value::Object(_) | Value::Array(_))));
        match self {
            _ if begins_with_json => Count::JoinedFrames,
            Self::Text(_) => Count::TextFrames,
            Self::Binary(_) => Count::BinaryFrames,
        }
    }

    /// Its beginning, for people: what a terminal would take for a command is escaped.
    pub(crate) fn excerpt(&self) -> String {
        let (length, mut text) = match self {
            Self::Text(text) => (text.chars().count(), shown(text.chars().take(EXCERPT))),
            Self::Binary(bytes) => (
                bytes.len(),
                shown(bytes.iter().take(EXCERPT / 8).map(|byte| char::from(*byte))),
            ),
        };
        let (limit, unit) = match self {
            Self::Text(_) => (EXCERPT, "characters"),
            Self::Binary(_) => (EXCERPT / 8, "bytes"),
        };
        if length > limit {
            write!(text, "… ({length} {unit})").ok();
        }
        text
    }
}

/// Letters for people: control characters and everything that does not print are escaped.
pub(crate) fn shown(letters: impl Iterator<Item = char>) -> String {
    let mut shown = String::new();
    for letter in letters {
        match letter {
            '"' | '\'' => shown.push(letter),
            _ => shown.extend(letter.escape_debug()),
        }
    }
    shown
}

/// Drives a tab until it ends. `hear` gets every message.
pub(crate) async fn drive(socket: &mut Socket, orders: &Orders, mut hear: impl FnMut(Frame<'_>)) -> End {
    loop {
        match say(socket, orders).await {
            Ok(None) => {}
            Ok(Some(end)) => return end,
            Err(code) => return End::Closed(code),
        }
        // A turn of its own for each message: a server that floods one tab does not starve the others, as Tokio's
        // budget makes reading yield.
        let next = next(socket, orders).await;
        orders.wake_nobody();
        match next {
            Next::Order | Next::Heard(Ok(Message::Pong(_) | Message::Frame(_))) => {}
            Next::Heard(Ok(Message::Text(text))) => hear(Frame::Text(text.as_str())),
            Next::Heard(Ok(Message::Binary(bytes))) => hear(Frame::Binary(&bytes)),
            Next::Heard(Ok(Message::Close(frame))) => {
                // The answer is queued by the library; whether it still arrives does not matter.
                socket.flush().await.ok();
                return End::Closed(frame.map_or(1005, |frame| frame.code.into()));
            }
            Next::Heard(Ok(Message::Ping(_))) => {
                if socket.flush().await.is_err() {
                    return End::Closed(BROKEN);
                }
            }
            Next::Heard(Err(error)) => return End::Closed(code_of(&error)),
        }
    }
}

enum Next {
    Order,
    Heard(Result<Message, tungstenite::Error>),
}

/// Waits for a message or an order. Cancel safe.
async fn next(socket: &mut Socket, orders: &Orders) -> Next {
    std::future::poll_fn(|cx| {
        if !orders.is_empty() {
            return Poll::Ready(Next::Order);
        }
        let waker = &mut orders.0.borrow_mut().waker;
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        socket
            .poll_next_unpin(cx)
            .map(|message| Next::Heard(message.unwrap_or(Err(tungstenite::Error::ConnectionClosed))))
    })
    .await
}

/// Does what was ordered. An error is a close code.
async fn say(socket: &mut Socket, orders: &Orders) -> Result<Option<End>, u16> {
    let mut said = false;
    while let Some(order) = orders.take() {
        match order {
            Order::Say(text) => {
                said = true;
                in_time(socket.feed(Message::Text(text))).await?;
            }
            Order::Leave => {
                let goodbye = CloseFrame {
                    code: CloseCode::from(LEFT),
                    reason: Utf8Bytes::from_static(""),
                };
                // A browser that closes a page does not wait for the answer.
                in_time(WebSocketStream::close(socket, Some(goodbye))).await.ok();
                return Ok(Some(End::Left));
            }
            Order::Drop => {
                socket.get_ref().reset_on_drop();
                return Ok(Some(End::Left));
            }
            Order::Stall(duration) => tokio::time::sleep(duration).await,
        }
    }
    if said {
        in_time(socket.flush()).await?;
    }
    Ok(None)
}

async fn in_time(writing: impl Future<Output = Result<(), tungstenite::Error>>) -> Result<(), u16> {
    match tokio::time::timeout(WRITE, writing).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(code_of(&error)),
        Err(_) => Err(BROKEN),
    }
}

fn code_of(error: &tungstenite::Error) -> u16 {
    match error {
        tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)
        | tungstenite::Error::Io(_)
        | tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed => BROKEN,
        tungstenite::Error::Capacity(_) => 1009,
        tungstenite::Error::Utf8(_) => 1007,
        _ => 1002,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_that_no_json_pattern_can_match_are_told_apart() {
        for (frame, read) in [
            (Frame::Text(r#"{"a": 1}"#), Ok(json!({"a": 1}))),
            (Frame::Binary(br#"{"a": 1}"#), Ok(json!({"a": 1}))),
            (Frame::Text("2"), Ok(json!(2))),
            (Frame::Text("42[\"hello\"]"), Err(Count::TextFrames)),
            (Frame::Text("hello"), Err(Count::TextFrames)),
            (Frame::Text(""), Err(Count::TextFrames)),
            (
                Frame::Text("{\"type\":6}\u{1e}{\"type\":1}\u{1e}"),
                Err(Count::JoinedFrames),
            ),
            (Frame::Text("[1]\n[2]"), Err(Count::JoinedFrames)),
            (Frame::Binary(&[0, 255, 3]), Err(Count::BinaryFrames)),
        ] {
            assert_eq!(frame.read(), read, "{frame:?}");
        }
    }

    #[test]
    fn excerpts_are_short_and_cannot_command_a_terminal() {
        let hostile = format!("\u{1b}[2J\r\n\u{202e}\"{}", "x".repeat(200));

        let excerpt = Frame::Text(&hostile).excerpt();

        assert!(excerpt.starts_with(r#"\u{1b}[2J\r\n\u{202e}"xxx"#), "{excerpt}");
        assert!(excerpt.ends_with("xxx… (208 characters)"), "{excerpt}");
        assert_eq!(Frame::Binary(&[0, b'a', 200]).excerpt(), "\\0aÈ");
    }
}
