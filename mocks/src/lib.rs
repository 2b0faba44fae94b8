//! Mock Keycloak, backend services with their gateway, and GitLab over one world: they answer, and refuse, as the real
//! services do; they misbehave on order; and they remember who asked for what, when.

pub mod backend;
mod call;
pub mod config;
mod control;
pub mod error;
pub mod fault;
mod gate;
mod gateway;
pub mod gitlab;
mod journal;
mod json;
mod keycloak;
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
pub mod stub;
pub mod time;
mod users;
mod world;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{Router, middleware, routing::MethodRouter};
use polytab_protocol::{id::UserId, topic::Topic};
use polytab_seams::Seams;
use serde_json::Value;
use tokio::sync::Notify;

use crate::{
    config::MocksConfig,
    error::ControlError,
    fault::{action::FaultAction, orders::Firing},
    gate::Gate,
    keycloak::keys::Keys,
    observation::Observer,
    order::{Change, EndHow, FaultOrder, HoldOrder, UnmatchedCall, UnusedFault, UserSpec, Verb},
    route::{STREAM, Selector},
    stub::{Service, overlay::Overlay},
    world::{Wait, Who, World},
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
    /// Mocks without users.
    pub fn new(config: MocksConfig, seams: Seams) -> Self {
        let keys = Keys::new();
        Self(Arc::new(Shared {
            world: Mutex::new(World::new(&config, &keys, seams)),
            overlay: Overlay::new(&config),
            keys,
            arrived: Notify::new(),
            config,
        }))
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

    /// The control API, for a listener of its own.
    pub fn control(&self) -> Router {
        control::router(self)
    }

    /// From now on `observer` is told what happens, instead of any before it. It stays over a reset.
    pub fn observe(&self, observer: Observer) {
        self.0.world().observe(observer);
    }

    /// Everything is as new but keys, configuration and observer; open streams and held calls end.
    pub fn reset(&self, seams: Seams) {
        self.0.world().reset(&self.0.config, &self.0.keys, seams);
    }

    /// Adds a user or replaces one; a replaced one keeps its subject and its login sessions.
    ///
    /// # Errors
    ///
    /// When a session has a state that no backend session can have.
    pub fn put_user(&self, name: &str, spec: UserSpec) -> Result<(), ControlError> {
        self.0.world().put_user(name, spec)
    }

    /// The user's subject.
    pub fn subject(&self, name: &str) -> Option<UserId> {
        let world = self.0.world();
        let user = world.users.get(name)?;
        Some(UserId(user.subject.clone()))
    }

    /// Requests with this session cookie are made on behalf of this user and browser, as the gateway would have it.
    ///
    /// # Errors
    ///
    /// When there is no such user.
    pub fn put_cookie(&self, value: &str, user: &str, browser: &str) -> Result<(), ControlError> {
        let mut world = self.0.world();
        world.user(user)?;
        let who = Who {
            user: user.to_owned(),
            browser: browser.to_owned(),
        };
        world.secrets.keep("gateway_cookie", value);
        world.cookies.insert(value.to_owned(), who);
        Ok(())
    }

    /// Changes the world.
    ///
    /// # Errors
    ///
    /// When there is no such user, or a value is none that the service could have. Nothing is changed then.
    pub fn change(&self, change: Change) -> Result<(), ControlError> {
        self.0.world().change(change)
    }

    /// Takes a backend session one step on in its life.
    ///
    /// # Errors
    ///
    /// When there is no such user or session.
    pub fn step(&self, user: &str, session: &str, verb: Verb) -> Result<(), ControlError> {
        let mut world = self.0.world();
        let (random, now) = (world.seams.random.clone(), world.now());
        world.user_mut(user)?.items.step(session, verb, (&random, now))
    }

    /// GitLab pushes an event; gives its id.
    pub fn emit(&self, topic: Topic, payload: &Value) -> String {
        self.0.world().emit(topic, payload)
    }

    /// Orders a fault; gives its number.
    ///
    /// # Errors
    ///
    /// When no such route or user exists, or it would never fire.
    pub fn arm(&self, fault: FaultOrder) -> Result<u64, ControlError> {
        self.0.world().arm(fault)
    }

    /// Takes away the faults of a route, a service or `all`; calls that hang there end with a reset.
    ///
    /// # Errors
    ///
    /// When no such route exists.
    pub fn heal(&self, route: &str) -> Result<(), ControlError> {
        let selector = Selector::parse(route)?;
        let mut world = self.0.world();
        world.orders.heal(&selector);
        world.wake(&selector, Wait::Hung);
        Ok(())
    }

    /// Orders answers to be held back.
    ///
    /// # Errors
    ///
    /// When no such route or user exists, or nothing would be held.
    pub fn hold(&self, order: HoldOrder) -> Result<(), ControlError> {
        let mut world = self.0.world();
        if let Some(user) = &order.user {
            world.user(user)?;
        }
        world.orders.hold(order)
    }

    /// Lets held answers go, and holds no more; gives how many were waiting.
    ///
    /// # Errors
    ///
    /// When no such route exists.
    pub fn release(&self, route: &str) -> Result<usize, ControlError> {
        let selector = Selector::parse(route)?;
        let mut world = self.0.world();
        world.orders.release(&selector);
        Ok(world.wake(&selector, Wait::Held))
    }

    /// Ends the user's login session in this browser.
    ///
    /// # Errors
    ///
    /// When there is no such user or session, or nobody to be told.
    pub async fn end_session(&self, user: &str, browser: &str, how: EndHow) -> Result<(), ControlError> {
        let notices = self.0.world().end_session(&self.0, (user, browser), how)?;
        if how == EndHow::Backchannel {
            keycloak::logout::deliver(&self.0, notices).await;
        }
        Ok(())
    }

    /// Faults that met no call since they were ordered, healed ones too.
    pub fn unused_faults(&self) -> Vec<UnusedFault> {
        self.0.world().orders.unused()
    }

    /// Requests that no route took.
    pub fn unmatched(&self) -> Vec<UnmatchedCall> {
        self.0.world().unmatched.clone()
    }

    /// Every secret given out or taken since the last reset, newest last: what it is, and the secret.
    pub fn secrets(&self) -> Vec<(String, String)> {
        self.0.world().secrets.list()
    }
}

impl World {
    fn arm(&mut self, order: FaultOrder) -> Result<u64, ControlError> {
        if let Some(user) = &order.on.user {
            self.user(user)?;
        }
        let (on, action) = (order.on.clone(), order.action.clone());
        // Which openings of streams are cut, `when` tells of those to come.
        let is_now = action == FaultAction::DropStreams && order.when.is_none();
        let selector = on.selector()?;
        let now = self.now();
        let id = self.orders.arm(order, now)?;
        if is_now && selector.matches(STREAM) {
            let cut = self.hub.cut(&on);
            let firing = Firing {
                id,
                action,
                wait: Duration::ZERO,
            };
            if !cut.is_empty() {
                self.fired(&firing, STREAM);
            }
            self.orders.spend(id, !cut.is_empty());
            self.streams_closed(cut);
        }
        Ok(id)
    }

    fn end_session(
        &mut self,
        shared: &Shared,
        (user, browser): (&str, &str),
        how: EndHow,
    ) -> Result<Vec<keycloak::logout::Notice>, ControlError> {
        self.user(user)?;
        let can_tell = shared.config.client.backchannel_logout_url.is_some();
        if how == EndHow::Backchannel && !can_tell {
            return Err(ControlError::NoBackchannel);
        }
        let who = Who {
            user: user.to_owned(),
            browser: browser.to_owned(),
        };
        let realm = shared.config.realm.as_str();
        let authority = self.authority(shared, realm);
        let sid = authority
            .as_ref()
            .and_then(|authority| authority.realm.sessions.newest(&who, authority.times()));
        let (authority, sid) = authority.zip(sid).ok_or(ControlError::NoLoginSession {
            user: who.user,
            browser: who.browser,
        })?;
        let mut authority = authority;
        Ok(authority.end_login(&sid))
    }
}
