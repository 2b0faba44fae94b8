//! The whole state as one document: read, put back, loaded whole or not at all, and gone back to by a reset.

use std::{collections::BTreeMap, time::Duration};

use crate::support::{
    Answer, access_of, get, mocks, mocks_with, post_form, send_json, stage::steady, text, tokens,
};
use polytab_mocks::{
    Mocks,
    backend::pace::Trouble,
    config::MocksConfig,
    control::world::{ResetOrder, Seed},
    order::{FaultOrder, UserSpec},
    settings::Settings,
    standalone::Standalone,
    state::{Part, State, UserState},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

async fn put(mocks: &Mocks, state: &Value) -> Answer {
    send_json(mocks.control(), ("PUT", "/state"), None, state).await
}

/// The document without what lives.
fn document(mocks: &Mocks) -> Value {
    json!(State {
        live: None,
        ..mocks.state()
    })
}

/// Users that the mocks begin with.
fn preset() -> MocksConfig {
    let user = |name: &str| UserState {
        password: Some(format!("password-of-{name}")),
        projects: vec![42],
        ..UserState::default()
    };
    let users = ["ada", "bob"].map(|name| (name.to_owned(), user(name)));
    MocksConfig {
        preset: State {
            users: users.into(),
            ..State::default()
        },
        ..MocksConfig::default()
    }
}

fn names(mocks: &Mocks) -> Vec<String> {
    mocks.state().users.into_keys().collect()
}

/// All that a document can hold.
fn everything() -> Value {
    json!({
        "users": {
            "ada": {
                "password": "new-password-of-ada", "subject": "the-subject", "enabled": true,
                "first_name": "Ada", "last_name": "L", "email": "a@b", "email_verified": false, "not_before": 7,
                "roles": ["realm-admin"], "attributes": {"a": ["b"]}, "access_token": "1m", "refresh": "refused",
                "projects": [1, 2], "quota": 3,
                "sessions": [
                    {"name": "s1", "status": {"state": "failed", "message": "why"}, "lastInteraction": null},
                    {"name": "s2", "session_type": "non-interactive"}
                ],
                "servers": {"v1": {"status": {"state": "stopping"}, "image": null}}
            },
            "master/eve": {"password": "e", "roles": ["admin"]}
        },
        "realms": {"Renku": {
            "settings": {"accessTokenLifespan": 60, "revokeRefreshToken": true},
            "clients": {"page": {"redirectUris": ["http://page/*"]}, "other": {"secret": "secret-of-other"}}
        }},
        "quirks": {"sid": "short"},
        "graph": {"42": 40},
        "rate_limit": {"requests": 5, "per": "1m"},
        "faults": [{"match": {"route": "backend", "user": "ada"}, "do": {"delay": "2s"}, "times": 3}],
        "holds": [{"route": "gitlab.user", "times": 2}],
        "clock": {"gitlab": {"skew": "-90s"}, "backend": {"frozen": "2026-02-03T04:05:06Z"}},
        "seed": 7
    })
}

#[tokio::test(start_paused = true)]
async fn a_reset_goes_back_to_what_the_mocks_were_started_with() {
    let mocks = mocks_with(preset());
    mocks.put_user("carol", UserSpec::default()).unwrap();
    put(&mocks, &json!({"users": {"dan": {}}})).await;
    assert_eq!(names(&mocks), ["dan", "master/admin"]);

    let answer = send_json(mocks.control(), ("POST", "/reset"), None, &json!({})).await;

    assert_eq!(answer.status, 204);
    assert_eq!(names(&mocks), ["ada", "bob", "master/admin"]);
    assert!(!access_of(&mocks, "bob", "password-of-bob").await.is_empty());
}

#[tokio::test]
async fn users_of_the_command_line_are_there_after_a_reset() {
    let settings = Settings {
        keycloak_port: Some(0),
        backend_port: Some(0),
        gitlab_port: Some(0),
        control_port: Some(0),
        gateway_port: Some(0),
        ..Settings::default()
    };
    let standalone = Standalone::bind(&settings).await.unwrap();
    let ready = standalone.ready_json();
    let (stop, control) = (CancellationToken::new(), text(&ready, "control").to_owned());
    let serving = standalone.serve(stop.clone());

    let asking = async {
        let reset = ask(&control, "POST /reset").await;
        let state = ask(&control, "GET /state").await;
        stop.cancel();
        (reset, state)
    };
    let ((), (reset, state)) = tokio::join!(serving, asking);

    assert!(reset.starts_with("HTTP/1.1 204"), "{reset}");
    let (_, body) = state.split_once("\r\n\r\n").unwrap();
    let state: Value = serde_json::from_str(body).unwrap();
    assert!(state["users"]["ada"]["subject"].is_string());
    assert!(state["users"]["bob"]["subject"].is_string());
}

/// One request over TCP, and everything that is answered.
async fn ask(url: &str, line: &str) -> String {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(start_paused = true)]
async fn what_is_read_can_be_put_back() {
    let mocks = mocks();
    assert_eq!(put(&mocks, &everything()).await.status, 204);
    let read = get(mocks.control(), "/state", None).await.json();
    let before = document(&mocks);

    let answer = put(&mocks, &read).await;

    assert_eq!(answer.status, 204, "{}", answer.text);
    assert!(read["live"]["calls"].is_u64());
    assert_eq!(document(&mocks), before);
    let ada = &before["users"]["ada"];
    assert_eq!(ada["sessions"][0]["status"]["message"], "why");
    assert_eq!((&ada["refresh"], &ada["quota"]), (&json!("refused"), &json!(3)));
    assert_eq!(ada["servers"]["v1"]["image"], Value::Null);
    assert_eq!(before["clock"]["backend"]["frozen"], "2026-02-03T04:05:06Z");
    assert_eq!(before["clock"]["gitlab"]["skew"], "-1m 30s");
    assert_eq!(before["holds"][0]["times"], 2);
    let delay = json!({"dist": {"fixed": "2s"}, "at": "before_headers"});
    assert_eq!(before["faults"][0]["do"], json!({ "delay": delay }));
}

#[tokio::test(start_paused = true)]
async fn secrets_are_not_shown_and_stay_when_they_are_not_told() {
    let mocks = mocks();
    put(&mocks, &everything()).await;
    tokens_of(&mocks, "ada", "new-password-of-ada").await;

    let read = get(mocks.control(), "/state", None).await;
    put(&mocks, &read.json()).await;

    let secrets = mocks.secrets();
    assert!(secrets.iter().any(|(_, secret)| secret == "new-password-of-ada"));
    assert!(secrets.iter().any(|(_, secret)| secret == "secret-of-other"));
    for (kind, secret) in secrets.iter().filter(|(_, secret)| secret.len() > 1) {
        assert!(!read.text.contains(secret), "{kind}");
    }
    tokens_of(&mocks, "ada", "new-password-of-ada").await;
}

async fn tokens_of(mocks: &Mocks, user: &str, password: &str) {
    let form = [
        ("grant_type", "password"),
        ("client_id", "other"),
        ("client_secret", "secret-of-other"),
        ("username", user),
        ("password", password),
    ];
    let path = format!("{}/token", crate::support::OIDC);
    let answer = post_form(mocks.keycloak(), &path, &form).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn a_document_that_cannot_be_loaded_changes_nothing_and_says_where_it_is_wrong() {
    let mocks = mocks();
    let before = document(&mocks);
    let far = json!({"backend": {"skew": "1000000h"}});

    for (state, status, place) in [
        (json!({"usrs": {}}), 400, "usrs"),
        (json!({"users": {"ada": {"refres": "refused"}}}), 400, "users.ada"),
        (
            json!({"users": {"bob": {}, "ada": {"sessions": [{"status": {"state": "runing"}}]}}}),
            422,
            "users.ada",
        ),
        (
            json!({"users": {"a": {"subject": "s"}, "b": {"subject": "s"}}}),
            422,
            "users.b",
        ),
        (json!({"realms": {"Rengu": {}}}), 422, "realms.Rengu"),
        (
            json!({"realms": {"Renku": {"settings": {"notBefor": 1}}}}),
            422,
            "realms.Renku",
        ),
        (
            json!({"realms": {"Renku": {"clients": {"c": {"secrets": "s"}}}}}),
            400,
            "realms.Renku.clients.c",
        ),
        (json!({"graph": {"x": 1}}), 422, "graph"),
        (
            json!({"faults": [{"match": {"route": "backend", "user": "nobody"}, "do": "hang"}]}),
            422,
            "faults[0]",
        ),
        (
            json!({"holds": [{"route": "all"}, {"route": "backnd"}]}),
            422,
            "holds[1]",
        ),
        (json!({"clock": far}), 422, "clock.backend"),
        (json!({"clock": {"sun": {}}}), 400, "clock"),
    ] {
        let answer = put(&mocks, &state).await;

        assert_eq!(answer.status.as_u16(), status, "{state}: {}", answer.text);
        let detail = answer.json();
        assert!(text(&detail, "detail").contains(place), "{state}: {detail}");
        assert_eq!(document(&mocks), before, "{state}");
    }
    assert!(State::default().check(&MocksConfig::default()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_session_on_its_way_is_shown_as_it_is_and_stands_still_when_put_back() {
    let stage = crate::support::stage::Stage::new().await;
    stage.launch("ada-1", Trouble::None, steady());
    tokio::time::advance(Duration::from_secs(5)).await;
    let read = json!(stage.mocks.state());
    let shown = |state: &Value| state["users"]["ada"]["sessions"][1]["status"]["state"].clone();

    put(&stage.mocks, &read).await;
    tokio::time::advance(Duration::from_hours(1)).await;

    assert_eq!(shown(&read), "starting");
    assert_eq!(shown(&document(&stage.mocks)), "starting");
}

#[tokio::test(start_paused = true)]
async fn a_reset_leaves_the_parts_that_are_to_be_kept() {
    let keep = |parts: &[Part]| ResetOrder {
        keep: parts.iter().copied().collect(),
    };
    let all = [
        Part::Users,
        Part::Realms,
        Part::Faults,
        Part::Journal,
        Part::Clock,
        Part::Stubs,
    ];

    for part in all {
        let mocks = mocks_with(preset());
        mocks.put_user("carol", UserSpec::default()).unwrap();
        let setting: BTreeMap<_, _> = [("accessTokenLifespan", 60)].into();
        mocks
            .set_realm("Renku", &serde_json::from_value(json!(setting)).unwrap())
            .unwrap();
        let fault = json!({"match": {"route": "gitlab"}, "do": "reset"});
        mocks
            .arm(serde_json::from_value::<FaultOrder>(fault).unwrap())
            .unwrap();
        mocks
            .turn_clocks(serde_json::from_value(json!({"mock": "all", "skew": "1m"})).unwrap())
            .unwrap();
        let stub = json!({"request": {"path": "/api/other"}, "answer": {"status": 204}});
        mocks.add_stub(serde_json::from_value(stub).unwrap()).unwrap();
        access_of(&mocks, "ada", "password-of-ada").await;

        mocks.start_over(&keep(&[part]));

        let state = json!(mocks.state());
        let is_kept = [
            state["users"]["carol"].is_object(),
            state["realms"]["Renku"]["settings"]["accessTokenLifespan"] == 60,
            state["faults"][0].is_object(),
            state["live"]["calls"] == 1,
            state["clock"]["gitlab"].is_object(),
            !mocks.stubs().is_empty(),
        ];
        assert_eq!(is_kept, all.map(|one| one == part), "{part:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn users_and_realms_that_are_kept_go_on_together() {
    let mocks = mocks_with(preset());
    let granted = tokens(&mocks).await;
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", text(&granted, "refresh_token")),
    ];
    let keep = [Part::Users, Part::Realms].into();

    mocks.start_over(&ResetOrder { keep });
    let kept = crate::support::token(&mocks, &refresh).await;
    mocks.start_over(&ResetOrder::default());
    let gone = crate::support::token(&mocks, &refresh).await;

    assert_eq!(kept.status, 200, "{}", kept.text);
    assert_eq!(gone.refusal().2, "Session not active");
}

#[tokio::test(start_paused = true)]
async fn a_seed_gives_the_same_ids_again_whatever_is_asked_of_others() {
    let mocks = mocks();
    let subjects = |seed, others: &[&str]| {
        mocks.put_state(&State::default()).unwrap();
        mocks.set_seed(Seed { seed });
        for name in others.iter().chain(&["eve"]) {
            mocks.put_user(name, UserSpec::default()).unwrap();
        }
        mocks.subject("eve").unwrap()
    };

    let first = subjects(7, &[]);

    assert_eq!(subjects(7, &["carol", "dan"]), first);
    assert_ne!(subjects(8, &[]), first);
}

#[tokio::test(start_paused = true)]
async fn a_reset_takes_a_seed_back_to_that_of_the_start() {
    let mocks = mocks_with(preset());
    let first = mocks.subject("bob");
    let answer = send_json(mocks.control(), ("POST", "/seed"), None, &json!({"seed": 99})).await;
    assert_eq!((answer.status.as_u16(), mocks.state().seed), (204, Some(99)));

    mocks.start_over(&ResetOrder::default());

    assert_eq!((mocks.subject("bob"), mocks.state().seed), (first, Some(1)));
}
