//! What happens to a request that no route owns: a stub takes it, or it is put on record as one that nobody took.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{MethodRouter, any},
};
use futures_util::future::BoxFuture;
use serde_json::json;

use super::{
    HeldStub, Service, Stub, UnusedStub,
    check::Fit,
    matching::{self, Asked},
    owner::Owners,
    relay::Relay,
};
use crate::{
    Mocks, Shared,
    config::{MocksConfig, StubServer},
    error::ControlError,
    gate::{Gate, Probe},
};

/// The answer of a stub that took a request; ready when it is due.
pub(super) type Answer = BoxFuture<'static, Response>;

/// Who decides which stub takes a request, and makes its answer.
#[derive(Debug)]
pub(crate) enum Overlay {
    /// This process, on any clock.
    InProcess,
    /// A wiremock server, on the real clock.
    Wiremock(Box<Relay>),
}

impl Overlay {
    pub(crate) fn new(config: &MocksConfig) -> Self {
        match config.stub_server {
            StubServer::InProcess => Self::InProcess,
            StubServer::Wiremock => Self::Wiremock(Box::new(Relay::new(config))),
        }
    }

    /// The answer of the stub that takes this request. From here on it counts as taken, whatever becomes of it.
    async fn take(&self, shared: &Shared, asked: &Asked) -> anyhow::Result<Option<Answer>> {
        match self {
            Self::InProcess => {
                let taken = shared.world().stubs.take(asked);
                Ok(taken.map(|stub| answer(shared, &stub)))
            }
            Self::Wiremock(relay) => relay.take(shared, asked).await,
        }
    }
}

fn answer(shared: &Shared, stub: &Stub) -> Answer {
    let delay = stub.answer.delay.map(|delay| shared.config.scaled(delay));
    let response = matching::response(&stub.answer);
    Box::pin(async move {
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        response
    })
}

/// A service's own part of the mocks.
type Unowned = (Arc<Shared>, Service);

impl Shared {
    /// A service with stubs where it has no routes.
    pub(crate) fn service(self: &Arc<Self>, service: Service, routes: Router) -> Router {
        routes.fallback_service(self.unowned(service))
    }

    /// Takes every request as one that no route owns.
    pub(crate) fn unowned(self: &Arc<Self>, service: Service) -> MethodRouter {
        any(unowned).with_state((Arc::clone(self), service))
    }
}

async fn unowned(State((shared, service)): State<Unowned>, request: Request) -> Response {
    if request.extensions().get::<Probe>().is_some() {
        return StatusCode::NOT_FOUND.into_response();
    }
    if shared.world().stubs.is_empty() {
        return unmatched(&shared, service, &request);
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, shared.config.body_bytes).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let asked = Asked::read(service, &parts, &body);
    let request = Request::from_parts(parts, Body::from(body));
    let Some(asked) = asked else {
        return unmatched(&shared, service, &request);
    };
    match shared.overlay.take(&shared, &asked).await {
        Ok(Some(answer)) => {
            let gate = Gate {
                route: service.route(),
                shared,
            };
            gate.through(request, |_| answer).await
        }
        Ok(None) => unmatched(&shared, service, &request),
        Err(error) => out_of_order(&error),
    }
}

/// It is the mocks' own failure, and says so to whoever looks into the answer.
pub(super) fn out_of_order(error: &anyhow::Error) -> Response {
    tracing::error!("stubs cannot be served: {error:#}");
    let body = json!({ "error": format!("the mocks cannot serve stubs: {error:#}") });
    (StatusCode::BAD_GATEWAY, Json(body)).into_response()
}

fn unmatched(shared: &Shared, service: Service, request: &Request) -> Response {
    let mut world = shared.world();
    world.unmatched(service.name(), request, shared.config.secrets_kept);
    drop(world);
    let body = match service {
        Service::Keycloak => json!({"error": "HTTP 404 Not Found"}),
        Service::Backend => {
            json!({"error": {"code": 1404, "message": "The requested resource does not exist"}})
        }
        Service::Gitlab | Service::Gateway => json!({"error": "404 Not Found"}),
    };
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

impl Mocks {
    /// Adds a stub; gives its number.
    ///
    /// # Errors
    ///
    /// When it could take no request, its answer is none that HTTP allows, or there are too many.
    pub fn add_stub(&self, stub: Stub) -> Result<u64, ControlError> {
        let ready = ready(stub, &Owners::of(self))?;
        let ids = self.0.world().stubs.add(vec![ready])?;
        Ok(ids.first().copied().unwrap_or_default())
    }

    /// Holds these stubs instead of any before, or changes nothing; gives their numbers.
    ///
    /// # Errors
    ///
    /// As [`Self::add_stub`].
    pub fn put_stubs(&self, stubs: Vec<Stub>) -> Result<Vec<u64>, ControlError> {
        let owners = Owners::of(self);
        let ready = stubs.into_iter().enumerate().map(|(index, stub)| {
            ready(stub, &owners).map_err(|problem| ControlError::OneOfStubs {
                number: index + 1,
                problem: Box::new(problem),
            })
        });
        let ready = ready.collect::<Result<_, _>>()?;
        self.0.world().stubs.replace(ready)
    }

    /// Takes a stub away; a request that it took is still answered.
    ///
    /// # Errors
    ///
    /// When no stub has that number.
    pub fn remove_stub(&self, id: u64) -> Result<(), ControlError> {
        self.0.world().stubs.remove(id)
    }

    /// The stubs that are held, in the order in which they were given.
    pub fn stubs(&self) -> Vec<HeldStub> {
        self.0.world().stubs.list()
    }

    /// Stubs that took no request since they were given, also those that are gone.
    pub fn unused_stubs(&self) -> Vec<UnusedStub> {
        self.0.world().stubs.unused()
    }
}

fn ready(stub: Stub, owners: &Owners) -> Result<(Stub, Fit), ControlError> {
    let fit = stub.fit()?;
    match (owners.owner(&stub), &stub.request.path) {
        (Some(route), Some(path)) => Err(ControlError::OwnedPath {
            path: path.clone(),
            route,
        }),
        _ => Ok((stub, fit)),
    }
}
