//! Bodies of the backend services: what a poll answers, reduced to what counts as a change (PROTOCOL A4, B5, B6).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

/// What one poll said, reduced to what counts as a change: two equal readings are no news.
///
/// Keyed by backend session name; neither the order of a list nor that of an object's keys matters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionsReading(BTreeMap<String, Value>);

/// Why a body cannot be used. Such a body changes nothing.
#[derive(Debug, Error)]
pub enum BadBody {
    /// Not JSON.
    #[error("body is not JSON")]
    NotJson(#[from] serde_json::Error),
    /// JSON of another shape.
    #[error("body is not {0}")]
    Shape(&'static str),
}

impl SessionsReading {
    /// Reads `GET {gateway}/data/sessions`: a list whose items have a `name`. All fields count.
    ///
    /// # Errors
    ///
    /// When the body is not such a list; two items of one name count as that too, as one would hide the other.
    pub fn from_v2(body: &[u8]) -> Result<Self, BadBody> {
        const SHAPE: BadBody = BadBody::Shape("a list of sessions, each with its own name");
        let Value::Array(items) = serde_json::from_slice(body)? else {
            return Err(SHAPE);
        };
        let mut sessions = BTreeMap::new();
        for item in items {
            let name = item.get("name").and_then(Value::as_str).ok_or(SHAPE)?.to_owned();
            if sessions.insert(name, item).is_some() {
                return Err(SHAPE);
            }
        }
        Ok(Self(sessions))
    }

    /// Reads `GET {gateway}/notebooks/servers`: of each server five fields of its status count.
    ///
    /// # Errors
    ///
    /// When the body is not an object, or `servers` not an object of servers with a `status`. Without `servers` there
    /// are none.
    pub fn from_v1(body: &[u8]) -> Result<Self, BadBody> {
        const FIELDS: [&str; 5] = [
            "details",
            "message",
            "readyNumContainers",
            "state",
            "totalNumContainers",
        ];
        const SHAPE: BadBody = BadBody::Shape("an object of servers, each with a status");
        let Value::Object(mut body) = serde_json::from_slice(body)? else {
            return Err(SHAPE);
        };
        let servers = match body.remove("servers") {
            None => Map::new(),
            Some(Value::Object(servers)) => servers,
            Some(_) => return Err(SHAPE),
        };
        let reduced = servers.into_iter().map(|(name, mut server)| {
            let Some(Value::Object(status)) = server.get_mut("status") else {
                return Err(SHAPE);
            };
            let kept = status
                .iter()
                .filter(|(field, _)| FIELDS.contains(&field.as_str()));
            Ok((
                name,
                Value::Object(
                    kept.map(|(field, value)| (field.clone(), value.clone()))
                        .collect(),
                ),
            ))
        });
        reduced.collect::<Result<_, _>>().map(Self)
    }
}

/// How far a project's knowledge graph is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Activation {
    /// Under way or done, in percent: 0 to 100.
    Percent(u8),
    /// Under way, progress not told.
    Unknown,
    /// It failed, or cannot be asked about.
    Failed,
    /// No progress for too long.
    TimedOut,
}

impl Activation {
    /// The number on the wire (PROTOCOL A4).
    pub const fn number(self) -> i64 {
        match self {
            // `i64::from` is not const.
            Self::Percent(percent) => percent as i64,
            Self::Unknown => -1,
            Self::Failed => -2,
            Self::TimedOut => -408,
        }
    }

    /// Reads `GET {gateway}/projects/<id>/graph/status`.
    ///
    /// A body without `progress` is a failure, one without `percentage` is unknown progress (PROTOCOL B6).
    ///
    /// # Errors
    ///
    /// When the body is not a JSON object.
    pub fn from_graph_status(body: &[u8]) -> Result<Self, BadBody> {
        let Value::Object(status) = serde_json::from_slice(body)? else {
            return Err(BadBody::Shape("an object"));
        };
        let Some(progress) = status.get("progress") else {
            return Ok(Self::Failed);
        };
        let percentage = progress.get("percentage").and_then(Value::as_f64);
        // Rounded down, so that 99.9 is not yet done; the clamp makes the cast exact.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0..=100 before the cast"
        )]
        Ok(percentage.map_or(Self::Unknown, |percent| {
            Self::Percent(percent.clamp(0.0, 100.0) as u8)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(body: &str) -> SessionsReading {
        SessionsReading::from_v2(body.as_bytes()).unwrap()
    }

    fn v1(body: &str) -> SessionsReading {
        SessionsReading::from_v1(body.as_bytes()).unwrap()
    }

    #[test]
    fn neither_list_order_nor_key_order_is_a_change() {
        assert_eq!(
            v2(r#"[{"name":"a","url":"u","x":{"p":1,"q":2}},{"name":"b"}]"#),
            v2(r#"[{"name":"b"},{"x":{"q":2,"p":1},"url":"u","name":"a"}]"#)
        );
    }

    #[test]
    fn any_field_of_a_v2_session_is_a_change() {
        assert_ne!(
            v2(r#"[{"name":"a","lastInteraction":"1"}]"#),
            v2(r#"[{"name":"a","lastInteraction":"2"}]"#)
        );
    }

    #[test]
    fn only_five_fields_of_a_v1_status_count() {
        let body = |state: &str, warnings: &str| {
            format!(
                r#"{{"servers":{{"a":{{"status":{{"state":"{state}","warnings":[{warnings}]}},"url":"u"}}}}}}"#
            )
        };

        assert_eq!(v1(&body("running", "")), v1(&body("running", "1")));
        assert_ne!(v1(&body("running", "")), v1(&body("stopping", "")));
        assert_eq!(v1("{}"), SessionsReading::default());
    }

    #[test]
    fn a_body_of_another_shape_is_no_reading() {
        for body in [
            "",
            "<html>",
            "{}",
            "null",
            "[null]",
            "[{}]",
            r#"[{"name":"a"},{"name":"a"}]"#,
        ] {
            assert!(SessionsReading::from_v2(body.as_bytes()).is_err(), "{body}");
        }
        for body in ["", "[]", r#"{"servers":[]}"#, r#"{"servers":{"a":{}}}"#] {
            assert!(SessionsReading::from_v1(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn graph_status_becomes_a_number() {
        for (body, number) in [
            (r#"{"activated":true,"progress":{"percentage":100}}"#, 100),
            (r#"{"activated":true,"progress":{"percentage":99.9}}"#, 99),
            (r#"{"activated":true,"progress":{"percentage":-5}}"#, 0),
            (r#"{"activated":true,"progress":{}}"#, -1),
            (r#"{"activated":false}"#, -2),
        ] {
            assert_eq!(
                Activation::from_graph_status(body.as_bytes()).unwrap().number(),
                number,
                "{body}"
            );
        }
        assert!(Activation::from_graph_status(b"[]").is_err());
    }
}
