//! The hub: users to channels. The only place where a channel is born or ends.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use polytab_protocol::id::{LoginSessionId, TabId, UserId};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::{
    channel::{
        actor::{self, Handle, Newcomer},
        event::Event,
    },
    coordinator::Life,
    host::Host,
    outbox::Outbox,
};

/// All channels of one server.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    channels: Mutex<BTreeMap<UserId, Entry>>,
    next_tab: AtomicU64,
    births: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    handle: Handle,
    tabs: usize,
    stop: CancellationToken,
}

/// A tab's place in its user's channel; given up when dropped.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) tab: TabId,
    user: UserId,
    handle: Handle,
    host: Arc<Host>,
}

impl Membership {
    /// Tells the channel what the tab sent. Waits while the channel's mailbox is full.
    pub(crate) async fn tell(&self, event: Event) {
        self.handle.tell(event).await;
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.host.hub.leave(&self.user, self.tab);
        self.host.metrics.tabs.dec();
    }
}

impl Hub {
    /// Puts a tab into its user's channel, which is born with the first.
    pub(crate) async fn join(
        host: &Arc<Host>,
        user: UserId,
        session: LoginSessionId,
        outbox: Outbox,
    ) -> Membership {
        let tab = TabId(host.hub.next_tab.fetch_add(1, Ordering::Relaxed) + 1);
        let handle = {
            let mut channels = host.hub.channels();
            let entry = channels
                .entry(user.clone())
                .or_insert_with(|| host.hub.birth(host, &user));
            entry.tabs += 1;
            entry.handle.clone()
        };
        host.metrics.tabs.inc();
        let membership = Membership {
            tab,
            user,
            handle,
            host: Arc::clone(host),
        };
        membership.handle.join(Newcomer { tab, session, outbox }).await;
        membership
    }

    fn birth(&self, host: &Arc<Host>, user: &UserId) -> Entry {
        let number = self.births.fetch_add(1, Ordering::Relaxed);
        // Not a number alone: a tab of another process must not take this life for the one it knew.
        let epoch = format!("{}-{number}", host.instance);
        let stop = host.killed.child_token();
        tracing::info!(user = hashed(&user.0), "channel begins");
        host.metrics.channels.inc();
        let life = Life {
            user: user.clone(),
            epoch,
        };
        let handle = actor::spawn(host, life, stop.clone());
        Entry {
            handle,
            tabs: 0,
            stop,
        }
    }

    /// The last tab out ends the channel at once: one that is born a moment later meets nothing of it.
    fn leave(&self, user: &UserId, tab: TabId) {
        let mut channels = self.channels();
        let Some(entry) = channels.get_mut(user) else {
            return;
        };
        entry.tabs -= 1;
        if entry.tabs > 0 {
            entry.handle.left(tab);
            return;
        }
        entry.stop.cancel();
        channels.remove(user);
        tracing::info!(user = hashed(&user.0), "channel ends");
    }

    /// Tells a user's channel, if there is one.
    pub(crate) async fn tell(&self, user: &UserId, event: Event) {
        let handle = self.channels().get(user).map(|entry| entry.handle.clone());
        if let Some(handle) = handle {
            handle.tell(event).await;
        }
    }

    /// Tells every channel that letters may have been lost.
    pub(crate) async fn doubt(&self) {
        let all: Vec<_> = self
            .channels()
            .values()
            .map(|entry| entry.handle.clone())
            .collect();
        for handle in all {
            handle.tell(Event::Doubted).await;
        }
    }

    /// Every channel, as people may look at it: users hashed.
    pub(crate) async fn overview(&self) -> serde_json::Value {
        let all: Vec<_> = self
            .channels()
            .iter()
            .map(|(user, entry)| (user.clone(), entry.tabs, entry.handle.clone()))
            .collect();
        let mut shown = Vec::new();
        for (user, tabs, handle) in all {
            let inside = handle.look().await;
            shown.push(serde_json::json!({ "user": hashed(&user.0), "tabs": tabs, "channel": inside }));
        }
        shown.into()
    }

    fn channels(&self) -> MutexGuard<'_, BTreeMap<UserId, Entry>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name for logs that leads back to nobody without knowing whom one looks for.
pub(crate) fn hashed(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes())[..6])
}

/// A name of bounded length for anything.
pub(crate) fn digest(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .concat()
}
