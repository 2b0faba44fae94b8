//! `polytab` as a process that serves, and a client that believes whom it is told to.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{ChildStdout, Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use polytab_seams::{
    http::{HttpClient, HttpError, Limits},
    net::TcpDial,
    tls::dial::{TlsDial, Trust},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Process, polytab};

/// Free ports for all of them.
pub(crate) const PORTS: [&str; 10] = [
    "--keycloak-port",
    "0",
    "--backend-port",
    "0",
    "--gitlab-port",
    "0",
    "--control-port",
    "0",
    "--gateway-port",
    "0",
];

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A process that serves, and ends with the test.
pub(crate) struct Service {
    pub(crate) process: Process,
    out: BufReader<ChildStdout>,
}

impl Service {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self {
            process: Process(child),
            out,
        }
    }

    /// The mocks on free ports.
    pub(crate) fn mocks(folder: &TempDir, arguments: &[&str]) -> (Self, Value) {
        let mut command = polytab(folder, &["mock", "--message-format", "json"]);
        command.args(PORTS).args(arguments);
        let mut mocks = Self::start(command);
        let ready = serde_json::from_str(&mocks.line()).unwrap();
        (mocks, ready)
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line
    }

    pub(crate) fn tell(&self, signal: &str) {
        let pid = self.process.0.id().to_string();
        let told = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(told.success());
    }
}

pub(crate) fn get(url: &str, ca: Option<&Path>) -> Result<Response<Bytes>, HttpError> {
    ask(Request::get(url).body(Full::default()).unwrap(), ca)
}

/// Sends JSON, on behalf of who has this token.
pub(crate) fn post(url: &str, (token, ca): (&str, &Path), body: &Value) -> Response<Bytes> {
    let request = Request::post(url)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json");
    let body = Full::from(body.to_string());
    ask(request.body(body).unwrap(), Some(ca)).unwrap()
}

/// Asks as a client does that believes the authority in this file, and no other.
pub(crate) fn ask(request: Request<Full<Bytes>>, ca: Option<&Path>) -> Result<Response<Bytes>, HttpError> {
    let believed = ca.map(|path| CertificateDer::from_pem_file(path).unwrap());
    let trust = believed.into_iter().fold(Trust::default(), Trust::and);
    let limits = Limits {
        answer: Duration::from_secs(10),
        body_bytes: 1 << 20,
        idle: Duration::from_secs(1),
        idle_per_host: 1,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = HttpClient::new(Arc::new(TlsDial::new(TcpDial, trust)), limits);
        client.send(request).await
    })
}

pub(crate) fn document(url: &str, ca: Option<&Path>) -> Value {
    serde_json::from_slice(get(url, ca).unwrap().body()).unwrap()
}

pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
