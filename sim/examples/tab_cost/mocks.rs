//! The mocks that the reference server needs, as a process, and their control API.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use polytab_seams::{
    http::{HttpClient, Limits},
    net::TcpDial,
};
use serde_json::{Value, json};

use crate::process::Process;

/// Set in the mocks; for tests only.
pub(crate) const CLIENT_SECRET: &str = "client-secret-for-tests-only";

/// A client of whatever is on the loopback here.
pub(crate) fn client() -> HttpClient {
    let limits = Limits {
        answer: Duration::from_secs(30),
        body_bytes: 1 << 20,
        idle: Duration::from_secs(30),
        idle_per_host: 4,
    };
    HttpClient::new(Arc::new(TcpDial), limits)
}

/// The mocks.
#[derive(Debug)]
pub(crate) struct Mocks {
    client: HttpClient,
    urls: Value,
    _process: Process,
}

impl Mocks {
    pub(crate) fn start(program: &str) -> anyhow::Result<Self> {
        let ports =
            ["keycloak", "backend", "gitlab", "gateway", "control"].map(|mock| format!("--{mock}-port=0"));
        let words = [&[program.to_owned()], &ports[..], &["--json".to_owned()]].concat();
        let (process, line) = Process::start(None, &words)?;
        Ok(Self {
            client: client(),
            urls: serde_json::from_str(&line)?,
            _process: process,
        })
    }

    /// Where one of them is.
    pub(crate) fn url(&self, name: &str) -> &str {
        self.urls[name].as_str().unwrap_or("")
    }

    async fn call(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Value> {
        let answer = self.client.send(request).await?;
        if !answer.status().is_success() {
            bail!("the mocks answered {}: {:?}", answer.status(), answer.body());
        }
        Ok(serde_json::from_slice(answer.body()).unwrap_or(Value::Null))
    }

    async fn control(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = Request::builder()
            .method(method)
            .header(header::HOST, "127.0.0.1")
            .header(header::CONTENT_TYPE, "application/json")
            .uri(format!("{}{path}", self.url("control")))
            .body(Full::from(body.to_string()))?;
        self.call(request).await
    }

    /// An access token of a user who exists from now on.
    pub(crate) async fn token(&self, user: u32) -> anyhow::Result<String> {
        let spec = json!({"password": "p", "access_token": "2h", "sessions": [session(0)]});
        self.control("PUT", &format!("/users/user-{user}"), &spec).await?;
        let form = format!(
            "grant_type=password&client_id=renku-ui&client_secret={CLIENT_SECRET}&username=user-{user}&password=p"
        );
        let request = Request::post(format!("{}/protocol/openid-connect/token", self.url("issuer")))
            .header(header::HOST, "127.0.0.1")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(form))?;
        let answer = self.call(request).await?;
        Ok(answer["access_token"].as_str().context("no token")?.to_owned())
    }

    /// The user's backend session is another one than before, of as many bytes.
    pub(crate) async fn change(&self, user: u32, nth: u32) -> anyhow::Result<()> {
        let change = json!({"user": format!("user-{user}"), "sessions": [session(nth)]});
        self.control("POST", "/change", &change).await?;
        Ok(())
    }

    /// The number of the newest call.
    pub(crate) async fn newest_call(&self) -> anyhow::Result<u64> {
        let newest = self.control("GET", "/journal?limit=1", &Value::Null).await?;
        newest[0]["seq"].as_u64().context("no calls")
    }

    /// How often sessions were asked for since that call.
    pub(crate) async fn polls_since(&self, call: u64) -> anyhow::Result<u32> {
        let filter = json!({"route": "backend.sessions", "since": call});
        let answer = self.control("POST", "/journal/count", &filter).await?;
        Ok(u32::try_from(answer["count"].as_u64().context("no count")?)?)
    }
}

fn session(nth: u32) -> Value {
    json!({"name": "s1", "resource_class_id": 1 + nth % 2})
}
