//! One tab: a connection, what waits to be said over it, and the task that drives both. It decides nothing.

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message, Utf8Bytes,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::dial::Socket;

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

/// Drives a tab until it ends. `hear` is told every message.
pub(crate) async fn drive(socket: &mut Socket, orders: &Orders, mut hear: impl FnMut(&str)) -> End {
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
            Next::Heard(Ok(Message::Text(text))) => hear(text.as_str()),
            Next::Heard(Ok(Message::Binary(bytes))) => hear(&String::from_utf8_lossy(&bytes)),
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
