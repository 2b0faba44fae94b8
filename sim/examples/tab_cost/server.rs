//! The servers that are measured: how each is started, reached, and told of changes.

use std::path::PathBuf;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::ValueEnum;
use http::{Request, header};
use http_body_util::Full;
use polytab_seams::http::HttpClient;
use serde_json::json;
use tokio_tungstenite::tungstenite::{
    Message, client::IntoClientRequest, handshake::client::Request as Handshake,
};

use crate::{
    Arguments,
    mocks::{CLIENT_SECRET, Mocks, client},
    process::Process,
};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The reference server.
    Polytab,
    /// `sim/benches/cost/bare`.
    Axum,
    /// `sim/benches/cost/node`.
    Node,
}

impl Kind {
    /// Its name in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Polytab => "polytab-server",
            Self::Axum => "bare axum",
            Self::Node => "Node, ws",
        }
    }
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    address: String,
    world: World,
}

/// Where the changes come from that a server tells.
#[derive(Debug)]
enum World {
    /// From the mocks that it asks. The users' tokens are beside them.
    Mocks(Mocks, Vec<String>),
    /// From a request to itself.
    Itself(HttpClient),
}

impl Server {
    pub(crate) async fn start(kind: Kind, arguments: &Arguments) -> anyhow::Result<Self> {
        let benches = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/cost"));
        let users = arguments.users.to_string();
        let (words, world) = match kind {
            Kind::Polytab => reference(arguments).await?,
            Kind::Axum => {
                let program = benches.join("bare/target/release/bare-axum");
                (
                    vec![program.display().to_string(), users],
                    World::Itself(client()),
                )
            }
            Kind::Node => {
                let script = benches.join("node/server.mjs").display().to_string();
                (vec!["node".to_owned(), script, users], World::Itself(client()))
            }
        };
        let (process, line) = Process::start(Some(arguments.core), &words)?;
        let address = line.trim().rsplit(' ').next().context("no address")?.to_owned();
        Ok(Self {
            process,
            address,
            world,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A handshake for a tab of this user.
    pub(crate) fn handshake(&self, user: u32) -> anyhow::Result<Handshake> {
        let address = &self.address;
        match &self.world {
            World::Mocks(_, tokens) => {
                let mut request = format!("ws://{address}/ui-server/ws").into_client_request()?;
                let token = tokens.get(usize::try_from(user)?).context("no token")?;
                request
                    .headers_mut()
                    .insert(header::AUTHORIZATION, format!("Bearer {token}").parse()?);
                Ok(request)
            }
            World::Itself(_) => Ok(format!("ws://{address}/ws?user={user}").into_client_request()?),
        }
    }

    /// What a tab says once it is greeted.
    pub(crate) fn first_command(&self) -> Option<Message> {
        let pull = json!({"timestamp": "t", "type": "pullSessionStatusV2", "data": {}});
        match &self.world {
            World::Mocks(..) => Some(Message::text(pull.to_string())),
            World::Itself(_) => None,
        }
    }

    /// The mocks that it asks, if it asks any.
    pub(crate) fn mocks(&self) -> Option<&Mocks> {
        match &self.world {
            World::Mocks(mocks, _) => Some(mocks),
            World::Itself(_) => None,
        }
    }

    /// Says that every user's state changed.
    ///
    /// # Errors
    ///
    /// When it is not the server to be told, but its mocks.
    pub(crate) async fn change_all(&self, at_once: bool) -> anyhow::Result<()> {
        let World::Itself(client) = &self.world else {
            bail!("it learns of changes from its mocks");
        };
        let request = Request::post(format!("http://{}/changes?at_once={at_once}", self.address))
            .header(header::HOST, "127.0.0.1")
            .body(Full::<Bytes>::default())?;
        let answer = client.send(request).await?;
        if !answer.status().is_success() {
            bail!("the server answered {}", answer.status());
        }
        Ok(())
    }
}

/// How the reference server is started, and its mocks.
async fn reference(arguments: &Arguments) -> anyhow::Result<(Vec<String>, World)> {
    let example = std::env::current_exe()?;
    let folder = example
        .parent()
        .and_then(|folder| folder.parent())
        .context("no folder of binaries")?;
    let mocks = Mocks::start(&folder.join("polytab-mocks").display().to_string())?;
    let mut tokens = Vec::new();
    for user in 0..arguments.users {
        tokens.push(mocks.token(user).await?);
    }
    let settings = [
        "listen=127.0.0.1:0".to_owned(),
        format!("oidc_issuer={}", mocks.url("issuer")),
        format!("oidc_client_secret={CLIENT_SECRET}"),
        format!("backend_url={}/api", mocks.url("backend")),
        format!("gitlab_url={}", mocks.url("gitlab")),
        // Rarer than usual, for they would fall into some windows and not into others.
        "introspection_interval=1h".to_owned(),
        "long_loop=1h".to_owned(),
    ];
    let settings = settings.into_iter().map(|setting| format!("--set={setting}"));
    let program = folder.join("polytab-server").display().to_string();
    Ok((
        std::iter::once(program).chain(settings).collect(),
        World::Mocks(mocks, tokens),
    ))
}
