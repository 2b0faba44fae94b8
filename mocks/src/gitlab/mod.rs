//! GitLab: event streams of projects, and the little REST that a client needs beside them.

pub(crate) mod hub;
pub(crate) mod stream;

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use crate::{
    Shared,
    call::Call,
    route::{PROJECT, STREAM, USER},
    world::World,
};

/// The routes of GitLab.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let several = || shared.gated(STREAM, get(stream::of_several_types));
    Router::new()
        .route(
            "/project/{id}/{event}",
            shared.gated(STREAM, get(stream::of_one_type)),
        )
        .route("/project/{id}", several())
        .route("/api/v4/projects/{id}/events/stream", several())
        .route("/api/v4/projects/{id}", shared.gated(PROJECT, get(project)))
        .route("/api/v4/user", shared.gated(USER, get(user)))
        .with_state(Arc::clone(shared))
}

async fn project(
    State(shared): State<Arc<Shared>>,
    Extension(call): Extension<Arc<Call>>,
    Path(id): Path<String>,
) -> Response {
    let world = shared.world();
    let Some(user) = reader(&world, &shared, &call) else {
        return message(StatusCode::UNAUTHORIZED, "401 Unauthorized");
    };
    let Some(id) = sees(&world, &user, &id) else {
        return message(StatusCode::NOT_FOUND, "404 Project Not Found");
    };
    let path = format!("group/project-{id}");
    let body = json!({
        "id": id,
        "name": format!("project-{id}"),
        "path": format!("project-{id}"),
        "path_with_namespace": path,
        "name_with_namespace": format!("group / project-{id}"),
        "description": null,
        "default_branch": "main",
        "visibility": "private",
        "web_url": format!("https://gitlab.example.org/{path}"),
        "ssh_url_to_repo": format!("git@gitlab.example.org:{path}.git"),
        "http_url_to_repo": format!("https://gitlab.example.org/{path}.git"),
        "namespace": {"id": 1, "name": "group", "path": "group", "kind": "group", "full_path": "group"},
    });
    Json(body).into_response()
}

async fn user(State(shared): State<Arc<Shared>>, Extension(call): Extension<Arc<Call>>) -> Response {
    let world = shared.world();
    let Some(name) = reader(&world, &shared, &call) else {
        return message(StatusCode::UNAUTHORIZED, "401 Unauthorized");
    };
    let id = world
        .users
        .keys()
        .position(|found| *found == name)
        .map_or(0, |index| index + 1);
    let body = json!({
        "id": id,
        "username": name,
        "name": name,
        "state": "active",
        "avatar_url": null,
        "web_url": format!("https://gitlab.example.org/{name}"),
        "email": format!("{name}@example.org"),
    });
    Json(body).into_response()
}

/// The user that a token is of. As GitLab's tokens are its own, a session that ended at Keycloak goes unnoticed.
fn reader(world: &World, shared: &Shared, call: &Call) -> Option<String> {
    let sent = [
        call.header("private-token"),
        call.bearer(),
        call.query("access_token"),
    ];
    let claims = world.access(&shared.keys, sent.into_iter().flatten().next()?)?;
    world.user_of(&claims)
}

/// The project named so, if the user may see it.
fn sees(world: &World, user: &str, project: &str) -> Option<u64> {
    let project = project.parse().ok()?;
    let is_seen = world.users.get(user)?.spec.projects.contains(&project);
    is_seen.then_some(project)
}

/// An answer that is only a message.
fn message(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "message": text }))).into_response()
}
