//! The routes of the three services: names that faults, counts and journals go by.

use schemars::JsonSchema;
use serde::Serialize;

use crate::error::ControlError;

/// One route of a mock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Route {
    /// `<service>.<what>`.
    pub name: &'static str,
    /// Where it is; `{base}` and `{realm}` come from the configuration.
    pub path: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
}

/// Discovery document.
pub const DISCOVERY: &str = "keycloak.discovery";
/// Signing keys.
pub const CERTS: &str = "keycloak.certs";
/// Authorization endpoint.
pub const AUTH: &str = "keycloak.auth";
/// Where the login page posts to.
pub const LOGIN: &str = "keycloak.login";
/// Token endpoint.
pub const TOKEN: &str = "keycloak.token";
/// Introspection endpoint.
pub const INTROSPECT: &str = "keycloak.introspect";
/// Userinfo endpoint.
pub const USERINFO: &str = "keycloak.userinfo";
/// End-session endpoint.
pub const LOGOUT: &str = "keycloak.logout";
/// Revocation endpoint.
pub const REVOKE: &str = "keycloak.revoke";
/// The realm's own document; any path below an unknown realm.
pub const REALM: &str = "keycloak.realm";
/// Pages that keycloak-js loads into frames.
pub const FRAME: &str = "keycloak.frame";
/// Dynamic registration of clients, which is refused.
pub const REGISTRATION: &str = "keycloak.registration";
/// Administration.
pub const ADMIN: &str = "keycloak.admin";
/// Sessions, V2.
pub const SESSIONS: &str = "backend.sessions";
/// Sessions, V1.
pub const SERVERS: &str = "backend.servers";
/// Knowledge-graph status.
pub const GRAPH: &str = "backend.graph";
/// A new session.
pub const LAUNCH: &str = "backend.launch";
/// One session by its name.
pub const ONE_SESSION: &str = "backend.one_session";
/// Logs of a session.
pub const LOGS: &str = "backend.logs";
/// Whether an image exists.
pub const IMAGES: &str = "backend.images";
/// Alerts.
pub const ALERTS: &str = "backend.alerts";
/// One alert by its id.
pub const ALERT: &str = "backend.alert";
/// The gateway's login.
pub const GATEWAY_LOGIN: &str = "gateway.login";
/// Where Keycloak leads back to.
pub const GATEWAY_CALLBACK: &str = "gateway.callback";
/// The gateway's logout page.
pub const GATEWAY_LOGOUT: &str = "gateway.logout";
/// The way to the account page.
pub const GATEWAY_PROFILE: &str = "gateway.profile";
/// Whether the gateway is up.
pub const GATEWAY_HEALTH: &str = "gateway.health";
/// Calls of the backend by way of the gateway.
pub const FORWARD: &str = "gateway.forward";
/// Event stream of a project.
pub const STREAM: &str = "gitlab.stream";
/// A project.
pub const PROJECT: &str = "gitlab.project";
/// The caller.
pub const USER: &str = "gitlab.user";
/// The token in use.
pub const TOKENS: &str = "gitlab.tokens";
/// Version of GitLab.
pub const VERSION: &str = "gitlab.version";
/// Events of a project.
pub const EVENTS: &str = "gitlab.events";
/// Hooks of a project.
pub const HOOKS: &str = "gitlab.hooks";
/// Pipelines of a project.
pub const PIPELINES: &str = "gitlab.pipelines";
/// Issues of a project.
pub const ISSUES: &str = "gitlab.issues";
/// Merge requests of a project.
pub const MERGE_REQUESTS: &str = "gitlab.merge_requests";
/// What stubs for Keycloak answer.
pub const KEYCLOAK_STUB: &str = "keycloak.stub";
/// What stubs for the backend answer.
pub const BACKEND_STUB: &str = "backend.stub";
/// What stubs for GitLab answer.
pub const GITLAB_STUB: &str = "gitlab.stub";
/// What stubs for the gateway answer.
pub const GATEWAY_STUB: &str = "gateway.stub";

/// Every route there is.
pub const ROUTES: &[Route] = &[
    route(
        DISCOVERY,
        "{base}/realms/{realm}/.well-known/openid-configuration",
        "OpenID Connect discovery document",
    ),
    route(
        CERTS,
        "{base}/realms/{realm}/protocol/openid-connect/certs",
        "keys that tokens are signed with",
    ),
    route(
        AUTH,
        "{base}/realms/{realm}/protocol/openid-connect/auth",
        "authorization endpoint: login page or redirect",
    ),
    route(
        LOGIN,
        "{base}/realms/{realm}/login-actions/authenticate",
        "where the login page posts to",
    ),
    route(
        TOKEN,
        "{base}/realms/{realm}/protocol/openid-connect/token",
        "token endpoint, all grants",
    ),
    route(
        INTROSPECT,
        "{base}/realms/{realm}/protocol/openid-connect/token/introspect",
        "whether a token is active",
    ),
    route(
        USERINFO,
        "{base}/realms/{realm}/protocol/openid-connect/userinfo",
        "claims about the token's user",
    ),
    route(
        LOGOUT,
        "{base}/realms/{realm}/protocol/openid-connect/logout",
        "ends a session",
    ),
    route(
        REVOKE,
        "{base}/realms/{realm}/protocol/openid-connect/revoke",
        "revokes a token",
    ),
    route(REALM, "{base}/realms/{realm}", "the realm's own document"),
    route(
        FRAME,
        "{base}/realms/{realm}/protocol/openid-connect/login-status-iframe.html",
        "pages that keycloak-js loads into frames",
    ),
    route(
        REGISTRATION,
        "{base}/realms/{realm}/clients-registrations/openid-connect",
        "registration of clients, which is refused",
    ),
    route(ADMIN, "{base}/admin/realms/{realm}", "administration of a realm"),
    route(SESSIONS, "/api/data/sessions", "the user's sessions (V2)"),
    route(SERVERS, "/api/notebooks/servers", "the user's sessions (V1)"),
    route(
        GRAPH,
        "/api/projects/{id}/graph/status",
        "knowledge-graph status of a project",
    ),
    route(STREAM, "/project/{id}/{eventType}", "event stream of a project"),
    route(PROJECT, "/api/v4/projects/{id}", "a project"),
    route(USER, "/api/v4/user", "the caller"),
    route(TOKENS, "/api/v4/personal_access_tokens/self", "the token in use"),
    route(
        VERSION,
        "/api/v4/version",
        "version of GitLab; also /api/v4/metadata",
    ),
    route(
        EVENTS,
        "/api/v4/projects/{id}/events",
        "what happened in a project",
    ),
    route(HOOKS, "/api/v4/projects/{id}/hooks", "hooks of a project"),
    route(
        PIPELINES,
        "/api/v4/projects/{id}/pipelines",
        "pipelines of a project",
    ),
    route(ISSUES, "/api/v4/projects/{id}/issues", "issues of a project"),
    route(
        MERGE_REQUESTS,
        "/api/v4/projects/{id}/merge_requests",
        "merge requests of a project",
    ),
    route(LAUNCH, "/api/data/sessions", "a new session"),
    route(
        ONE_SESSION,
        "/api/data/sessions/{name}",
        "one session: look, change, delete",
    ),
    route(LOGS, "/api/data/sessions/{name}/logs", "logs of a session"),
    route(
        IMAGES,
        "/api/data/sessions/images",
        "whether a session could have an image",
    ),
    route(ALERTS, "/api/data/alerts", "the user's alerts"),
    route(ALERT, "/api/data/alerts/{id}", "one alert, to be resolved"),
    route(
        GATEWAY_LOGIN,
        "/api/auth/login",
        "a new session, and on to Keycloak",
    ),
    route(GATEWAY_CALLBACK, "/api/auth/callback", "back from Keycloak"),
    route(GATEWAY_LOGOUT, "/api/auth/logout", "ends a session, with a page"),
    route(
        GATEWAY_PROFILE,
        "/api/auth/user-profile",
        "on to the account page",
    ),
    route(GATEWAY_HEALTH, "/api/auth/health", "whether the gateway is up"),
    route(FORWARD, "/api/data/{path}", "the backend, by way of the gateway"),
    route(KEYCLOAK_STUB, "/{path}", OF_STUBS),
    route(BACKEND_STUB, "/{path}", OF_STUBS),
    route(GITLAB_STUB, "/{path}", OF_STUBS),
    route(GATEWAY_STUB, "/{path}", OF_STUBS),
];

const OF_STUBS: &str = "what stubs answer, where no other route is";

/// Whether it is one of the routes that stubs answer under, which have no path of their own.
pub(crate) fn is_stub(route: &str) -> bool {
    [KEYCLOAK_STUB, BACKEND_STUB, GITLAB_STUB, GATEWAY_STUB].contains(&route)
}

const fn route(name: &'static str, path: &'static str, about: &'static str) -> Route {
    Route { name, path, about }
}

/// Which routes an order is about: one, those of one service, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector(String);

impl Selector {
    /// Reads a route's name, a service's, or `all`.
    pub(crate) fn parse(name: &str) -> Result<Self, ControlError> {
        let selector = Self(name.to_owned());
        if ROUTES.iter().any(|route| selector.matches(route.name)) {
            return Ok(selector);
        }
        let services = ["all", "keycloak", "backend", "gitlab", "gateway"];
        let known = ROUTES.iter().map(|route| route.name).chain(services);
        Err(ControlError::UnknownRoute {
            nearest: nearest(name, known),
            name: name.to_owned(),
        })
    }

    /// What it was read from.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// Whether every route of `other` is meant.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        ROUTES
            .iter()
            .all(|route| !other.matches(route.name) || self.matches(route.name))
    }

    /// Whether the route named so is meant.
    pub(crate) fn matches(&self, route: &str) -> bool {
        self.0 == "all" || self.0 == route || self.0 == service(route)
    }
}

/// The service that a route belongs to.
pub(crate) fn service(route: &str) -> &str {
    route.split_once('.').map_or(route, |(service, _)| service)
}

/// The known name most like `name`, if any is like it at all.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, known)| known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_names_a_route_a_service_or_all() {
        for (name, matches) in [
            ("keycloak.token", [true, false, false]),
            ("keycloak", [true, true, false]),
            ("all", [true, true, true]),
        ] {
            let selector = Selector::parse(name).unwrap();

            assert_eq!(
                [TOKEN, CERTS, STREAM].map(|route| selector.matches(route)),
                matches,
                "{name}"
            );
        }
    }

    #[test]
    fn an_unknown_route_gets_the_nearest_name() {
        for (name, nearest) in [
            ("keycloak.tokn", Some("keycloak.token")),
            ("backend.session", Some("backend.sessions")),
            ("gitlb", Some("gitlab")),
            ("zzz", None),
        ] {
            let error = Selector::parse(name).unwrap_err();

            let ControlError::UnknownRoute { nearest: found, .. } = error else {
                panic!("{error}");
            };
            assert_eq!(found.as_deref(), nearest, "{name}");
        }
    }
}
