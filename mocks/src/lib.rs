//! Mock Keycloak, backend services with their gateway, and GitLab over one world: they answer, and refuse, as the real
//! services do; they misbehave on order; and they remember who asked for what, when.

pub mod backend;
mod call;
pub mod clocks;
pub mod config;
pub mod control;
pub mod error;
pub mod fault;
mod gate;
mod gateway;
pub mod gitlab;
pub mod journal;
mod json;
mod keycloak;
pub mod loose_end;
pub mod observation;
pub mod order;
pub mod realm;
pub mod route;
mod secret;
pub mod seen;
pub mod settings;
pub mod shape;
mod shelf;
pub mod standalone;
pub mod start;
pub mod state;
pub mod stub;
pub mod time;
mod users;
mod world;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{Router, middleware, routing::MethodRouter};
use polytab_seams::Seams;
use tokio::sync::Notify;

use crate::{
    config::MocksConfig,
    error::ControlError,
    gate::Gate,
    keycloak::keys::Keys,
    observation::Observer,
    stub::{Service, overlay::Overlay},
    world::World,
};

/// The mocks over one world. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Mocks(Arc<Shared>);

/// What the services share.
struct Shared {
    config: MocksConfig,
    keys: Keys,
    world: Mutex<World>,
    overlay: Overlay,
    /// Told of each call that arrives.
    arrived: Notify,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// The world. No guard is held over an `await`.
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The world that the mocks were started with.
    fn started(&self, seams: Seams) -> World {
        let preset = (&self.config.preset, None);
        World::loaded((&self.config, &self.keys), seams, preset)
            .expect("what was loaded at the start can be loaded again")
    }

    /// A route behind its gate.
    fn gated<S: Clone + Send + Sync + 'static>(
        self: &Arc<Self>,
        route: &'static str,
        handler: MethodRouter<S>,
    ) -> MethodRouter<S> {
        let gate = Gate {
            shared: Arc::clone(self),
            route,
        };
        handler.layer(middleware::from_fn_with_state(gate, gate::pass))
    }
}

impl Mocks {
    /// Mocks in the state that the configuration presets; without users, unless it has some.
    ///
    /// # Panics
    ///
    /// When the preset cannot be loaded; [`Self::start`] says why, and the default is always loaded.
    pub fn new(config: MocksConfig, seams: Seams) -> Self {
        Self::start(config, seams).expect("the preset can be loaded")
    }

    /// The same, for a preset that was made by others.
    ///
    /// # Errors
    ///
    /// When the preset cannot be loaded: what is wrong with it, and where.
    pub fn start(config: MocksConfig, seams: Seams) -> Result<Self, ControlError> {
        let keys = Keys::new();
        let world = World::loaded((&config, &keys), seams, (&config.preset, None))?;
        Ok(Self(Arc::new(Shared {
            world: Mutex::new(world),
            overlay: Overlay::new(&config),
            keys,
            arrived: Notify::new(),
            config,
        })))
    }

    /// Name of the realm that users are in unless told.
    pub fn main_realm(&self) -> &str {
        &self.0.config.realm
    }

    /// Keycloak.
    pub fn keycloak(&self) -> Router {
        self.0.service(Service::Keycloak, keycloak::router(&self.0))
    }

    /// The backend services, as the gateway meets them.
    pub fn backend(&self) -> Router {
        self.0.service(Service::Backend, backend::router(&self.0))
    }

    /// GitLab.
    pub fn gitlab(&self) -> Router {
        self.0.service(Service::Gitlab, gitlab::router(&self.0))
    }

    /// The gateway before the backend services.
    pub fn gateway(&self) -> Router {
        self.0.service(Service::Gateway, gateway::router(self))
    }

    /// The control API, for callers in this process.
    pub fn control(&self) -> Router {
        control::router(self)
    }

    /// The control API, for a listener that serves these callers.
    pub fn control_for(&self, access: control::ControlAccess) -> Router {
        control::guarded_router(self, access)
    }

    /// From now on `observer` is told what happens, instead of any before it. It stays over a reset.
    pub fn observe(&self, observer: Observer) {
        self.0.world().observe(observer);
    }

    /// Everything is as at the start but keys, configuration and observer; open streams and held calls end.
    ///
    /// # Panics
    ///
    /// Never: the mocks were started with this state.
    pub fn reset(&self, seams: Seams) {
        let fresh = self.0.started(seams);
        self.0.world().start_over(fresh, &BTreeSet::new());
    }

    /// Every secret given out or taken since the last reset, newest last: what it is, and the secret.
    pub fn secrets(&self) -> Vec<(String, String)> {
        self.0.world().secrets.list()
    }
}
