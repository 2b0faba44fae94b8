//! What a stub can say. Each part that it cannot is named with its value and its mend.

use std::{collections::BTreeMap, time::Duration};

use axum::http::{HeaderName, HeaderValue, Method};
use regex::Regex;
use serde_json::Value;
use url::Url;

use super::{Service, Stub, StubAnswer, StubRequest};
use crate::error::ControlError;

/// The longest time that an answer may be late: no caller waits longer.
pub(super) const LONGEST_DELAY: Duration = Duration::from_hours(1);

/// Headers that belong to one connection, or to how a body is sent over it (RFC 9110 §7.6.1): not to the request.
pub(super) const OF_CONNECTION: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The requests that a stub takes, ready to be compared.
#[derive(Clone, Debug)]
pub(super) struct Fit {
    pub(super) service: Option<Service>,
    pub(super) method: Option<Method>,
    pub(super) path: Option<String>,
    pub(super) path_regex: Option<Regex>,
    pub(super) query: Vec<(String, String)>,
    /// Names and the items of their lists.
    pub(super) headers: Vec<(HeaderName, Vec<String>)>,
    pub(super) json: Option<Value>,
}

impl Stub {
    /// Whether there can be such a stub.
    ///
    /// # Errors
    ///
    /// When it could take no request, or its answer is none that HTTP allows.
    pub fn check(&self) -> Result<(), ControlError> {
        self.fit().map(drop)
    }

    pub(super) fn fit(&self) -> Result<Fit, ControlError> {
        if self.times == Some(0) {
            return Err(ControlError::ZeroTimes);
        }
        if self.priority == 0 {
            return Err(bad("priority", "0", "the first is 1"));
        }
        answer(&self.answer)?;
        let request = &self.request;
        Ok(Fit {
            service: self.service,
            method: request.method.as_deref().map(method).transpose()?,
            path: request.path.as_deref().map(path).transpose()?,
            path_regex: path_regex(request)?,
            query: request.query.clone().into_iter().collect(),
            headers: headers("request.headers", &request.headers)?
                .into_iter()
                .map(|(name, value)| (name, listed(&value)))
                .collect(),
            json: request.json.clone(),
        })
    }
}

/// The items of a header's list.
pub(super) fn listed(value: &HeaderValue) -> Vec<String> {
    let text = value.to_str().ok();
    text.into_iter()
        .flat_map(|text| text.split(','))
        .map(|item| item.trim().to_owned())
        .collect()
}

fn bad(field: &'static str, value: &str, mend: &str) -> ControlError {
    ControlError::BadStub {
        field,
        value: value.to_owned(),
        mend: mend.to_owned(),
    }
}

fn method(name: &str) -> Result<Method, ControlError> {
    name.to_ascii_uppercase()
        .parse()
        .map_err(|_| bad("request.method", name, "it is a verb such as `GET`"))
}

/// A path as requests have it, so that one that is spelled otherwise does not wait for ever.
fn path(wanted: &str) -> Result<String, ControlError> {
    let refuse = |mend: &str| Err(bad("request.path", wanted, mend));
    if !wanted.starts_with('/') {
        return refuse("it begins with `/`; a path that is only alike is a `path_regex`");
    }
    if wanted.contains(['?', '#']) {
        return refuse("it is a path without a query; what follows the `?` stands under `query`");
    }
    match read_path(wanted) {
        Some(url) if url.path() == wanted => Ok(wanted.to_owned()),
        Some(url) => refuse(&format!("requests spell it `{}`", url.path())),
        None => refuse("it is the path of a URL, such as `/api/data/version`"),
    }
}

/// The URL of a request, with any host.
pub(super) fn read_path(path_and_query: &str) -> Option<Url> {
    Url::parse(&format!("http://localhost{path_and_query}")).ok()
}

fn path_regex(request: &StubRequest) -> Result<Option<Regex>, ControlError> {
    let Some(pattern) = &request.path_regex else {
        return Ok(None);
    };
    if request.path.is_some() {
        return Err(bad(
            "request.path_regex",
            pattern,
            "there is a `path` as well: keep one of the two",
        ));
    }
    match Regex::new(pattern) {
        Ok(regex) => Ok(Some(regex)),
        Err(error) => {
            // The last line says what is wrong; those before it draw where.
            let text = error.to_string();
            let reason = text
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ");
            Err(bad("request.path_regex", pattern, reason))
        }
    }
}

/// Headers that a request or an answer can have of its own.
pub(super) fn headers(
    field: &'static str,
    wanted: &BTreeMap<String, String>,
) -> Result<Vec<(HeaderName, HeaderValue)>, ControlError> {
    let header = |(name, value): (&String, &String)| {
        let read: Result<HeaderName, _> = name.parse();
        let read = read.map_err(|_| bad(field, name, "it is no header's name"))?;
        if OF_CONNECTION.contains(&read.as_str()) {
            return Err(bad(
                field,
                name,
                "it belongs to the connection, and is not for stubs to say",
            ));
        }
        let value = HeaderValue::try_from(value)
            .ok()
            .filter(|value| value.to_str().is_ok())
            .ok_or_else(|| bad(field, value, "headers are of visible ASCII characters"))?;
        Ok((read, value))
    };
    wanted.iter().map(header).collect()
}

fn answer(answer: &StubAnswer) -> Result<(), ControlError> {
    let status = answer.status;
    if !(200..=599).contains(&status) {
        return Err(bad(
            "answer.status",
            &status.to_string(),
            "answers are from 200 to 599",
        ));
    }
    headers("answer.headers", &answer.headers)?;
    if let (Some(_), Some(text)) = (&answer.json, &answer.text) {
        return Err(bad(
            "answer.text",
            text,
            "there is a `json` as well: keep one of the two",
        ));
    }
    let has_body = answer.json.is_some() || answer.text.is_some();
    if has_body && [204, 205, 304].contains(&status) {
        return Err(bad(
            "answer.status",
            &status.to_string(),
            "such an answer has no body, and this one has",
        ));
    }
    match answer.delay {
        Some(delay) if delay > LONGEST_DELAY => Err(bad(
            "answer.delay",
            &format!("{delay:?}"),
            "it is an hour at most",
        )),
        Some(_) | None => Ok(()),
    }
}
