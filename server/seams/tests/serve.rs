//! How long the accept loop keeps connections, over pipes in memory and on a paused clock.

#![expect(clippy::unwrap_used, reason = "what cannot be in a test may panic")]

mod pipes;

use std::time::Duration;

use axum::{Router, routing::get};
use polytab_seams::serve::{Limits, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use self::pipes::{Door, pipes};

const LIFE: Duration = Duration::from_secs(30);
/// Nearly as long.
const SLOW: Duration = Duration::from_secs(29);
/// Less than a peer may be silent.
const PAUSE: Duration = Duration::from_secs(4);

/// A server whose `/slow` takes nearly a life, and `/hangs` for ever.
fn site(life: Option<Duration>) -> (JoinSet<usize>, Door) {
    let (listener, door) = pipes();
    let limits = Limits {
        header_read: Duration::from_secs(5),
        header_bytes: 16 * 1024,
        header_fields: 100,
        connections: 8,
        life,
    };
    let slow = async || {
        sleep(SLOW).await;
        "slow"
    };
    let router = Router::new()
        .route("/", get(async || "hello"))
        .route("/long", get(async || "x".repeat(1 << 20)))
        .route("/slow", get(slow))
        .route("/hangs", get(std::future::pending::<()>));
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(
        listener,
        router,
        limits,
        (CancellationToken::new(), Duration::ZERO),
    ));
    (tasks, door)
}

async fn ask(pipe: &mut DuplexStream, path: &str) -> std::io::Result<()> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    pipe.write_all(request.as_bytes()).await
}

/// Whether an answer with this end comes.
async fn is_answered(pipe: &mut DuplexStream, end: &str) -> bool {
    let mut seen = String::new();
    while !seen.ends_with(end) {
        match pipe.read_u8().await {
            Ok(byte) => seen.push(byte.into()),
            Err(_) => return false,
        }
    }
    true
}

/// Asks every now and then for so long; gives when the connection ended, if it did.
async fn asks_on(door: &Door, length: Duration) -> Option<Duration> {
    let mut pipe = door.enter().await;
    let begin = Instant::now();
    while begin.elapsed() < length {
        if ask(&mut pipe, "/").await.is_err() || !is_answered(&mut pipe, "hello").await {
            return Some(begin.elapsed());
        }
        sleep(PAUSE).await;
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_old_takes_no_further_request() {
    let (_tasks, door) = site(Some(LIFE));

    let ended = asks_on(&door, LIFE * 3).await;

    assert!(ended.is_some_and(|ended| ended <= LIFE + PAUSE), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_bound_a_connection_may_become_any_age() {
    let (_tasks, door) = site(None);

    assert_eq!(asks_on(&door, LIFE * 3).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_begins_just_before_is_answered() {
    let (_tasks, door) = site(Some(LIFE));
    let mut pipe = door.enter().await;
    ask(&mut pipe, "/slow").await.unwrap();
    assert!(is_answered(&mut pipe, "slow").await);

    ask(&mut pipe, "/slow").await.unwrap();

    assert!(is_answered(&mut pipe, "slow").await);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_or_is_not_read_ends_with_its_connection() {
    for path in ["/hangs", "/long"] {
        let (mut tasks, door) = site(Some(LIFE));
        let mut pipes = Vec::new();
        for _ in 0..8 {
            let mut pipe = door.enter().await;
            ask(&mut pipe, path).await.unwrap();
            pipes.push(pipe);
        }
        let begin = Instant::now();
        let mut next = door.enter().await;
        ask(&mut next, "/").await.unwrap();

        assert!(is_answered(&mut next, "hello").await, "{path}");
        assert_eq!(begin.elapsed(), LIFE * 2, "{path}");
        tasks.abort_all();
    }
}
