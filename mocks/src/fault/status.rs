//! An answer that a service gives for reasons of its own.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{error::ControlError, shape::Either};

/// An answer of this status, instead of the service's: a number alone, or with what else is in it.
///
/// ```json
/// { "code": 503, "retry_after": 5, "headers": { "x-cache": "MISS" }, "body": "upstream is away" }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Either<u16, Fields>")]
pub struct Status {
    /// The status, between 200 and 599.
    pub code: u16,
    /// The body: a text as it is, anything else as JSON. The service's own words for this status unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Header fields, which replace those of the same name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// `Retry-After`, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
}

/// An answer in full.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fields {
    /// The status, between 200 and 599.
    code: u16,
    /// The body: a text as it is, anything else as JSON. The service's own words for this status unless told.
    #[serde(default)]
    body: Option<Value>,
    /// Header fields, which replace those of the same name.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// `Retry-After`, in seconds.
    #[serde(default)]
    retry_after: Option<u32>,
}

impl From<u16> for Status {
    fn from(code: u16) -> Self {
        Self {
            code,
            body: None,
            headers: BTreeMap::new(),
            retry_after: None,
        }
    }
}

impl From<Either<u16, Fields>> for Status {
    fn from(written: Either<u16, Fields>) -> Self {
        match written {
            Either::Short(code) => code.into(),
            Either::Full(Fields {
                code,
                body,
                headers,
                retry_after,
            }) => Self {
                code,
                body,
                headers,
                retry_after,
            },
        }
    }
}

impl Status {
    /// # Errors
    ///
    /// When no HTTP answer is like that.
    pub fn check(&self) -> Result<(), ControlError> {
        let bad = |what, value: &str| {
            Err(ControlError::BadValue {
                what,
                value: value.to_owned(),
                nearest: None,
            })
        };
        if !(200..=599).contains(&self.code) {
            return bad(
                "the status of an answer, which is between 200 and 599,",
                &self.code.to_string(),
            );
        }
        for (name, value) in &self.headers {
            if HeaderName::try_from(name).is_err() {
                return bad("the name of a header field", name);
            }
            if HeaderValue::try_from(value).is_err() {
                return bad("the value of a header field", value);
            }
        }
        Ok(())
    }

    /// The answer of this service.
    pub(crate) fn answer(&self, service: &str) -> Response {
        let mut response = match &self.body {
            None => refusal(service, self.code),
            Some(Value::String(text)) => text.clone().into_response(),
            Some(body) => axum::Json(body).into_response(),
        };
        *response.status_mut() = status(self.code);
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        for (name, value) in &self.headers {
            // Whoever ordered it was told, had they been none.
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                response.headers_mut().insert(name, value);
            }
        }
        if self.code == 204 || self.code == 304 {
            *response.body_mut() = Body::empty();
        }
        response
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// What a service says when it answers with this status for reasons of its own.
fn refusal(service: &str, code: u16) -> Response {
    let status = status(code);
    let reason = status.canonical_reason().unwrap_or("Error");
    let body = match service {
        "keycloak" => json!({
            "error": "unknown_error",
            "error_description": "For more on this error consult the server log.",
        }),
        "backend" => json!({"error": {"code": 1000 + status.as_u16(), "message": reason}}),
        _ => json!({"message": format!("{} {reason}", status.as_u16())}),
    };
    axum::Json(body).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    fn read(text: &str) -> Result<Status, serde_json::Error> {
        serde_json::from_str(text)
    }

    async fn body(status: &Status, service: &str) -> String {
        let bytes = to_bytes(status.answer(service).into_body(), 1 << 16)
            .await
            .unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_number_is_answered_in_the_words_of_the_service() {
        let status = read("503").unwrap();

        assert_eq!(
            body(&status, "backend").await,
            r#"{"error":{"code":1503,"message":"Service Unavailable"}}"#
        );
        assert_eq!(
            body(&status, "gitlab").await,
            r#"{"message":"503 Service Unavailable"}"#
        );
        assert_eq!(status.answer("keycloak").status(), 503);
    }

    #[tokio::test]
    async fn an_answer_in_full_says_what_it_was_told_to() {
        let status =
            read(r#"{"code": 429, "body": "later", "retry_after": 7, "headers": {"x-a": "b"}}"#).unwrap();

        let answer = status.answer("gitlab");

        assert_eq!(answer.status(), 429);
        assert_eq!(answer.headers()["retry-after"], "7");
        assert_eq!(answer.headers()["x-a"], "b");
        assert_eq!(body(&status, "gitlab").await, "later");
    }

    #[test]
    fn what_no_answer_is_like_is_refused() {
        for (text, is_good) in [
            ("99", false),
            ("600", false),
            ("204", true),
            (r#"{"code": 200, "headers": {"a b": "c"}}"#, false),
            (r#"{"code": 200, "headers": {"a": "b\n"}}"#, false),
        ] {
            assert_eq!(read(text).unwrap().check().is_ok(), is_good, "{text}");
        }
        assert!(read(r#"{"code": 200, "bodi": ""}"#).is_err());
    }

    #[test]
    fn what_is_shown_can_be_ordered_again() {
        let status = read(r#"{"code": 503, "retry_after": 5}"#).unwrap();

        let shown = serde_json::to_string(&status).unwrap();

        assert_eq!(shown, r#"{"code":503,"retry_after":5}"#);
        assert_eq!(read(&shown).unwrap(), status);
    }
}
