//! Orders about what the gateway keeps.

use axum::{
    Json, Router,
    extract::State,
    response::IntoResponse,
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Order, done};
use crate::{Mocks, order::Expiry};

/// The routes about the gateway.
pub(super) fn router() -> Router<Mocks> {
    Router::new()
        .route("/gateway/sessions", get(sessions))
        .route("/gateway/expire", post(expire))
}

/// What of whose is over.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Over {
    user: String,
    what: Expiry,
}

/// `GET /gateway/sessions`: who is signed in, in which browser.
async fn sessions(State(mocks): State<Mocks>) -> Json<Value> {
    let world = mocks.shared().world();
    let sessions: Vec<_> = world
        .gateway
        .signed_in()
        .map(|(id, who)| json!({"id": id, "user": who.user, "browser": who.browser}))
        .collect();
    Json(sessions.into())
}

/// `POST /gateway/expire`: something that the gateway keeps is over.
///
/// ```json
/// { "user": "ada", "what": "access" }
/// ```
async fn expire(State(mocks): State<Mocks>, Order(over): Order<Over>) -> Answer {
    mocks.expire_at_gateway(&over.user, over.what)?;
    Ok(done().into_response())
}
