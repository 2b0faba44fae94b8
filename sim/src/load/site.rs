//! Where the load goes, how its users sign in, and who makes their world change.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use polytab_load::plan::{Ask, ForUser, MakeChange, Site};
use polytab_seams::{
    http::{HttpClient, Limits},
    net::{Dial, TcpDial},
    tls::dial::{TlsDial, Trust},
};
use serde_json::{Value, json};
use thiserror::Error;
use url::Url;

use super::credentials::Credential;
use crate::tab::browser::Browser;

/// How long a page, a token or a change may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Users that are put into the mocks at once.
const AT_ONCE: usize = 16;
/// Longest answer read.
const BODY_BYTES: usize = 1024 * 1024;
/// The route that the target's loops ask, once per user and turn.
const POLLED: &str = "backend.sessions";

/// Everything that says where the load goes.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    /// Where tabs connect to.
    pub(crate) url: Url,
    /// Authorities that are believed beside the system's.
    pub(crate) trust: Trust,
    /// Headers of every handshake; `${user}` is filled in.
    pub(crate) headers: Vec<(HeaderName, String)>,
    /// The users, if a file names them.
    pub(crate) credentials: Vec<Credential>,
    pub(crate) sign_in: SignIn,
    pub(crate) changes: Changes,
    /// Addresses from which connections come.
    pub(crate) sources: Vec<IpAddr>,
    /// Life of access tokens at our mocks.
    pub(crate) access_token: Option<Duration>,
    /// Projects that every user sees at our mocks.
    pub(crate) projects: Vec<u64>,
}

/// How users sign in.
#[derive(Clone, Debug)]
pub(crate) enum SignIn {
    /// They do not: headers say who they are.
    None,
    /// As in a browser: the login form, and a cookie in the end.
    Code { login: Url, logout: Url },
    /// For a bearer token, with a password (RFC 6749, 4.3).
    Password {
        token: Url,
        client_id: String,
        client_secret: Option<String>,
    },
    /// By a command that prints the `Cookie` header; `POLYTAB_USER` names the user.
    Command(String),
}

/// Who makes the users' world change.
#[derive(Clone, Debug)]
pub(crate) enum Changes {
    /// Nobody.
    Nobody,
    /// Our mocks.
    Mocks(Url),
    /// `POST` to this URL, with user and mark as JSON.
    Post(Url),
}

/// Why there is no place to send the load to.
#[derive(Debug, Error)]
pub(crate) enum GroundError {
    #[error("the mocks at `{url}` did not take the users: {reason}")]
    Mocks { url: Url, reason: String },
    #[error("`{0}` cannot be connected to")]
    Url(Url),
}

/// The password of users that we make ourselves.
const PASSWORD: &str = "pass-for-tests-only";

impl Ground {
    fn name(&self, user: u64) -> String {
        let row = usize::try_from(user)
            .ok()
            .and_then(|user| self.credentials.get(user));
        row.map_or_else(|| format!("user-{user}"), |row| row.name.clone())
    }

    fn password(&self, user: u64) -> String {
        let row = usize::try_from(user)
            .ok()
            .and_then(|user| self.credentials.get(user));
        row.and_then(|row| row.password.clone())
            .unwrap_or_else(|| PASSWORD.to_owned())
    }

    /// What every handshake of the user carries, whoever signs in.
    fn own_headers(&self, user: u64) -> Result<HeaderMap, String> {
        let name = self.name(user);
        let mut headers = HeaderMap::new();
        // Browsers always say where their page is from.
        let scheme = if self.url.scheme() == "wss" {
            "https"
        } else {
            "http"
        };
        let origin = format!("{scheme}://{}", self.url.authority());
        headers.insert(
            header::ORIGIN,
            HeaderValue::from_str(&origin).map_err(|error| error.to_string())?,
        );
        for (header, value) in &self.headers {
            let value = value.replace("${user}", &name);
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| format!("`{header}` cannot hold the user's name"))?;
            value.set_sensitive(true);
            headers.insert(header.clone(), value);
        }
        let row = usize::try_from(user)
            .ok()
            .and_then(|user| self.credentials.get(user));
        for (header, value) in row.into_iter().flat_map(|row| &row.headers) {
            headers.insert(header.clone(), value.clone());
        }
        Ok(headers)
    }

    fn dial(&self) -> Arc<dyn Dial> {
        Arc::new(TlsDial::new(TcpDial, self.trust.clone()))
    }

    /// The site of a run.
    ///
    /// # Errors
    ///
    /// When the URL is none that can be connected to.
    pub(crate) fn site(self) -> Result<Site, GroundError> {
        let uri = self
            .url
            .as_str()
            .parse()
            .map_err(|_| GroundError::Url(self.url.clone()))?;
        let mut shown = self.url.clone();
        // A URL may carry a token in its query, and a password before its host.
        shown.set_query(None);
        shown.set_password(None).ok();
        shown.set_username("").ok();
        let tls = (self.url.scheme() == "wss").then(|| self.dial());
        let ground = Arc::new(Signing {
            client: client(self.dial()),
            dial: self.dial(),
            browsers: Mutex::default(),
            ground: self,
        });
        let (naming, signing, leaving) = (Arc::clone(&ground), Arc::clone(&ground), Arc::clone(&ground));
        let sources = ground.ground.sources.clone();
        Ok(Site {
            url: uri,
            name: shown.to_string(),
            tls,
            sources,
            user_name: Arc::new(move |user| naming.ground.name(user)),
            sign_in: Arc::new(move |user| {
                let signing = Arc::clone(&signing);
                Box::pin(async move { signing.sign_in(user).await })
            }),
            signs_in: !matches!(ground.ground.sign_in, SignIn::None),
            sign_out: matches!(ground.ground.sign_in, SignIn::Code { .. }).then(|| -> ForUser<()> {
                Arc::new(move |user| {
                    let leaving = Arc::clone(&leaving);
                    Box::pin(async move { leaving.sign_out(user).await })
                })
            }),
            change: change(&ground),
            polls: polls(&ground),
        })
    }
}

/// Signs users in and out.
struct Signing {
    ground: Ground,
    dial: Arc<dyn Dial>,
    client: HttpClient,
    /// Browsers of those who are signed in by one.
    browsers: Mutex<BTreeMap<u64, Browser>>,
}

fn client(dial: Arc<dyn Dial>) -> HttpClient {
    let limits = Limits {
        answer: PATIENCE,
        body_bytes: BODY_BYTES,
        idle: Duration::from_secs(10),
        idle_per_host: AT_ONCE,
    };
    HttpClient::new(dial, limits)
}

impl Signing {
    async fn sign_in(&self, user: u64) -> Result<HeaderMap, String> {
        let mut headers = self.ground.own_headers(user)?;
        let (name, password) = (self.ground.name(user), self.ground.password(user));
        let (header, value) = match &self.ground.sign_in {
            SignIn::None => return Ok(headers),
            SignIn::Code { login, .. } => {
                let mut browser = Browser::new("polytab load", Arc::clone(&self.dial), PATIENCE);
                browser
                    .sign_in(login, &name, &password)
                    .await
                    .map_err(|error| format!("sign-in: {error}"))?;
                let cookies = browser.jar().cookies_set_by(login);
                self.browsers().insert(user, browser);
                (header::COOKIE, cookies)
            }
            SignIn::Password {
                token,
                client_id,
                client_secret,
            } => {
                let client = (client_id.as_str(), client_secret.as_deref());
                let token = self.token(token, client, (&name, &password)).await?;
                (header::AUTHORIZATION, format!("Bearer {token}"))
            }
            SignIn::Command(command) => (header::COOKIE, run(command, &name).await?),
        };
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| "sign-in: what came of it cannot be in a header".to_owned())?;
        value.set_sensitive(true);
        headers.insert(header, value);
        Ok(headers)
    }

    fn browsers(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Browser>> {
        self.browsers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn sign_out(&self, user: u64) -> Result<(), String> {
        let SignIn::Code { logout, .. } = &self.ground.sign_in else {
            return Ok(());
        };
        let browser = self.browsers().remove(&user);
        let Some(mut browser) = browser else { return Ok(()) };
        browser
            .visit(logout)
            .await
            .map_err(|error| format!("sign-out: {error}"))
    }

    async fn token(
        &self,
        url: &Url,
        (id, secret): (&str, Option<&str>),
        (user, password): (&str, &str),
    ) -> Result<String, String> {
        let form = {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "password")
                .append_pair("client_id", id)
                .append_pair("username", user)
                .append_pair("password", password)
                .append_pair("scope", "openid");
            if let Some(secret) = secret {
                form.append_pair("client_secret", secret);
            }
            form.finish()
        };
        let kind = "application/x-www-form-urlencoded";
        let answer = send(&self.client, Method::POST, url, (kind, form)).await?;
        let json: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        match json["access_token"].as_str() {
            Some(token) => Ok(token.to_owned()),
            None => Err(format!(
                "sign-in: the token endpoint answered {}",
                answer.status()
            )),
        }
    }
}

/// The first line that a command prints.
async fn run(command: &str, user: &str) -> Result<String, String> {
    let running = tokio::process::Command::new("sh")
        .args(["-c", command])
        .env("POLYTAB_USER", user)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, running)
        .await
        .map_err(|_| format!("sign-in: the command took over {PATIENCE:?}"))?
        .map_err(|error| format!("sign-in: the command could not be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("sign-in: the command failed ({})", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err("sign-in: the command printed nothing".to_owned()),
    }
}

async fn send(
    client: &HttpClient,
    method: Method,
    url: &Url,
    (kind, body): (&str, String),
) -> Result<Response<Bytes>, String> {
    let request = Request::builder()
        .method(method)
        .uri(url.as_str())
        .header(header::HOST, url.authority())
        .header(header::CONTENT_TYPE, kind)
        .body(Full::from(body))
        .map_err(|error| error.to_string())?;
    client.send(request).await.map_err(|error| error.to_string())
}

const JSON: &str = "application/json";

async fn ordered(client: &HttpClient, method: Method, url: &Url, body: &Value) -> Result<Bytes, String> {
    let answer = send(client, method, url, (JSON, body.to_string())).await?;
    if answer.status().is_success() {
        Ok(answer.into_body())
    } else {
        Err(format!("{} answered {}", url.path(), answer.status()))
    }
}

fn change(signing: &Arc<Signing>) -> Option<MakeChange> {
    let url = match &signing.ground.changes {
        Changes::Nobody => return None,
        Changes::Mocks(control) => control.join("/change").ok()?,
        Changes::Post(url) => url.clone(),
    };
    let is_ours = matches!(signing.ground.changes, Changes::Mocks(_));
    let signing = Arc::clone(signing);
    Some(Arc::new(move |user, mark| {
        let (signing, url) = (Arc::clone(&signing), url.clone());
        Box::pin(async move {
            let name = signing.ground.name(user);
            let body = if is_ours {
                json!({"user": name, "sessions": [{"name": "load", "image": mark}]})
            } else {
                json!({"user": name, "mark": mark})
            };
            let made = ordered(&signing.client, Method::POST, &url, &body).await;
            made.map(drop).map_err(|reason| format!("change: {reason}"))
        })
    }))
}

fn polls(signing: &Arc<Signing>) -> Option<Ask> {
    let Changes::Mocks(control) = &signing.ground.changes else {
        return None;
    };
    let url = control.join("/journal/totals").ok()?;
    let signing = Arc::clone(signing);
    Some(Arc::new(move || {
        let (signing, url) = (Arc::clone(&signing), url.clone());
        Box::pin(async move {
            let body = ordered(&signing.client, Method::GET, &url, &json!({})).await?;
            let totals: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
            Ok(totals[POLLED].as_u64().unwrap_or(0))
        })
    }))
}

/// Puts the users into our mocks, so that they can sign in, and begins to count from nothing.
///
/// # Errors
///
/// When the mocks do not take one.
pub(crate) async fn populate(ground: &Ground, users: impl Iterator<Item = u64>) -> Result<(), GroundError> {
    let Changes::Mocks(control) = &ground.changes else {
        return Ok(());
    };
    let client = client(ground.dial());
    let failed = |reason| GroundError::Mocks {
        url: control.clone(),
        reason,
    };
    let put = |user: u64| {
        let (client, name) = (client.clone(), ground.name(user));
        let mut body = json!({ "password": ground.password(user), "projects": ground.projects });
        if let Some(life) = ground.access_token {
            body["access_token"] = format!("{}ms", life.as_millis()).into();
        }
        let url = control.join(&format!("/users/{name}"));
        async move {
            let url = url.map_err(|error| error.to_string())?;
            ordered(&client, Method::PUT, &url, &body).await.map(drop)
        }
    };
    let mut putting = stream::iter(users.map(put)).buffer_unordered(AT_ONCE);
    while let Some(done) = putting.next().await {
        done.map_err(failed)?;
    }
    let url = control
        .join("/journal")
        .map_err(|error| failed(error.to_string()))?;
    ordered(&client, Method::DELETE, &url, &json!({}))
        .await
        .map_err(failed)?;
    Ok(())
}
