//! Servers and plans of the tests.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use http::HeaderMap;
use polytab_load::{
    plan::{
        Arrival, Happening, InitialState, Limits, MakeChange, Needle, Notification, Page, Phase, Plan,
        Process, Site,
    },
    result::LoadResult,
    run::{Order, run},
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::Message};
use tokio_util::sync::CancellationToken;

/// Times of the tests, which wait for none of the limits that people need.
fn limits() -> Limits {
    Limits {
        reply: Duration::from_millis(200),
        notification: Duration::from_millis(300),
        settling: Duration::ZERO,
        // How busy the machine of a test is decides nothing.
        lag: Duration::from_mins(1),
        ..Limits::default()
    }
}

fn site(address: SocketAddr) -> Site {
    Site {
        url: format!("ws://{address}/").parse().unwrap(),
        name: "a server of the test".to_owned(),
        tls: None,
        sources: Vec::new(),
        user_name: Arc::new(|user| format!("user-{user}")),
        sign_in: Arc::new(|_| Box::pin(async { Ok(HeaderMap::new()) })),
        signs_in: true,
        sign_out: None,
        change: None,
        polls: None,
    }
}

/// Ten users with two tabs each, for so many milliseconds.
pub(crate) fn plan(address: SocketAddr, millis: u64, page: Page) -> Plan {
    Plan {
        name: "test".to_owned(),
        seed: 7,
        phases: vec![Phase {
            name: "only".to_owned(),
            length: Duration::from_millis(millis),
            users: 10,
            arrival: Arrival::Spike,
            events: Vec::new(),
        }],
        tabs_per_user: vec![(2, 1.0)],
        shard: None,
        page,
        script: None,
        site: site(address),
        thresholds: Vec::new(),
        allow_unmeasured: Vec::new(),
        abort_after: None,
        limits: limits(),
    }
}

pub(crate) async fn made(plan: Plan) -> LoadResult {
    ended_by(plan, CancellationToken::new()).await
}

pub(crate) async fn ended_by(plan: Plan, stop: CancellationToken) -> LoadResult {
    let order = Order {
        begins_in: Duration::ZERO,
        begins_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        stop,
    };
    run(plan, order, |_| {}).await.unwrap()
}

/// A server that does this with each connection, and its number from 1.
pub(crate) async fn server<F>(
    tasks: &mut JoinSet<()>,
    serve: impl Fn(TcpStream, u64) -> F + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        for nth in 1.. {
            let (stream, _) = listener.accept().await.unwrap();
            connections.spawn(serve(stream, nth));
        }
    });
    address
}

/// Accepts, and answers nothing.
pub(crate) async fn hang(mut stream: TcpStream) {
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
}

/// Answers the handshake with this.
pub(crate) async fn answer(mut stream: TcpStream, status: &str) {
    let mut request = tokio::io::BufReader::new(&mut stream).lines();
    while request
        .next_line()
        .await
        .is_ok_and(|line| line.is_some_and(|line| !line.is_empty()))
    {}
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.ok();
}

/// Takes the tab, says this, and reads until its end.
pub(crate) async fn say(stream: TcpStream, frames: Vec<Message>) {
    let Ok(mut socket) = accept_async(stream).await else {
        return;
    };
    for frame in frames {
        socket.send(frame).await.ok();
    }
    read_on(socket).await;
}

pub(crate) async fn read_on(mut socket: WebSocketStream<TcpStream>) {
    while let Some(Ok(_)) = socket.next().await {}
}

pub(crate) fn notification() -> Notification {
    Notification {
        is: Needle::Json(json!({"type": "note"})),
        seq: None,
        superseded: None,
        stream: None,
        user: None,
        mark: None,
        initial: InitialState::Absent,
    }
}

pub(crate) fn page() -> Page {
    Page {
        ready: Some(Needle::Json(json!({"type": "hello"}))),
        notification: Some(notification()),
        ..Page::default()
    }
}

pub(crate) fn with_thresholds(mut plan: Plan, thresholds: &[&str]) -> Plan {
    plan.thresholds = thresholds.iter().map(|text| text.parse().unwrap()).collect();
    plan
}

pub(crate) fn with_changes(mut plan: Plan, change: MakeChange) -> Plan {
    plan.phases[0].events.push(Process {
        happening: Happening::Change,
        rate: 10.0,
    });
    plan.site.change = Some(change);
    plan
}

pub(crate) fn unchanged() -> MakeChange {
    Arc::new(|_, _| Box::pin(async { Ok(()) }))
}
