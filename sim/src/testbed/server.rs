//! The reference server as the server under test: started, crashed, drained and started anew.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use polytab_seams::{Seams, net::Listen};
use polytab_server::{Config, Server};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::network::Network;
use crate::run::error::RunError;

/// Version of the reference server unless a scenario says otherwise.
const VERSION: &str = "0000000";

/// Where the server listens.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In the virtual network.
    Virtual(Network),
    /// On this TCP port of the loopback.
    Tcp(u16),
}

/// A server process, as far as a testbed knows one.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    place: Place,
    settings: BTreeMap<String, Value>,
    speed: u32,
    seams: Seams,
    running: Option<(JoinHandle<()>, CancellationToken)>,
}

impl ServerProcess {
    /// A server that is not yet started.
    pub(crate) fn new(place: Place, settings: BTreeMap<String, Value>, speed: u32, seams: Seams) -> Self {
        let mut settings = settings;
        settings
            .entry("version".to_owned())
            .or_insert_with(|| VERSION.into());
        Self {
            place,
            settings,
            speed,
            seams,
            running: None,
        }
    }

    /// Starts it; `version` replaces the one it had.
    pub(crate) async fn start(&mut self, version: Option<&str>) -> Result<(), RunError> {
        if let Some(version) = version {
            self.settings.insert("version".to_owned(), version.into());
        }
        let config =
            Config::from_values(&self.settings).map_err(|error| RunError::Settings(error.to_string()))?;
        let server = Arc::new(Server::new(config.scaled(self.speed), self.seams.clone()));
        let stop = CancellationToken::new();
        let task = match &self.place {
            Place::Virtual(network) => spawn(server, network.listen("server"), stop.clone()),
            Place::Tcp(port) => {
                let listener = TcpListener::bind(("127.0.0.1", *port))
                    .await
                    .map_err(|source| RunError::Port { port: *port, source })?;
                spawn(server, listener, stop.clone())
            }
        };
        self.running = Some((task, stop));
        Ok(())
    }

    /// Ends it at once, as a kill would.
    pub(crate) async fn crash(&mut self) {
        if let Some((task, _)) = self.running.take() {
            task.abort();
            // An aborted task ends with an error; that is what was wanted.
            task.await.ok();
        }
    }

    /// Ends it in order; after `grace` it is ended anyway.
    pub(crate) async fn drain(&mut self, grace: Duration) {
        if let Some((mut task, stop)) = self.running.take() {
            stop.cancel();
            if tokio::time::timeout(grace, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the handle is kept and awaited by `crash` and `drain`"
)]
fn spawn(server: Arc<Server>, listener: impl Listen, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        server.serve(listener, stop).await;
    })
}
