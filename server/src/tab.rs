//! A tab: one WebSocket, from the upgrade to the end. Reads commands, writes its outbox, pings.

use std::{sync::Arc, time::Duration};

use futures_util::{
    FutureExt, SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use polytab_protocol::{
    close::{CloseCode, Return},
    message::{ClientMessage, ErrorCode, ServerMessage},
};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until, timeout, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        error::{CapacityError, ProtocolError},
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};

use crate::{
    auth::{Credential, Refusal},
    channel::event::Event,
    host::Host,
    hub::{Hub, Membership},
    metrics::Closed,
    outbox::{Bounds, Close, Outbox, Outgoing},
    rate::Rate,
};

/// Buffers of a tab: its messages are some hundred bytes, and there are many tabs. tungstenite's default of 128 KiB
/// would be 1.2 GiB for 10,000 of them.
const READ_BUFFER_BYTES: usize = 1024;

/// The most that goes before a message of a server in its frame (RFC 6455, section 5.2).
const HEADER_BYTES: usize = 10;

type Socket = WebSocketStream<TokioIo<Upgraded>>;
type Sink = SplitSink<Socket, Message>;
type Stream = SplitStream<Socket>;

/// Why a tab's conversation is over.
enum End {
    /// The peer left, or its connection broke: there is nobody to tell.
    Gone,
    /// It is to be told.
    Close(Close),
    /// It cannot be told: what is written does not arrive.
    Stuck,
}

impl From<CloseCode> for End {
    fn from(code: CloseCode) -> Self {
        Self::Close(code.into())
    }
}

/// Runs a tab whose upgrade was just answered.
pub(crate) async fn run(host: Arc<Host>, upgrade: OnUpgrade, credential: Credential) {
    // A peer that left during the upgrade is no tab.
    let Ok(upgraded) = upgrade.await else { return };
    tab(host, upgraded).await.run(credential).await;
}

/// Gives back what a peer sends, for tests of the protocol; everything below the messages is as for any tab.
#[cfg(feature = "echo")]
pub(crate) async fn echo(host: Arc<Host>, upgrade: OnUpgrade) {
    let Ok(upgraded) = upgrade.await else { return };
    tab(host, upgraded).await.echo().await;
}

async fn tab(host: Arc<Host>, upgraded: Upgraded) -> Tab {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(host.config.outbox_bytes + HEADER_BYTES)
        .max_message_size(Some(host.config.message_bytes))
        .max_frame_size(Some(host.config.message_bytes));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let (sink, stream) = socket.split();
    let pings = {
        let period = host.config.ping_interval.0;
        let mut pings = interval_at(Instant::now() + period, period);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings
    };
    let rate = Rate::new(host.config.commands_burst, host.config.commands_per_second);
    Tab {
        host,
        sink,
        stream,
        pings,
        rate,
        unanswered: 0,
        writing_since: None,
    }
}

struct Tab {
    host: Arc<Host>,
    sink: Sink,
    stream: Stream,
    pings: Interval,
    rate: Rate,
    /// Pings that were not answered yet.
    unanswered: u32,
    /// Since when bytes wait to be taken by the network.
    writing_since: Option<Instant>,
}

impl Tab {
    async fn run(mut self, credential: Credential) {
        // What the tab sends meanwhile waits in the kernel's buffers, which are bounded. Boxed, for this once takes more
        // memory than all that a tab needs ever after.
        let identifying = async { self.host.auth.identify(&credential).await };
        let who = Box::pin(identifying).await;
        drop(credential);
        let end = match who {
            Ok((user, session)) => {
                let config = &self.host.config;
                let outbox = Outbox::new(Bounds {
                    messages: config.outbox_messages,
                    bytes: config.outbox_bytes,
                });
                let membership = Hub::join(&self.host, user, session, outbox.clone()).await;
                self.converse(&membership, &outbox).await
            }
            Err(refusal) => self.refuse(refusal).await,
        };
        self.end(end).await;
    }

    #[cfg(feature = "echo")]
    async fn echo(mut self) {
        let limit = self.host.config.write_timeout.0;
        let end = loop {
            let message = match self.stream.next().await {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => message,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Close(_))) | None => break End::Gone,
                Some(Err(error)) => break fault(&error),
            };
            match timeout(limit, self.sink.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => break End::Gone,
                Err(_) => break End::Stuck,
            }
        };
        self.end(end).await;
    }

    async fn refuse(&mut self, refusal: Refusal) -> End {
        let (error, text, code) = match refusal {
            Refusal::Missing => (ErrorCode::AuthMissing, "sign in first", CloseCode::NotSignedIn),
            Refusal::Expired => (
                ErrorCode::AuthExpired,
                "your login session is over; sign in again",
                CloseCode::SignedOut,
            ),
            Refusal::Unavailable => {
                let text = "the identity provider cannot be reached; try again later";
                (ErrorCode::AuthUnavailable, text, CloseCode::IdentityUnavailable)
            }
        };
        let message = ServerMessage::error(error, text).encode(self.host.seams.clock.wall());
        let limit = self.host.config.write_timeout.0;
        match timeout(limit, self.sink.send(Message::text(message))).await {
            Ok(Ok(())) => self.pause(code).await,
            Ok(Err(_)) => End::Gone,
            Err(_) => End::Stuck,
        }
    }

    /// Lets a refused tab wait for its close frame; a tab that leaves meanwhile is gone, and a drain ends the wait.
    async fn pause(&mut self, code: CloseCode) -> End {
        let over_at = Instant::now() + self.host.config.refusal_pause.0;
        let is_there =
            |read: &Option<Result<Message, _>>| matches!(read, Some(Ok(message)) if !message.is_close());
        loop {
            tokio::select! {
                biased;
                () = sleep_until(over_at) => return code.into(),
                () = self.host.draining.cancelled() => return code.into(),
                read = self.stream.next() => if !is_there(&read) {
                    return End::Gone;
                },
            }
        }
    }

    /// Reads, writes and pings until one side ends it. Reading goes on while a write is stuck.
    async fn converse(&mut self, membership: &Membership, outbox: &Outbox) -> End {
        let draining = self.host.draining.clone();
        let mut drain_at = None;
        let write_timeout = self.host.config.write_timeout.0;
        loop {
            let stuck_at = self.writing_since.map(|since| since + write_timeout);
            let writing = stuck_at.is_some();
            let woken = tokio::select! {
                biased; // Rarest first; what a tab itself can cause often comes last.
                () = draining.cancelled(), if drain_at.is_none() => Woken::Draining,
                () = wait_until(drain_at), if drain_at.is_some() => Woken::Drained,
                () = wait_until(stuck_at), if writing => Woken::Stuck,
                () = outbox.overflowed(), if writing => Woken::Overflowed,
                _ = self.pings.tick() => Woken::PingDue,
                flushed = self.sink.flush(), if writing => Woken::Flushed(flushed),
                next = outbox.next(), if !writing => Woken::Outgoing(next),
                read = self.stream.next() => Woken::Read(read),
            };
            let end = match woken {
                Woken::Draining => {
                    drain_at = Some(Instant::now() + self.drain_delay());
                    None
                }
                Woken::Drained => Some(End::Close(self.drain_close())),
                Woken::Stuck => Some(End::Stuck),
                // It may only be slow: then it can still be told why.
                Woken::Overflowed => Some(CloseCode::TooSlow.into()),
                Woken::PingDue => self.ping(outbox).await,
                Woken::Flushed(flushed) => self.flushed(Some(flushed), outbox),
                Woken::Outgoing(Outgoing::Text(text)) => self.write(Message::Text(text), outbox).await,
                Woken::Outgoing(Outgoing::Close(close)) => Some(End::Close(close)),
                Woken::Read(Some(Ok(Message::Ping(payload)))) => {
                    // Its answer lies in the write buffer.
                    outbox.carry(HEADER_BYTES + payload.len());
                    self.flush(outbox)
                }
                Woken::Read(read) => self.read(membership, read).await,
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Tabs are sent away over the drain time, each at a moment of its own.
    fn drain_delay(&self) -> Duration {
        let all_ms = u64::try_from(self.host.config.drain_time.0.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.host.seams.random.below("server/drain", all_ms))
    }

    fn drain_close(&self) -> Close {
        let config = &self.host.config;
        Close {
            code: CloseCode::Draining.number(),
            reason: format!("retry_ms={}", config.retry_ms),
        }
    }

    async fn ping(&mut self, outbox: &Outbox) -> Option<End> {
        if self.unanswered >= self.host.config.pings_unanswered {
            return Some(End::Stuck);
        }
        self.unanswered += 1;
        // A ping behind a write that is stuck would tell nothing that the write's own limit does not.
        if self.writing_since.is_some() {
            None
        } else {
            self.write(Message::Ping(bytes::Bytes::new()), outbox).await
        }
    }

    /// Hands a message to the network; whether it is taken shows on the flush.
    async fn write(&mut self, message: Message, outbox: &Outbox) -> Option<End> {
        if let Err(error) = self.sink.feed(message).await {
            return Some(unwritten(&error));
        }
        self.flush(outbox)
    }

    /// The network mostly takes all at once. What it does not is waited for, beside all else.
    fn flush(&mut self, outbox: &Outbox) -> Option<End> {
        let flushed = self.sink.flush().now_or_never();
        self.flushed(flushed, outbox)
    }

    fn flushed(&mut self, flushed: Option<Result<(), tungstenite::Error>>, outbox: &Outbox) -> Option<End> {
        match flushed {
            Some(Ok(())) => {
                self.writing_since = None;
                outbox.carried();
                None
            }
            Some(Err(error)) => Some(unwritten(&error)),
            None => {
                self.writing_since.get_or_insert_with(Instant::now);
                None
            }
        }
    }

    async fn read(
        &mut self,
        membership: &Membership,
        read: Option<Result<Message, tungstenite::Error>>,
    ) -> Option<End> {
        match read {
            Some(Ok(Message::Text(text))) => self.command(membership, &text).await,
            Some(Ok(Message::Binary(_))) => Some(CloseCode::Binary.into()),
            Some(Ok(Message::Pong(_))) => {
                self.unanswered = 0;
                None
            }
            Some(Ok(Message::Ping(_) | Message::Frame(_))) => None,
            Some(Ok(Message::Close(_))) | None => Some(End::Gone),
            Some(Err(error)) => Some(fault(&error)),
        }
    }

    async fn command(&mut self, membership: &Membership, text: &str) -> Option<End> {
        if !self.rate.take(Instant::now()) {
            return Some(CloseCode::TooManyCommands.into());
        }
        let tab = membership.tab;
        let event = match text.parse::<ClientMessage>() {
            Ok(message) => Event::Received(tab, message),
            Err(error) => Event::Garbled(tab, error.to_string()),
        };
        membership.tell(event).await;
        None
    }

    /// Ends the connection in order (RFC 6455 §7.1.1): a close frame, the peer's close frame, then the end of the
    /// TCP stream from this side. Reading goes on until the peer ends its side too, because closing a socket with
    /// unread bytes resets it, and the peer would lose the close frame.
    async fn end(mut self, end: End) {
        let deadline = Instant::now() + self.host.config.close_timeout.0;
        match end {
            // The answer to the peer's close frame may still wait.
            End::Gone => {
                timeout_at(deadline, self.sink.close()).await.ok();
            }
            End::Stuck => return self.cut(),
            End::Close(close) => {
                if !matches!(timeout_at(deadline, self.close(close)).await, Ok(Ok(()))) {
                    return;
                }
            }
        }
        let Ok(mut socket) = self.sink.reunite(self.stream) else {
            return;
        };
        let stream = socket.get_mut();
        let leaving = async {
            // Browsers report the close only when the TCP stream has ended; Chromium waits up to 2 s for it.
            stream.shutdown().await?;
            tokio::io::copy(stream, &mut tokio::io::sink()).await
        };
        timeout_at(deadline, leaving).await.ok();
    }

    /// Sends a close frame and waits until the peer has answered it. After a protocol error the answer is not readable
    /// any more, and is not waited for.
    async fn close(&mut self, close: Close) -> Result<(), tungstenite::Error> {
        self.host
            .metrics
            .closes
            .get_or_create(&Closed { code: close.code })
            .inc();
        self.tell(CloseFrame {
            code: self.code_on_wire(close.code).into(),
            reason: close.reason.into(),
        })
        .await?;
        while let Some(Ok(_)) = self.stream.next().await {}
        Ok(())
    }

    /// The code for clients that come back on one code only.
    fn code_on_wire(&self, code: u16) -> u16 {
        let should_return = CloseCode::from_number(code)
            .is_some_and(|code| matches!(code.then(), Return::BackOff(_) | Return::AsTold));
        let instead = self.host.config.reconnect_close_code.filter(|_| should_return);
        instead.unwrap_or(code)
    }

    /// Writes a close frame behind all that waits: a buffer that is full has no room for it. What the peer sends is taken
    /// meanwhile, for it may read only when all of that is gone.
    async fn tell(&mut self, frame: CloseFrame) -> Result<(), tungstenite::Error> {
        let mut sends = true;
        loop {
            tokio::select! {
                biased;
                flushed = self.sink.flush() => break flushed?,
                read = self.stream.next(), if sends => sends = matches!(read, Some(Ok(_))),
            }
        }
        self.sink.send(Message::Close(Some(frame))).await
    }

    /// A tab that takes nothing, or answers nothing, cannot be told why: the connection is cut.
    fn cut(self) {
        let code = if self.unanswered >= self.host.config.pings_unanswered {
            1006
        } else {
            CloseCode::TooSlow.number()
        };
        self.host.metrics.closes.get_or_create(&Closed { code }).inc();
    }
}

/// What woke a tab.
enum Woken {
    Draining,
    Drained,
    Stuck,
    Overflowed,
    PingDue,
    Flushed(Result<(), tungstenite::Error>),
    Outgoing(Outgoing),
    Read(Option<Result<Message, tungstenite::Error>>),
}

async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Why a message could not be written.
fn unwritten(error: &tungstenite::Error) -> End {
    match error {
        // It pings on and takes none of the answers, which fill the buffer.
        tungstenite::Error::WriteBufferFull(_) => CloseCode::TooSlow.into(),
        _ => End::Gone,
    }
}

/// The close code for what a peer did wrong.
fn fault(error: &tungstenite::Error) -> End {
    match error {
        tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. }) => CloseCode::TooLarge.into(),
        tungstenite::Error::Utf8(_) => CloseCode::BadText.into(),
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        tungstenite::Error::Protocol(_) => CloseCode::Protocol.into(),
        _ => End::Gone,
    }
}
