//! Orders about backend sessions that go their own way.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
    routing::post,
};
use serde_json::json;

use super::{Answer, Order, Problem, done};
use crate::{
    Mocks,
    backend::plan::{LaunchOrder, PlanOrder, SessionOrder},
    order::Verb,
};

/// The routes about backend sessions.
pub(super) fn router() -> Router<Mocks> {
    Router::new()
        .route("/sessions", post(launch))
        .route("/sessions/{name}/{verb}", post(order))
        .route("/plans", post(plan))
}

/// `POST /sessions`: a session is launched.
///
/// ```json
/// { "user": "ada", "name": "ada-1", "trouble": "crash_loop", "pace": { "pull": "5s" } }
/// ```
async fn launch(State(mocks): State<Mocks>, Order(order): Order<LaunchOrder>) -> Answer {
    let item = mocks.launch(&order)?;
    Ok((StatusCode::CREATED, Json(item)).into_response())
}

/// `POST /sessions/{name}/{verb}`: something happens to a session.
///
/// ```json
/// { "user": "ada", "message": "out of memory" }
/// ```
async fn order(
    State(mocks): State<Mocks>,
    Path((name, verb)): Path<(String, String)>,
    Order(order): Order<SessionOrder>,
) -> Answer {
    let verb: Verb = serde_json::from_value(verb.into())
        .map_err(|error| Problem::new(404, "No such verb of a session", error.to_string()))?;
    mocks.order_session(&name, verb, &order)?;
    Ok(done())
}

/// `POST /plans`: sessions that have something in common are launched.
///
/// ```json
/// { "user": "ada", "preset": "storm", "count": 3, "pace": { "turn": "10s" } }
/// ```
async fn plan(State(mocks): State<Mocks>, Order(order): Order<PlanOrder>) -> Answer {
    let names = mocks.plan(&order)?;
    Ok((StatusCode::CREATED, Json(json!({ "sessions": names }))).into_response())
}
