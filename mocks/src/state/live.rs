//! What lives in the mocks now: it comes and goes with calls, and no document brings it back.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    Shared,
    clocks::Mock,
    gitlab::hub,
    world::{Wait, World},
};

/// What lives now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Live {
    /// The issuer of the main realm.
    pub issuer: String,
    /// Scenario time since the last reset, in milliseconds.
    pub t_ms: i64,
    /// What each clock shows (RFC 3339).
    pub clocks: BTreeMap<Mock, String>,
    /// Calls since the last reset.
    pub calls: u64,
    /// Calls that wait for an order.
    pub waiting: Vec<WaitingCall>,
    /// Open event streams.
    pub streams: Vec<OpenStream>,
    /// Login sessions that are alive.
    pub logins: Vec<LiveLogin>,
    /// Who is signed in at the gateway.
    pub gateway: Vec<SignedIn>,
}

/// An open event stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OpenStream {
    /// The call that opened it.
    pub id: u64,
    /// Who reads it.
    pub user: String,
    /// `/project/42/issue`
    pub topic: String,
    /// Events put onto it.
    pub events: u64,
    /// Pieces that wait for the reader.
    pub waiting: usize,
    /// Whether nothing more comes although it is open.
    pub stalled: bool,
}

/// A login session that is alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LiveLogin {
    /// The realm.
    pub realm: String,
    /// Its id.
    pub sid: String,
    /// Whose it is.
    pub user: String,
    /// In which browser.
    pub browser: String,
    /// Since when, by Keycloak's clock.
    pub started: String,
    /// When it was last used.
    pub used: String,
    /// The clients that have a part in it.
    pub clients: Vec<String>,
}

/// A browser that is signed in at the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SignedIn {
    /// The id of its session at the gateway, which its cookie seals.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// What the browser calls itself.
    pub browser: String,
}

/// A call that waits for an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WaitingCall {
    /// Its number.
    pub id: u64,
    /// Its route.
    pub route: &'static str,
    /// Whether it hangs until its route is healed; else it is held back until released.
    pub hangs: bool,
}

impl World {
    /// What lives now.
    pub(super) fn live(&self, shared: &Shared) -> Live {
        let waiting = self.waiting.iter().map(|(id, call)| WaitingCall {
            id: *id,
            route: call.route,
            hangs: call.kind == Wait::Hung,
        });
        let clocks = Mock::ALL.map(|mock| (mock, self.now_at(mock).to_string()));
        Live {
            issuer: shared.config.issuer(),
            t_ms: self.elapsed_ms(),
            clocks: clocks.into(),
            calls: self.calls,
            waiting: waiting.collect(),
            streams: self.open_streams(),
            logins: self
                .realms
                .keys()
                .flat_map(|realm| self.live_logins(realm))
                .collect(),
            gateway: self.signed_in(),
        }
    }

    pub(crate) fn open_streams(&self) -> Vec<OpenStream> {
        let stream = |stream: hub::OpenStream<'_>| OpenStream {
            id: stream.id,
            user: stream.user.to_owned(),
            topic: stream.topic.to_owned(),
            events: stream.events,
            waiting: stream.waiting,
            stalled: stream.is_stalled,
        };
        self.hub.streams().map(stream).collect()
    }

    /// The live login sessions of a realm, oldest first.
    pub(crate) fn live_logins(&self, realm: &str) -> Vec<LiveLogin> {
        let now = self.now_at(Mock::Keycloak);
        let realms = self.realms.get(realm).into_iter();
        realms
            .flat_map(|realm| {
                let live = realm.sessions.all_live((&realm.settings, now));
                live.map(|(sid, login)| LiveLogin {
                    realm: realm.name.clone(),
                    sid: sid.clone(),
                    user: login.who.user.clone(),
                    browser: login.who.browser.clone(),
                    started: login.started.to_string(),
                    used: login.used.to_string(),
                    clients: login.clients.keys().cloned().collect(),
                })
            })
            .collect()
    }

    pub(crate) fn signed_in(&self) -> Vec<SignedIn> {
        let signed_in = self.gateway.signed_in().map(|(id, who)| SignedIn {
            id: id.to_owned(),
            user: who.user.clone(),
            browser: who.browser.clone(),
        });
        signed_in.collect()
    }
}
