//! The REST API: who calls, projects, and what they have.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    Caller, caller, message,
    project::{Instance, Project},
};
use crate::{Shared, call::Call, world::World};

/// The GitLab that this mock is like.
pub(super) const RELEASE: &str = "18.5.0";
const REVISION: &str = "0f1e2d3c4b5";

type Asked = (State<Arc<Shared>>, Extension<Arc<Call>>);

/// `GET /api/v4/projects/{id}`
pub(super) async fn project((State(shared), Extension(call)): Asked, Path(id): Path<String>) -> Response {
    let world = shared.world();
    match access(&world, &shared, (&call, &id)) {
        Ok((_, project)) => Json(project.shown(&world.gitlab.instance)).into_response(),
        Err(refusal) => *refusal,
    }
}

/// `GET /api/v4/user`
pub(super) async fn user((State(shared), Extension(call)): Asked) -> Response {
    let world = shared.world();
    let Some(caller) = caller(&world, &shared, &call) else {
        return unauthorized();
    };
    let mut shown = person(&world, &caller.user);
    shown["email"] = format!("{}@example.org", caller.user).into();
    Json(shown).into_response()
}

/// `GET /api/v4/version`
pub(super) async fn version((State(shared), Extension(call)): Asked) -> Response {
    if caller(&shared.world(), &shared, &call).is_none() {
        return unauthorized();
    }
    Json(json!({"version": RELEASE, "revision": REVISION})).into_response()
}

/// `GET /api/v4/metadata`
pub(super) async fn metadata((State(shared), Extension(call)): Asked) -> Response {
    if caller(&shared.world(), &shared, &call).is_none() {
        return unauthorized();
    }
    let body = json!({
        "version": RELEASE,
        "revision": REVISION,
        "kas": {"enabled": false, "externalUrl": null, "externalK8sProxyUrl": null, "version": null},
        "enterprise": false,
    });
    Json(body).into_response()
}

/// `DELETE /api/v4/personal_access_tokens/self`: the token in use is taken no more.
pub(super) async fn revoke((State(shared), Extension(call)): Asked) -> Response {
    let mut world = shared.world();
    let Some(caller) = caller(&world, &shared, &call) else {
        return unauthorized();
    };
    world.revoke_gitlab_token(&caller.token);
    StatusCode::NO_CONTENT.into_response()
}

/// Who calls, and the project named so.
///
/// # Errors
///
/// The refusal: 401 for a stranger, 404 for a project that the caller may not see or that is deleted.
pub(super) fn access(
    world: &World,
    shared: &Shared,
    (call, project): (&Call, &str),
) -> Result<(Caller, Project), Box<Response>> {
    let caller = caller(world, shared, call).ok_or_else(|| Box::new(unauthorized()))?;
    let project = world
        .project(&caller.user, project)
        .filter(|project| !world.hub.ended.projects.contains(&project.0));
    match project {
        Some(project) => Ok((caller, project)),
        None => Err(Box::new(message(StatusCode::NOT_FOUND, "404 Project Not Found"))),
    }
}

pub(super) fn unauthorized() -> Response {
    message(StatusCode::UNAUTHORIZED, "401 Unauthorized")
}

/// Who did what a payload tells.
pub(super) fn author(payload: &Value, at: &Instance) -> Value {
    let user = &payload["user"];
    // Pushes have no user of their own, but its fields.
    let either = |inner: &str, outer: &str| {
        let found = &user[inner];
        if found.is_null() { &payload[outer] } else { found }.clone()
    };
    // Tag pushes lack the user name; at this GitLab it is the name.
    let name = either("name", "user_name");
    let username = either("username", "user_username");
    let username = if username.is_null() {
        name.clone()
    } else {
        username
    };
    json!({
        "id": either("id", "user_id"),
        "username": username,
        "name": name,
        "state": "active",
        "avatar_url": null,
        "web_url": username.as_str().map(|name| at.profile(name)),
    })
}

/// A user as others see one.
pub(super) fn person(world: &World, name: &str) -> Value {
    json!({
        "id": world.user_number(name),
        "username": name,
        "name": name,
        "state": "active",
        "avatar_url": null,
        "web_url": world.gitlab.instance.profile(name),
    })
}

impl World {
    /// The number of a user; 0 for nobody.
    pub(crate) fn user_number(&self, name: &str) -> usize {
        let index = self.users.keys().position(|found| found == name);
        index.map_or(0, |index| index + 1)
    }
}
