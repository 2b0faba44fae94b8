//! Keycloak: realms with their clients, login sessions and tokens. It refuses as the real one does (MOCKS K8).

mod admin;
pub(crate) mod authority;
mod client;
mod cors;
mod discovery;
pub(crate) mod fault;
mod frames;
mod grant;
mod issue;
pub(crate) mod keys;
pub(crate) mod login;
pub(crate) mod logout;
mod rotation;
pub(crate) mod session;
mod token;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware,
    response::{Html, IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use jiff::SignedDuration;
use serde_json::json;
use tower::ServiceBuilder;

use self::authority::Authority;
use crate::{
    Shared,
    call::Call,
    route::{
        AUTH, CERTS, DISCOVERY, FRAME, INTROSPECT, LOGIN, LOGOUT, REALM, REGISTRATION, REVOKE, TOKEN,
        USERINFO,
    },
    stub::Service,
};

/// Headers on every answer, as seen on real ones (MOCKS K6).
const HEADERS: [(HeaderName, &str); 3] = [
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (
        header::STRICT_TRANSPORT_SECURITY,
        "max-age=31536000; includeSubDomains",
    ),
];

/// One realm as its endpoints find it.
#[derive(Clone, Debug)]
pub(crate) struct InRealm {
    pub(crate) shared: Arc<Shared>,
    pub(crate) realm: Arc<str>,
}

/// What an endpoint is asked.
type Asked = (State<InRealm>, Extension<Arc<Call>>);

impl InRealm {
    /// Has the realm's authority decide about a call.
    fn decide<T>(&self, call: &Call, decide: impl FnOnce(&mut Authority<'_>) -> T) -> T {
        let mut world = self.shared.world();
        let authority = world.authority(&self.shared, &self.realm);
        let mut authority = authority.expect("there are routes for realms that there are, and realms stay");
        authority.fault = call.keycloak_fault();
        decide(&mut authority)
    }

    fn gated(&self, route: &'static str, handler: MethodRouter<Self>) -> MethodRouter<Self> {
        let handler = handler.layer(middleware::from_fn_with_state(self.clone(), cors::allow));
        self.shared.gated(route, handler)
    }
}

/// The routes of Keycloak.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let names: Vec<Arc<str>> = shared
        .world()
        .realms
        .keys()
        .map(|name| name.as_str().into())
        .collect();
    // Of a realm that there is, a path below it is nobody's.
    let below: Vec<_> = names
        .iter()
        .map(|realm| format!("{}/{{*rest}}", shared.config.realm_path(realm)))
        .collect();
    let base = shared.config.base_path.trim_end_matches('/');
    let realms = names.into_iter().map(|realm| InRealm {
        shared: Arc::clone(shared),
        realm,
    });
    let unknown = shared.gated(REALM, axum::routing::any(no_realm));
    let router = Router::new()
        .route(&format!("{base}/realms/{{realm}}"), unknown.clone())
        .route(&format!("{base}/realms/{{realm}}/{{*path}}"), unknown)
        .with_state(Arc::clone(shared));
    let router = realms
        .fold(router, |router, at| {
            let realm = of_realm(&at).merge(admin::router(&at));
            router.merge(realm.with_state(at))
        })
        .method_not_allowed_fallback(no_such_verb)
        .layer(ServiceBuilder::new().map_response(with_headers));
    below.iter().fold(router, |router, path| {
        router.route(path, shared.unowned(Service::Keycloak))
    })
}

fn of_realm(at: &InRealm) -> Router<InRealm> {
    let realm = at.shared.config.realm_path(&at.realm);
    let oidc = |path: &str| format!("{realm}/protocol/openid-connect/{path}");
    let leave = || at.gated(LOGOUT, get(logout::by_browser).post(logout::by_post));
    let status = || at.gated(FRAME, get(frames::login_status));
    let cookies = |step| at.gated(FRAME, step);
    Router::new()
        .route(&realm, at.gated(REALM, get(discovery::realm)))
        .route(
            &format!("{realm}/.well-known/openid-configuration"),
            at.gated(DISCOVERY, get(discovery::document)),
        )
        .route(&oidc("certs"), at.gated(CERTS, get(discovery::certs)))
        .route(
            &oidc("auth"),
            at.gated(AUTH, get(login::authorize).post(login::authorize)),
        )
        .route(
            &format!("{realm}/login-actions/authenticate"),
            at.gated(LOGIN, get(login::again).post(login::authenticate)),
        )
        .route(
            &oidc("token"),
            at.gated(TOKEN, post(grant::token).options(cors::preflight)),
        )
        .route(
            &oidc("token/introspect"),
            at.gated(INTROSPECT, post(token::introspect).options(cors::preflight)),
        )
        .route(
            &oidc("userinfo"),
            at.gated(
                USERINFO,
                get(token::userinfo)
                    .post(token::userinfo)
                    .options(cors::preflight),
            ),
        )
        .route(
            &oidc("revoke"),
            at.gated(REVOKE, post(token::revoke).options(cors::preflight)),
        )
        .route(&oidc("logout"), leave())
        .route(
            &oidc("logout/logout-confirm"),
            at.gated(LOGOUT, post(logout::confirmed)),
        )
        .route(&oidc("login-status-iframe.html"), status())
        .route(
            &oidc("login-status-iframe.html/init"),
            at.gated(FRAME, get(frames::may_watch)),
        )
        .route(&oidc("3p-cookies/step1.html"), cookies(get(frames::cookie_set)))
        .route(&oidc("3p-cookies/step2.html"), cookies(get(frames::cookie_seen)))
        .route(
            &format!("{realm}/clients-registrations/openid-connect"),
            at.gated(REGISTRATION, post(no_registration)),
        )
}

async fn no_realm() -> Response {
    let body = json!({"error": "Realm does not exist"});
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

async fn no_such_verb() -> Response {
    let body = json!({"error": "HTTP 405 Method Not Allowed"});
    (StatusCode::METHOD_NOT_ALLOWED, Json(body)).into_response()
}

async fn no_registration() -> Refusal {
    Refusal::new(
        403,
        "insufficient_scope",
        "Policy 'Trusted Hosts' rejected request to client-registration service. Details: Host not trusted.",
    )
}

fn with_headers(mut response: Response) -> Response {
    let is_frame = response.extensions_mut().remove::<frames::Framed>().is_some();
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !is_frame {
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    }
    response
}

/// A refusal in OAuth's form (RFC 6749 §5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) error: &'static str,
    pub(crate) description: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, error: &'static str, description: &str) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
            error,
            description: description.to_owned(),
        }
    }

    /// 400 `invalid_grant`
    pub(crate) fn grant(description: &str) -> Self {
        Self::new(400, "invalid_grant", description)
    }

    /// 400 `invalid_request`
    pub(crate) fn request(description: &str) -> Self {
        Self::new(400, "invalid_request", description)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({"error": self.error, "error_description": self.description});
        (self.status, NOT_STORED, Json(body)).into_response()
    }
}

/// Tokens and what is said of them must not be kept by anybody on the way.
const NOT_STORED: [(HeaderName, &str); 2] =
    [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];

/// A page for people that says why it does not go on.
fn error_page(status: StatusCode, text: &str) -> Response {
    let page = format!(
        "<!DOCTYPE html>\n<html><head><title>Sign in</title></head>\n<body><div id=\"kc-error-message\"><p \
         class=\"instruction\">{}</p></div></body></html>\n",
        escaped(text)
    );
    (status, NOT_STORED, Html(page)).into_response()
}

/// Text as it may stand in HTML, attributes too.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A duration that can be added to a time.
fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}
