//! GitLab's connection breaks at every byte of an event stream, before the whole reference server: a tab that
//! subscribed gets each event once, in order.
//!
//! The stream is a recording of the mock's, with real payloads; a listener in the virtual network plays it, from after
//! the event that a reader says it has, and breaks off when told.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use futures_util::{SinkExt, StreamExt};
use http::{Request, header};
use http_body_util::BodyExt;
use polytab_mocks::{Mocks, config::MocksConfig, gitlab::generate::EventOrder, order::UserSpec};
use polytab_protocol::event_stream::{Decoder, Item};
use polytab_seams::{
    Seams,
    clock::Clock,
    net::{AnyStream, ByteStream, Listen},
    random::Random,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest},
};
use tower::ServiceExt;

use super::{
    mocks::{MockHosts, TargetFacts},
    network::{Network, NetworkListener, Travel},
    server::{Place, ServerProcess},
};

const TOPIC: &str = "/project/42/release";
const EVENTS: usize = 10;
/// What readers are asked to wait before they come back: short, so that a session outlives all cuts.
const RETRY: Duration = Duration::from_millis(10);
/// Longer than all bytes are under way, and than the tab waits for what must not come.
const QUIET: Duration = Duration::from_millis(100);

fn travel() -> Travel {
    Travel {
        latency: Duration::from_millis(1),
        jitter: Duration::ZERO,
        random: Random::seeded(1),
    }
}

fn seams(network: &Network, host: &str) -> Seams {
    Seams {
        clock: Clock::derived("2026-01-01T00:00:00Z".parse().unwrap(), 1),
        random: Random::seeded(1),
        dial: network.dial_from(host),
    }
}

fn ada() -> UserSpec {
    UserSpec {
        password: "password-of-ada".into(),
        projects: vec![42],
        access_token: Some(Duration::from_hours(9)),
        ..UserSpec::default()
    }
}

async fn access(mocks: &Mocks) -> String {
    let form = "grant_type=password&username=ada&password=password-of-ada&scope=openid&client_id=renku-ui&\
                client_secret=client-secret-for-tests-only";
    let request = Request::post("/auth/realms/Renku/protocol/openid-connect/token")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form))
        .unwrap();
    let answer = mocks.keycloak().oneshot(request).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let tokens: Value = serde_json::from_slice(&body).unwrap();
    tokens["access_token"].as_str().unwrap().to_owned()
}

/// A stream as it was sent.
struct Recording {
    /// What comes before the first event.
    hello: Vec<u8>,
    events: Vec<u8>,
    /// Of each event its id, and where it ends among `events`.
    ends: Vec<(String, usize)>,
    /// The id before the first event.
    origin: String,
}

impl Recording {
    /// Ten releases with all that GitLab says of one, the fifth with a character of four bytes.
    async fn make() -> Self {
        let network = Network::new(travel());
        let config = MocksConfig {
            retry: RETRY,
            ..MocksConfig::default()
        };
        let mocks = Mocks::new(config, seams(&network, "mocks"));
        mocks.put_user("ada", ada()).unwrap();
        let token = access(&mocks).await;
        for nth in 1..=EVENTS {
            let mut order = EventOrder::new("release".parse().unwrap());
            if nth == 5 {
                order.payload = json!({"name": "😀"});
            }
            mocks.generate(42, &order).unwrap();
        }
        let first = mocks
            .generate(42, &EventOrder::new("push".parse().unwrap()))
            .unwrap();
        let origin = format!("{}-0", first[0].split('-').next().unwrap());

        let request = Request::get(TOPIC)
            .header("private-token", token)
            .header("last-event-id", &origin);
        let answer = mocks.gitlab().oneshot(request.body(Body::empty()).unwrap());
        let mut body = answer.await.unwrap().into_body();
        let mut chunks = Vec::new();
        while let Ok(Some(Ok(frame))) = timeout(QUIET, body.frame()).await {
            chunks.push(frame.into_data().unwrap().to_vec());
        }
        let hello = chunks.remove(0);
        let mut decoder = Decoder::new(1 << 20);
        let mut ends = Vec::new();
        for (end, byte) in chunks.concat().iter().enumerate() {
            for item in decoder.push(&[*byte]) {
                if let Item::Event(event) = item {
                    ends.push((event.id, end + 1));
                }
            }
        }
        Self {
            hello,
            events: chunks.concat(),
            ends,
            origin,
        }
    }

    /// All bytes for a reader that has this event.
    fn after(&self, last: &str) -> Vec<u8> {
        let from = self
            .ends
            .iter()
            .find(|(id, _)| id == last)
            .map_or(0, |(_, end)| *end);
        [&self.hello, &self.events[from..]].concat()
    }

    fn len(&self) -> usize {
        self.hello.len() + self.events.len()
    }
}

/// Where the next connection breaks off.
type Cut = Arc<AtomicUsize>;

/// A GitLab that knows nothing but the recording.
async fn play(mut listener: NetworkListener, recording: Arc<Recording>, cut: Cut) {
    let mut streams = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await;
        streams.spawn(answer(stream, Arc::clone(&recording), Arc::clone(&cut)));
        while streams.try_join_next().is_some() {}
    }
}

async fn answer(mut stream: AnyStream, recording: Arc<Recording>, cut: Cut) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let last = head.lines().find_map(|line| line.strip_prefix("last-event-id: "));
    let body = recording.after(last.unwrap_or(""));
    let length = cut.swap(usize::MAX, Ordering::Relaxed).min(body.len());
    let answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    stream
        .write_all(&[answer, &body[..length]].concat())
        .await
        .unwrap();
    if length < body.len() {
        // A reset overtakes what is under way: the bytes must have arrived, and not one more.
        tokio::time::sleep(RETRY).await;
        if length % 4 < 2 {
            stream.reset_on_drop();
        }
    } else {
        // It stands until the reader leaves.
        stream.read_u8().await.ok();
    }
}

/// A tab of ada's.
struct Tab(WebSocketStream<AnyStream>);

impl Tab {
    async fn open(network: &Network, token: &str) -> Self {
        let mut request = "ws://server/ui-server/ws".into_client_request().unwrap();
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        let stream = network.dial_from("tab").dial("server", 80).await.unwrap();
        Self(client_async(request, stream).await.unwrap().0)
    }

    async fn send(&mut self, kind: &str, data: &Value) {
        let message = json!({"timestamp": "2026-01-01T00:00:00.000Z", "type": kind, "data": data});
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    /// The next message of this topic, or of this kind; none after a while.
    async fn next(&mut self, kind: &str) -> Option<Value> {
        loop {
            let message = timeout(QUIET, self.0.next()).await.ok()??.unwrap();
            let Ok(text) = message.to_text() else { continue };
            let message: Value = serde_json::from_str(text).unwrap_or_default();
            if message["type"] == kind {
                return Some(message);
            }
        }
    }
}

/// The world: ada's tab before the reference server, and behind that the recording instead of GitLab.
async fn stage(recording: &Arc<Recording>, cut: &Cut) -> (Tab, JoinSet<()>, ServerProcess, MockHosts) {
    let network = Network::new(travel());
    let facts = TargetFacts {
        http_base: "http://server/".parse().unwrap(),
        backchannel: false,
        speed: 1,
    };
    let hosts = MockHosts::on_network(&network, &facts, seams(&network, "mocks"));
    hosts.mocks.put_user("ada", ada()).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(play(
        network.listen("gitlab"),
        Arc::clone(recording),
        Arc::clone(cut),
    ));
    let settings = BTreeMap::from([
        ("public_url".to_owned(), json!("http://server")),
        (
            "oidc_issuer".to_owned(),
            json!("http://keycloak/auth/realms/Renku"),
        ),
        ("oidc_client_id".to_owned(), json!("renku-ui")),
        (
            "oidc_client_secret".to_owned(),
            json!(MocksConfig::default().client.secret),
        ),
        ("backend_url".to_owned(), json!("http://backend/api")),
        ("gitlab_url".to_owned(), json!("http://gitlab")),
        // One tab stands for thousands here.
        ("commands_per_second".to_owned(), json!(1000)),
        // Before GitLab has said another.
        ("stream_retry".to_owned(), json!("10ms")),
    ]);
    let place = Place::Virtual(network.clone());
    let mut server = ServerProcess::new(place, settings, 1, seams(&network, "server"));
    server.start(None).await.unwrap();
    let mut tab = Tab::open(&network, &access(&hosts.mocks).await).await;
    assert!(tab.next("init").await.is_some());
    (tab, tasks, server, hosts)
}

/// Subscribes, and gives the ids and names of what comes, until nothing more comes.
async fn events(tab: &mut Tab, origin: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    tab.send("subscribe", &json!({"topic": TOPIC, "lastEventId": origin}))
        .await;
    while let Some(message) = tab.next("release").await {
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let name = text(&message["data"]["name"]);
        found.push((text(&message["eventId"]), name));
    }
    tab.send("unsubscribe", &json!({ "topic": TOPIC })).await;
    tab.next("ack").await;
    found
}

/// Breaks the connection off after each of so many bytes; says how many times it did.
async fn break_off_after(first: usize, step: usize) -> usize {
    let recording = Arc::new(Recording::make().await);
    let cut = Cut::new(AtomicUsize::new(usize::MAX));
    let (mut tab, _tasks, _server, _hosts) = stage(&recording, &cut).await;
    let ids: Vec<_> = recording.ends.iter().map(|(id, _)| id.as_str()).collect();
    let whole = events(&mut tab, &recording.origin).await;
    assert_eq!(whole.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ids);
    assert_eq!((whole.len(), whole[4].1.as_str()), (EVENTS, "😀"));

    let lengths = (first..recording.len()).step_by(step);
    for length in lengths.clone() {
        cut.store(length, Ordering::Relaxed);

        let found = events(&mut tab, &recording.origin).await;

        assert!(found == whole, "cut after {length} bytes: {found:?}");
        let next = cut.load(Ordering::Relaxed);
        assert_eq!(next, usize::MAX, "no connection was cut after {length} bytes");
    }
    lengths.len()
}

/// Half of the cuts are resets, half are ends in order.
#[test]
#[expect(clippy::print_stdout, reason = "how many cuts there were is worth knowing")]
fn a_stream_that_breaks_at_any_byte_gives_the_tab_each_event_once() {
    let half = |first: usize| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(break_off_after(first, 2))
    };

    let (even, odd) = std::thread::scope(|scope| {
        let odd = scope.spawn(|| half(1));
        (half(0), odd.join().unwrap())
    });

    println!("{} cuts", even + odd);
    assert!(even + odd > 10_000);
}
