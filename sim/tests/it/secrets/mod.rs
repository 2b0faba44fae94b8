//! Secrets: whatever users, tabs and those who attack do, no token, code, cookie or client secret is in a log, in
//! what operators look at, in what a tab hears, or in a report.

mod site;

use std::{fs, path::Path, process::Stdio, time::Duration};

use polytab_mocks::{
    control::token::SignIn,
    order::{Change, Refresh},
};
use regex::Regex;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use site::{Site, location, with_site};

/// Kinds that the mocks and the test must have known of, or the search was for nothing.
const KINDS: [&str; 10] = [
    "access_token",
    "client_secret",
    "code",
    "cookie",
    "id_token",
    "logout_token",
    "nonce",
    "password",
    "refresh_token",
    "state",
];

#[tokio::test]
async fn no_secret_is_in_anything_that_a_server_says() {
    let findings = with_site(async |site| {
        lives(site).await;
        abuse(site).await;
        load(site).await;
        stop(site).await;
    })
    .await;

    assert_eq!(findings.leaks(), [].into());
    let missing: Vec<_> = KINDS
        .into_iter()
        .filter(|kind| !findings.kinds().contains(kind))
        .collect();
    assert!(missing.is_empty(), "the search was not for {missing:?}");
    for (place, part) in [
        ("the log as text", "channel begins"),
        ("the log as JSON", "\"message\":\"channel ends\""),
        ("the answer of GET /metrics", "polytab_tabs"),
        ("the answer of GET /debug/channels", "\"topics\""),
        ("the answer of GET /readyz", "200 OK ready"),
        ("what a tab heard", "close 4001"),
        ("what a tab heard", "close 1012"),
        ("result.json", "\"verdict\":\"passed\""),
    ] {
        let seen = findings
            .seen
            .iter()
            .any(|(where_, text)| where_ == place && text.contains(part));
        assert!(seen, "{place} does not hold `{part}`");
    }
}

fn bearer(site: &Site, user: &str) -> String {
    let realm = site.mocks.main_realm();
    let tokens = site.mocks.sign_in(realm, user, &SignIn::default()).unwrap();
    format!("Bearer {}", tokens.access_token)
}

fn change(site: &Site, user: &str, change: Change) {
    let user = Some(user.to_owned());
    site.mocks.change(Change { user, ..change }).unwrap();
}

/// Tabs by cookie and by token; refreshes, notifications, an event stream; log-out, a refused refresh, an expiry.
async fn lives(site: &Site) {
    for user in ["ada", "bob", "cid"] {
        let projects = Some(vec![42]);
        change(
            site,
            user,
            Change {
                projects,
                ..Change::default()
            },
        );
    }
    let (ada, cid) = (site.sign_in("ada").await, site.sign_in("cid").await);
    let mut of_ada = site.open("", &[("cookie", &ada)]).await;
    let mut of_bob = site.open("", &[("authorization", &bearer(site, "bob"))]).await;
    let mut of_cid = site.open("", &[("cookie", &cid)]).await;
    for tab in [&mut of_ada, &mut of_bob, &mut of_cid] {
        tab.hear("init").await;
        tab.command("subscribe", &json!({ "topic": "/project/42/push" }))
            .await;
        tab.hear("ack").await;
        // A turn has come about when it is answered, and with it a refresh.
        tab.command("pullSessionStatusV2", &json!({})).await;
        tab.hear("sessionStatusV2").await;
    }
    site.mocks
        .emit("/project/42/push".parse().unwrap(), &json!({ "ref": "main" }));
    of_ada.hear("push").await;
    site.look(("GET", "/debug/channels"), &[], "").await;

    let refresh = Refresh::Refused;
    change(
        site,
        "cid",
        Change {
            refresh: Some(refresh),
            ..Change::default()
        },
    );
    assert_eq!(of_cid.end().await, 4001);
    let left = site.ask(("GET", "/auth/logout"), &[("cookie", &ada)], "").await;
    assert_eq!(of_ada.end().await, 4001);
    // The provider tells the server by the back channel.
    site.ask(("GET", &location(&left)), &[], "").await;
    let access_token = Some(Duration::from_secs(2));
    change(
        site,
        "dan",
        Change {
            access_token,
            ..Change::default()
        },
    );
    let mut of_dan = site.open("", &[("authorization", &bearer(site, "dan"))]).await;
    assert_eq!(of_dan.end().await, 4001);
}

/// Secrets where none belongs.
async fn abuse(site: &Site) {
    let cookie = site.sign_in("ada").await;
    let secret = cookie.split_once('=').unwrap().1.to_owned();
    let bearer = bearer(site, "ada");
    let token = bearer.split_once(' ').unwrap().1;
    handshakes(site, (&secret, token)).await;
    commands(site, (&secret, token)).await;
    requests(site, (&secret, token)).await;
}

async fn handshakes(site: &Site, (secret, token): (&str, &str)) {
    let broken = format!("Bearer {token}x");
    for fields in [
        [("authorization", broken.as_str())].as_slice(),
        &[("authorization", &format!("Basic {token}"))],
        &[("authorization", &format!("Bearer {token} {token}"))],
        &[("authorization", token)],
        &[("cookie", &format!("{token}; =; {secret}; _renku_session={token}"))],
        &[("x-token", token), ("user-agent", secret)],
    ] {
        let mut tab = site
            .open(&format!("?access_token={token}&session={secret}"), fields)
            .await;
        assert!(matches!(tab.end().await, 4000 | 4001), "{fields:?}");
    }
}

async fn commands(site: &Site, (secret, token): (&str, &str)) {
    let cookie = format!("_renku_session={secret}");
    let mut tab = site.open("", &[("cookie", &cookie)]).await;
    for place in [secret, token] {
        tab.send(place).await;
        tab.send(format!("{{\"{place}")).await;
        tab.command("subscribe", &json!({ "topic": place })).await;
        tab.command("subscribe", &json!({ "topic": format!("/project/42/{place}") }))
            .await;
        tab.command(
            "subscribe",
            &json!({ "topic": "/project/42/note", "lastEventId": place }),
        )
        .await;
        tab.command("resume", &json!({ "epoch": place, "seq": 1 })).await;
        tab.command("pullKgActivationStatus", &json!({ "projects": [place] }))
            .await;
    }
    tab.command(token, &json!({})).await;
    tab.command("ping", &json!({ token: secret })).await;
    tab.command("ping", &json!({})).await;
    tab.hear("ack").await;
}

async fn requests(site: &Site, (secret, token): (&str, &str)) {
    let form = ("content-type", "application/x-www-form-urlencoded");
    for (method, path, fields, body) in [
        ("GET", format!("/{token}?{secret}"), vec![], String::new()),
        (
            "POST",
            format!("/ui-server/ws?{token}"),
            vec![("x", token)],
            token.to_owned(),
        ),
        (
            "GET",
            format!("/ui-server/ws?{token}"),
            vec![("upgrade", token)],
            String::new(),
        ),
        (
            "GET",
            format!("/ui-server/ws?{token}"),
            vec![("origin", token)],
            String::new(),
        ),
        (
            "GET",
            format!("/auth/callback?code={secret}&state={token}"),
            vec![],
            String::new(),
        ),
        (
            "GET",
            format!("/auth/callback?error={token}"),
            vec![],
            String::new(),
        ),
        (
            "GET",
            format!("/auth/callback?error={secret}"),
            vec![],
            String::new(),
        ),
        (
            "POST",
            "/auth/backchannel-logout".into(),
            vec![form],
            format!("logout_token={token}"),
        ),
        (
            "POST",
            "/auth/backchannel-logout".into(),
            vec![form],
            format!("logout_token={secret}"),
        ),
        (
            "POST",
            "/auth/backchannel-logout".into(),
            vec![],
            token.to_owned(),
        ),
        (
            "GET",
            "/auth/logout".into(),
            vec![("cookie", token)],
            String::new(),
        ),
    ] {
        site.look((method, &path), &fields, &body).await;
    }
}

/// A load from outside, with its reports.
async fn load(site: &Site) {
    let folder = tempfile::tempdir().unwrap();
    let profile = "\
users: 3
tabs_per_user: 2
phases: [{name: one, for: 2s, arrival: spike}]
changes: every 1s
churn: {sign_out: 10/m}
limits: {lag: 1h}
";
    fs::write(folder.path().join("my.load.yaml"), profile).unwrap();
    let url = format!("ws://{}/ui-server/ws", site.address);
    let loading = [
        "load",
        "my.load.yaml",
        "--url",
        &url,
        "--control",
        &site.control,
        "--sign-in",
        "code",
    ];
    let (code, said) = polytab(&folder, &[&loading[..], &["--out", "result.json"]].concat()).await;
    assert_eq!(code, 0, "{said}");
    site.saw("what a load said", said);
    for kind in ["html", "junit", "csv", "show"] {
        let (code, said) = polytab(&folder, &["report", kind, "result.json"]).await;
        assert_eq!(code, 0, "{kind}: {said}");
        site.saw(kind, said);
    }
    site.saw(
        "result.json",
        fs::read_to_string(folder.path().join("result.json")).unwrap(),
    );
}

/// What operators look at, and the end.
async fn stop(site: &Site) {
    let cookie = site.sign_in("bob").await;
    let mut tab = site.open("", &[("cookie", &cookie)]).await;
    tab.hear("init").await;
    for path in ["/metrics", "/debug/channels", "/readyz", "/healthz", "/version"] {
        site.look(("GET", path), &[("cookie", &cookie)], "").await;
    }
    site.stop.cancel();
    assert_eq!(tab.end().await, 1012);
}

/// The exit code, and all that is written to both outputs, with logs.
async fn polytab(folder: &TempDir, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_polytab"))
        .current_dir(folder)
        .env_clear()
        .env("RUST_LOG", "polytab=trace")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let all = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8_lossy(&all).into_owned(),
    )
}

/// A JWT; a value of 256 random bits, as codes and cookies of the server are; the client's secret; passwords.
pub(crate) fn pattern() -> Regex {
    Regex::new(r"eyJ[\w-]{8,}\.|\b[\w-]{43}\b|client-secret-for-tests|pass(word-of-\w+|-for-tests-only)")
        .unwrap()
}

#[tokio::test]
async fn no_secret_is_in_what_a_run_writes() {
    let folder = tempfile::tempdir().unwrap();
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let auth = scenarios.join("auth").display().to_string();
    let hostile = scenarios.join("hostile").display().to_string();
    let run = [
        "run",
        &auth,
        &hostile,
        "--seed",
        "3",
        "--message-format",
        "json",
        "--report",
        "junit=junit.xml",
    ];
    let secret = pattern();

    let (code, said) = polytab(&folder, &run).await;

    assert_eq!(code, 0, "{said}");
    // The hash of a secret, made to be shown.
    let said = Regex::new(r"code_challenge=[\w-]{43}")
        .unwrap()
        .replace_all(&said, "")
        .into_owned();
    let junit = fs::read_to_string(folder.path().join("junit.xml")).unwrap();
    for (place, text) in [("what a run says", said), ("its JUnit report", junit)] {
        assert!(text.len() > 1000, "{place}: {text}");
        let found: Vec<_> = secret
            .find_iter(&text)
            .map(|found| found.as_str())
            .take(3)
            .collect();
        assert_eq!(found, [""; 0], "{place}");
    }
    let snapshots = walk(&scenarios);
    assert!(!snapshots.is_empty());
    for (path, text) in snapshots {
        assert!(!secret.is_match(&text), "{path}");
    }
}

/// The accepted transcripts.
fn walk(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else if path.extension().is_some_and(|ending| ending == "snap") {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
    found
}
