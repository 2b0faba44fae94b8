//! One request as the mocks read it: whole body, fields, credentials. Knows nothing of what they mean.

use axum::{
    body::Bytes,
    http::{HeaderMap, Method, Uri, header, request::Parts},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use url::form_urlencoded;

use crate::{fault::action::FaultAction, keycloak::fault::KeycloakFault, secret, seen::Seen};

/// A request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    /// Its number since the last reset; 0 until it is on record.
    pub(crate) id: u64,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    /// Fields of the query, in order.
    pub(crate) query: Vec<(String, String)>,
    /// Fields of a form body, in order; `None` when the body is none.
    pub(crate) form: Option<Vec<(String, String)>>,
    /// A JSON body that is an object.
    pub(crate) json: Option<Map<String, Value>>,
    pub(crate) body: Bytes,
    /// What orders and the journal know of it; empty until it is on record.
    pub(crate) seen: Seen,
    /// The fault that it meets.
    pub(crate) fault: Option<FaultAction>,
}

impl Call {
    pub(crate) fn read(parts: &Parts, body: &Bytes) -> Self {
        let kind = parts
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("");
        let is_form = kind.starts_with("application/x-www-form-urlencoded");
        let is_json = kind.starts_with("application/json");
        Self {
            id: 0,
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
            query: pairs(parts.uri.query().unwrap_or("").as_bytes()),
            form: is_form.then(|| pairs(body)),
            json: is_json.then(|| serde_json::from_slice(body).ok()).flatten(),
            body: body.clone(),
            seen: Seen::default(),
            fault: None,
        }
    }

    /// The fault of Keycloak's that it meets.
    pub(crate) fn keycloak_fault(&self) -> Option<KeycloakFault> {
        match self.fault {
            Some(FaultAction::Keycloak(fault)) => Some(fault),
            _ => None,
        }
    }

    /// The first field of the query named so.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        first(&self.query, name)
    }

    /// The first field of the form named so.
    pub(crate) fn form(&self, name: &str) -> Option<&str> {
        first(self.form.as_deref().unwrap_or_default(), name)
    }

    /// The fields that a GET has in its query and a POST in its form.
    pub(crate) fn fields(&self) -> &[(String, String)] {
        if self.method == Method::POST {
            self.form.as_deref().unwrap_or_default()
        } else {
            &self.query
        }
    }

    /// One of [`Self::fields`].
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        first(self.fields(), name)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The bearer token.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.credentials("bearer")
    }

    /// Name and secret of basic authentication, both form-encoded (RFC 6749 §2.3.1).
    pub(crate) fn basic(&self) -> Option<(String, String)> {
        let text = String::from_utf8(STANDARD.decode(self.credentials("basic")?).ok()?).ok()?;
        let (name, secret) = text.split_once(':')?;
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
        };
        Some((decode(name), decode(secret)))
    }

    fn credentials(&self, scheme: &str) -> Option<&str> {
        let (found, rest) = self.header("authorization")?.split_once(' ')?;
        found.eq_ignore_ascii_case(scheme).then_some(rest.trim())
    }

    /// The cookie named so.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        let headers = self.headers.get_all(header::COOKIE).iter();
        headers
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }

    /// What the browser calls itself.
    pub(crate) fn agent(&self) -> &str {
        self.header("user-agent").unwrap_or("unknown")
    }

    /// Every token that the request carries, likeliest first.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = &str> {
        let sent = [self.bearer(), self.header("private-token")];
        let fields = ["token", "refresh_token", "access_token", "id_token_hint"].map(|name| self.form(name));
        let queries = ["access_token", "private_token", "id_token_hint"].map(|name| self.query(name));
        sent.into_iter().chain(fields).chain(queries).flatten()
    }

    /// Path and query, secrets hashed.
    pub(crate) fn shown_path(&self) -> String {
        let Some(query) = self.uri.query() else {
            return self.uri.path().to_owned();
        };
        let secret = self
            .query
            .iter()
            .any(|(name, value)| secret::shown(name, value) != *value);
        if !secret {
            return format!("{}?{query}", self.uri.path());
        }
        let shown = self
            .query
            .iter()
            .map(|(name, value)| (name, secret::shown(name, value)));
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(shown)
            .finish();
        // The hash's colon is legal in a query; unescaped it reads better.
        format!("{}?{}", self.uri.path(), query.replace("sha256%3A", "sha256:"))
    }

    /// The JSON body, secrets hashed. `state` is a secret at an authorization endpoint, which takes no JSON.
    pub(crate) fn shown_json(&self) -> Option<Map<String, Value>> {
        let mut json = self.json.clone()?;
        for (name, value) in json.iter_mut().filter(|(name, _)| *name != "state") {
            if let Value::String(text) = value {
                *text = secret::shown(name, text);
            }
        }
        Some(json)
    }

    /// The form, secrets hashed.
    pub(crate) fn shown_form(&self) -> Option<Map<String, Value>> {
        let form = self.form.as_ref()?;
        let shown = form
            .iter()
            .map(|(name, value)| (name.clone(), secret::shown(name, value).into()));
        Some(shown.collect())
    }
}

fn pairs(text: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(text).into_owned().collect()
}

fn first<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs
        .iter()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn a_path_is_shown_without_its_secrets() {
        for (uri, shown) in [
            ("/a", "/a"),
            ("/a?types=push,issue", "/a?types=push,issue"),
            ("/a?x=1&access_token=a", "/a?x=1&access_token=sha256:ca978112"),
        ] {
            let (parts, ()) = Request::get(uri).body(()).unwrap().into_parts();

            assert_eq!(Call::read(&parts, &Bytes::new()).shown_path(), shown);
        }
    }

    #[test]
    fn credentials_are_read_from_where_clients_put_them() {
        let (parts, ()) = Request::post("/token")
            .header(
                "authorization",
                format!("Basic {}", STANDARD.encode("renku%2Dui:a+b%3A")),
            )
            .header("cookie", "a=1; KEYCLOAK_IDENTITY=x")
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
            .body(())
            .unwrap()
            .into_parts();

        let call = Call::read(&parts, &Bytes::from_static(b"grant_type=password&grant_type=x"));

        assert_eq!(call.basic(), Some(("renku-ui".into(), "a b:".into())));
        assert_eq!(call.bearer(), None);
        assert_eq!(call.cookie("KEYCLOAK_IDENTITY"), Some("x"));
        assert_eq!(call.field("grant_type"), Some("password"));
        assert_eq!(call.fields().len(), 2);
    }
}
