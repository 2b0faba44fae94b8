//! What the mocks remember has bounds, however much is asked of them; and who does not read holds nobody up.

use std::{sync::Arc, time::Duration};

use crate::support::{get, mocks_with, post_form, send, text, token, tokens};
use axum::body::Body;
use http::Request;
use polytab_mocks::{Mocks, config::MocksConfig, observation::Observation};
use polytab_protocol::event_stream::{Decoder, Item};
use polytab_seams::serve::{Limits, serve};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// What each thing is bounded by here.
const BOUND: usize = 50;
/// A test that waits longer than this for what must come has failed.
const PATIENCE: Duration = Duration::from_secs(20);

async fn journal(mocks: &Mocks, query: &str) -> Vec<Value> {
    let path = format!("/journal{query}");
    let listed = get(mocks.control(), &path, None).await.json();
    listed.as_array().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn of_many_calls_the_newest_are_kept_and_of_all_else_no_more_than_fits() {
    let mocks = mocks_with(MocksConfig {
        journal_entries: BOUND,
        secrets_kept: BOUND,
        logins_kept: BOUND,
        ..MocksConfig::default()
    });
    let first = tokens(&mocks).await;
    let access = text(&first, "access_token");

    let rounds = 10 * BOUND;
    for round in 0..rounds {
        get(mocks.backend(), "/api/data/sessions", Some(access)).await;
        get(mocks.backend(), "/api/data/sessions", None).await;
        get(mocks.gitlab(), &format!("/api/v4/nothing-{round}"), None).await;
        post_form(mocks.keycloak(), "/auth/realms/none", &[]).await;
    }
    let sign_in = [
        ("grant_type", "password"),
        ("username", "ada"),
        ("password", "password-of-ada"),
    ];
    for _ in 0..2 * BOUND {
        assert_eq!(token(&mocks, &sign_in).await.status, 200);
    }

    let calls = get(mocks.control(), "/state", None).await.json()["live"]["calls"]
        .as_u64()
        .unwrap();
    let kept = journal(&mocks, "").await;
    let numbers: Vec<_> = kept.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
    assert!(calls >= u64::try_from(3 * rounds + 2 * BOUND).unwrap(), "{calls}");
    assert_eq!(numbers, (calls + 1 - BOUND as u64..=calls).collect::<Vec<_>>());
    let count = send(
        mocks.control(),
        Request::post("/journal/count").body(Body::empty()).unwrap(),
    );
    assert_eq!(count.await.json(), json!({ "count": BOUND }));
    assert_eq!(mocks.secrets().len(), BOUND);
    assert_eq!(mocks.unmatched().len(), BOUND);
    let realm = get(mocks.control(), "/realms/Renku", None).await.json();
    assert_eq!(realm["sessions"].as_array().unwrap().len(), BOUND);
}

/// GitLab on a TCP port, and what becomes of its streams.
async fn gitlab(mocks: &Mocks, tasks: &mut JoinSet<usize>) -> (u16, mpsc::Receiver<Observation>) {
    let (sender, closed) = mpsc::channel(16);
    mocks.observe(Arc::new(move |observation: &Observation| {
        if let Observation::StreamClosed { .. } = observation {
            // Nobody listens when the test is over.
            sender.try_send(observation.clone()).ok();
        }
    }));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let limits = Limits {
        header_read: PATIENCE,
        header_bytes: 64 * 1024,
        header_fields: 100,
        connections: 16,
        life: None,
    };
    tasks.spawn(serve(
        listener,
        mocks.gitlab(),
        limits,
        (CancellationToken::new(), Duration::ZERO),
    ));
    (port, closed)
}

/// A reader of issues whose kernel keeps little for it.
struct Reader {
    stream: TcpStream,
    decoder: Decoder,
}

impl Reader {
    async fn open(port: u16, access: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 * 1024).unwrap();
        let mut stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
        let request = format!(
            "GET /project/42/issue HTTP/1.1\r\nhost: gitlab\r\nconnection: close\r\nprivate-token: {access}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reader = Self {
            stream,
            decoder: Decoder::new(1 << 20),
        };
        // The stream is there when its first comment is.
        while !reader.items().await.unwrap().contains(&Item::Comment) {}
        reader
    }

    /// What the next bytes hold; none at the end. The frames of the transfer are lines that no field begins.
    async fn items(&mut self) -> Option<Vec<Item>> {
        let mut bytes = vec![0; 16 * 1024];
        let length = timeout(PATIENCE, self.stream.read(&mut bytes)).await.unwrap();
        let length = length.ok().filter(|length| *length > 0)?;
        Some(self.decoder.push(&bytes[..length]))
    }

    /// How many events come until there are so many, or the stream is over.
    async fn events(&mut self, most: usize) -> usize {
        let mut count = 0;
        while count < most {
            let Some(items) = self.items().await else { break };
            count += items.iter().filter(|item| matches!(item, Item::Event(_))).count();
        }
        count
    }
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_cut_off_and_the_others_go_on() {
    let mocks = mocks_with(MocksConfig {
        stream_queue: 16,
        ..MocksConfig::default()
    });
    let access = text(&tokens(&mocks).await, "access_token").to_owned();
    let mut tasks = JoinSet::new();
    let (port, mut closed) = gitlab(&mocks, &mut tasks).await;
    let mut slow = Reader::open(port, &access).await;
    let mut quick = Reader::open(port, &access).await;

    let payload = json!({ "text": "x".repeat(32 * 1024) });
    let mut sent = 0;
    let observation = loop {
        if let Ok(observation) = closed.try_recv() {
            break observation;
        }
        mocks.emit("/project/42/issue".parse().unwrap(), &payload);
        sent += 1;
        assert!(
            sent < 2_000,
            "the kernel holds 64 MB for a reader that does not read"
        );
        assert_eq!(quick.events(1).await, 1);
    };
    mocks.emit("/project/42/issue".parse().unwrap(), &payload);

    assert_eq!(quick.events(1).await, 1);
    let Observation::StreamClosed { reason, .. } = observation else {
        unreachable!("nothing else is observed")
    };
    assert_eq!(reason, "slow reader");
    let ends: Vec<_> = journal(&mocks, "?route=gitlab.stream")
        .await
        .iter()
        .map(|entry| entry["stream_end"].clone())
        .collect();
    assert_eq!(ends, [json!("slow reader"), Value::Null]);
    // It learns of it as soon as it reads on: what had been sent, and then the end.
    let got = slow.events(usize::MAX).await;
    assert!(got < sent, "{got} of {sent} events");
}
