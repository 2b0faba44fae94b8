//! Tabs: open ones, what each has received, and the pings they send.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use serde_json::json;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, interval, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

use crate::{Arguments, server::Server};

/// How long a tab may take to be there.
const GREETING: Duration = Duration::from_secs(30);

type Socket = WebSocketStream<TcpStream>;

/// What one tab has received since it was opened.
#[derive(Debug, Default)]
struct Received {
    notifications: AtomicU32,
    acks: AtomicU32,
}

/// What all tabs have received.
#[derive(Debug)]
struct Ledger {
    tabs: Vec<Received>,
    notification_bytes: AtomicU64,
    ack_bytes: AtomicU64,
}

/// Messages of one kind, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) messages: u32,
    pub(crate) bytes: u64,
}

/// Which messages are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Notifications,
    Acks,
}

/// Tabs that are open for as long as this value.
#[derive(Debug)]
pub(crate) struct Tabs {
    ledger: Arc<Ledger>,
    sinks: Vec<SplitSink<Socket, Message>>,
    readers: JoinSet<anyhow::Result<()>>,
    users: u32,
    each: u32,
}

impl Tabs {
    /// Opens all of them, one after the other; those of a user come together.
    pub(crate) async fn open(server: &Server, arguments: &Arguments) -> anyhow::Result<Self> {
        let count = usize::try_from(arguments.tab_count())?;
        let ledger = Arc::new(Ledger {
            tabs: (0..count).map(|_| Received::default()).collect(),
            notification_bytes: AtomicU64::new(0),
            ack_bytes: AtomicU64::new(0),
        });
        let (mut sinks, mut readers) = (Vec::with_capacity(count), JoinSet::new());
        for tab in 0..count {
            let user = u32::try_from(tab)? / arguments.tabs_each;
            let (sink, stream) = timeout(GREETING, open(server, user))
                .await
                .context("a tab was not greeted")??;
            sinks.push(sink);
            readers.spawn(read(stream, Arc::clone(&ledger), tab));
        }
        Ok(Self {
            ledger,
            sinks,
            readers,
            users: arguments.users,
            each: arguments.tabs_each,
        })
    }

    /// What all have received until now.
    pub(crate) fn tally(&self, what: What) -> Tally {
        let bytes = match what {
            What::Notifications => &self.ledger.notification_bytes,
            What::Acks => &self.ledger.ack_bytes,
        };
        Tally {
            messages: self.counts(what).into_iter().sum(),
            bytes: bytes.load(Relaxed),
        }
    }

    /// What each has received until now.
    pub(crate) fn counts(&self, what: What) -> Vec<u32> {
        let count = |tab: &Received| match what {
            What::Notifications => tab.notifications.load(Relaxed),
            What::Acks => tab.acks.load(Relaxed),
        };
        self.ledger.tabs.iter().map(count).collect()
    }

    /// Fails if a tab is no longer there.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.readers.try_join_next() {
            Some(gone) => bail!("a tab did not stay: {:?}", gone?),
            None => Ok(()),
        }
    }

    /// Each tab sends so many pings, evenly over this time, and never two of a user in a row.
    pub(crate) async fn ping(&mut self, pings_each: u32, span: Duration) -> anyhow::Result<()> {
        let command = json!({"timestamp": "2026-01-01T00:00:00.000Z", "type": "ping", "data": {}});
        let command = Message::text(command.to_string());
        let (users, each) = (self.users, self.each);
        let all = users * each * pings_each;
        let begin = Instant::now();
        let mut ticks = interval(Duration::from_millis(1));
        let mut sent = 0;
        while sent < all {
            ticks.tick().await;
            let due = f64::from(all) * begin.elapsed().div_duration_f64(span);
            while sent < all && f64::from(sent) < due {
                let nth = sent % (users * each);
                let tab = (nth % users) * each + nth / users;
                self.sinks[usize::try_from(tab)?].send(command.clone()).await?;
                sent += 1;
            }
        }
        Ok(())
    }
}

async fn open(
    server: &Server,
    user: u32,
) -> anyhow::Result<(SplitSink<Socket, Message>, SplitStream<Socket>)> {
    let stream = TcpStream::connect(server.address()).await?;
    stream.set_nodelay(true)?;
    let small = WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(0);
    let (socket, _) = client_async_with_config(server.handshake(user)?, stream, Some(small)).await?;
    let (mut sink, mut stream) = socket.split();
    let first = stream.next().await.context("closed at once")??;
    if !first.to_text()?.contains("\"init\"") {
        bail!("greeted with {first}");
    }
    if let Some(command) = server.first_command() {
        sink.send(command).await?;
    }
    Ok((sink, stream))
}

/// Counts what a tab receives; pings are answered below.
async fn read(mut stream: SplitStream<Socket>, ledger: Arc<Ledger>, tab: usize) -> anyhow::Result<()> {
    while let Some(message) = stream.next().await {
        let Message::Text(text) = message? else { continue };
        let (count, bytes) = if text.contains("\"type\":\"sessionStatusV2\"") {
            (&ledger.tabs[tab].notifications, &ledger.notification_bytes)
        } else if text.contains("\"type\":\"ack\"") {
            (&ledger.tabs[tab].acks, &ledger.ack_bytes)
        } else {
            bail!("told {text}");
        };
        bytes.fetch_add(u64::try_from(text.len())?, Relaxed);
        count.fetch_add(1, Relaxed);
    }
    bail!("closed")
}
