//! Messages that are no commands, or commands with hostile keys: each meets an `error` with its code, which repeats
//! little of the input, and the tab goes on.

use serde_json::{Value, json};

use crate::{
    abuse::{Expected, Row},
    services::{config, services, token},
    support::with_server,
    wire::{Seen, Tab, command, text},
};

/// The most that an error repeats (PROTOCOL A3).
const ECHO: usize = 64;
/// An error is no longer than what it repeats and a sentence.
const ERROR_CHARACTERS: usize = 300;

/// `subscribe` to this.
fn to(topic: &str) -> String {
    command("subscribe", &json!({ "topic": topic }))
}

/// `subscribe` from after this event.
fn after(last_event: &Value) -> String {
    command(
        "subscribe",
        &json!({ "topic": "/project/1/push", "lastEventId": last_event }),
    )
}

const BAD_MESSAGE: Expected = Expected::Error("bad_message");
const BAD_DATA: Expected = Expected::Error("bad_data");
const UNKNOWN: Expected = Expected::Error("unknown_type");

pub(crate) const COMMANDS: &[Row<String>] = &[
    ("empty text", String::new, BAD_MESSAGE),
    ("text that is no JSON", || "{".repeat(3), BAD_MESSAGE),
    (
        "lone surrogate",
        || command("ping", &json!({})).replace("ping", r"\ud800"),
        BAD_MESSAGE,
    ),
    (
        "number out of range",
        || r#"{"timestamp":1e999,"type":"ping","data":{}}"#.into(),
        BAD_MESSAGE,
    ),
    ("`null`", || "null".into(), BAD_MESSAGE),
    ("a number", || "1".into(), BAD_MESSAGE),
    (
        "an array of commands",
        || format!("[{}]", command("ping", &json!({}))),
        BAD_MESSAGE,
    ),
    (
        "lists nested 60,000 deep, never ended",
        || "[".repeat(60_000),
        BAD_MESSAGE,
    ),
    (
        "lists nested 129 deep inside `data`",
        || {
            format!(
                r#"{{"timestamp":1,"type":"ping","data":{{"a":{}{}}}}}"#,
                "[".repeat(129),
                "]".repeat(129)
            )
        },
        BAD_MESSAGE,
    ),
    (
        "no `timestamp`",
        || r#"{"type":"ping","data":{}}"#.into(),
        BAD_MESSAGE,
    ),
    (
        "`type` is a list",
        || r#"{"timestamp":1,"type":["ping"],"data":{}}"#.into(),
        BAD_MESSAGE,
    ),
    (
        "`type` is a number",
        || r#"{"timestamp":1,"type":1,"data":{}}"#.into(),
        BAD_MESSAGE,
    ),
    ("`data` is a list", || command("ping", &json!([])), BAD_MESSAGE),
    ("`data` is `null`", || command("ping", &Value::Null), BAD_MESSAGE),
    ("`data` is a text", || command("ping", &json!("{}")), BAD_MESSAGE),
    (
        "`type` twice",
        || r#"{"timestamp":1,"type":"nope","type":"ping","data":{}}"#.into(),
        BAD_MESSAGE,
    ),
    (
        "`topic` twice",
        || to("/project/1/push").replace(r#"{"topic""#, r#"{"topic":"/project/2/push","topic""#),
        BAD_MESSAGE,
    ),
    (
        "unknown key beside `data`",
        || r#"{"__proto__":{},"timestamp":1,"type":"ping","data":{}}"#.into(),
        Expected::Ack,
    ),
    ("unknown `type`", || command("nope", &json!({})), UNKNOWN),
    ("`type` is empty", || command("", &json!({})), UNKNOWN),
    (
        "`type` is `__proto__`",
        || command("__proto__", &json!({})),
        UNKNOWN,
    ),
    (
        "`type` is `constructor`",
        || command("constructor", &json!({})),
        UNKNOWN,
    ),
    (
        "`type` is `toString`",
        || command("toString", &json!({})),
        UNKNOWN,
    ),
    (
        "`type` is `hasOwnProperty`",
        || command("hasOwnProperty", &json!({})),
        UNKNOWN,
    ),
    (
        "unknown `type` of 60 KB, shortened",
        || command(&"ä".repeat(30_000), &json!({})),
        UNKNOWN,
    ),
    (
        "unknown `type` that makes the message 64 KiB",
        || whole(64 << 10),
        UNKNOWN,
    ),
    ("unknown key", || command("ping", &json!({ "a": 1 })), BAD_DATA),
    (
        "key `__proto__`",
        || command("ping", &json!({ "__proto__": {} })),
        BAD_DATA,
    ),
    (
        "key `constructor`",
        || command("ping", &json!({ "constructor": 1 })),
        BAD_DATA,
    ),
    (
        "key `toString`",
        || command("subscribe", &json!({ "topic": "/project/1/push", "toString": 1 })),
        BAD_DATA,
    ),
    (
        "key of 60 KB, shortened",
        || command("ping", &json!({ "k".repeat(60_000): 1 })),
        BAD_DATA,
    ),
    (
        "5,000 unknown keys, shortened",
        || {
            let keys = (0..5000).map(|nth| (format!("k{nth}"), json!(1)));
            command("ping", &Value::Object(keys.collect()))
        },
        BAD_DATA,
    ),
    ("no `topic`", || command("subscribe", &json!({})), BAD_DATA),
    (
        "`topic` is a number",
        || command("subscribe", &json!({ "topic": 1 })),
        BAD_DATA,
    ),
    (
        "`projects` is a number",
        || command("pullKgActivationStatus", &json!({ "projects": 1 })),
        BAD_DATA,
    ),
    (
        "`projects` names paths",
        || command("pullKgActivationStatus", &json!({ "projects": ["../x"] })),
        BAD_DATA,
    ),
    (
        "`projects` has a negative id",
        || command("pullKgActivationStatus", &json!({ "projects": [-1] })),
        BAD_DATA,
    ),
    (
        "`seq` is negative",
        || command("resume", &json!({ "epoch": "e", "seq": -1 })),
        BAD_DATA,
    ),
    (
        "`epoch` is a list",
        || command("resume", &json!({ "epoch": [], "seq": 1 })),
        BAD_DATA,
    ),
    ("`lastEventId` is a number", || after(&json!(1)), BAD_DATA),
    ("`lastEventId` is no ASCII", || after(&json!("é")), BAD_DATA),
    (
        "`lastEventId` with CR LF",
        || after(&json!("e-1\r\nX: 1")),
        BAD_DATA,
    ),
    (
        "`lastEventId` of 129 bytes",
        || after(&json!("e".repeat(129))),
        BAD_DATA,
    ),
    (
        "topic `/project/1/../../x/push`",
        || to("/project/1/../../x/push"),
        BAD_DATA,
    ),
    ("topic `/project/../push`", || to("/project/../push"), BAD_DATA),
    (
        "topic `/project/%2e%2e/push`",
        || to("/project/%2e%2e/push"),
        BAD_DATA,
    ),
    (
        "topic `/project/1%2f..%2fx/push`",
        || to("/project/1%2f..%2fx/push"),
        BAD_DATA,
    ),
    ("topic `/project/1?x/push`", || to("/project/1?x/push"), BAD_DATA),
    ("topic `/project/1/push?x`", || to("/project/1/push?x"), BAD_DATA),
    ("topic `/project/1/push#x`", || to("/project/1/push#x"), BAD_DATA),
    ("topic `/project/1/push/`", || to("/project/1/push/"), BAD_DATA),
    (
        "topic `//evil.example/1/push`",
        || to("//evil.example/1/push"),
        BAD_DATA,
    ),
    (
        "topic `http://evil.example/project/1/push`",
        || to("http://evil.example/project/1/push"),
        BAD_DATA,
    ),
    (
        "topic `/project/1@evil.example/push`",
        || to("/project/1@evil.example/push"),
        BAD_DATA,
    ),
    (
        "topic with CR LF",
        || to("/project/1/push HTTP/1.1\r\nX: 1"),
        BAD_DATA,
    ),
    ("topic with NUL", || to("/project/1\0/push"), BAD_DATA),
    (
        "topic with a digit that is no ASCII",
        || to("/project/١/push"),
        BAD_DATA,
    ),
    (
        "topic of 60 KB",
        || to(&format!("/project/{}/push", "1".repeat(60_000))),
        BAD_DATA,
    ),
    (
        "`unsubscribe` from what is not held",
        || command("unsubscribe", &json!({ "topic": "/project/1/push" })),
        Expected::Error("not_subscribed"),
    ),
];

/// A command so long.
fn whole(bytes: usize) -> String {
    let empty = command("", &json!({})).len();
    command(&"x".repeat(bytes - empty), &json!({}))
}

#[tokio::test]
async fn each_command_meets_its_answer() {
    let services = services().await;
    let token = token(&services, "ada");
    with_server(config(&services), async |address| {
        let mut tab = Tab::open(address, &token).await;
        for (request, text, expected) in COMMANDS {
            let text = text();
            let seen = tab.asked(&text).await;
            match (expected, &seen) {
                (Expected::Error(code), Seen::Text(message)) => {
                    assert_eq!(message["code"], **code, "{request}: {message}");
                    repeats_little(request, &text, message);
                }
                (Expected::Ack, Seen::Text(message)) => assert_eq!(message["type"], "ack", "{request}"),
                _ => panic!("{request}: {seen:?}"),
            }
            let ack = tab.asked(&command("ping", &json!({}))).await;
            assert!(
                matches!(&ack, Seen::Text(ack) if ack["type"] == "ack"),
                "{request}: {ack:?}"
            );
        }
    })
    .await;

    let asked = services.received_requests().await.expect("requests are recorded");
    let strays: Vec<_> = asked
        .iter()
        .map(|request| request.url.path())
        .filter(|path| {
            ![
                "/auth/realms/Renku/.well-known/openid-configuration",
                "/certs",
                "/introspect",
            ]
            .contains(path)
        })
        .collect();
    assert!(strays.is_empty(), "{strays:?}");
}

fn repeats_little(request: &str, input: &str, error: &Value) {
    let text = error["data"]["message"].as_str().expect("an error has a text");
    let characters: Vec<char> = text.chars().collect();
    assert!(characters.len() <= ERROR_CHARACTERS, "{request}: {text}");
    let repeated = characters.windows(ECHO + 1).map(String::from_iter);
    for repeated in repeated {
        assert!(!input.contains(&repeated), "{request}: {text}");
    }
}

#[tokio::test]
async fn subscriptions_are_capped_by_user() {
    let services = services().await;
    let token = token(&services, "ada");
    let config = polytab_server::Config {
        subscriptions_per_user: 3,
        projects_per_user: 3,
        ..config(&services)
    };
    let stream = wiremock::ResponseTemplate::new(200).set_body_raw(": hello\n\n", "text/event-stream");
    wiremock::Mock::given(wiremock::matchers::path_regex("^/project/[0-9]+/push$"))
        .respond_with(stream)
        .mount(&services)
        .await;
    with_server(config, async |address| {
        let mut tabs = [Tab::open(address, &token).await, Tab::open(address, &token).await];
        for (tab, topic) in [(0, 1), (1, 2), (0, 3)] {
            let seen = tabs[tab].asked(&to(&format!("/project/{topic}/push"))).await;
            assert!(
                matches!(&seen, Seen::Text(ack) if ack["type"] == "ack"),
                "{seen:?}"
            );
        }

        for one_more in [
            to("/project/4/push"),
            command("pullKgActivationStatus", &json!({ "projects": [1, 2, 3, 4] })),
        ] {
            let seen = tabs[1].asked(&one_more).await;
            assert!(
                matches!(&seen, Seen::Text(error) if error["code"] == "too_many"),
                "{seen:?}"
            );
        }

        let shared = tabs[1].asked(&to("/project/1/push")).await;
        assert!(
            matches!(&shared, Seen::Text(ack) if ack["type"] == "ack"),
            "{shared:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_project_that_several_tabs_follow_counts_once() {
    let services = services().await;
    let token = token(&services, "ada");
    let config = polytab_server::Config {
        projects_per_user: 3,
        ..config(&services)
    };
    let follow = |projects: Value| command("pullKgActivationStatus", &json!({ "projects": projects }));
    with_server(config, async |address| {
        let mut tabs = [Tab::open(address, &token).await, Tab::open(address, &token).await];
        for (tab, projects, wanted) in [
            (0, json!([1, 2, 3]), "ack"),
            (1, json!([1, 2, 3]), "ack"),
            (0, json!(["3", 2]), "ack"),
            (1, json!([3, 4]), "error"),
        ] {
            tabs[tab].send(&text(&follow(projects.clone()))).await;
            // Nothing answers who may follow, but the next command.
            let seen = tabs[tab].asked(&command("ping", &json!({}))).await;

            assert!(
                matches!(&seen, Seen::Text(answer) if answer["type"] == wanted),
                "{projects}: {seen:?}"
            );
        }
    })
    .await;
}
