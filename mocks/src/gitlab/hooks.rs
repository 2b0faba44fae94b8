//! Hooks over REST: registered, listed, taken away (MOCKS G5).

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};

use super::{api, hook::Wish, message, paging::page};
use crate::{Shared, call::Call, clocks::Mock};

type Asked = (State<Arc<Shared>>, Extension<Arc<Call>>);

/// `GET /api/v4/projects/{id}/hooks`
pub(super) async fn list((State(shared), Extension(call)): Asked, Path(project): Path<String>) -> Response {
    let world = shared.world();
    match api::access(&world, &shared, (&call, &project)) {
        Ok((_, project)) => {
            let hooks = world.gitlab.hooks.of(project.0);
            let items: Vec<_> = hooks.map(|hook| hook.shown(world.now_at(Mock::Gitlab))).collect();
            page(&call, &items)
        }
        Err(refusal) => *refusal,
    }
}

/// `POST /api/v4/projects/{id}/hooks`
pub(super) async fn add((State(shared), Extension(call)): Asked, Path(project): Path<String>) -> Response {
    let mut world = shared.world();
    let project = match api::access(&world, &shared, (&call, &project)) {
        Ok((_, project)) => project,
        Err(refusal) => return *refusal,
    };
    let wish = match Wish::read(&sent(&call)) {
        Ok(wish) => wish,
        Err((status, body)) => return (status, Json(body)).into_response(),
    };
    let now = world.now_at(Mock::Gitlab);
    match world.add_hook(&shared, project, wish) {
        Some(hook) => (StatusCode::CREATED, Json(hook.shown(now))).into_response(),
        None => message(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Maximum number of project hooks (100) exceeded",
        ),
    }
}

/// `GET /api/v4/projects/{id}/hooks/{hook}`
pub(super) async fn one(
    (State(shared), Extension(call)): Asked,
    Path((project, hook)): Path<(String, String)>,
) -> Response {
    let world = shared.world();
    let project = match api::access(&world, &shared, (&call, &project)) {
        Ok((_, project)) => project,
        Err(refusal) => return *refusal,
    };
    let hook = hook.parse().ok().and_then(|id| world.gitlab.hooks.get(id));
    match hook.filter(|hook| hook.project == project.0) {
        Some(hook) => Json(hook.shown(world.now_at(Mock::Gitlab))).into_response(),
        None => message(StatusCode::NOT_FOUND, "404 Not found"),
    }
}

/// `DELETE /api/v4/projects/{id}/hooks/{hook}`
pub(super) async fn remove(
    (State(shared), Extension(call)): Asked,
    Path((project, hook)): Path<(String, String)>,
) -> Response {
    let mut world = shared.world();
    let project = match api::access(&world, &shared, (&call, &project)) {
        Ok((_, project)) => project,
        Err(refusal) => return *refusal,
    };
    let is_gone = hook
        .parse()
        .is_ok_and(|id| world.gitlab.hooks.remove(project.0, id));
    if is_gone {
        StatusCode::NO_CONTENT.into_response()
    } else {
        message(StatusCode::NOT_FOUND, "404 Not found")
    }
}

/// What a request carries: as JSON, as a form, or in its query.
fn sent(call: &Call) -> Map<String, Value> {
    if let Some(json) = &call.json {
        return json.clone();
    }
    let form = call.form.as_ref().unwrap_or(&call.query).iter();
    form.map(|(name, value)| (name.clone(), value.clone().into()))
        .collect()
}
