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

/// Cookies by host, as cookies do not separate ports (RFC 6265 section 8.5), then by name and path.
type Cookies = BTreeMap<String, BTreeMap<(String, String), StoredCookie>>;

/// One cookie of a jar.
#[derive(Clone, Debug)]
struct StoredCookie {
    value: String,
    /// `host:port` of the server that set it.
    setter: String,
}

impl Jar {
    /// The value of the `Cookie` header for `url`; `None` without cookies for its host and path.
    pub(crate) fn cookies_for(&self, url: &Url) -> Option<String> {
        let all = self.cookies();
        let mut found: Vec<_> = all
            .get(url.host_str()?)?
            .iter()
            .filter(|((_, path), _)| is_below(url.path(), path))
            .collect();
        // Longer paths come first (RFC 6265 section 5.4).
        found.sort_by_key(|((_, path), _)| std::cmp::Reverse(path.len()));
        let pairs: Vec<_> = found
            .into_iter()
            .map(|((name, _), cookie)| format!("{name}={}", cookie.value))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// All cookies that the server at `url` has set, for a connection to another path of it.
    pub(crate) fn cookies_set_by(&self, url: &Url) -> String {
        let setter = authority(url);
        let all = self.cookies();
        let set = all
            .values()
            .flatten()
            .filter(|(_, cookie)| cookie.setter == setter);
        let pairs: Vec<_> = set
            .map(|((name, _), cookie)| format!("{name}={}", cookie.value))
            .collect();
        pairs.join("; ")
    }

    /// Returns `true` if the server at `url` has set a cookie.
    fn is_set_by(&self, url: &Url) -> bool {
        let setter = authority(url);
        self.cookies()
            .values()
            .flat_map(BTreeMap::values)
            .any(|cookie| cookie.setter == setter)
    }

    /// The values of all cookies: whoever sees one elsewhere sees a secret.
    fn secrets(&self) -> Vec<String> {
        self.cookies()
            .values()
            .flat_map(|cookies| cookies.values().map(|cookie| cookie.value.clone()))
            .collect()
    }

    fn keep(&self, url: &Url, answer: &Response<Bytes>) {
        let mut all = self.cookies();
        let jar = all
            .entry(url.host_str().unwrap_or_default().to_owned())
            .or_default();
        let headers = answer.headers().get_all(header::SET_COOKIE);
        for text in headers.iter().filter_map(|value| value.to_str().ok()) {
            let Ok(cookie) = Cookie::parse(text) else { continue };
            let gone =
                cookie.value().is_empty() || cookie.max_age().is_some_and(cookie::time::Duration::is_zero);
            let path = cookie.path().filter(|path| path.starts_with('/'));
            let path = path.map_or_else(|| default_path(url), str::to_owned);
            let key = (cookie.name().to_owned(), path);
            if gone {
                jar.remove(&key);
            } else {
                let (value, setter) = (cookie.value().to_owned(), authority(url));
                jar.insert(key, StoredCookie { value, setter });
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
    #[error("the sign-in ended at `{place}`, which answered {status}{text}")]
    Status {
        /// The page without its query, which may hold codes and tokens.
        place: String,
        status: StatusCode,
        /// The beginning of its body, after a colon.
        text: String,
    },
    #[error("`{url}` redirects to something that is no URL")]
    Redirect { url: Url },
    #[error(
        "`{place}` answered {status} and shows the login form again: user name or password is wrong there{text}"
    )]
    Rejected {
        place: String,
        status: StatusCode,
        text: String,
    },
    #[error("no end after {STEPS} redirects")]
    Endless,
    #[error("the target set no cookie")]
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
        let mut request = (Method::GET, start.clone(), String::new());
        let mut form_sent = false;
        for _ in 0..STEPS {
            let (method, url, form) = request;
            let answer = self.fetch(method, &url, form).await?;
            if answer.status().is_redirection() {
                request = (Method::GET, location(&url, &answer)?, String::new());
                continue;
            }
            let Some(action) = login_form(answer.body()) else {
                return self.signed_in(start, &url, &answer);
            };
            if form_sent {
                return Err(SignInError::Rejected {
                    place: place(&url),
                    status: answer.status(),
                    text: excerpt(answer.body()),
                });
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

    /// Judges the page at which a sign-in ended. An error page is a failure whatever cookies were set on the way.
    fn signed_in(&self, start: &Url, url: &Url, answer: &Response<Bytes>) -> Result<(), SignInError> {
        let status = answer.status();
        // Servers whose pages are served elsewhere answer 404 at the plain page to which their callback leads.
        let is_landing = status == StatusCode::NOT_FOUND
            && url.origin() == start.origin()
            && url.path() != start.path()
            && url.query().is_none();
        if (status.is_client_error() || status.is_server_error()) && !is_landing {
            Err(SignInError::Status {
                place: place(url),
                status,
                text: excerpt(answer.body()),
            })
        } else if !self.jar.is_set_by(start) {
            Err(SignInError::NoCookie)
        } else {
            Ok(())
        }
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

/// A page without its query, which may hold codes and tokens.
fn place(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// The beginning of a page as text on one line, after a colon; empty for an empty page.
fn excerpt(page: &Bytes) -> String {
    const EXCERPT_CHARS: usize = 200;
    let text = String::from_utf8_lossy(page);
    // Markup and styles tell nothing to people.
    let hidden =
        Regex::new(r"(?s)<(script|style)\b.*?</(script|style)>|<[^>]*>").expect("the expression is fixed");
    let text = hidden.replace_all(&text, " ");
    let words: Vec<_> = text.split_whitespace().collect();
    let line = words.join(" ");
    let shown: String = line.chars().take(EXCERPT_CHARS).collect();
    match (shown.is_empty(), shown.len() < line.len()) {
        (true, _) => String::new(),
        (false, false) => format!(": {shown}"),
        (false, true) => format!(": {shown}…"),
    }
}

/// Path match of RFC 6265 section 5.1.4.
fn is_below(path: &str, of_cookie: &str) -> bool {
    path.strip_prefix(of_cookie)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || of_cookie.ends_with('/'))
}

/// Path of a cookie without one: the folder of the page that set it.
fn default_path(url: &Url) -> String {
    match url.path().rsplit_once('/') {
        Some((folder, _)) if !folder.is_empty() => folder.to_owned(),
        Some(_) | None => "/".to_owned(),
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

    fn answer(status: u16, cookies: &[&str], page: &'static str) -> Response<Bytes> {
        let mut answer = Response::builder().status(status);
        for cookie in cookies {
            answer = answer.header(header::SET_COOKIE, *cookie);
        }
        answer.body(Bytes::from_static(page.as_bytes())).unwrap()
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn cookies_are_separated_by_host_and_path_not_by_port() {
        let jar = Jar::default();

        jar.keep(
            &url("http://127.0.0.1:1/app/login"),
            &answer(200, &["a=1; Path=/", "b=2; Path=/app", "c=3"], ""),
        );

        for (page, cookies) in [
            ("http://127.0.0.1:1/app/ws", Some("b=2; c=3; a=1")),
            ("http://127.0.0.1:2/app/ws", Some("b=2; c=3; a=1")),
            ("ws://127.0.0.1:2/application", Some("a=1")),
            ("http://localhost:1/app/ws", None),
        ] {
            assert_eq!(jar.cookies_for(&url(page)).as_deref(), cookies, "{page}");
        }
    }

    #[test]
    fn a_sign_in_that_ends_at_an_error_page_fails_although_a_cookie_was_set() {
        let dial = Arc::new(polytab_seams::net::TcpDial);
        let browser = Browser::new("b", dial, Duration::from_secs(1));
        let start = url("http://127.0.0.1:1/login");
        browser.jar.keep(&start, &answer(302, &["id=1; Path=/"], ""));
        let ended = |page: &str, status| {
            let page = url(page);
            let result = browser.signed_in(&start, &page, &answer(status, &[], "<p>no <b>user</b>"));
            result.map_err(|error| error.to_string())
        };

        let error = "the sign-in ended at `http://127.0.0.1:1/callback`, which answered 500 Internal Server Error: no user";
        assert_eq!(
            ended("http://127.0.0.1:1/callback?code=secret", 500),
            Err(error.to_owned())
        );
        assert!(ended("http://127.0.0.1:1/login", 404).is_err());
        assert!(ended("http://127.0.0.1:1/callback?code=secret", 404).is_err());
        assert!(ended("http://127.0.0.1:1/home", 403).is_err());
        assert_eq!(ended("http://127.0.0.1:1/home", 404), Ok(()));
        assert_eq!(ended("http://127.0.0.1:1/home", 200), Ok(()));
    }

    #[test]
    fn cookies_of_the_identity_provider_are_no_sign_in() {
        let dial = Arc::new(polytab_seams::net::TcpDial);
        let browser = Browser::new("b", dial, Duration::from_secs(1));
        let (start, provider) = (url("http://127.0.0.1:1/login"), url("http://127.0.0.1:2/auth"));
        browser.jar.keep(&provider, &answer(200, &["sso=1; Path=/"], ""));

        let ended = browser.signed_in(&start, &start, &answer(200, &[], ""));

        assert!(matches!(ended, Err(SignInError::NoCookie)));
    }
}
