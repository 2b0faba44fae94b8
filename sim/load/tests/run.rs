//! Whole runs against servers that do wrong in a known way: each wrong is counted exactly.

#![expect(clippy::unwrap_used, reason = "what goes wrong beside the test ends it")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue};
use polytab_load::{
    plan::{
        Arrival, Deed, Happening, InitialState, Limits, Needle, Notification, Pace, Page, Phase, Plan,
        Process, Request, Script, Site, Template,
    },
    result::{LoadResult, Shard},
    run::{Order, run},
    tally::{Count, Metric},
    verdict::Verdict,
};
use serde_json::json;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request as Handshake, Response},
    },
};
use tokio_util::sync::CancellationToken;

const USER: &str = "x-user";

/// A server that tells each tab of a user what the test wants it to hear, and echoes what tabs say.
#[derive(Clone, Default)]
struct Server {
    tabs: Arc<Mutex<BTreeMap<u64, Vec<mpsc::Sender<Message>>>>>,
    opened: Arc<AtomicU64>,
}

impl Server {
    async fn start(tasks: &mut JoinSet<()>) -> (Self, SocketAddr) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self::default();
        let serving = server.clone();
        tasks.spawn(async move {
            let mut tabs = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tabs.spawn(serving.clone().tab(stream));
            }
        });
        (server, address)
    }

    async fn tab(self, stream: tokio::net::TcpStream) {
        let mut user = 0;
        #[expect(clippy::result_large_err, reason = "the library asks for this type")]
        let greet = |request: &Handshake, response: Response| {
            let named = request.headers().get(USER).and_then(|name| name.to_str().ok());
            user = named.and_then(|name| name.parse().ok()).unwrap_or(0);
            Ok(response)
        };
        let Ok(mut socket) = accept_hdr_async(stream, greet).await else {
            return;
        };
        let (say, mut said) = mpsc::channel(1024);
        self.tabs.lock().unwrap().entry(user).or_default().push(say);
        self.opened.fetch_add(1, Ordering::Relaxed);
        loop {
            tokio::select! {
                message = said.recv() => {
                    let Some(message) = message else { break };
                    if socket.send(message).await.is_err() { break }
                }
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        if socket.send(Message::Text(text)).await.is_err() { break }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => break,
                },
            }
        }
    }

    /// Says something to every tab of the user.
    async fn tell(&self, user: u64, text: &str) {
        let tabs = self.tabs.lock().unwrap().get(&user).cloned().unwrap_or_default();
        for tab in tabs {
            tab.send(Message::text(text)).await.ok();
        }
    }
}

fn plan(address: SocketAddr, users: u64, seconds: u64, page: Page) -> Plan {
    Plan {
        name: "test".to_owned(),
        seed: 7,
        phases: vec![Phase {
            name: "only".to_owned(),
            length: Duration::from_secs(seconds),
            users,
            arrival: Arrival::Spike,
            events: Vec::new(),
        }],
        tabs_per_user: vec![(2, 1.0)],
        shard: None,
        page,
        script: None,
        site: Site {
            url: format!("ws://{address}/").parse().unwrap(),
            name: "a server of the test".to_owned(),
            tls: None,
            sources: Vec::new(),
            user_name: Arc::new(|user| user.to_string()),
            sign_in: Arc::new(|user| {
                let mut headers = HeaderMap::new();
                headers.insert(USER, HeaderValue::from(user));
                Box::pin(async { Ok(headers) })
            }),
            signs_in: false,
            sign_out: None,
            change: None,
            polls: None,
        },
        thresholds: Vec::new(),
        allow_unmeasured: Vec::new(),
        abort_after: None,
        limits: Limits {
            // How busy the machine of a test is decides nothing.
            lag: Duration::from_mins(1),
            ..Limits::default()
        },
    }
}

async fn made(plan: Plan) -> LoadResult {
    let order = Order {
        begins_in: Duration::ZERO,
        begins_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        stop: CancellationToken::new(),
    };
    run(plan, order, |_| {}).await.unwrap()
}

fn counts<const N: usize>(result: &LoadResult, counts: [Count; N]) -> [u64; N] {
    let total = result.total();
    counts.map(|count| total.get(count))
}

fn notification() -> Notification {
    Notification {
        is: Needle::Json(json!({"type": "note"})),
        seq: Some("/seq".to_owned()),
        superseded: None,
        stream: None,
        user: Some("/user".to_owned()),
        mark: None,
        initial: InitialState::Absent,
    }
}

const WRONG: [Count; 4] = [Count::Missed, Count::Doubled, Count::OutOfOrder, Count::CrossUser];

#[tokio::test(flavor = "multi_thread")]
async fn numbered_notifications_that_go_astray_are_counted_exactly() {
    const USERS: u64 = 4;
    const EACH: u64 = 5001;
    let mut tasks = JoinSet::new();
    let (server, address) = Server::start(&mut tasks).await;
    let page = Page {
        notification: Some(notification()),
        ..Page::default()
    };
    let wrong: Arc<[AtomicU64; 3]> = Arc::default();
    let counted = Arc::clone(&wrong);
    let teller = server.clone();
    tasks.spawn(async move {
        while teller.opened.load(Ordering::Relaxed) < USERS * 2 {
            tokio::task::yield_now().await;
        }
        let count = |index: usize| counted[index].fetch_add(1, Ordering::Relaxed);
        for seq in 1..=EACH {
            for user in 0..USERS {
                let nth = (seq - 1) * USERS + user + 1;
                let note = json!({"type": "note", "seq": seq, "user": user.to_string()}).to_string();
                let is_between = (2..EACH).contains(&seq);
                if is_between && nth.is_multiple_of(10_000) {
                    count(2);
                    teller.tell((user + 1) % USERS, &note).await;
                    continue;
                }
                if is_between && nth.is_multiple_of(1000) {
                    count(0);
                    continue;
                }
                teller.tell(user, &note).await;
                if is_between && nth.is_multiple_of(1500) {
                    count(1);
                    teller.tell(user, &note).await;
                }
            }
        }
    });

    let result = made(plan(address, USERS, 10, page)).await;

    let [dropped, doubled, astray] = [0, 1, 2].map(|index| wrong[index].load(Ordering::Relaxed));
    assert!(
        dropped > 10 && doubled > 5 && astray > 1,
        "{dropped} {doubled} {astray}"
    );
    // Each user has two tabs; what went to the wrong user is missed by the right one.
    let expected = [(dropped + astray) * 2, doubled * 2, 0, astray * 2];
    assert_eq!(counts(&result, WRONG), expected);
    assert_eq!(result.verdict, Verdict::Passed);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_heard_once_by_each_tab_and_lost_ones_are_missed() {
    let mut tasks = JoinSet::new();
    let (server, address) = Server::start(&mut tasks).await;
    let page = Page {
        notification: Some(Notification {
            seq: None,
            mark: Some("/mark".to_owned()),
            ..notification()
        }),
        ..Page::default()
    };
    let mut plan = plan(address, 10, 3, page);
    plan.limits.notification = Duration::from_secs(1);
    plan.phases[0].events.push(Process {
        happening: Happening::Change,
        rate: 5.0,
    });
    let lost = Arc::new(AtomicU64::new(0));
    let losing = Arc::clone(&lost);
    plan.site.change = Some(Arc::new(move |user, mark| {
        let (server, lost) = (server.clone(), Arc::clone(&losing));
        Box::pin(async move {
            if mark.ends_with("-3.") {
                lost.fetch_add(1, Ordering::Relaxed);
            } else {
                let note = json!({"type": "note", "user": user.to_string(), "mark": format!("see {mark}")});
                server.tell(user, &note.to_string()).await;
            }
            Ok(())
        })
    }));

    let result = made(plan).await;

    let lost = lost.load(Ordering::Relaxed);
    let [due, notified, changes] = counts(&result, [Count::Due, Count::Notified, Count::Changes]);
    assert_eq!(lost, 10);
    assert!(changes > 100, "{changes}");
    assert_eq!(counts(&result, WRONG)[1..], [0, 0, 0]);
    // Each change is due in both tabs, but for the first ones, which a tab that opened later need not hear of.
    assert_eq!(
        due - counts(&result, [Count::Missed])[0],
        result.total().metric(Metric::Fanout).unwrap().count()
    );
    assert!(notified >= due - lost * 2);
    assert!((lost..=lost * 2).contains(&counts(&result, [Count::Missed])[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_together_are_the_whole() {
    let mut tasks = JoinSet::new();
    let (_server, address) = Server::start(&mut tasks).await;
    let page = Page {
        requests: vec![Request {
            send: Template::new("hello".to_owned()),
            reply: Needle::Any,
            pace: Pace::Every(Duration::from_millis(100)),
        }],
        ..Page::default()
    };
    let plan = |shard| Plan {
        shard,
        tabs_per_user: vec![(1, 1.0), (3, 1.0)],
        ..plan(address, 20, 4, page.clone())
    };
    let seen = [Count::Users, Count::Opens, Count::Opened];

    let whole = made(plan(None)).await;
    let mut parts = [0; 3];
    for index in 0..3 {
        let part = made(plan(Some(Shard { index, of: 3 }))).await;
        for (sum, more) in parts.iter_mut().zip(counts(&part, seen)) {
            *sum += more;
        }
    }

    assert_eq!(counts(&whole, seen), parts);
    assert_eq!(parts[0], 20);
    let [requests, replies, unanswered] =
        counts(&whole, [Count::Requests, Count::Replies, Count::Unanswered]);
    assert!(requests > 20 * 15);
    assert_eq!((replies, unanswered), (requests, 0));
}

#[tokio::test]
async fn a_tab_that_is_closed_before_its_handshake_is_over_does_not_open() {
    let mut tasks = JoinSet::new();
    let (_server, address) = Server::start(&mut tasks).await;
    let at_once = [Deed::Open(0), Deed::Open(1), Deed::Close(0)];
    let script = Script {
        deeds: at_once.into_iter().map(|deed| (Duration::ZERO, deed)).collect(),
        length: Duration::from_millis(500),
    };

    let result = made(Plan {
        script: Some(script),
        ..plan(address, 5, 1, Page::default())
    })
    .await;

    assert_eq!(
        counts(&result, [Count::Users, Count::Opened, Count::Lost]),
        [5, 5, 0]
    );
}
