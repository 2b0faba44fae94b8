//! Mock Keycloak, backend services and GitLab over one world: they answer, and refuse, as the real services do; they
//! misbehave on order; and they remember who asked for what, when.

pub mod config;
pub mod error;
pub mod observation;
pub mod order;
pub mod route;

use std::sync::Arc;

use axum::Router;
use polytab_protocol::{id::UserId, topic::Topic};
use polytab_seams::Seams;
use serde_json::Value;

use crate::{
    config::MocksConfig,
    error::ControlError,
    observation::Observer,
    order::{Change, EndHow, FaultOrder, HoldOrder, UnmatchedCall, UnusedFault, UserSpec, Verb},
};

/// The three mocks over one world. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Mocks(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    #[expect(dead_code, reason = "the routers come next")]
    config: MocksConfig,
}

impl Mocks {
    /// Mocks without users.
    pub fn new(config: MocksConfig, seams: Seams) -> Self {
        drop(seams);
        Self(Arc::new(Shared { config }))
    }

    /// Keycloak.
    pub fn keycloak(&self) -> Router {
        Router::new()
    }

    /// The backend services behind their gateway.
    pub fn backend(&self) -> Router {
        Router::new()
    }

    /// GitLab.
    pub fn gitlab(&self) -> Router {
        Router::new()
    }

    /// The control API, for a listener of its own.
    pub fn control(&self) -> Router {
        Router::new()
    }

    /// From now on `observer` is told what happens, instead of any before it. It stays over a reset.
    pub fn observe(&self, observer: Observer) {
        drop(observer);
    }

    /// Everything is as new but keys, configuration and observer; open streams and held calls end.
    pub fn reset(&self, seams: Seams) {
        drop(seams);
    }

    /// Adds a user or replaces one; a replaced one keeps its subject and its login sessions.
    ///
    /// # Errors
    ///
    /// When a session has a state that no backend session can have.
    pub fn put_user(&self, name: &str, spec: UserSpec) -> Result<(), ControlError> {
        let _ = (name, spec);
        Ok(())
    }

    /// The user's subject.
    pub fn subject(&self, name: &str) -> Option<UserId> {
        let _ = name;
        None
    }

    /// Requests with this session cookie are made on behalf of this user and browser, as the gateway would have it.
    ///
    /// # Errors
    ///
    /// When there is no such user.
    pub fn put_cookie(&self, value: &str, user: &str, browser: &str) -> Result<(), ControlError> {
        let _ = (value, user, browser);
        Ok(())
    }

    /// Changes the world.
    ///
    /// # Errors
    ///
    /// When there is no such user, or a value is none that the service could have. Nothing is changed then.
    pub fn change(&self, change: Change) -> Result<(), ControlError> {
        drop(change);
        Ok(())
    }

    /// Takes a backend session one step on in its life.
    ///
    /// # Errors
    ///
    /// When there is no such user or session.
    pub fn step(&self, user: &str, session: &str, verb: Verb) -> Result<(), ControlError> {
        let _ = (user, session, verb);
        Ok(())
    }

    /// GitLab pushes an event; gives its id.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn emit(&self, topic: Topic, payload: Value) -> Result<String, ControlError> {
        let _ = (topic, payload);
        Ok(String::new())
    }

    /// Orders a fault; gives its number.
    ///
    /// # Errors
    ///
    /// When no such route or user exists, or it would never fire.
    pub fn arm(&self, fault: FaultOrder) -> Result<u64, ControlError> {
        drop(fault);
        Ok(1)
    }

    /// Takes away the faults of a route, a service or `all`; calls that hang there end with a reset.
    ///
    /// # Errors
    ///
    /// When no such route exists.
    pub fn heal(&self, route: &str) -> Result<(), ControlError> {
        let _ = route;
        Ok(())
    }

    /// Orders answers to be held back.
    ///
    /// # Errors
    ///
    /// When no such route or user exists, or nothing would be held.
    pub fn hold(&self, order: HoldOrder) -> Result<(), ControlError> {
        drop(order);
        Ok(())
    }

    /// Lets held answers go, and holds no more; gives how many were waiting.
    ///
    /// # Errors
    ///
    /// When no such route exists.
    pub fn release(&self, route: &str) -> Result<usize, ControlError> {
        let _ = route;
        Ok(0)
    }

    /// Ends the user's login session in this browser.
    ///
    /// # Errors
    ///
    /// When there is no such user or session, or nobody to be told.
    #[expect(clippy::unused_async, reason = "the delivery comes next")]
    pub async fn end_session(&self, user: &str, browser: &str, how: EndHow) -> Result<(), ControlError> {
        let _ = (user, browser, how);
        Ok(())
    }

    /// Faults that met no call since they were ordered, healed ones too.
    pub fn unused_faults(&self) -> Vec<UnusedFault> {
        Vec::new()
    }

    /// Requests that no route took.
    pub fn unmatched(&self) -> Vec<UnmatchedCall> {
        Vec::new()
    }

    /// Every secret given out or taken since the last reset, newest last: what it is, and the secret.
    pub fn secrets(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}
