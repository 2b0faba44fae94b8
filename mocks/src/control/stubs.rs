//! Orders about stubs.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
    routing::{delete, get},
};
use serde_json::{Value, json};

use super::{Answer, Order, done};
use crate::{Mocks, stub::Stub};

/// The routes about stubs.
pub(super) fn router() -> Router<Mocks> {
    Router::new()
        .route("/stubs", get(list).post(add).put(replace))
        .route("/stubs/{id}", delete(remove))
}

/// `GET /stubs`: those that are held, with how many requests each took, and those that took none, also when they are
/// gone.
async fn list(State(mocks): State<Mocks>) -> Json<Value> {
    Json(json!({"stubs": mocks.stubs(), "unused": mocks.unused_stubs()}))
}

/// `POST /stubs`: one more.
///
/// ```json
/// {
///   "service": "backend",
///   "request": { "method": "GET", "path": "/api/data/version" },
///   "answer": { "json": { "version": "1.2.3" } },
///   "times": 1
/// }
/// ```
///
/// # Errors
///
/// 422 when it could take no request, or its answer is none that HTTP allows.
async fn add(State(mocks): State<Mocks>, Order(stub): Order<Stub>) -> Answer {
    let id = mocks.add_stub(stub)?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))).into_response())
}

/// `PUT /stubs`: a list of stubs instead of any before; an empty one takes all away.
///
/// # Errors
///
/// As for `POST`; then nothing is changed.
async fn replace(State(mocks): State<Mocks>, Order(stubs): Order<Vec<Stub>>) -> Answer {
    let ids = mocks.put_stubs(stubs)?;
    Ok(Json(json!({ "ids": ids })).into_response())
}

/// `DELETE /stubs/{id}`: one less.
///
/// # Errors
///
/// 404 when no stub has that number.
async fn remove(State(mocks): State<Mocks>, Path(id): Path<u64>) -> Answer {
    mocks.remove_stub(id)?;
    Ok(done())
}
