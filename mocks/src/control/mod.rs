//! The control API: everything that can be ordered of the mocks, over HTTP, with errors as problem details (RFC 9457).

mod backend;
mod gateway;
mod gitlab;
mod journal;
mod keycloak;
mod page;
mod problem;
mod state;
mod stubs;

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{FromRequest, Path, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, get, post, put},
};
use polytab_protocol::topic::Topic;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use self::problem::Problem;
use crate::{
    Mocks, Shared,
    order::{Change, EndHow, FaultOrder, HoldOrder, UserSpec, Verb},
    route::ROUTES,
};

/// What an order comes to.
type Answer = Result<Response, Problem>;

/// The routes of the control API.
pub(crate) fn router(mocks: &Mocks) -> Router {
    Router::new()
        .route("/", get(page::show))
        .route("/state", get(state::read))
        .route("/reset", post(reset))
        .route("/routes", get(routes))
        .route("/users/{name}", put(put_user))
        .route("/users/{name}/sessions/{session}/{verb}", post(step))
        .route("/cookies/{value}", put(put_cookie))
        .route("/change", post(change))
        .route("/events", post(emit))
        .route("/logins/end", post(end_login))
        .route("/faults", get(faults).post(arm))
        .route("/faults/{id}", delete(disarm))
        .route("/heal", post(heal))
        .route("/hold", post(hold))
        .route("/release", post(release))
        .route("/journal", get(journal::list).delete(journal::clear))
        .route("/journal/count", post(journal::count))
        .route("/journal/wait", post(journal::wait))
        .route("/unmatched", get(unmatched))
        .merge(keycloak::router())
        .merge(gitlab::routes())
        .merge(backend::router())
        .merge(gateway::router())
        .merge(stubs::router())
        .fallback(nowhere)
        .method_not_allowed_fallback(no_such_verb)
        .with_state(mocks.clone())
}

impl Mocks {
    fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

/// A JSON body; what is wrong with it is said with its place.
struct Order<T>(T);

impl<T: DeserializeOwned> FromRequest<Mocks> for Order<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, mocks: &Mocks) -> Result<Self, Problem> {
        let limit = mocks.shared().config.body_bytes;
        let body = axum::body::to_bytes(request.into_body(), limit)
            .await
            .map_err(|_| Problem::new(413, "Body too large", format!("at most {limit} bytes are taken")))?;
        read(&body).map(Self)
    }
}

/// An order without a body is one that says nothing.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    let body = if body.is_empty() { b"{}" } else { &body[..] };
    serde_json::from_slice(body).map_err(|error| Problem::new(400, "Not an order", error.to_string()))
}

fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

async fn nowhere(request: Request) -> Problem {
    let path = request.uri().path();
    Problem::new(404, "No such path", format!("the control API has no `{path}`"))
}

async fn no_such_verb(request: Request) -> Problem {
    let (method, path) = (request.method(), request.uri().path());
    Problem::new(405, "No such verb", format!("`{path}` takes no {method}"))
}

async fn reset(State(mocks): State<Mocks>) -> Answer {
    let seams = mocks.shared().world().seams.clone();
    mocks.reset(seams);
    Ok(done())
}

async fn routes() -> Json<Value> {
    let routes: Vec<_> = ROUTES
        .iter()
        .map(|route| json!({"name": route.name, "path": route.path, "about": route.about}))
        .collect();
    Json(routes.into())
}

async fn put_user(
    State(mocks): State<Mocks>,
    Path(name): Path<String>,
    Order(spec): Order<UserSpec>,
) -> Answer {
    mocks.put_user(&name, spec)?;
    Ok(Json(json!({"subject": mocks.subject(&name)})).into_response())
}

async fn step(
    State(mocks): State<Mocks>,
    Path((user, session, verb)): Path<(String, String, String)>,
) -> Answer {
    let verb: Verb = serde_json::from_value(verb.into())
        .map_err(|error| Problem::new(404, "No such verb of a session", error.to_string()))?;
    mocks.step(&user, &session, verb)?;
    Ok(done())
}

/// Whose a cookie is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    user: String,
    browser: String,
}

async fn put_cookie(
    State(mocks): State<Mocks>,
    Path(value): Path<String>,
    Order(owner): Order<Owner>,
) -> Answer {
    mocks.put_cookie(&value, &owner.user, &owner.browser)?;
    Ok(done())
}

async fn change(State(mocks): State<Mocks>, Order(change): Order<Change>) -> Answer {
    mocks.change(change)?;
    Ok(done())
}

/// An event of GitLab's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Emit {
    topic: String,
    #[serde(default)]
    payload: Value,
}

async fn emit(State(mocks): State<Mocks>, Order(order): Order<Emit>) -> Answer {
    let topic: Topic = order
        .topic
        .parse()
        .map_err(|error| Problem::new(422, "Not a topic", format!("`{}`: {error}", order.topic)))?;
    let id = mocks.emit(topic, &order.payload);
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))).into_response())
}

/// A login session that is to end.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndLogin {
    user: String,
    browser: String,
    how: EndHow,
}

async fn end_login(State(mocks): State<Mocks>, Order(order): Order<EndLogin>) -> Answer {
    mocks.end_session(&order.user, &order.browser, order.how).await?;
    Ok(done())
}

async fn faults(State(mocks): State<Mocks>) -> Json<Value> {
    let world = mocks.shared().world();
    Json(json!({"armed": world.orders.armed(), "unused": world.orders.unused()}))
}

async fn arm(State(mocks): State<Mocks>, Order(fault): Order<FaultOrder>) -> Answer {
    let id = mocks.arm(fault)?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))).into_response())
}

async fn disarm(State(mocks): State<Mocks>, Path(id): Path<u64>) -> Answer {
    mocks.shared().world().orders.disarm(id)?;
    Ok(done())
}

/// Which routes an order is about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct On {
    route: String,
}

async fn heal(State(mocks): State<Mocks>, Order(on): Order<On>) -> Answer {
    mocks.heal(&on.route)?;
    Ok(done())
}

async fn hold(State(mocks): State<Mocks>, Order(order): Order<HoldOrder>) -> Answer {
    mocks.hold(order)?;
    Ok(done())
}

async fn release(State(mocks): State<Mocks>, Order(on): Order<On>) -> Answer {
    let released = mocks.release(&on.route)?;
    Ok(Json(json!({ "released": released })).into_response())
}

async fn unmatched(State(mocks): State<Mocks>) -> Json<Value> {
    Json(json!(mocks.unmatched()))
}
