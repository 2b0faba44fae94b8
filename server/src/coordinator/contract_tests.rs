//! What every coordinator promises, asked of each: in memory always, of Redis where there is one to start.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use polytab_protocol::{
    id::{LoginSessionId, UserId},
    sessions::SessionsReading,
};
use tokio::{
    io::copy_bidirectional,
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    Coordinator, Fate, Hold, Letter, Life, Memory, Needs, Rank, Record, Redis, Sealed, Spans, Standing,
    redis_server::RedisServer,
};
use crate::{
    channel::event::{Came, LoopKind, Reading, SessionsKind, StreamNews},
    config::RedisUrl,
};

/// Longer than any test takes.
const LONG: Spans = Spans {
    lease: Duration::from_mins(1),
    window: Duration::from_mins(2),
    answer: PATIENCE,
    letters: 100,
};
/// A lease ends while a test waits.
const BRIEF: Spans = Spans {
    lease: Duration::from_secs(3),
    ..LONG
};
/// An answer that does not come is soon given up.
const IMPATIENT: Spans = Spans {
    answer: Duration::from_millis(500),
    ..LONG
};
/// An answer that takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Instances that meet: `a`, `b` and `c`.
struct Instances([Box<dyn Coordinator>; 3]);

fn in_memory(spans: Spans) -> Instances {
    let first = Memory::new("a", spans);
    let (second, third) = (first.beside("b"), first.beside("c"));
    Instances([Box::new(first), Box::new(second), Box::new(third)])
}

impl RedisServer {
    fn instances(&self, spans: Spans) -> Instances {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Each test meets under a name of its own.
        let prefix = format!("test{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let url: RedisUrl = serde_json::from_value(format!("redis://127.0.0.1:{}", self.port).into())
            .expect("that is an address");
        Instances(
            ["a", "b", "c"]
                .map(|name| Box::new(Redis::new(name, &url, &prefix, spans)) as Box<dyn Coordinator>),
        )
    }

    async fn wait_until_it_answers(&self) {
        let Instances([one, ..]) = self.instances(LONG);
        let answers = async {
            while one.kept("nothing").await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, answers).await.expect("it answers soon");
    }
}

fn life(epoch: &str) -> Life {
    Life {
        user: UserId("ada".into()),
        epoch: epoch.into(),
    }
}

fn pulls() -> Needs {
    Needs {
        tabs: 2,
        sessions: BTreeSet::from([SessionsKind::V2]),
        projects: BTreeSet::from([7]),
        topics: [("/project/42/push".parse().expect("a topic"), Hold::default())].into(),
        version: true,
    }
}

async fn claim(at: &dyn Coordinator, epoch: &str, needs: &Needs, news: bool) -> Standing {
    at.claim(&life(epoch), needs, news)
        .await
        .expect("it can be reached")
}

/// The next letters, however long it takes; to ask for none is no test.
async fn letters(at: &dyn Coordinator) -> Vec<Letter> {
    let some = async {
        loop {
            let letters = at.letters().await.expect("it can be reached");
            if !letters.is_empty() {
                return letters;
            }
        }
    };
    timeout(PATIENCE, some).await.expect("letters come")
}

fn event(id: &str) -> Record {
    let payload = serde_json::value::RawValue::from_string(r#"{"x": 1.0}"#.into()).expect("JSON");
    let news = StreamNews::Event(Came {
        id: id.into(),
        payload,
    });
    Record::Stream("/project/42/push".parse().expect("a topic"), news)
}

fn shown(record: &Record) -> String {
    serde_json::to_string(record).expect("records are plain")
}

async fn one_leads_and_knows_what_the_others_need(Instances([a, b, c]): &Instances) {
    let first = claim(&**a, "a-1", &Needs::default(), false).await;
    let second = claim(&**b, "b-1", &pulls(), false).await;
    let third = claim(&**c, "c-1", &pulls(), false).await;
    let again = claim(&**a, "a-1", &Needs::default(), false).await;

    assert!(matches!(first.rank, Rank::Leads(_)));
    assert_eq!((second.rank, third.rank), (Rank::Follows, Rank::Follows));
    assert_eq!(again.rank, first.rank, "who leads goes on with the same fence");
    assert_eq!(first.others, Needs::default());
    let mut both = pulls();
    both.add(pulls());
    assert_eq!((both.tabs, again.others), (4, both.clone()));
    assert!(first.at < second.at && second.at < again.at);
}

async fn a_lease_that_is_not_renewed_goes_to_another_and_the_old_fence_is_refused(
    Instances([a, b, _]): &Instances,
) {
    let begun = Instant::now();
    let Rank::Leads(old) = claim(&**a, "a-1", &Needs::default(), false).await.rank else {
        panic!("nobody else led");
    };
    let taken = loop {
        match claim(&**b, "b-1", &Needs::default(), false).await.rank {
            Rank::Leads(fence) => break fence,
            _ if begun.elapsed() < PATIENCE => sleep(Duration::from_millis(20)).await,
            rank => panic!("{rank:?} for ever"),
        }
    };

    assert!(begun.elapsed() >= BRIEF.lease, "not before its time");
    assert!(taken > old, "fences rise");
    let late = a
        .publish(&life("a-1"), old, &event("e-1"))
        .await
        .expect("reached");
    assert_eq!(late, Fate::Refused);
    let own = b
        .publish(&life("b-1"), taken, &event("e-2"))
        .await
        .expect("reached");
    assert!(matches!(own, Fate::Taken(_)));
    let came: Vec<_> = letters(&**a)
        .await
        .iter()
        .map(|letter| shown(&letter.record))
        .collect();
    assert_eq!(came, [shown(&event("e-2"))], "the stale one went nowhere");
}

async fn the_tabs_of_an_instance_that_was_lost_count_no_longer_than_its_lease(
    Instances([a, b, _]): &Instances,
) {
    claim(&**a, "a-1", &pulls(), false).await;
    let first = claim(&**b, "b-1", &Needs::default(), false).await;
    let begun = Instant::now();
    let after = loop {
        match claim(&**b, "b-1", &Needs::default(), false).await.others {
            others if others.tabs == 0 => break others,
            _ if begun.elapsed() < PATIENCE => sleep(Duration::from_millis(20)).await,
            others => panic!("{others:?} for ever"),
        }
    };

    assert_eq!(first.others, pulls());
    assert_eq!(
        after,
        Needs { tabs: 0, ..pulls() },
        "what they needed is known on"
    );
}

async fn what_is_shared_comes_once_to_each_other_instance_in_order(Instances([a, b, c]): &Instances) {
    let Rank::Leads(fence) = claim(&**a, "a-1", &Needs::default(), false).await.rank else {
        panic!("nobody else led");
    };
    claim(&**b, "b-1", &pulls(), false).await;
    // A channel that was born again in the same instance is no further instance.
    claim(&**b, "b-2", &pulls(), false).await;
    claim(&**c, "c-1", &pulls(), false).await;
    let reading = Record::Answered(
        LoopKind::Short,
        vec![Reading::Sessions(
            SessionsKind::V2,
            Some(SessionsReading::default()),
        )],
    );
    let shared = [event("e-1"), reading, event("e-2")];
    for record in &shared {
        a.publish(&life("a-1"), fence, record).await.expect("reached");
    }

    for other in [b, c] {
        let mut came = Vec::new();
        while came.len() < shared.len() {
            came.extend(letters(&**other).await);
        }
        let records: Vec<_> = came.iter().map(|letter| shown(&letter.record)).collect();
        assert_eq!(records, shared.iter().map(shown).collect::<Vec<_>>());
        assert!(came.iter().all(|letter| letter.user.0 == "ada"));
        assert!(came.is_sorted_by_key(|letter| letter.at));
    }
    a.post(&UserId("ada".into()), &Record::Needs)
        .await
        .expect("reached");
    let own = letters(&**a).await;
    assert!(
        matches!(
            own.as_slice(),
            [Letter {
                record: Record::Needs,
                ..
            }]
        ),
        "its own did not come back"
    );
}

async fn a_need_that_is_news_is_told_at_once(Instances([a, b, _]): &Instances) {
    claim(&**a, "a-1", &Needs::default(), false).await;

    claim(&**b, "b-1", &pulls(), true).await;

    let came = letters(&**a).await;
    assert!(matches!(
        came.as_slice(),
        [Letter {
            record: Record::Needs,
            ..
        }]
    ));
}

async fn who_releases_leaves_nothing(Instances([a, b, _]): &Instances) {
    claim(&**a, "a-1", &pulls(), false).await;
    let follows = claim(&**b, "b-1", &Needs::default(), false).await;
    assert_eq!(follows.rank, Rank::Follows);
    // Another life's release is not its own.
    a.release(&life("a-0")).await.expect("reached");
    assert_eq!(
        claim(&**b, "b-1", &Needs::default(), false).await.rank,
        Rank::Follows
    );

    a.release(&life("a-1")).await.expect("reached");

    let came = letters(&**b).await;
    assert!(matches!(
        came.as_slice(),
        [Letter {
            record: Record::Released,
            ..
        }]
    ));
    let now = claim(&**b, "b-1", &Needs::default(), false).await;
    assert!(matches!(now.rank, Rank::Leads(_)));
    assert_eq!(now.others, Needs::default());
}

async fn who_has_tabs_hears_that_a_session_is_over(Instances([a, b, _]): &Instances) {
    claim(&**a, "a-1", &Needs::default(), false).await;
    let over = Record::SessionOver(LoginSessionId("session:12".into()));

    b.post(&UserId("ada".into()), &over).await.expect("reached");

    let came = letters(&**a).await;
    assert_eq!(
        came.iter()
            .map(|letter| shown(&letter.record))
            .collect::<Vec<_>>(),
        [shown(&over)]
    );
}

async fn what_is_kept_is_found_everywhere(Instances([a, b, _]): &Instances) {
    let bytes = vec![0, 159, 146, 150];
    let long = Duration::from_mins(1);
    keep(&**a, "x", (0, &bytes), long).await;
    keep(&**a, "short", (0, &bytes), Duration::from_millis(1)).await;

    assert_eq!(b.kept("x").await.expect("reached"), Some(bytes));
    assert_eq!(b.kept("y").await.expect("reached"), None);
    let gone = async { while a.kept("short").await.expect("reached").is_some() {} };
    timeout(PATIENCE, gone).await.expect("it is not kept for ever");
}

/// What is there instead of these bytes of this version.
async fn keep(
    at: &dyn Coordinator,
    name: &str,
    (version, bytes): (u64, &[u8]),
    life: Duration,
) -> Option<Vec<u8>> {
    let bytes = bytes.to_owned();
    let kept = at.keep(name, Sealed { version, bytes }, life).await;
    kept.expect("reached")
}

async fn what_is_newer_stays_and_what_is_over_stays_over(Instances([a, b, _]): &Instances) {
    let long = Duration::from_mins(1);
    // A number that is no number by its text: 10 comes after 9. Sealed bytes may hold anything.
    let (old, new) = (b"9 old\n\0".as_slice(), b"10 new\n\0".as_slice());

    assert_eq!(keep(&**a, "x", (9, old), long).await, None);
    assert_eq!(keep(&**b, "x", (10, new), long).await, None);
    assert_eq!(keep(&**a, "x", (9, old), long).await, Some(new.to_owned()));
    assert_eq!(a.kept("x").await.expect("reached"), Some(new.to_owned()));
    assert_eq!(keep(&**a, "x", (10, old), long).await, None, "it is as new");

    b.note_over("x", long).await.expect("reached");
    assert_eq!(keep(&**a, "x", (11, new), long).await, Some(Vec::new()));
    assert_eq!(a.kept("x").await.expect("reached"), Some(Vec::new()));
    b.note_over("short", Duration::from_millis(1))
        .await
        .expect("reached");
    let gone = async { while keep(&**a, "short", (1, new), long).await.is_some() {} };
    timeout(PATIENCE, gone).await.expect("it is not over for ever");
}

async fn a_lock_is_one_instances_until_it_unlocks(Instances([a, b, _]): &Instances) {
    let long = Duration::from_mins(1);

    assert!(a.lock("x", long).await.expect("reached"));
    assert!(!b.lock("x", long).await.expect("reached"));
    b.unlock("x").await.expect("reached");
    assert!(!b.lock("x", long).await.expect("reached"), "another's lock stays");
    a.unlock("x").await.expect("reached");
    assert!(b.lock("x", Duration::from_millis(1)).await.expect("reached"));
    let free = async { while !a.lock("x", long).await.expect("reached") {} };
    timeout(PATIENCE, free).await.expect("it ends by itself");
}

/// Asks all of it of the instances that `meet` gives, anew for each promise.
async fn keeps_its_promises(meet: impl Fn(Spans) -> Instances) {
    one_leads_and_knows_what_the_others_need(&meet(LONG)).await;
    a_lease_that_is_not_renewed_goes_to_another_and_the_old_fence_is_refused(&meet(BRIEF)).await;
    the_tabs_of_an_instance_that_was_lost_count_no_longer_than_its_lease(&meet(BRIEF)).await;
    what_is_shared_comes_once_to_each_other_instance_in_order(&meet(LONG)).await;
    a_need_that_is_news_is_told_at_once(&meet(LONG)).await;
    who_releases_leaves_nothing(&meet(LONG)).await;
    who_has_tabs_hears_that_a_session_is_over(&meet(LONG)).await;
    what_is_kept_is_found_everywhere(&meet(LONG)).await;
    what_is_newer_stays_and_what_is_over_stays_over(&meet(LONG)).await;
    a_lock_is_one_instances_until_it_unlocks(&meet(LONG)).await;
}

#[tokio::test]
async fn memory_keeps_its_promises() {
    keeps_its_promises(in_memory).await;
}

#[tokio::test]
async fn redis_keeps_its_promises() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    server.wait_until_it_answers().await;

    keeps_its_promises(|spans| server.instances(spans)).await;
}

/// Passes connections on to a port; those that are there when `silent` is raised are answered nothing from then on.
async fn pass_on(from: tokio::net::TcpListener, to: u16, silent: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    while let Ok((mut near, _)) = from.accept().await {
        let mut silent = silent.clone();
        connections.spawn(async move {
            let was_silent = *silent.borrow_and_update();
            let mut far = TcpStream::connect(("127.0.0.1", to)).await.expect("it is there");
            tokio::select! {
                _ = silent.changed(), if !was_silent => std::future::pending().await,
                _ = copy_bidirectional(&mut near, &mut far) => {}
            }
        });
    }
}

#[tokio::test]
async fn a_connection_that_goes_silent_is_made_anew() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    server.wait_until_it_answers().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let (silence, silent) = watch::channel(false);
    let url: RedisUrl =
        serde_json::from_value(format!("redis://127.0.0.1:{port}").into()).expect("an address");
    let redis = Redis::new("a", &url, "test", IMPATIENT);

    let asking = async {
        while redis.claim(&life("a-1"), &pulls(), false).await.is_err() {}
        silence.send(true).expect("the proxy listens");
        let lost = redis.claim(&life("a-1"), &pulls(), false).await;
        while redis.claim(&life("a-1"), &pulls(), false).await.is_err() {}
        lost
    };
    let lost = tokio::select! {
        lost = timeout(PATIENCE, asking) => lost.expect("another connection is made"),
        () = pass_on(listener, server.port, silent) => panic!("the proxy ended"),
    };

    assert!(lost.is_err());
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_lost_within_seconds() {
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a free port")
        .port();
    let url: RedisUrl =
        serde_json::from_value(format!("redis://127.0.0.1:{port}").into()).expect("an address");
    let redis = Redis::new("a", &url, "test", IMPATIENT);

    let answer = timeout(PATIENCE, redis.claim(&life("a-1"), &pulls(), true)).await;

    assert!(answer.expect("it does not wait for ever").is_err());
    assert!(redis.letters().await.is_err());
}
