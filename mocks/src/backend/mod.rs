//! The backend services behind Renku's gateway: sessions in both versions, knowledge-graph status, alerts.

pub(crate) mod alerts;
pub(crate) mod caller;
mod class;
pub(crate) mod course;
pub mod fault;
pub(crate) mod graph;
pub(crate) mod item;
pub(crate) mod items;
pub(crate) mod life;
pub(crate) mod name;
pub mod pace;
pub mod plan;
pub(crate) mod refusal;
mod request;
mod sessions;

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, patch, post},
};
use serde_json::json;

use self::{caller::Caller, refusal::DataError};
use crate::{
    Shared,
    call::Call,
    route::{ALERT, ALERTS, GRAPH, IMAGES, LAUNCH, LOGS, ONE_SESSION, SERVERS, SESSIONS},
    world::World,
};

type Asked = (State<Arc<Shared>>, Extension<Arc<Call>>);

/// The routes of the backend.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let launch = shared.gated(LAUNCH, post(sessions::launch));
    Router::new()
        .route(
            "/api/data/sessions",
            shared.gated(SESSIONS, get(sessions::list)).merge(launch),
        )
        .route(
            "/api/data/sessions/images",
            shared.gated(IMAGES, get(sessions::image)),
        )
        .route(
            "/api/data/sessions/{name}",
            shared.gated(
                ONE_SESSION,
                get(sessions::one).patch(sessions::patch).delete(sessions::delete),
            ),
        )
        .route(
            "/api/data/sessions/{name}/logs",
            shared.gated(LOGS, get(sessions::logs)),
        )
        .route("/api/notebooks/servers", shared.gated(SERVERS, get(servers)))
        .route(
            "/api/projects/{id}/graph/status",
            shared.gated(GRAPH, get(graph_status)),
        )
        .route(
            "/api/data/alerts",
            shared.gated(ALERTS, get(alerts::list).post(alerts::raise)),
        )
        .route(
            "/api/data/alerts/{id}",
            shared.gated(ALERT, patch(alerts::resolve)),
        )
        .method_not_allowed_fallback(no_such_verb)
        .with_state(Arc::clone(shared))
}

/// `GET /api/notebooks/servers`: gone, unless a scenario wants it back.
async fn servers((State(shared), Extension(call)): Asked) -> Result<Response, DataError> {
    let mut world = shared.world();
    if !world.has_servers {
        let message = "Requested URL /api/data/notebooks/servers not found";
        return Err(DataError::new(404, message));
    }
    let caller = world.caller(&shared, &call);
    let random = world.seams.random.clone();
    let servers = world.owned_mut(&caller).map_or_else(
        || json!({}),
        |items| items.poll_servers(call.poll_fault(), &random),
    );
    Ok(Json(json!({ "servers": servers })).into_response())
}

/// `GET /api/projects/{id}/graph/status`: of public projects, and of those that the caller may see.
async fn graph_status(
    State(shared): State<Arc<Shared>>,
    Extension(call): Extension<Arc<Call>>,
    Path(id): Path<String>,
) -> Response {
    let world = shared.world();
    let caller = match world.caller(&shared, &call) {
        Caller::User(name) => Some(name),
        Caller::Anonymous(_) => None,
    };
    if caller.is_none() && call.bearer().is_some() {
        return graph_error(StatusCode::UNAUTHORIZED, "Unauthorized");
    }
    let project = id.parse().ok().filter(|id| world.may_see(caller.as_deref(), *id));
    match project.and_then(|id| world.graphs.get(id)) {
        Some(status) => Json(status.clone()).into_response(),
        None => graph_error(StatusCode::NOT_FOUND, "Not Found"),
    }
}

impl World {
    /// Whether a project is public (nobody's) or this user's.
    fn may_see(&self, user: Option<&str>, project: u64) -> bool {
        let of = |name: &str| {
            self.users
                .get(name)
                .is_some_and(|user| user.spec.projects.contains(&project))
        };
        let is_private = self.users.keys().any(|name| of(name));
        !is_private || user.is_some_and(of)
    }
}

/// The path is there, the verb is not.
async fn no_such_verb() -> DataError {
    DataError::new(405, "Method not allowed")
}

fn graph_error(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}
