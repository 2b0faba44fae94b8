//! Which stub takes a request, and its answer, decided in this process.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header::CONTENT_TYPE, request::Parts},
    response::Response,
};
use serde_json::Value;
use url::Url;

use super::{
    Service, StubAnswer,
    check::{Fit, OF_CONNECTION, headers, listed, read_path},
};

/// A request that no route owns, as stubs see it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(super) service: Service,
    pub(super) method: Method,
    pub(super) url: Url,
    /// As the request spells it.
    pub(super) path_and_query: String,
    /// Without those of the connection.
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Asked {
    /// The request; none when its path is not one that a URL could have.
    pub(super) fn read(service: Service, parts: &Parts, body: &Bytes) -> Option<Self> {
        let path_and_query = parts.uri.path_and_query()?.as_str();
        let mut headers = parts.headers.clone();
        for name in OF_CONNECTION {
            headers.remove(name);
        }
        Some(Self {
            service,
            method: parts.method.clone(),
            url: read_path(path_and_query)?,
            path_and_query: path_and_query.to_owned(),
            headers,
            body: body.clone(),
        })
    }
}

impl Fit {
    /// Whether the request is one of those meant.
    pub(super) fn takes(&self, asked: &Asked) -> bool {
        let path = asked.url.path();
        let has_field = |(name, value): &(String, String)| {
            let mut fields = asked.url.query_pairs();
            fields.any(|(found, of)| found == name.as_str() && of == value.as_str())
        };
        self.service.is_none_or(|service| service == asked.service)
            && self.method.as_ref().is_none_or(|method| *method == asked.method)
            && self.path.as_deref().is_none_or(|wanted| wanted == path)
            && self.path_regex.as_ref().is_none_or(|regex| regex.is_match(path))
            && self.query.iter().all(has_field)
            && self.headers.iter().all(|(name, wanted)| {
                let found: Vec<_> = asked.headers.get_all(name).iter().flat_map(listed).collect();
                found == *wanted
            })
            && self.json.as_ref().is_none_or(|wanted| {
                serde_json::from_slice(&asked.body).is_ok_and(|found| says(wanted, &found))
            })
    }
}

/// Whether a body says what is wanted: its objects may say more.
fn says(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => wanted
            .iter()
            .all(|(key, wanted)| found.get(key).is_some_and(|found| says(wanted, found))),
        (Value::Array(wanted), Value::Array(found)) => {
            wanted.len() == found.len()
                && wanted
                    .iter()
                    .zip(found)
                    .all(|(wanted, found)| says(wanted, found))
        }
        (wanted, found) => wanted == found,
    }
}

/// The answer, without its delay.
pub(super) fn response(answer: &StubAnswer) -> Response {
    let (body, kind) = match (&answer.json, &answer.text) {
        (Some(json), _) => (Body::from(json.to_string()), Some("application/json")),
        (None, Some(text)) => (Body::from(text.clone()), Some("text/plain")),
        (None, None) => (Body::empty(), None),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or_default();
    if let Some(kind) = kind {
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    // What no answer can have was refused with the stub.
    for (name, value) in headers("answer.headers", &answer.headers).unwrap_or_default() {
        response.headers_mut().insert(name, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_says_what_is_wanted_when_its_objects_say_more() {
        for (wanted, found, fits) in [
            (json!({"a": 1}), json!({"a": 1, "b": 2}), true),
            (json!({"a": {"b": []}}), json!({"a": {"b": [], "c": 1}}), true),
            (json!({"a": [{"b": 1}]}), json!({"a": [{"b": 1, "c": 2}]}), true),
            (json!({"a": [1]}), json!({"a": [1, 2]}), false),
            (json!({"a": null}), json!({}), false),
            (json!(1), json!("1"), false),
        ] {
            assert_eq!(says(&wanted, &found), fits, "{wanted} {found}");
        }
    }
}
