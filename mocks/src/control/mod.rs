//! The control API: everything that can be ordered of the mocks, as functions and over HTTP, with errors as problem
//! details (RFC 9457). A handler only reads an order, and has a function of [`Mocks`] carry it out.

mod backend;
pub mod fault;
pub mod gateway;
pub mod gitlab;
mod guard;
mod journal;
pub mod keycloak;
mod openapi;
mod page;
mod problem;
mod stubs;
pub mod token;
pub mod user;
mod wire;
pub mod world;

use std::sync::Arc;

use axum::{Json, Router, extract::Request, middleware::from_fn_with_state};
use serde_json::Value;

pub use self::guard::ControlAccess;
use self::{openapi::Routes, problem::Problem};
use crate::Mocks;

/// What an order comes to.
type Answer<T> = Result<T, Problem>;

fn routes() -> Routes {
    Routes::about("this API")
        .get(
            "/",
            (
                "showPage",
                "A page for people: what the mocks hold now, and what they were asked last.",
            ),
            page::show,
        )
        .get("/openapi.json", ("describe", "This document."), describe)
        .and(world::routes())
        .and(user::routes())
        .and(journal::routes())
        .and(fault::routes())
        .and(stubs::routes())
        .and(keycloak::routes())
        .and(token::routes())
        .and(gitlab::routes())
        .and(backend::routes())
        .and(gateway::routes())
}

/// The routes of the control API.
pub(crate) fn router(mocks: &Mocks) -> Router {
    routes()
        .router()
        .fallback(nowhere)
        .method_not_allowed_fallback(no_such_verb)
        .with_state(mocks.clone())
}

/// The same for a listener that serves these callers.
pub(crate) fn guarded_router(mocks: &Mocks, access: ControlAccess) -> Router {
    router(mocks).layer(from_fn_with_state(Arc::new(access), guard::check))
}

/// What the control API says of itself (OpenAPI 3.1).
pub fn document() -> Value {
    routes().document()
}

async fn describe() -> Json<Value> {
    Json(document())
}

async fn nowhere(request: Request) -> Problem {
    let path = request.uri().path();
    Problem::new(404, "No such path", format!("the control API has no `{path}`"))
}

async fn no_such_verb(request: Request) -> Problem {
    let (method, path) = (request.method(), request.uri().path());
    Problem::new(405, "No such verb", format!("`{path}` takes no {method}"))
}
