//! GitLab: what happens in projects, as event streams, hooks and the REST API tell it.

mod api;
mod delivery;
mod emit;
mod events;
pub mod fault;
pub mod generate;
mod health;
mod hook;
mod hooks;
pub(crate) mod hub;
mod lists;
mod paging;
mod payload;
mod project;
pub mod rate;
pub(crate) mod store;
mod stream;

use std::sync::Arc;

use axum::{
    Json, Router,
    http::StatusCode,
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodRouter, delete, get},
};
use serde_json::json;

use self::{
    hook::Hooks,
    project::{Instance, Project},
    rate::Limiter,
};
use crate::{
    Shared,
    call::Call,
    clocks::Mock,
    config::MocksConfig,
    route::{EVENTS, HOOKS, ISSUES, MERGE_REQUESTS, PIPELINES, PROJECT, STREAM, TOKENS, USER, VERSION},
    shelf::Shelf,
    world::World,
};

/// The routes of GitLab.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let several = || shared.gated(STREAM, get(stream::of_several_types));
    // The rate limit is for the REST API only, and counts what the gate lets through.
    let api = |route, handler: MethodRouter<Arc<Shared>>| {
        let limited = middleware::from_fn_with_state(Arc::clone(shared), rate::pass);
        shared.gated(route, handler.layer(limited))
    };
    Router::new()
        .route(
            "/project/{id}/{event}",
            shared.gated(STREAM, get(stream::of_one_type)),
        )
        .route("/project/{id}", several())
        .route("/api/v4/projects/{id}/events/stream", several())
        .route("/api/v4/projects/{id}", api(PROJECT, get(api::project)))
        .route("/api/v4/projects/{id}/events", api(EVENTS, get(events::list)))
        .route(
            "/api/v4/projects/{id}/pipelines",
            api(PIPELINES, get(lists::pipelines)),
        )
        .route("/api/v4/projects/{id}/issues", api(ISSUES, get(lists::issues)))
        .route(
            "/api/v4/projects/{id}/merge_requests",
            api(MERGE_REQUESTS, get(lists::merge_requests)),
        )
        .route(
            "/api/v4/projects/{id}/hooks",
            api(HOOKS, get(hooks::list).post(hooks::add)),
        )
        .route(
            "/api/v4/projects/{id}/hooks/{hook}",
            api(HOOKS, get(hooks::one).delete(hooks::remove)),
        )
        .route("/api/v4/user", api(USER, get(api::user)))
        .route(
            "/api/v4/personal_access_tokens/self",
            api(TOKENS, delete(api::revoke)),
        )
        .route("/api/v4/version", api(VERSION, get(api::version)))
        .route("/api/v4/metadata", api(VERSION, get(api::metadata)))
        .with_state(Arc::clone(shared))
}

/// What GitLab keeps beside events and their readers.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Where it says that it is.
    pub(crate) instance: Instance,
    /// Tokens that are taken no more, by their ids.
    revoked: Shelf<()>,
    pub(crate) limiter: Limiter,
    hooks: Hooks,
}

impl Kept {
    pub(crate) fn new(config: &MocksConfig) -> Self {
        Self {
            instance: Instance::new(&config.gitlab_url),
            revoked: Shelf::new(config.logins_kept),
            limiter: Limiter::new(config.gitlab_rate_limit),
            hooks: Hooks::default(),
        }
    }
}

/// Who calls, and with which token.
pub(crate) struct Caller {
    pub(crate) user: String,
    /// The token's id.
    pub(crate) token: String,
}

/// Who calls. As GitLab's tokens are its own, a session that ended at Keycloak goes unnoticed.
pub(crate) fn caller(world: &World, shared: &Shared, call: &Call) -> Option<Caller> {
    let sent = [
        call.header("private-token"),
        call.bearer(),
        call.query("access_token"),
        call.query("private_token"),
    ];
    let claims = world.access(shared, sent.into_iter().flatten().next()?, Mock::Gitlab)?;
    let token = claims.text("jti").to_owned();
    let user = world.user_of(&claims)?;
    world
        .gitlab
        .revoked
        .get(&token)
        .is_none()
        .then_some(Caller { user, token })
}

impl World {
    /// The project named so, if the user may see it.
    pub(crate) fn project(&self, user: &str, name: &str) -> Option<Project> {
        let project = Project::parse(name)?;
        let is_seen = self.users.get(user)?.spec.projects.contains(&project.0);
        is_seen.then_some(project)
    }
}

/// An answer that is only a message.
pub(crate) fn message(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "message": text }))).into_response()
}
