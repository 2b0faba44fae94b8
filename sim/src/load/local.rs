//! The reference server and its mocks, each in a process of its own, for runs that name no target.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, TcpListener},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use url::Url;

/// How long a process may take until it is ready.
const START: Duration = Duration::from_secs(20);
/// A free port may be taken by somebody else before our server takes it.
const ATTEMPTS: usize = 5;

/// Why the reference does not run.
#[derive(Debug, Error)]
pub(crate) enum LocalError {
    #[error("cannot start `polytab {what}`")]
    Start {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("`polytab {what}` did not get ready: {said}")]
    Ready { what: &'static str, said: String },
}

/// Both processes. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Local {
    /// Where tabs connect to.
    pub(crate) tabs: Url,
    /// Where a browser begins to sign in.
    pub(crate) server: Url,
    /// The mocks' control API.
    pub(crate) control: Url,
    _mocks: Child,
    process: Arc<Process>,
}

/// The server's process, which can be started anew.
#[derive(Debug)]
pub(crate) struct Process {
    arguments: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl Local {
    /// Starts both.
    ///
    /// # Errors
    ///
    /// When one of them does not start.
    pub(crate) async fn start(settings: &BTreeMap<String, Value>) -> Result<Self, LocalError> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let port = free_port().map_err(|source| LocalError::Start {
                what: "serve",
                source,
            })?;
            match Self::start_at(port, settings).await {
                Ok(local) => return Ok(local),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(LocalError::Ready {
            what: "serve",
            said: "no port was free".to_owned(),
        }))
    }

    async fn start_at(port: u16, settings: &BTreeMap<String, Value>) -> Result<Self, LocalError> {
        let server = format!("http://127.0.0.1:{port}");
        let mut arguments: Vec<String> = ["keycloak", "backend", "gitlab", "control", "gateway"]
            .iter()
            .flat_map(|mock| [format!("--{mock}-port"), "0".to_owned()])
            .collect();
        arguments.extend([
            "--redirect-uri".to_owned(),
            format!("{server}/*"),
            "--backchannel-logout-url".to_owned(),
            format!("{server}/auth/backchannel-logout"),
        ]);
        let (mocks, said) = start("mock", &arguments).await?;
        let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
        let mut arguments = vec!["--no-mocks".to_owned(), "--port".to_owned(), port.to_string()];
        let own = [
            ("oidc_issuer", text("issuer")),
            ("oidc_client_secret", text("client_secret")),
            ("backend_url", format!("{}/api", text("backend"))),
            ("gitlab_url", text("gitlab")),
        ];
        let given = settings.iter().map(|(key, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (key.as_str(), value)
        });
        for (key, value) in own.into_iter().chain(given) {
            arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
        }
        let (child, said) = start("serve", &arguments).await?;
        let url = |value: &Value| {
            let url = value.as_str().and_then(|url| Url::parse(url).ok());
            url.ok_or_else(|| LocalError::Ready {
                what: "serve",
                said: "it told no URL".to_owned(),
            })
        };
        Ok(Self {
            tabs: url(&said["tabs"])?,
            server: url(&said["server"])?,
            control: url(&text("control").into())?,
            _mocks: mocks,
            process: Arc::new(Process {
                arguments,
                child: Mutex::new(Some(child)),
            }),
        })
    }

    /// The server's process.
    pub(crate) fn process(&self) -> Arc<Process> {
        Arc::clone(&self.process)
    }
}

impl Process {
    /// Kills the server and starts it anew, at the same address.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub(crate) async fn restart(&self) -> Result<(), LocalError> {
        let running = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut child) = running {
            child.kill().await.map_err(|source| LocalError::Start {
                what: "serve",
                source,
            })?;
        }
        let (child, _) = start("serve", &self.arguments).await?;
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        Ok(())
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Starts this program once more; gives what it says when it is ready.
async fn start(what: &'static str, arguments: &[String]) -> Result<(Child, Value), LocalError> {
    let failed = |source| LocalError::Start { what, source };
    let program = std::env::current_exe().map_err(failed)?;
    let mut child = Command::new(program)
        .arg(what)
        .args(["--message-format", "json"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C is for the run, which then ends these in its own time.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let stdout = child.stdout.take().map(BufReader::new);
    let mut line = String::new();
    if let Some(mut stdout) = stdout {
        let read = stdout.read_line(&mut line);
        tokio::time::timeout(START, read).await.ok();
    }
    if let Ok(said) = serde_json::from_str(&line) {
        // Whatever it says from now on finds nobody; it must not wait for a reader.
        drain(&mut child);
        return Ok((child, said));
    }
    child.start_kill().ok();
    let said = child.wait_with_output().await.map_err(failed)?;
    let said = String::from_utf8_lossy(&said.stderr).trim().to_owned();
    Err(LocalError::Ready { what, said })
}

/// A pipe that nobody reads fills up, and whoever writes to it waits for ever.
fn drain(child: &mut Child) {
    drop(child.stdout.take());
    drop(child.stderr.take());
}
