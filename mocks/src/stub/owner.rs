//! Which paths belong to routes of the mocks, by asking the routers themselves.

use axum::{Router, body::Body, http::Method};
use futures_util::FutureExt;
use http::Request;
use polytab_seams::Seams;
use tower::ServiceExt;

use super::{Service, Stub};
use crate::{
    Mocks,
    config::MocksConfig,
    gate::{Owner, Probe},
    route::FORWARD,
};

/// Verbs that any route has one of.
const VERBS: [Method; 5] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

/// Says which route owns a path.
#[derive(Clone, Debug)]
pub struct Owners(Vec<(Service, Router)>);

impl Owners {
    /// Those of mocks with their usual settings.
    pub fn usual() -> Self {
        Self::of(&Mocks::new(MocksConfig::default(), Seams::system()))
    }

    pub(super) fn of(mocks: &Mocks) -> Self {
        let router = |service| match service {
            Service::Keycloak => mocks.keycloak(),
            Service::Backend => mocks.backend(),
            Service::Gitlab => mocks.gitlab(),
            Service::Gateway => mocks.gateway(),
        };
        Self(Service::ALL.map(|service| (service, router(service))).into())
    }

    /// The route that the path of a stub belongs to, which the stub therefore never answers for. A pattern may fit
    /// other paths as well, and belongs to none.
    pub fn owner(&self, stub: &Stub) -> Option<&'static str> {
        let path = stub.request.path.as_deref()?;
        let meant = self
            .0
            .iter()
            .filter(|(service, _)| stub.service.is_none_or(|of| of == *service));
        let mut owners = meant.filter_map(|(_, router)| owner(router, path));
        // A stub for every service is met behind the gateway, by what the gateway passes on.
        owners.find(|owner| stub.service.is_some() || *owner != FORWARD)
    }
}

fn owner(router: &Router, path: &str) -> Option<&'static str> {
    VERBS.into_iter().find_map(|verb| {
        let mut request = Request::builder()
            .method(verb)
            .uri(path)
            .body(Body::empty())
            .ok()?;
        request.extensions_mut().insert(Probe);
        // Nothing is waited for before the gate, which answers it.
        let response = router.clone().oneshot(request).now_or_never()?.ok()?;
        response.extensions().get::<Owner>().map(|owner| owner.0)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_belongs_to_the_route_that_would_take_it_whatever_the_verb() {
        let owners = Owners::usual();

        for (service, path, owner) in [
            (json!("backend"), "/api/data/sessions", Some("backend.sessions")),
            (json!("backend"), "/api/data/alerts/7", Some("backend.alert")),
            (json!("gitlab"), "/api/v4/metadata", Some("gitlab.version")),
            (json!("gateway"), "/api/data/version", Some("gateway.forward")),
            (json!("keycloak"), "/auth/realms/none/x", Some("keycloak.realm")),
            (json!("keycloak"), "/auth/realms/Renku/account", None),
            (json!("keycloak"), "/api/data/sessions", None),
            (json!("backend"), "/api/data/version", None),
            (json!(null), "/api/data/version", None),
            (json!(null), "/api/data/sessions", Some("backend.sessions")),
        ] {
            let mut stub = json!({"request": {"path": path}, "answer": {}});
            if !service.is_null() {
                stub["service"] = service;
            }
            let stub: Stub = serde_json::from_value(stub).unwrap();

            assert_eq!(owners.owner(&stub), owner, "{stub}");
        }
    }
}
