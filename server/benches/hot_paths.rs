//! What the server does for each message: parsing, finding the command, the channel's decision, the outboxes. Quiet of
//! I/O; what a tab costs with all of it is measured by `sim/benches/cost`.
//!
//! `cargo bench -p polytab-server --features bench`

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use polytab_protocol::{
    message::{ClientMessage, Position, ServerMessage},
    sessions::SessionsReading,
};
use polytab_server::bench::{Channel, Outboxes};
use serde_json::json;

/// Tabs of a channel and outboxes: as many as people have, and as a fan-out can have at most.
const TABS: [u64; 2] = [5, 1000];

const PING: &str = r#"{"timestamp":"2026-01-01T00:00:00.000Z","type":"ping","data":{}}"#;
const SUBSCRIBE: &str =
    r#"{"timestamp":"2026-01-01T00:00:00.000Z","type":"subscribe","data":{"topic":"/project/42/push"}}"#;

fn notification() -> ServerMessage {
    let position = Position {
        epoch: "01234567-1000".to_owned(),
        seq: 42,
    };
    ServerMessage::user("sessionStatusV2", &json!({ "message": "true" })).at(position)
}

/// Two readings that differ, of one backend session as the data service shows it.
fn readings() -> [SessionsReading; 2] {
    [1, 2].map(|class| {
        let list = json!([{
            "image": "registry.example/image:latest", "name": "session-1", "url": "https://renku.example/session-1",
            "resources": { "requests": { "cpu": 0.5, "memory": 1, "storage": 1 } },
            "started": "2026-01-01T00:00:00Z", "resource_class_id": class, "session_type": "interactive",
            "status": { "state": "running", "ready_containers": 2, "total_containers": 2 },
        }]);
        SessionsReading::from_v2(list.to_string().as_bytes()).expect("a list of sessions")
    })
}

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message");
    for (name, text) in [("ping", PING), ("subscribe", SUBSCRIBE)] {
        group.bench_function(format!("parse/{name}"), |bencher| {
            bencher.iter(|| black_box(text).parse::<ClientMessage>());
        });
    }
    let (ack, notification) = (ServerMessage::ack("ping"), notification());
    for (name, message) in [("ack", ack), ("notification", notification)] {
        group.bench_function(format!("encode/{name}"), |bencher| {
            bencher.iter(|| black_box(&message).encode(Timestamp::UNIX_EPOCH));
        });
    }
    group.finish();
}

fn commands(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("command");
    // The first of the list, the last of it, and none.
    for (name, data) in [
        ("init", json!({ "requestServerVersion": true })),
        ("ping", json!({})),
        ("resume", json!({ "epoch": "other", "seq": 1 })),
        ("unknown", json!({})),
    ] {
        let text = json!({ "timestamp": "t", "type": name, "data": data }).to_string();
        let message: ClientMessage = text.parse().expect("a message");
        let mut channel = Channel::with_tabs(1);
        group.bench_function(name, |bencher| {
            bencher.iter(|| channel.command(black_box(&message)));
        });
    }
    group.finish();
}

fn channel_state(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("channel");
    let ping: ClientMessage = PING.parse().expect("a message");
    let [one, other] = readings();
    for tabs in TABS {
        let mut channel = Channel::with_tabs(tabs);
        group.bench_function(format!("apply/ping/{tabs}"), |bencher| {
            bencher.iter_batched(
                || ping.clone(),
                |ping| channel.receive(ping),
                BatchSize::SmallInput,
            );
        });
        let mut channel = Channel::with_tabs(tabs);
        group.bench_function(format!("apply/same/{tabs}"), |bencher| {
            bencher.iter_batched(
                || one.clone(),
                |reading| channel.read(reading),
                BatchSize::SmallInput,
            );
        });
        let mut channel = Channel::with_tabs(tabs);
        let mut turns = [&one, &other].into_iter().cycle();
        group.bench_function(format!("apply/changed/{tabs}"), |bencher| {
            bencher.iter_batched(
                || turns.next().cloned().unwrap_or_default(),
                |reading| channel.read(reading),
                // One at a time: two alike in a row would be no change.
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan_out");
    let message = notification();
    for tabs in TABS {
        let outboxes = Outboxes::new(usize::try_from(tabs).expect("a small number"));
        group.throughput(Throughput::Elements(tabs));
        group.bench_function(format!("push_and_take/{tabs}"), |bencher| {
            bencher.iter(|| {
                outboxes.push(black_box(&message));
                outboxes.empty()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, messages, commands, channel_state, fan_out);
criterion_main!(benches);
