//! Real browsers: Chromium opens a page of the test's own, which reports how its sockets ended.

use std::{
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
};

use axum::{
    Json, Router,
    response::Html,
    routing::{get, post},
};
use polytab_seams::serve::{Limits, serve};
use polytab_server::{Config, Span};
use serde::Deserialize;
use tokio::{
    net::TcpListener,
    sync::mpsc::{self, Receiver},
    task::JoinSet,
    time::{Duration, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::support::with_server;

const CHROMIUM: &str = "/usr/bin/chromium";
/// A browser's first start takes several seconds on a busy machine.
const BROWSER_PATIENCE: Duration = Duration::from_mins(1);

/// The end of one WebSocket in the page.
#[derive(Debug, Deserialize)]
struct SocketEnd {
    code: u16,
    is_clean: bool,
    /// From the last message, which the server sends right before its close frame, to `onclose`.
    waited_ms: f64,
}

/// A browser that ends with the test.
struct Browser {
    process: Child,
    _profile: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Browser {
    fn open(url: &str) -> Self {
        let profile = tempfile::tempdir().expect("there is room for a profile");
        let process = Command::new(CHROMIUM)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(url)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Chromium starts");
        Self {
            process,
            _profile: profile,
        }
    }
}

/// Says so and returns `true` when there is no browser; fails where tests may not be skipped.
fn is_skipped(test: &str) -> bool {
    if Path::new(CHROMIUM).exists() {
        return false;
    }
    assert!(
        std::env::var_os("POLYTAB_TEST_NO_SKIP").is_none(),
        "may not be skipped: {CHROMIUM} is not installed"
    );
    // Past the harness, which would show it only for a test that fails.
    let line = format!("SKIPPED {test}: {CHROMIUM} is not installed\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("standard error is open");
    true
}

/// Opens five sockets in turn at the server that the query names, and posts their ends.
const PAGE: &str = r"<!doctype html><title>tabs</title><script>
const end = (url) => new Promise((done) => {
  const socket = new WebSocket(url);
  let last = performance.now();
  socket.onmessage = () => { last = performance.now(); };
  socket.onclose = ({ code, wasClean }) =>
    done({ code, is_clean: wasClean, waited_ms: performance.now() - last });
});
(async () => {
  const ends = [];
  for (let nth = 0; nth < 5; nth += 1) ends.push(await end(`ws://${location.search.slice(1)}/ui-server/ws`));
  const headers = { 'content-type': 'application/json' };
  await fetch('/ends', { method: 'POST', headers, body: JSON.stringify(ends) });
})();
</script>";

/// Serves the page on the listener; gives the posts.
fn serve_page(listener: TcpListener, tasks: &mut JoinSet<()>) -> Receiver<Vec<SocketEnd>> {
    let (sender, posts) = mpsc::channel(1);
    let take = move |Json(ends): Json<Vec<SocketEnd>>| async move {
        // A test that has ended needs no further posts.
        sender.send(ends).await.ok();
    };
    let router = Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/ends", post(take));
    let limits = Limits {
        header_read: BROWSER_PATIENCE,
        header_bytes: 64 << 10,
        header_fields: 64,
        connections: 16,
        life: None,
    };
    let never = (CancellationToken::new(), Duration::ZERO);
    tasks.spawn(async move {
        serve(listener, router, limits, never).await;
    });
    posts
}

#[tokio::test]
async fn chromium_sees_the_close_as_soon_as_it_comes() {
    if is_skipped("chromium_sees_the_close_as_soon_as_it_comes") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let origin = format!("http://{}", listener.local_addr().expect("it listens"));
    let mut tasks = JoinSet::new();
    let mut posts = serve_page(listener, &mut tasks);
    let config = Config {
        allowed_origins: vec![origin.parse().expect("an origin is a URL")],
        // Longer than Chromium waits for the end of the TCP stream.
        close_timeout: Span(Duration::from_mins(1)),
        // The page measures from the error to `onclose`.
        refusal_pause: Span(Duration::ZERO),
        ..Config::default()
    };

    let ends = with_server(config, async |server| {
        let _browser = Browser::open(&format!("{origin}/?{server}"));
        timeout(BROWSER_PATIENCE, posts.recv()).await
    });

    let ends = ends.await.expect("the page reports").expect("the page is served");
    let longest_ms = ends.iter().map(|end| end.waited_ms).fold(0.0, f64::max);
    assert!(
        ends.iter().all(|end| end.is_clean && end.code == 4000),
        "{ends:?}"
    );
    // Chromium's own limit is 2,000 ms; a wait that reaches it is one for the end of the TCP stream.
    assert!(longest_ms < 1_000.0, "{ends:?}");
}
