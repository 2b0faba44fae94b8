//! A browser as far as signing in needs one: cookies per host, redirects, and the login form filled in.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use cookie::Cookie;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use polytab_seams::{
    http::{HttpClient, HttpError, Limits},
    net::Dial,
};
use regex::Regex;
use thiserror::Error;
use url::Url;

/// Redirects and forms followed at most, as browsers give up at 20.
const STEPS: usize = 20;
/// The largest page read.
const PAGE_BYTES: usize = 256 * 1024;

/// One browser of one person.
#[derive(Debug)]
pub(crate) struct Browser {
    name: String,
    client: HttpClient,
    jar: Jar,
}

/// A browser's cookies. Clones share them, as tabs do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Jar(Arc<Mutex<Cookies>>);

/// Cookies by `host:port`, then by name.
type Cookies = BTreeMap<String, BTreeMap<String, String>>;

impl Jar {
    /// What goes into the `Cookie` header for `url`; none without cookies.
    pub(crate) fn cookies_for(&self, url: &Url) -> Option<String> {
        let all = self.cookies();
        let pairs: Vec<_> = all
            .get(&authority(url))?
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// The values of all cookies: whoever sees one elsewhere sees a secret.
    fn secrets(&self) -> Vec<String> {
        self.cookies()
            .values()
            .flat_map(|cookies| cookies.values().cloned())
            .collect()
    }

    fn clear(&self) {
        self.cookies().clear();
    }

    fn keep(&self, url: &Url, answer: &Response<Bytes>) {
        let mut all = self.cookies();
        let jar = all.entry(authority(url)).or_default();
        let headers = answer.headers().get_all(header::SET_COOKIE);
        for text in headers.iter().filter_map(|value| value.to_str().ok()) {
            let Ok(cookie) = Cookie::parse(text) else { continue };
            let gone =
                cookie.value().is_empty() || cookie.max_age().is_some_and(cookie::time::Duration::is_zero);
            if gone {
                jar.remove(cookie.name());
            } else {
                jar.insert(cookie.name().to_owned(), cookie.value().to_owned());
            }
        }
    }

    fn cookies(&self) -> MutexGuard<'_, Cookies> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a sign-in did not succeed.
#[derive(Debug, Error)]
pub(crate) enum SignInError {
    #[error("`{url}` did not answer")]
    Http { url: Box<Url>, source: HttpError },
    #[error("`{url}` answered {status}")]
    Status { url: Url, status: StatusCode },
    #[error("`{url}` redirects to something that is no URL")]
    Redirect { url: Url },
    #[error("`{0}` shows the login form again: user name or password is wrong there")]
    Rejected(Url),
    #[error("no end after {STEPS} redirects")]
    Endless,
    #[error("no cookie came of it")]
    NoCookie,
}

impl Browser {
    /// A browser that is called `name`, in its `User-Agent` too.
    pub(crate) fn new(name: &str, dial: Arc<dyn Dial>, patience: Duration) -> Self {
        let limits = Limits {
            answer: patience,
            body_bytes: PAGE_BYTES,
            idle: Duration::ZERO,
            idle_per_host: 0,
        };
        Self {
            name: name.to_owned(),
            client: HttpClient::new(dial, limits),
            jar: Jar::default(),
        }
    }

    /// Its cookies.
    pub(crate) fn jar(&self) -> Jar {
        self.jar.clone()
    }

    /// The values of all cookies: whoever sees one elsewhere sees a secret.
    pub(crate) fn secrets(&self) -> Vec<String> {
        self.jar.secrets()
    }

    /// Signs `user` in, beginning at `start` on the target: follows redirects, fills in the login form.
    ///
    /// # Errors
    ///
    /// When a page does not answer, refuses, or no cookie for the target comes of it.
    pub(crate) async fn sign_in(
        &mut self,
        start: &Url,
        user: &str,
        password: &str,
    ) -> Result<(), SignInError> {
        // What an earlier sign-in left would be sent along, and the old login session be taken for the new one.
        self.jar.clear();
        let mut request = (Method::GET, start.clone(), String::new());
        let mut form_sent = false;
        for _ in 0..STEPS {
            let (method, url, form) = request;
            let answer = self.fetch(method, &url, form).await?;
            if answer.status().is_redirection() {
                request = (Method::GET, location(&url, &answer)?, String::new());
                continue;
            }
            // The page after the last redirect may be anything: a server without pages answers 404 there.
            let Some(action) = login_form(answer.body()) else {
                return if self.jar.cookies_for(start).is_some() {
                    Ok(())
                } else if answer.status().is_success() {
                    Err(SignInError::NoCookie)
                } else {
                    Err(SignInError::Status {
                        url,
                        status: answer.status(),
                    })
                };
            };
            if form_sent {
                return Err(SignInError::Rejected(url));
            }
            form_sent = true;
            let action = url.join(&action).map_err(|_| SignInError::Redirect { url })?;
            let form = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("username", user)
                .append_pair("password", password)
                .finish();
            request = (Method::POST, action, form);
        }
        Err(SignInError::Endless)
    }

    /// Visits `url` and whatever it redirects to; the answers themselves do not matter.
    pub(crate) async fn visit(&mut self, url: &Url) -> Result<(), SignInError> {
        let mut url = url.clone();
        for _ in 0..STEPS {
            let answer = self.fetch(Method::GET, &url, String::new()).await?;
            if !answer.status().is_redirection() {
                return Ok(());
            }
            url = location(&url, &answer)?;
        }
        Err(SignInError::Endless)
    }

    async fn fetch(
        &mut self,
        method: Method,
        url: &Url,
        form: String,
    ) -> Result<Response<Bytes>, SignInError> {
        let mut request = Request::builder()
            .method(&method)
            .uri(url.as_str())
            .header(header::HOST, authority(url))
            .header(header::USER_AGENT, &self.name)
            .header(header::ACCEPT, "text/html");
        if method == Method::POST {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        if let Some(cookies) = self.jar.cookies_for(url) {
            request = request.header(header::COOKIE, cookies);
        }
        let request = request
            .body(Full::from(form))
            .map_err(|_| SignInError::Redirect { url: url.clone() })?;
        let answer = self
            .client
            .send(request)
            .await
            .map_err(|source| SignInError::Http {
                url: Box::new(url.clone()),
                source,
            })?;
        self.jar.keep(url, &answer);
        Ok(answer)
    }
}

/// `host:port` of a URL, the port also where it is the scheme's own.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or("");
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn location(url: &Url, answer: &Response<Bytes>) -> Result<Url, SignInError> {
    let target = answer.headers().get(header::LOCATION).map(HeaderValue::to_str);
    target
        .and_then(Result::ok)
        .and_then(|target| url.join(target).ok())
        .ok_or_else(|| SignInError::Redirect { url: url.clone() })
}

/// The `action` of Keycloak's login form, if the page has one. It is found by its id, as people's scripts do.
fn login_form(page: &Bytes) -> Option<String> {
    let page = std::str::from_utf8(page).ok()?;
    let form = Regex::new(r#"<form[^>]*id="kc-form-login"[^>]*>"#)
        .expect("the expression is fixed")
        .find(page)?;
    let action = Regex::new(r#"action="([^"]*)""#).expect("the expression is fixed");
    Some(action.captures(form.as_str())?[1].replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_form_is_found_by_its_id() {
        let page =
            r#"<form action="/x"></form><form id="kc-form-login" method="post" action="/a?b=1&amp;c=2">"#;

        assert_eq!(
            login_form(&Bytes::from_static(page.as_bytes())),
            Some("/a?b=1&c=2".to_owned())
        );
        assert_eq!(login_form(&Bytes::from_static(b"<form id='other'>")), None);
    }
}
