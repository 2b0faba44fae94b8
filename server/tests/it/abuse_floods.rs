//! More of what is allowed than anybody needs.

use std::time::Duration;

use polytab_server::Span;
use serde_json::json;
use tokio::{
    net::TcpSocket,
    time::{interval, timeout},
};

use crate::{
    services::{config, services, token},
    support::{PATIENCE, metric, with_server},
    wire::{FIN, PING, Seen, Tab, command, frame, text},
};

/// The longest that a ping may carry.
const PAYLOAD: [u8; 125] = [b'a'; 125];

#[tokio::test]
async fn who_pings_on_and_takes_no_answer_piles_nothing_up() {
    const FLOODS: usize = 128;
    const PINGS: usize = 1024;
    /// What a tab's own bound allows (256 KiB), what the kernel holds for it (128 KiB), and some more for which there is
    /// room again while those are taken. All of them would be 16 MiB.
    const KEPT_BYTES: usize = 1 << 20;
    let services = services().await;
    let token = token(&services, "ada");
    let config = polytab_server::Config {
        // Nothing is given up while the flood is on its way.
        write_timeout: Span(Duration::from_mins(5)),
        ..config(&services)
    };
    with_server(config, async |address| {
        let socket = TcpSocket::new_v4().expect("the system has sockets");
        // What waits in the peer's own buffer is not the server's.
        socket.set_recv_buffer_size(4096).expect("a buffer can be small");
        let stream = socket.connect(address).await.expect("the server listens");
        let mut tab = Tab::over(stream, &token).await;

        // The server reads on, or the flood would not get through.
        let flood = frame(FIN | PING, &PAYLOAD).repeat(PINGS);
        for _ in 0..FLOODS {
            tab.send(&flood).await;
        }
        tab.send(&text(&command("ping", &json!({})))).await;
        let mut kept = 0;
        let seen = loop {
            match tab.seen().await {
                Seen::Pong(length) => kept += length,
                seen => break seen,
            }
        };

        // Whether there is a place for its answer depends on what the peer took meanwhile.
        let is_served = matches!(&seen, Seen::Text(ack) if ack["type"] == "ack");
        assert!(is_served || seen == Seen::Close(4008), "{seen:?}");
        assert!(kept <= KEPT_BYTES, "{kept} bytes of answers were kept");
    })
    .await;
}

#[tokio::test]
async fn who_takes_no_answer_to_pings_is_ended_after_the_write_limit() {
    /// Their answers are more than both kernels and the server hold.
    const PINGS: usize = 64 * 1024;
    let services = services().await;
    let token = token(&services, "ada");
    let config = polytab_server::Config {
        write_timeout: Span(Duration::from_millis(200)),
        ..config(&services)
    };
    with_server(config, async |address| {
        let socket = TcpSocket::new_v4().expect("the system has sockets");
        socket.set_recv_buffer_size(4096).expect("a buffer can be small");
        let stream = socket.connect(address).await.expect("the server listens");
        let mut tab = Tab::over(stream, &token).await;

        tab.send(&frame(FIN | PING, &PAYLOAD).repeat(PINGS)).await;

        let ended = async {
            let mut looks = interval(Duration::from_millis(10));
            while metric(address, "polytab_closes_total{code=\"4008\"}").await == 0 {
                looks.tick().await;
            }
        };
        timeout(PATIENCE, ended).await.expect("it is ended");
    })
    .await;
}

#[tokio::test]
async fn who_pings_on_and_takes_the_answers_is_served() {
    const ROUNDS: usize = 5000;
    let services = services().await;
    let token = token(&services, "ada");
    with_server(config(&services), async |address| {
        let mut tab = Tab::open(address, &token).await;
        let ping = frame(FIN | PING, &PAYLOAD);

        for _ in 0..ROUNDS {
            tab.send(&ping).await;
            assert_eq!(tab.seen().await, Seen::Pong(PAYLOAD.len()));
        }

        let ack = tab.asked(&command("ping", &json!({}))).await;
        assert!(matches!(&ack, Seen::Text(ack) if ack["type"] == "ack"), "{ack:?}");
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_commands_is_ended() {
    const BURST: u32 = 30;
    let services = services().await;
    let token = token(&services, "ada");
    let config = polytab_server::Config {
        commands_burst: BURST,
        commands_per_second: 0,
        ..config(&services)
    };
    with_server(config, async |address| {
        let mut tab = Tab::open(address, &token).await;

        tab.send(&text(&command("ping", &json!({}))).repeat(200)).await;
        let mut answered = 0;
        let seen = loop {
            match tab.seen().await {
                Seen::Text(_) => answered += 1,
                seen => break seen,
            }
        };

        assert_eq!(seen, Seen::Close(4029));
        assert!(answered <= BURST, "{answered}");
    })
    .await;
}
