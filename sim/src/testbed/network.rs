//! The virtual network: named hosts, in-memory links between them, everything on the paused clock.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use polytab_seams::{
    net::{AnyStream, Dial, Listen},
    random::Random,
};
use tokio::sync::mpsc;

use super::link::{Delay, LinkEnd, link};

/// Connections that wait to be accepted, as with a kernel's backlog.
const BACKLOG: usize = 128;

/// Hosts and how long bytes travel between them.
#[derive(Clone, Debug)]
pub(crate) struct Network(Arc<Mutex<Hosts>>, Travel);

#[derive(Debug, Default)]
struct Hosts {
    listeners: BTreeMap<String, mpsc::Sender<(AnyStream, String)>>,
    links: BTreeMap<(String, String), u64>,
}

/// How long bytes travel.
#[derive(Clone, Debug)]
pub(crate) struct Travel {
    /// At least.
    pub(crate) latency: Duration,
    /// Up to this much longer.
    pub(crate) jitter: Duration,
    /// Where the draws come from.
    pub(crate) random: Random,
}

impl Network {
    pub(crate) fn new(travel: Travel) -> Self {
        Self(Arc::default(), travel)
    }

    /// Takes connections to `host` until the listener is dropped.
    pub(crate) fn listen(&self, host: &str) -> NetworkListener {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        self.hosts().listeners.insert(host.to_owned(), sender);
        NetworkListener(receiver)
    }

    /// What the host named `from` dials with.
    pub(crate) fn dial_from(&self, from: &str) -> Arc<dyn Dial> {
        Arc::new(NetworkDial {
            network: self.clone(),
            from: from.to_owned(),
        })
    }

    fn hosts(&self) -> MutexGuard<'_, Hosts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self, from: &str, to: &str) -> io::Result<AnyStream> {
        let (number, listener) = {
            let mut hosts = self.hosts();
            let number = hosts.links.entry((from.to_owned(), to.to_owned())).or_default();
            *number += 1;
            (*number, hosts.listeners.get(to).cloned())
        };
        let delay = |from: &str, to: &str| Delay {
            latency: self.1.latency,
            jitter: self.1.jitter,
            random: self.1.random.clone(),
            purpose: format!("link/{from}/{to}/{number}"),
        };
        // The handshake's round trip.
        tokio::time::sleep(self.1.latency * 2).await;
        let listener = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
        let (near, far): (LinkEnd, LinkEnd) = link(delay(from, to), delay(to, from));
        let far = (AnyStream::new(far), format!("{from}#{number}"));
        listener
            .send(far)
            .await
            .map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(AnyStream::new(near))
    }
}

#[derive(Debug)]
struct NetworkDial {
    network: Network,
    from: String,
}

impl Dial for NetworkDial {
    fn dial<'a>(&'a self, host: &'a str, _port: u16) -> BoxFuture<'a, io::Result<AnyStream>> {
        Box::pin(self.network.connect(&self.from, host))
    }
}

/// Takes the connections to one host.
#[derive(Debug)]
pub(crate) struct NetworkListener(mpsc::Receiver<(AnyStream, String)>);

impl Listen for NetworkListener {
    async fn accept(&mut self) -> (AnyStream, String) {
        match self.0.recv().await {
            Some(connection) => connection,
            // The network is gone: nobody can connect any more.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_host_is_reached_while_it_listens() {
        let travel = Travel {
            latency: Duration::from_millis(1),
            jitter: Duration::ZERO,
            random: Random::seeded(1),
        };
        let network = Network::new(travel);
        let mut listener = network.listen("server");
        let dial = network.dial_from("tab");

        let mut near = dial.dial("server", 80).await.unwrap();
        let (mut far, name) = listener.accept().await;
        near.write_all(b"x").await.unwrap();

        assert_eq!((far.read_u8().await.unwrap(), name.as_str()), (b'x', "tab#1"));
        drop(listener);
        let refused = dial.dial("server", 80).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
