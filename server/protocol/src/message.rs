//! The messages between a tab and the server (PROTOCOL A2 to A4).
//!
//! A tab's message is parsed only as far as its frame: which keys `data` needs is each command's own affair. A
//! server's message is built here, so that every frame has the same keys in the same order.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{
    Map, Value, json,
    value::{RawValue, to_raw_value},
};
use thiserror::Error;

use crate::{topic::Topic, unique::Unique};

/// The text of `init`; clients look for it, ignoring case (PROTOCOL B1).
pub const ESTABLISHED: &str = "Connection established.";

const INIT: &str = "init";

/// How much of a tab's input an error repeats at most, in characters.
pub const ECHO_LIMIT: usize = 64;

/// The payload of a tab's message.
pub type Data = Map<String, Value>;

/// One text frame from a tab.
///
/// ```json
/// { "timestamp": "2026-01-01T00:00:00.000Z", "type": "subscribe", "data": { "topic": "/project/42/push" } }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ClientMessage {
    /// The command's name.
    pub kind: String,
    /// The command's keys.
    pub data: Data,
}

/// Why a frame is not a message. Never repeats the frame.
#[derive(Debug, Error)]
pub enum BadMessage {
    /// Not JSON, or nested too deeply.
    #[error("message is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// JSON, but an object in it names a key twice.
    #[error("an object in the message names a key twice")]
    Repeated,
    /// JSON, but not an object.
    #[error("message is not a JSON object")]
    NotObject,
    /// A key that every message has is missing or null.
    #[error("message has no `{0}`")]
    Missing(&'static str),
    /// A key holds another kind of value than it must.
    #[error("`{key}` of a message is {wanted}")]
    WrongType {
        /// The key.
        key: &'static str,
        /// What its value should have been.
        wanted: &'static str,
    },
}

impl FromStr for ClientMessage {
    type Err = BadMessage;

    /// Parses one text frame. Nesting beyond 128 levels is refused (`serde_json`'s own limit).
    fn from_str(text: &str) -> Result<Self, BadMessage> {
        let Unique(value) = serde_json::from_str(text).map_err(|error| {
            // Any JSON is taken: what is refused beyond its syntax is a key that comes twice.
            if error.is_data() {
                BadMessage::Repeated
            } else {
                BadMessage::NotJson(error)
            }
        })?;
        let Value::Object(mut object) = value else {
            return Err(BadMessage::NotObject);
        };
        let mut take = |key| {
            object
                .remove(key)
                .filter(|value: &Value| !value.is_null())
                .ok_or(BadMessage::Missing(key))
        };

        take("timestamp")?;
        let Value::String(kind) = take("type")? else {
            return Err(BadMessage::WrongType {
                key: "type",
                wanted: "a string",
            });
        };
        let Value::Object(data) = take("data")? else {
            return Err(BadMessage::WrongType {
                key: "data",
                wanted: "an object",
            });
        };
        Ok(Self { kind, data })
    }
}

impl ClientMessage {
    /// The text frame of this message, stamped with `timestamp`.
    pub fn encode(&self, timestamp: Timestamp) -> String {
        json!({ "timestamp": rfc3339(timestamp), "type": self.kind, "data": self.data }).to_string()
    }
}

/// What a server's message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The person, all tabs alike.
    User,
    /// One project.
    Project(u64),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User => f.write_str("user"),
            Self::Project(id) => write!(f, "project/{id}"),
        }
    }
}

/// A stable, machine-readable reason beside an `error`'s text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// No cookie, or one that names no login session.
    AuthMissing,
    /// The login session is over.
    AuthExpired,
    /// The identity provider cannot be reached.
    AuthUnavailable,
    /// Not JSON, or of the wrong shape.
    BadMessage,
    /// No command has this name.
    UnknownType,
    /// The command's keys are wrong.
    BadData,
    /// The tab does not hold the topic.
    NotSubscribed,
    /// The user may not see the project, or it does not exist.
    Forbidden,
    /// A limit is reached: subscriptions, projects.
    TooMany,
    /// A service behind the server cannot be reached.
    UpstreamUnavailable,
    /// The server's own fault.
    Internal,
}

impl ErrorCode {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthMissing => "auth_missing",
            Self::AuthExpired => "auth_expired",
            Self::AuthUnavailable => "auth_unavailable",
            Self::BadMessage => "bad_message",
            Self::UnknownType => "unknown_type",
            Self::BadData => "bad_data",
            Self::NotSubscribed => "not_subscribed",
            Self::Forbidden => "forbidden",
            Self::TooMany => "too_many",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::Internal => "internal",
        }
    }
}

/// Where in a channel's life a notification stands; lets a tab see a gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Names one life of a channel.
    pub epoch: String,
    /// Rises by one with each notification of that life.
    pub seq: u64,
}

/// One message to a tab, before it is stamped and encoded.
///
/// ```json
/// { "timestamp": "2026-01-01T00:00:05.000Z", "scope": "user", "type": "sessionStatusV2",
///   "data": { "message": "true" }, "epoch": "c7", "seq": 3 }
/// ```
#[derive(Clone, Debug)]
pub struct ServerMessage {
    scope: Scope,
    kind: String,
    data: Box<RawValue>,
    code: Option<ErrorCode>,
    expired: bool,
    position: Option<Position>,
    event_id: Option<String>,
}

/// The wire form; the order of its fields is the order of keys in a frame.
#[derive(Serialize)]
struct Frame<'a> {
    timestamp: String,
    scope: String,
    #[serde(rename = "type")]
    kind: &'a str,
    data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<ErrorCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expired: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(rename = "eventId", skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
}

impl ServerMessage {
    /// A message of scope `user` with this `data`.
    ///
    /// # Panics
    ///
    /// Never: a `Value` always serializes.
    pub fn user(kind: &str, data: &Value) -> Self {
        Self {
            scope: Scope::User,
            kind: kind.to_owned(),
            data: to_raw_value(data).expect("a JSON value serializes"),
            code: None,
            expired: false,
            position: None,
            event_id: None,
        }
    }

    /// `init`: the channel stands, at this position.
    pub fn init(position: Position) -> Self {
        Self::user(INIT, &json!({ "message": ESTABLISHED })).at(position)
    }

    /// `ack` for a command without a subject.
    pub fn ack(command: &str) -> Self {
        Self::user("ack", &json!({ "message": command }))
    }

    /// `ack` for a command about a topic.
    pub fn ack_topic(command: &str, topic: Topic) -> Self {
        Self::user("ack", &json!({ "message": command, "topic": topic.to_string() }))
    }

    /// `ack` for a tab that subscribes to a topic which other tabs hold already, and says which event it saw last;
    /// `recovered` tells whether the server still knows what came since, which then follows.
    pub fn ack_subscribe(topic: Topic, recovered: bool) -> Self {
        let data = json!({ "message": "subscribe", "topic": topic.to_string(), "recovered": recovered });
        Self::user("ack", &data)
    }

    /// `error`: a text for people and a code for programs.
    pub fn error(code: ErrorCode, message: &str) -> Self {
        Self {
            code: Some(code),
            ..Self::user("error", &json!({ "message": message }))
        }
    }

    /// The error that each tab of an ended login session gets before close 4001. `expired` stands beside `code`, because
    /// deployed clients refuse an `error` whose `data` holds more than `message`.
    pub fn expired(message: &str) -> Self {
        Self {
            expired: true,
            ..Self::error(ErrorCode::AuthExpired, message)
        }
    }

    /// A project's event, its payload as GitLab sent it.
    pub fn project_event(topic: Topic, payload: Box<RawValue>, event_id: Option<String>) -> Self {
        Self {
            scope: Scope::Project(topic.project),
            kind: topic.event.to_string(),
            data: payload,
            code: None,
            expired: false,
            position: None,
            event_id,
        }
    }

    /// The same message with a place in the channel's life.
    #[must_use]
    pub fn at(self, position: Position) -> Self {
        Self {
            position: Some(position),
            ..self
        }
    }

    /// Whether it has a place in the channel's life, as all notifications have that say how things are now: the next
    /// one of its type supersedes it. `init` has the place where that life stands.
    pub fn is_notification(&self) -> bool {
        self.position.is_some() && self.kind != INIT
    }

    /// The message's `type`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The message's `data`, as JSON text.
    pub fn data(&self) -> &str {
        self.data.get()
    }

    /// The code beside an `error`.
    pub fn code(&self) -> Option<ErrorCode> {
        self.code
    }

    /// The text frame of this message, stamped with `timestamp`.
    ///
    /// # Panics
    ///
    /// Never: all parts are text and numbers.
    pub fn encode(&self, timestamp: Timestamp) -> String {
        let frame = Frame {
            timestamp: rfc3339(timestamp),
            scope: self.scope.to_string(),
            kind: &self.kind,
            data: &self.data,
            code: self.code,
            expired: self.expired.then_some(true),
            epoch: self.position.as_ref().map(|position| position.epoch.as_str()),
            seq: self.position.as_ref().map(|position| position.seq),
            event_id: self.event_id.as_deref(),
        };
        serde_json::to_string(&frame).expect("a frame serializes")
    }
}

/// The text frame of a notification with `superseded` beside its `data`: so many numbers just below its own were left out
/// for this tab, as later notifications of the same types say all that those did.
pub fn with_superseded(frame: &str, superseded: u64) -> String {
    let open = frame.strip_suffix('}').unwrap_or(frame);
    format!("{open},\"superseded\":{superseded}}}")
}

/// A time as frames carry it: RFC 3339, milliseconds, `Z`.
pub fn rfc3339(timestamp: Timestamp) -> String {
    format!("{timestamp:.3}")
}

/// At most the first [`ECHO_LIMIT`] characters of a tab's input, for use in an error.
pub fn excerpt(input: &str) -> String {
    let mut characters = input.chars();
    let mut shown: String = characters.by_ref().take(ECHO_LIMIT - 1).collect();
    match characters.next() {
        None => {}
        Some(last) if characters.next().is_none() => shown.push(last),
        Some(_) => shown.push('…'),
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn data_of_an_error_holds_nothing_but_its_message() {
        for (error, beside) in [
            (
                ServerMessage::error(ErrorCode::BadData, "x"),
                json!({ "code": "bad_data" }),
            ),
            (
                ServerMessage::expired("x"),
                json!({ "code": "auth_expired", "expired": true }),
            ),
        ] {
            let frame: Value = serde_json::from_str(&error.encode(Timestamp::UNIX_EPOCH)).unwrap();

            assert_eq!(frame["data"], json!({ "message": "x" }));
            for (key, value) in beside.as_object().unwrap() {
                assert_eq!(&frame[key], value);
            }
        }
    }

    #[test]
    fn a_frame_that_is_no_message_says_what_is_wrong() {
        for (text, error) in [
            ("", "message is not JSON"),
            ("{", "message is not JSON"),
            (
                r#"{"timestamp":1,"type":"ping","type":"init","data":{}}"#,
                "an object in the message names a key twice",
            ),
            (
                r#"{"timestamp":1,"type":"ping","data":{"a":[{"b":1,"b":1}]}}"#,
                "an object in the message names a key twice",
            ),
            ("null", "message is not a JSON object"),
            ("[]", "message is not a JSON object"),
            (r#"{"type":"ping","data":{}}"#, "message has no `timestamp`"),
            (
                r#"{"timestamp":null,"type":"ping","data":{}}"#,
                "message has no `timestamp`",
            ),
            (r#"{"timestamp":1,"data":{}}"#, "message has no `type`"),
            (
                r#"{"timestamp":1,"type":["ping"],"data":{}}"#,
                "`type` of a message is a string",
            ),
            (r#"{"timestamp":1,"type":"ping"}"#, "message has no `data`"),
            (
                r#"{"timestamp":1,"type":"ping","data":[]}"#,
                "`data` of a message is an object",
            ),
        ] {
            assert_eq!(
                text.parse::<ClientMessage>().unwrap_err().to_string(),
                error,
                "{text}"
            );
        }
    }

    #[test]
    fn nesting_beyond_the_limit_is_refused() {
        let deep = format!(
            r#"{{"timestamp":1,"type":"ping","data":{{"a":{}{}}}}}"#,
            "[".repeat(200),
            "]".repeat(200)
        );

        assert!(matches!(
            deep.parse::<ClientMessage>(),
            Err(BadMessage::NotJson(_))
        ));
    }

    #[test]
    fn a_server_frame_has_its_keys_in_order() {
        let message = ServerMessage::error(ErrorCode::TooMany, "too many subscriptions").at(Position {
            epoch: "c1".into(),
            seq: 4,
        });

        assert_eq!(
            message.encode(Timestamp::from_millisecond(1_700_000_000_000).unwrap()),
            r#"{"timestamp":"2023-11-14T22:13:20.000Z","scope":"user","type":"error","data":{"message":"too many subscriptions"},"code":"too_many","epoch":"c1","seq":4}"#
        );
    }

    #[test]
    fn an_event_payload_passes_as_it_came() {
        let payload = r#"{ "z": 1.50, "a": 18446744073709551616 }"#;
        let raw = RawValue::from_string(payload.to_owned()).unwrap();

        let message =
            ServerMessage::project_event("/project/42/push".parse().unwrap(), raw, Some("e-1".into()));

        let frame = message.encode(Timestamp::UNIX_EPOCH);
        assert!(frame.contains(payload), "{frame}");
        assert!(frame.ends_with(r#""eventId":"e-1"}"#), "{frame}");
    }

    #[test]
    fn an_excerpt_never_passes_the_limit() {
        for length in [0, 1, 63, 64, 65, 1000] {
            let text = "ä".repeat(length);

            let shown = excerpt(&text);

            assert_eq!(shown.chars().count(), length.min(ECHO_LIMIT));
            assert_eq!(shown.ends_with('…'), length > ECHO_LIMIT);
        }
    }

    proptest! {
        #[test]
        fn a_number_survives_encode_and_parse(number in prop::num::f64::NORMAL) {
            let message = ClientMessage { kind: "x".into(), data: Data::from_iter([("n".into(), json!(number))]) };

            let parsed: ClientMessage = message.encode(Timestamp::UNIX_EPOCH).parse().unwrap();

            prop_assert_eq!(parsed, message);
        }

        #[test]
        fn a_client_message_survives_encode_and_parse(
            kind in ".{0,12}",
            data in prop::collection::btree_map(".{0,6}", json_value(), 0..4),
        ) {
            let message = ClientMessage { kind, data: data.into_iter().collect() };

            let parsed: ClientMessage = message.encode(Timestamp::UNIX_EPOCH).parse().unwrap();

            prop_assert_eq!(parsed, message);
        }

        #[test]
        fn no_text_breaks_the_parser(text in ".{0,200}") {
            drop(text.parse::<ClientMessage>());
        }

        #[test]
        fn a_server_message_reads_back(data in json_value(), seq: u64) {
            let message = ServerMessage::user("version", &data).at(Position { epoch: "x".into(), seq });

            let frame: Value = serde_json::from_str(&message.encode(Timestamp::UNIX_EPOCH)).unwrap();

            prop_assert_eq!(&frame["data"], &data);
            prop_assert_eq!(frame["seq"].as_u64(), Some(seq));
        }
    }
}
