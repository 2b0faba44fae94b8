//! Orders about what the gateway keeps.

use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Answer,
    openapi::Routes,
    wire::{Done, Order},
};
use crate::{Mocks, clocks::Mock, error::ControlError, order::Expiry, state::live::SignedIn};

/// What of whose is over.
///
/// ```json
/// { "user": "ada", "what": "access" }
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Over {
    /// The user.
    user: String,
    /// What is over.
    what: Expiry,
}

impl Mocks {
    /// Who is signed in at the gateway, in which browser.
    pub fn gateway_sessions(&self) -> Vec<SignedIn> {
        self.0.world().signed_in()
    }

    /// What the gateway holds of a user's is over.
    ///
    /// # Errors
    ///
    /// When there is no such user.
    pub fn expire_at_gateway(&self, user: &str, what: Expiry) -> Result<(), ControlError> {
        let mut world = self.0.world();
        world.user(user)?;
        let now = world.now_at(Mock::Gateway);
        world.gateway.expire(user, what, now);
        Ok(())
    }
}

pub(super) fn routes() -> Routes {
    Routes::about("gateway")
        .get(
            "/gateway/sessions",
            (
                "listGatewaySessions",
                "Who is signed in at the gateway, in which browser.",
            ),
            sessions,
        )
        .post(
            "/gateway/expire",
            (
                "expireAtGateway",
                "Something that the gateway keeps of a user's is over.",
            ),
            expire,
        )
}

async fn sessions(State(mocks): State<Mocks>) -> Json<Vec<SignedIn>> {
    Json(mocks.gateway_sessions())
}

async fn expire(State(mocks): State<Mocks>, Order(over): Order<Over>) -> Answer<Done> {
    mocks.expire_at_gateway(&over.user, over.what)?;
    Ok(Done)
}
