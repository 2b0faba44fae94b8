//! A tab that takes nothing, beside many that take everything.

use std::{net::SocketAddr, process::Command};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Duration, Instant},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use super::{
    cluster::{Cluster, wait_for},
    programs::{Server, is_possible},
    proxies::NGINX,
};

const TOPIC: &str = "/project/42/push";
/// Of a push with many commits.
const EVENT_BYTES: usize = 8000;
/// Between two of them.
const PACE: Duration = Duration::from_millis(100);
/// What process and kernel together may hold for the tab.
const HELD_BYTES: u64 = 512_000;
/// How long it may stay, on a machine that has nothing else to do.
const STAY: Duration = Duration::from_secs(15);
/// On any machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A tab with hardly any room in its own kernel, subscribed to the topic.
async fn subscribed(address: SocketAddr, token: &str) -> WebSocketStream<TcpStream> {
    let socket = TcpSocket::new_v4().expect("the system has sockets");
    socket.set_recv_buffer_size(4096).expect("a buffer can be small");
    let stream = socket.connect(address).await.expect("the server listens");
    let mut request = format!("ws://{address}/ui-server/ws")
        .into_client_request()
        .expect("it is a URL");
    let bearer = format!("Bearer {token}").parse().expect("a token is plain text");
    request.headers_mut().insert("authorization", bearer);
    let (mut tab, _) = client_async(request, stream)
        .await
        .expect("the server lets it in");
    let subscribe = json!({"timestamp": "t", "type": "subscribe", "data": {"topic": TOPIC}});
    tab.send(Message::text(subscribe.to_string()))
        .await
        .expect("the server reads");
    loop {
        let message = tab.next().await.expect("it stays").expect("it is whole");
        if message
            .to_text()
            .expect("messages are text")
            .contains("subscribe")
        {
            return tab;
        }
    }
}

/// What the kernel holds for the server's end of this connection, with all that belongs to it (`skmem`, `man ss`).
fn held_by_the_kernel(server: SocketAddr, tab: SocketAddr) -> u64 {
    let filter = format!("sport = :{} and dport = :{}", server.port(), tab.port());
    let output = Command::new("ss")
        .args(["-tnmH", &filter])
        .output()
        .expect("it is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    let number = |key: &str| -> u64 {
        let fields = text.split("skmem:(").nth(1).unwrap_or("").split([',', ')']);
        let values = fields.filter_map(|field| field.strip_prefix(key));
        values.filter_map(|value| value.parse::<u64>().ok()).sum()
    };
    // Received, to be sent, and overhead.
    number("r") + number("w") + number("o") + number("bl")
}

/// The least bound under which all outboxes always were, in bytes.
fn fullest_outbox(cluster: &Cluster) -> u64 {
    // Of one moment: the load goes on.
    let metrics = cluster.get(0, "/metrics");
    let value = |series: &str| {
        metrics
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
    };
    let all = value("polytab_outbox_depth_bytes_count");
    let bounds = [256, 1024, 4096, 16_384, 65_536, 262_144];
    let below = |bound: &u64| value(&format!("polytab_outbox_depth_bytes_bucket{{le=\"{bound}.0\"}}")) == all;
    bounds.into_iter().find(below).expect("an outbox is bounded")
}

fn token(cluster: &Cluster) -> String {
    let user = json!({"password": "p", "access_token": "1h", "projects": [42]});
    cluster.order("PUT", "/users/stalled", &user);
    let login = cluster.order("POST", "/realms/Renku/users/stalled/login", &json!({}));
    let login: Value = serde_json::from_str(&login).expect("JSON");
    login["access_token"]
        .as_str()
        .expect("a login has a token")
        .to_owned()
}

/// Emits events until the tab is closed; gives how long that took, and the most that the kernel held meanwhile.
fn flood(cluster: &Cluster, tab: SocketAddr) -> (Duration, u64) {
    let event = json!({"topic": TOPIC, "payload": {"text": "a".repeat(EVENT_BYTES)}});
    let (begun, mut most) = (Instant::now(), 0);
    while cluster.metric(0, "polytab_closes_total", "code=\"4008\"") == 0 {
        assert!(
            begun.elapsed() < PATIENCE,
            "it is still there; the kernel held {most} bytes"
        );
        cluster.order("POST", "/events", &event);
        most = most.max(held_by_the_kernel(cluster.address(0), tab));
        std::thread::sleep(PACE);
    }
    (begun.elapsed(), most)
}

/// So many users with so many tabs come within 10 s, and stay for so many seconds more.
fn profile(users: u64, tabs: u64, seconds: u64) -> String {
    format!(
        "users: {users}\ntabs_per_user: {{{tabs}: 100%}}\n\
         phases:\n  - {{name: arrive, for: 10s}}\n  - {{name: steady, for: {seconds}s}}\n\
         changes: every 5s\nlimits: {{lag: 1h}}\n\
         thresholds: [missed == 0, doubled == 0, out_of_order == 0, cross_user == 0, errors == 0]\n"
    )
}

#[expect(clippy::print_stdout, reason = "who runs it by hand wants the figures")]
fn beside_one_that_takes_nothing(cluster: &Cluster, (users, tabs, seconds): (u64, u64, u64)) -> Duration {
    let runtime = tokio::runtime::Runtime::new().expect("the system has threads");
    let load = cluster.load(&profile(users, tabs, seconds));
    cluster.wait_for_tabs(users * tabs);
    let token = token(cluster);
    let tab = runtime.block_on(subscribed(cluster.address(0), &token));
    let own = tab.get_ref().local_addr().expect("it is connected");
    let (stayed, kernel) = flood(cluster, own);
    wait_for("it is gone", || cluster.sum("polytab_tabs") <= users * tabs);
    let outbox = fullest_outbox(cluster);
    drop(tab);
    let (code, with) = cluster.end(load);

    println!(
        "with it:\n{with}\nclosed after {stayed:?}; the kernel held {kernel} bytes, its outbox at most {outbox}"
    );
    assert_eq!(code, Some(0), "{with}");
    assert!(
        kernel > 0,
        "the kernel holds something for a tab that reads nothing"
    );
    assert!(kernel + outbox <= HELD_BYTES, "{kernel} and {outbox} bytes");
    stayed
}

#[test]
fn a_tab_that_takes_nothing_is_closed_and_the_others_never_notice() {
    if is_possible(NGINX) {
        let cluster = Cluster::start_first(NGINX, Server::OfTests, &[]);
        beside_one_that_takes_nothing(&cluster, (4, 5, 20));
    }
}

#[test]
#[ignore = "minutes long: the figures of docs/rollout.md"]
#[expect(clippy::print_stdout, reason = "who runs it by hand wants the figures")]
fn full_a_tab_that_takes_nothing_is_closed_and_a_thousand_never_notice() {
    let cluster = Cluster::start_first(NGINX, Server::OfTests, &[]);
    let (code, without) = cluster.end(cluster.load(&profile(200, 5, 60)));
    println!("without it:\n{without}");
    assert_eq!(code, Some(0));
    let stayed = beside_one_that_takes_nothing(&cluster, (200, 5, 60));
    assert!(stayed <= STAY, "it stayed for {stayed:?}");
}
