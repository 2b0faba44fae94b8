//! Orders about GitLab: events with full payloads, open streams, what ends for good, how often it may be called.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
    routing::{delete, get, post, put},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Order, Problem, done, state};
use crate::{
    Mocks,
    error::ControlError,
    gitlab::{
        generate::EventOrder,
        rate::{Limiter, RateLimit},
    },
};

pub(super) fn routes() -> Router<Mocks> {
    Router::new()
        .route("/streams", get(streams).delete(end_streams))
        .route("/streams/{id}/{verb}", post(order))
        .route("/projects/{id}", delete(end_project))
        .route("/projects/{id}/events", post(generate))
        .route("/rate-limit", put(limit).delete(unlimit))
}

async fn streams(State(mocks): State<Mocks>) -> Json<Value> {
    Json(json!(state::streams(&mocks.shared().world())))
}

/// What becomes of one open stream.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StreamVerb {
    /// Its connection breaks.
    Drop,
    /// Nothing more comes, not even a heart-beat, and the connection stands.
    Stall,
    /// A `reset` event.
    Reset,
    /// The next event is left out.
    Gap,
    /// GitLab takes the token no more that it was opened with: it ends, and 401 meets who comes back.
    Revoke,
}

/// `POST /streams/{id}/{drop|stall|reset|gap|revoke}`
async fn order(State(mocks): State<Mocks>, Path((id, verb)): Path<(u64, String)>) -> Answer {
    let verb: StreamVerb = serde_json::from_value(verb.into())
        .map_err(|error| Problem::new(404, "No such verb of a stream", error.to_string()))?;
    let mut world = mocks.shared().world();
    let token = world
        .hub
        .token(id)
        .ok_or(ControlError::UnknownStream(id))?
        .to_owned();
    match verb {
        StreamVerb::Drop => {
            let closed = world.hub.cut_one(id);
            world.streams_closed(closed);
        }
        StreamVerb::Stall => world.hub.stall(id),
        StreamVerb::Reset => {
            let closed = world.hub.send_reset(id);
            world.streams_closed(closed);
        }
        StreamVerb::Gap => world.hub.leave_gap(id),
        StreamVerb::Revoke => world.revoke_gitlab_token(&token),
    }
    Ok(done())
}

/// `DELETE /streams`: GitLab goes away for good; 204 meets who comes back, until the next reset.
async fn end_streams(State(mocks): State<Mocks>) -> Answer {
    mocks.shared().world().end_streams();
    Ok(done())
}

/// `DELETE /projects/{id}`: the project is deleted; 204 meets who comes back for its events.
async fn end_project(State(mocks): State<Mocks>, Path(project): Path<u64>) -> Answer {
    mocks.shared().world().end_project(project);
    Ok(done())
}

/// `POST /projects/{id}/events`: something happens in a project.
///
/// # Errors
///
/// 422 when it is to happen more often than one order may bring about.
async fn generate(
    State(mocks): State<Mocks>,
    Path(project): Path<u64>,
    Order(order): Order<EventOrder>,
) -> Answer {
    let ids = mocks.generate(project, &order)?;
    Ok((StatusCode::CREATED, Json(json!({ "ids": ids }))).into_response())
}

/// `PUT /rate-limit`: from now on the REST API may be called so often.
async fn limit(State(mocks): State<Mocks>, Order(limit): Order<RateLimit>) -> Answer {
    mocks.shared().world().gitlab.limiter = Limiter::new(Some(limit));
    Ok(done())
}

/// `DELETE /rate-limit`
async fn unlimit(State(mocks): State<Mocks>) -> Answer {
    mocks.shared().world().gitlab.limiter = Limiter::new(None);
    Ok(done())
}
