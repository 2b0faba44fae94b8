//! The backend services behind Renku's gateway: sessions in both versions, and knowledge-graph status.

pub(crate) mod graph;
pub(crate) mod item;
pub(crate) mod life;

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

use crate::{
    Shared,
    call::Call,
    route::{GRAPH, SERVERS, SESSIONS},
    world::{GATEWAY_COOKIE, World},
};

/// What the data service takes in `aud` (MOCKS K7).
const AUDIENCES: [&str; 4] = ["renku", "renku-ui", "renku-cli", "swagger"];

type Answer = (State<Arc<Shared>>, Extension<Arc<Call>>);

/// The routes of the backend.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/api/data/sessions", shared.gated(SESSIONS, get(sessions)))
        .route("/api/notebooks/servers", shared.gated(SERVERS, get(servers)))
        .route(
            "/api/projects/{id}/graph/status",
            shared.gated(GRAPH, get(graph_status)),
        )
        .with_state(Arc::clone(shared))
}

/// `GET /api/data/sessions`: never refuses a list; a caller it does not know is anonymous and owns none.
async fn sessions((State(shared), Extension(call)): Answer) -> Response {
    let kind = call.query("session_type");
    if kind.is_some_and(|kind| !["interactive", "non-interactive"].contains(&kind)) {
        return data_error(422, "The validation failed");
    }
    let world = shared.world();
    let list: Vec<&Value> = caller(&world, &shared, &call)
        .and_then(|name| world.users.get(&name))
        .map(|user| user.items.list(kind).collect())
        .unwrap_or_default();
    Json(list).into_response()
}

/// `GET /api/notebooks/servers`: gone, unless a scenario wants it back.
async fn servers((State(shared), Extension(call)): Answer) -> Response {
    let world = shared.world();
    if !world.has_servers {
        return data_error(404, "Requested URL /api/data/notebooks/servers not found");
    }
    let servers = caller(&world, &shared, &call)
        .and_then(|name| world.users.get(&name))
        .map_or_else(|| json!({}), |user| user.items.servers());
    Json(json!({ "servers": servers })).into_response()
}

/// `GET /api/projects/{id}/graph/status`: of public projects, and of those that the caller may see.
async fn graph_status(
    State(shared): State<Arc<Shared>>,
    Extension(call): Extension<Arc<Call>>,
    Path(id): Path<String>,
) -> Response {
    let world = shared.world();
    let caller = caller(&world, &shared, &call);
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

/// The user that a call is made by: by token, else by the gateway's cookie. A session that is over goes unnoticed, as
/// only signature and times are looked at.
fn caller(world: &World, shared: &Shared, call: &Call) -> Option<String> {
    let Some(token) = call.bearer() else {
        let who = world.cookies.get(call.cookie(GATEWAY_COOKIE)?)?;
        return Some(who.user.clone());
    };
    let claims = world.access(&shared.keys, token)?;
    let is_for_us = AUDIENCES.iter().any(|wanted| claims.is_for(wanted));
    is_for_us.then(|| world.user_of(&claims)).flatten()
}

fn data_error(status: u16, message: &str) -> Response {
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (
        code,
        Json(json!({"error": {"code": 1000 + status, "message": message}})),
    )
        .into_response()
}

fn graph_error(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}
