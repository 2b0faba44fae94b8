//! The least that a notification server on axum does: tabs by user, an answer to `ping`, notifications to all tabs of
//! a user. No sign-in, no backend, no bounds, no metrics, no pings of its own.
//!
//! `bare-axum USERS`
//!
//! `GET /ws?user=N` is a tab of user N. `POST /changes` says that every user's state changed: as in the reference server
//! a user is told at its moment of a turn of 5 s. `POST /changes?at_once=true` tells all of them now.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{
        Query, State, WebSocketUpgrade,
        ws::{Message, Utf8Bytes, WebSocket},
    },
    http::StatusCode,
    response::Response,
    routing::{get, post},
    serve::ListenerExt,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::{net::TcpListener, select, sync::broadcast, time::interval};

/// The reference server's short loop.
const TURN: Duration = Duration::from_secs(5);
/// Messages that may wait for a tab.
const WAITING: usize = 16;
/// As long as the reference server's epochs.
const EPOCH: &str = "01234567-1000";

/// A command of a tab.
#[derive(Deserialize)]
struct Command {
    #[serde(rename = "type")]
    kind: String,
    data: Map<String, Value>,
}

/// A message to tabs.
#[derive(Serialize)]
struct Frame<'a> {
    timestamp: String,
    scope: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    data: Data<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
}

#[derive(Serialize)]
struct Data<'a> {
    message: &'a str,
}

impl<'a> Frame<'a> {
    fn new(kind: &'a str, message: &'a str) -> Self {
        Self {
            timestamp: format!("{:.3}", Timestamp::now()),
            scope: "user",
            kind,
            data: Data { message },
            code: None,
            epoch: None,
            seq: None,
        }
    }

    fn error(code: &'a str, message: &'a str) -> Self {
        Self {
            code: Some(code),
            ..Self::new("error", message)
        }
    }

    fn text(&self) -> Utf8Bytes {
        serde_json::to_string(self)
            .expect("text and numbers serialize")
            .into()
    }
}

/// One user who has tabs.
struct User {
    tabs: broadcast::Sender<Utf8Bytes>,
    /// Changes that the tabs were told.
    told: u64,
}

impl User {
    fn tell(&mut self) {
        self.told += 1;
        let frame = Frame {
            epoch: Some(EPOCH),
            seq: Some(self.told),
            ..Frame::new("sessionStatusV2", "true")
        };
        // The last tab may just have left.
        self.tabs.send(frame.text()).ok();
    }
}

#[derive(Default)]
struct Users {
    by_number: BTreeMap<usize, User>,
    /// Changes until now.
    changes: u64,
}

#[derive(Clone, Default)]
struct Hub(Arc<Mutex<Users>>);

impl Hub {
    fn users(&self) -> MutexGuard<'_, Users> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, user: usize) -> broadcast::Receiver<Utf8Bytes> {
        let mut users = self.users();
        let changes = users.changes;
        let user = users.by_number.entry(user).or_insert_with(|| User {
            tabs: broadcast::Sender::new(WAITING),
            told: changes,
        });
        user.tabs.subscribe()
    }

    fn leave(&self, user: usize) {
        let mut users = self.users();
        if users
            .by_number
            .get(&user)
            .is_some_and(|user| user.tabs.receiver_count() == 0)
        {
            users.by_number.remove(&user);
        }
    }

    /// Every user's moment comes once in a turn.
    async fn turns(self, users: usize) {
        let count = u32::try_from(users.max(1)).unwrap_or(u32::MAX);
        let mut moments = interval(TURN / count);
        for user in (0..users).cycle() {
            moments.tick().await;
            let mut users = self.users();
            let changes = users.changes;
            if let Some(user) = users.by_number.get_mut(&user).filter(|user| user.told < changes) {
                user.tell();
            }
        }
    }
}

#[derive(Deserialize)]
struct Who {
    user: usize,
}

async fn upgrade(State(hub): State<Hub>, Query(who): Query<Who>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .read_buffer_size(1024)
        .write_buffer_size(0)
        .max_write_buffer_size(320 << 10)
        .max_message_size(64 << 10)
        .max_frame_size(64 << 10)
        .on_upgrade(move |socket| async move {
            let told = hub.join(who.user);
            // How it ended is of no interest: the tab has gone.
            tab(socket, told).await.ok();
            hub.leave(who.user);
        })
}

async fn tab(mut socket: WebSocket, mut told: broadcast::Receiver<Utf8Bytes>) -> Result<(), axum::Error> {
    let greeting = Frame::new("init", "Connection established.");
    socket.send(Message::Text(greeting.text())).await?;
    loop {
        let text = select! {
            notification = told.recv() => match notification {
                Ok(text) => text,
                // It is too slow.
                Err(_) => return Ok(()),
            },
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => answer(&text),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Binary(_) | Message::Close(_))) | None => return Ok(()),
                Some(Err(error)) => return Err(error),
            },
        };
        socket.send(Message::Text(text)).await?;
    }
}

fn answer(text: &str) -> Utf8Bytes {
    let frame = match serde_json::from_str::<Command>(text) {
        Ok(Command { kind, data }) if kind == "ping" && data.is_empty() => Frame::new("ack", "ping"),
        Ok(_) => Frame::error("unknown_type", "no such command"),
        Err(_) => Frame::error("bad_message", "not a command"),
    };
    frame.text()
}

#[derive(Deserialize)]
struct How {
    #[serde(default)]
    at_once: bool,
}

async fn change(State(hub): State<Hub>, Query(how): Query<How>) -> StatusCode {
    let mut users = hub.users();
    users.changes += 1;
    if how.at_once {
        users.by_number.values_mut().for_each(User::tell);
    }
    StatusCode::NO_CONTENT
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let users: usize = std::env::args().nth(1).ok_or("how many users?")?.parse()?;
    let hub = Hub::default();
    let router = Router::new()
        .route("/ws", get(upgrade))
        .route("/changes", post(change))
        .with_state(hub.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        // A peer that has gone already is no tab.
        stream.set_nodelay(true).ok();
    });
    tokio::spawn(hub.turns(users));
    axum::serve(listener, router).await?;
    Ok(())
}
