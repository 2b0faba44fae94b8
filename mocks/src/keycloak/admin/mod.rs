//! The part of Keycloak's administration that programs use (MOCKS K12).

mod realm;
mod users;

use axum::{
    Json, Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{MethodRouter, delete, get, post, put},
};
use serde_json::json;

use super::{Asked, InRealm, authority::Authority, authority::MASTER};
use crate::{call::Call, route::ADMIN};

/// The realm role that lets an administrator of `master` in everywhere.
const ADMIN_ROLE: &str = "admin";
/// The role that lets a person of the realm itself administer it.
const REALM_ADMIN: &str = "realm-admin";

/// What an order to the administration comes to.
type Answer = Result<Response, Denial>;

/// Why an order was not carried out, in the administration's own form.
#[derive(Debug)]
enum Denial {
    /// The caller is not known, or may not: `{"error": "HTTP 401 Unauthorized"}`.
    Http(StatusCode),
    /// What it is about is not there: `{"error": "User not found"}`.
    NotFound(&'static str),
    /// It cannot be so: `{"errorMessage": …}`.
    Wrong(StatusCode, String),
}

impl IntoResponse for Denial {
    fn into_response(self) -> Response {
        match self {
            Self::Http(status) => {
                let error = format!(
                    "HTTP {} {}",
                    status.as_u16(),
                    status.canonical_reason().unwrap_or("")
                );
                (status, Json(json!({ "error": error }))).into_response()
            }
            Self::NotFound(error) => (StatusCode::NOT_FOUND, Json(json!({ "error": error }))).into_response(),
            Self::Wrong(status, text) => (status, Json(json!({ "errorMessage": text }))).into_response(),
        }
    }
}

/// The routes of the administration of one realm. The official client of one language ends them in a slash.
pub(super) fn router(at: &InRealm) -> Router<InRealm> {
    let base = at.shared.config.base_path.trim_end_matches('/');
    let base = format!("{base}/admin/realms/{}", at.realm);
    let routes: [(&str, MethodRouter<InRealm>); 15] = [
        ("", get(realm::show).put(realm::change)),
        ("/users", get(users::list).post(users::create)),
        ("/users/count", get(users::count)),
        (
            "/users/{id}",
            get(users::show).put(users::change).delete(users::delete),
        ),
        ("/users/{id}/reset-password", put(users::reset_password)),
        ("/users/{id}/logout", post(users::logout)),
        ("/users/{id}/sessions", get(users::sessions)),
        (
            "/users/{id}/role-mappings/realm",
            get(users::roles)
                .post(users::grant_roles)
                .delete(users::take_roles),
        ),
        ("/sessions/{sid}", delete(realm::end_session)),
        ("/logout-all", post(realm::logout_all)),
        ("/push-revocation", post(realm::push_revocation)),
        ("/clients", get(realm::clients)),
        ("/keys", get(realm::keys)),
        ("/roles", get(realm::roles)),
        ("/roles/{name}", get(realm::role)),
    ];
    routes.into_iter().fold(Router::new(), |router, (path, handler)| {
        let handler = at.gated(ADMIN, handler);
        router
            .route(&format!("{base}{path}/"), handler.clone())
            .route(&format!("{base}{path}"), handler)
    })
}

/// Has the realm's authority carry out an order, if the caller is an administrator.
fn order(
    (axum::extract::State(at), axum::Extension(call)): &Asked,
    carry_out: impl FnOnce(&mut Authority<'_>, &Call) -> Answer,
) -> Response {
    let is_admin = at.is_admin(call);
    let answer = match is_admin {
        Ok(()) => at.decide(call, |authority| carry_out(authority, call)),
        Err(denial) => Err(denial),
    };
    answer.unwrap_or_else(IntoResponse::into_response)
}

impl InRealm {
    /// Whether the caller may administer this realm: by a token of `master`, or of the realm itself.
    fn is_admin(&self, call: &Call) -> Result<(), Denial> {
        let token = call.bearer().ok_or(Denial::Http(StatusCode::UNAUTHORIZED))?;
        let roles = |realm: &str| {
            let mut world = self.shared.world();
            let authority = world.authority(&self.shared, realm)?;
            let claims = authority.good(token)?;
            let is_good = authority.has_session(&claims) && !authority.is_revoked(&claims);
            is_good.then(|| claims.0["realm_access"]["roles"].clone())
        };
        let has = |roles: &serde_json::Value, wanted: &str| {
            roles
                .as_array()
                .is_some_and(|roles| roles.iter().any(|role| role == wanted))
        };
        let (master, own) = (roles(MASTER), roles(&self.realm));
        let may = master.as_ref().is_some_and(|roles| has(roles, ADMIN_ROLE))
            || own.as_ref().is_some_and(|roles| has(roles, REALM_ADMIN));
        match (may, master.or(own)) {
            (true, _) => Ok(()),
            (false, Some(_)) => Err(Denial::Http(StatusCode::FORBIDDEN)),
            (false, None) => Err(Denial::Http(StatusCode::UNAUTHORIZED)),
        }
    }
}

/// `first` and `max` of a list.
fn page<T>(call: &Call, items: impl Iterator<Item = T>) -> Vec<T> {
    let number = |name: &str| call.query(name).and_then(|text| text.parse().ok());
    items
        .skip(number("first").unwrap_or(0))
        .take(number("max").unwrap_or(usize::MAX))
        .collect()
}

/// The last part of a path that has a parameter at this place, counted from the end.
fn segment(call: &Call, from_end: usize) -> &str {
    let path = call.uri.path().trim_end_matches('/');
    path.rsplit('/').nth(from_end).unwrap_or("")
}
