//! A page in a tab: one task from the moment it is loaded until it is left, over all its connections.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::{
    connection::{Credentials, Ended, Socket, connect},
    flood::{self, TabIntake},
    gate::Gate,
    habits::Habits,
    payload::Payload,
};
use crate::{
    events::{Closer, Frame, Kind},
    scenario::people::TabState,
    testbed::site::Site,
};

/// Orders that wait for a page at most; the runner gives them one after the other.
pub(crate) const ORDERS: usize = 16;
/// How long a page waits for a handshake, a write, or the server's side of a close (scenario time).
const PATIENCE: Duration = Duration::from_secs(10);
/// After this long in the background browsers wake a page only once a minute (Chromium's intensive throttling).
const HIDDEN_LONG: Duration = Duration::from_mins(5);

/// What the runner tells a page to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// Send this; `read` is told when the server has answered a ping that follows it.
    Send {
        payload: Payload,
        read: oneshot::Sender<()>,
    },
    /// Close in order and be gone.
    Leave { code: u16 },
    /// Be gone without a close frame.
    Vanish,
    /// Be looked at, or not.
    Show(TabState),
    /// Stop: no reading, no timers.
    Freeze,
    /// Go on.
    Thaw,
    /// The network is back: send what waited.
    Flush,
}

/// What a page is made of.
#[derive(Clone, Debug)]
pub(crate) struct PageSpec {
    pub(crate) tab: String,
    pub(crate) credentials: Credentials,
    pub(crate) habits: Habits,
    pub(crate) state: TabState,
    pub(crate) gate: Gate,
    /// Counts the tab's connections, over all its pages.
    pub(crate) lives: Arc<AtomicU32>,
}

/// What the page does after a connection.
enum Next {
    /// It has been left.
    Gone,
    /// It stays, and connects again after this long (scenario time), or never.
    Away(Option<Duration>),
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Runs a page until it is left.
pub(crate) async fn run(site: Arc<Site>, spec: PageSpec, orders: mpsc::Receiver<Order>) {
    let hidden_since = (spec.state == TabState::Background).then(Instant::now);
    let page = Page {
        site,
        spec,
        orders,
        life: 0,
        ends: 0,
        hidden_since,
        frozen: false,
        last_seen: None,
        pongs: BTreeMap::new(),
        next_ping: 0,
        intake: TabIntake::default(),
    };
    page.run().await;
}

struct Page {
    site: Arc<Site>,
    spec: PageSpec,
    orders: mpsc::Receiver<Order>,
    life: u32,
    /// How many of its connections have ended or were refused.
    ends: u32,
    hidden_since: Option<Instant>,
    frozen: bool,
    /// Epoch and sequence number of the last message that had them, for `resume`.
    last_seen: Option<(String, u64)>,
    /// Who waits for the answer to which ping.
    pongs: BTreeMap<u64, oneshot::Sender<()>>,
    next_ping: u64,
    intake: TabIntake,
}

/// The server sent more than a tab takes.
struct Flooded;

impl Page {
    async fn run(mut self) {
        loop {
            let Next::Away(back) = self.live().await else {
                return;
            };
            self.pongs.clear();
            let Some(delay) = back else {
                return self.idle().await;
            };
            let back = Instant::now() + self.site.real(delay);
            if self.stay_away(back).await {
                return;
            }
        }
    }

    /// Not connected and not coming back: there is nothing to do but to be left.
    async fn idle(&mut self) {
        while let Some(order) = self.orders.recv().await {
            if self.obey_offline(&order) {
                return;
            }
        }
    }

    /// Waits for the time to come back; says whether the page was left meanwhile.
    async fn stay_away(&mut self, back: Instant) -> bool {
        loop {
            let frozen = self.frozen;
            let back = self.throttled(back);
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(order) if !self.obey_offline(&order) => {}
                    Some(_) | None => return true,
                },
                () = sleep_until(back), if !frozen => return false,
            }
        }
    }

    /// Obeys what can be obeyed without a connection; says whether the page is left.
    fn obey_offline(&mut self, order: &Order) -> bool {
        match order {
            Order::Leave { .. } | Order::Vanish => {
                self.record_leaving();
                return true;
            }
            Order::Show(state) => self.show(*state),
            Order::Freeze => self.frozen = true,
            Order::Thaw => self.frozen = false,
            // Dropping the order tells the runner that nobody will read what it wanted to send.
            Order::Send { .. } | Order::Flush => {}
        }
        false
    }

    /// One connection, from the attempt to its end.
    async fn live(&mut self) -> Next {
        self.life = self.spec.lives.fetch_add(1, Ordering::Relaxed) + 1;
        let (tab, life) = (self.spec.tab.clone(), self.life);
        self.site.record(Kind::TabConnecting {
            tab: tab.clone(),
            life,
        });
        let connecting = connect(
            self.site.dial.as_ref(),
            &self.spec.credentials,
            self.spec.gate.clone(),
            self.site.patience(PATIENCE),
        );
        let mut socket = match connecting.await {
            Ok(socket) => socket,
            Err(refusal) => {
                let (status, problem) = (refusal.status(), self.site.redact(&refusal.to_string()).0);
                let back = self.back_after(&Ended::broken());
                self.site.record(Kind::TabRefused {
                    tab,
                    life,
                    status,
                    problem,
                    back_ms: back.map(millis),
                });
                return Next::Away(back);
            }
        };
        self.site.record(Kind::TabOpened { tab, life });
        for message in self.spec.habits.on_open.clone() {
            self.say(&mut socket, &message).await;
        }
        self.converse(socket).await
    }

    /// Reads, obeys and pings until the connection ends.
    async fn converse(&mut self, mut socket: Socket) -> Next {
        let mut ping_due = self.next_ping_due();
        loop {
            let frozen = self.frozen;
            let due = ping_due.map(|due| self.throttled(due));
            tokio::select! {
                biased;
                order = self.orders.recv() => {
                    // Without a runner nobody looks: the page goes as its browser does when it is ended.
                    let order = order.unwrap_or(Order::Vanish);
                    if let Some(next) = self.obey(&mut socket, order).await {
                        return next;
                    }
                }
                read = socket.next(), if !frozen => {
                    if let Some(ended) = Ended::from_read(read.as_ref()) {
                        let back = self.back_after(&ended);
                        self.end(socket, (&ended, back)).await;
                        return Next::Away(back);
                    }
                    if let Some(Ok(message)) = read
                        && let Err(Flooded) = self.receive(&mut socket, message).await
                    {
                        self.give_up(&socket);
                        return Next::Away(None);
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if !frozen && due.is_some() => {
                    self.say(&mut socket, &json!({ "type": "ping", "data": {} })).await;
                    ping_due = self.next_ping_due();
                }
            }
        }
    }

    fn next_ping_due(&self) -> Option<Instant> {
        self.spec
            .habits
            .ping
            .map(|ping| Instant::now() + self.site.real(ping))
    }

    async fn obey(&mut self, socket: &mut Socket, order: Order) -> Option<Next> {
        match order {
            Order::Send { payload, read } => {
                self.send(socket, payload, false).await;
                self.next_ping += 1;
                self.pongs.insert(self.next_ping, read);
                let ping = Message::Ping(self.next_ping.to_be_bytes().to_vec().into());
                // A connection that is gone shows on the next read.
                timeout(self.site.patience(PATIENCE), socket.send(ping))
                    .await
                    .ok();
            }
            Order::Leave { code } => {
                self.leave(socket, code).await;
                return Some(Next::Gone);
            }
            Order::Vanish => {
                socket.get_ref().reset_on_drop();
                let ended = Ended {
                    by: Closer::Tab,
                    ..Ended::broken()
                };
                self.record_end(&ended, None);
                return Some(Next::Gone);
            }
            Order::Flush => {
                timeout(self.site.patience(PATIENCE), socket.flush()).await.ok();
            }
            Order::Show(_) | Order::Freeze | Order::Thaw => {
                self.obey_offline(&order);
            }
        }
        None
    }

    /// Sends a close frame and reads on until the server's side of it, as a browser does.
    async fn leave(&mut self, socket: &mut Socket, code: u16) {
        self.record_leaving();
        let deadline = Instant::now() + self.site.patience(PATIENCE);
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: "".into(),
        };
        timeout_at(deadline, socket.close(Some(frame))).await.ok();
        let rest = async {
            while let Some(Ok(message)) = socket.next().await {
                if self.record_message(&message).is_err() {
                    self.record_flood();
                    return;
                }
            }
        };
        timeout_at(deadline, rest).await.ok();
        let ended = Ended {
            code,
            reason: String::new(),
            by: Closer::Tab,
        };
        self.record_end(&ended, None);
    }

    /// The server closed, or the connection broke: answers the close, so that the server may hang up in order.
    async fn end(&mut self, mut socket: Socket, (ended, back): (&Ended, Option<Duration>)) {
        self.record_end(ended, back);
        if ended.by == Closer::Server {
            let rest = async { while let Some(Ok(_)) = socket.next().await {} };
            timeout(self.site.patience(PATIENCE), rest).await.ok();
        }
    }

    fn record_leaving(&self) {
        self.site.record(Kind::TabLeaving {
            tab: self.spec.tab.clone(),
            life: self.life,
        });
    }

    /// How long the page stays away after this end, or that it does not come back.
    fn back_after(&mut self, ended: &Ended) -> Option<Duration> {
        self.ends += 1;
        self.spec.habits.delay(ended.code, &ended.reason, self.ends)
    }

    fn record_end(&self, ended: &Ended, back: Option<Duration>) {
        self.site.record(Kind::TabClosed {
            tab: self.spec.tab.clone(),
            life: self.life,
            code: ended.code,
            reason: self.site.redact(&ended.reason).0,
            by: ended.by,
            back_ms: back.map(millis),
        });
    }

    async fn receive(&mut self, socket: &mut Socket, message: Message) -> Result<(), Flooded> {
        if let Some(frame) = self.record_message(&message)? {
            self.notice(socket, frame.json()).await;
        }
        if let Message::Pong(number) = message {
            let number = <[u8; 8]>::try_from(&number[..]).map(u64::from_be_bytes);
            if let Some(waiting) = number.ok().and_then(|number| self.pongs.remove(&number)) {
                // Whoever waited may have given up.
                waiting.send(()).ok();
            }
        }
        Ok(())
    }

    /// Records what a script of the page would see, if the tab may take it.
    fn record_message(&mut self, message: &Message) -> Result<Option<Frame>, Flooded> {
        let now_ms = self.site.recorder.now_ms();
        let (bytes, weight) = match message {
            Message::Text(text) => (text.len(), flood::weight(text.as_bytes())),
            Message::Binary(bytes) => (bytes.len(), flood::weight(&[])),
            Message::Ping(_) | Message::Pong(_) => {
                return self.intake.ping(now_ms).then_some(None).ok_or(Flooded);
            }
            Message::Close(_) | Message::Frame(_) => return Ok(None),
        };
        let run = &self.site.intake;
        let fits = self.intake.message(bytes, weight, now_ms)
            && run
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(weight, now_ms);
        if !fits {
            return Err(Flooded);
        }
        let (frame, secrets) = match message {
            Message::Text(text) => {
                let (text, secrets) = self.site.redact(text);
                (Frame::text(&text), secrets)
            }
            _ => (Frame::Other(format!("binary, {bytes} bytes")), Vec::new()),
        };
        self.site.record(Kind::TabReceived {
            tab: self.spec.tab.clone(),
            life: self.life,
            message: frame.clone(),
            secrets,
        });
        Ok(Some(frame))
    }

    /// Ends a connection on which too much came.
    fn give_up(&self, socket: &Socket) {
        socket.get_ref().reset_on_drop();
        self.record_flood();
        let ended = Ended {
            by: Closer::Tab,
            ..Ended::broken()
        };
        self.record_end(&ended, None);
    }

    fn record_flood(&self) {
        self.site.record(Kind::TabFlooded {
            tab: self.spec.tab.clone(),
            life: self.life,
            intake: self.intake.total().to_string(),
        });
    }

    /// What the page itself does about a message.
    async fn notice(&mut self, socket: &mut Socket, message: Option<&Value>) {
        let Some(message) = message else { return };
        let before = self.last_seen.clone();
        if let (Some(epoch), Some(seq)) = (message["epoch"].as_str(), message["seq"].as_u64()) {
            self.last_seen = Some((epoch.to_owned(), seq));
        }
        let is_init = message["type"] == "init" && message["scope"] == "user";
        if !is_init {
            return;
        }
        if let (true, Some((epoch, seq))) = (self.spec.habits.resume, before) {
            self.say(
                socket,
                &json!({ "type": "resume", "data": { "epoch": epoch, "seq": seq } }),
            )
            .await;
        }
        for message in self.spec.habits.on_init.clone() {
            self.say(socket, &message).await;
        }
    }

    /// Sends a message of the page's own.
    async fn say(&mut self, socket: &mut Socket, message: &Value) {
        let payload = Payload::json(message, self.site.wall());
        self.send(socket, payload, true).await;
    }

    async fn send(&mut self, socket: &mut Socket, payload: Payload, by_page: bool) {
        let (tab, life) = (self.spec.tab.clone(), self.life);
        self.site.record(Kind::TabSent {
            tab,
            life,
            by_page,
            message: payload.shown,
        });
        for message in payload.wire {
            // A connection that is gone, or stuck, shows on the next read.
            timeout(self.site.patience(PATIENCE), socket.send(message))
                .await
                .ok();
        }
    }

    fn show(&mut self, state: TabState) {
        self.hidden_since = match state {
            TabState::Foreground => None,
            TabState::Background => self.hidden_since.or_else(|| Some(Instant::now())),
        };
    }

    /// When a timer that is due then really runs: browsers align the timers of hidden pages to the second, and after
    /// five minutes to the minute.
    fn throttled(&self, due: Instant) -> Instant {
        let Some(since) = self.hidden_since else {
            return due;
        };
        let hidden = due.saturating_duration_since(since);
        let long = hidden >= self.site.real(HIDDEN_LONG);
        let grid = self.site.real(if long {
            Duration::from_mins(1)
        } else {
            Duration::from_secs(1)
        });
        let steps = hidden.as_nanos().div_ceil(grid.as_nanos().max(1));
        since + grid * u32::try_from(steps).unwrap_or(u32::MAX)
    }
}
