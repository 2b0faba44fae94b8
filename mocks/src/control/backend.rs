//! Orders about backend sessions that go their own way; the functions are in [`crate::backend::plan`].

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Answer,
    openapi::Routes,
    wire::{At, Done, Made, Order},
};
use crate::{
    Mocks,
    backend::plan::{LaunchOrder, PlanOrder, SessionOrder},
    order::Verb,
};

/// Sessions that were launched.
#[derive(Serialize, JsonSchema)]
struct SessionNames {
    /// Their names.
    sessions: Vec<String>,
}

pub(super) fn routes() -> Routes {
    Routes::about("backend")
        .post(
            "/sessions",
            (
                "launch",
                "Launches a backend session that then goes its own way. Answers it as the data service shows \
                 it.",
            ),
            launch,
        )
        .post(
            "/sessions/{name}/{verb}",
            (
                "orderSession",
                "Orders something of a backend session, which takes effect in its own time.",
            ),
            order,
        )
        .post(
            "/plans",
            ("plan", "Launches backend sessions that have something in common."),
            plan,
        )
}

/// A session, and what happens to it.
#[derive(Deserialize, JsonSchema)]
struct OfSession {
    /// The session's name.
    name: String,
    /// What happens to it.
    verb: Verb,
}

async fn launch(State(mocks): State<Mocks>, Order(order): Order<LaunchOrder>) -> Answer<Made<Value>> {
    Ok(Made(mocks.launch(&order)?))
}

async fn order(
    State(mocks): State<Mocks>,
    At(at): At<OfSession>,
    Order(order): Order<SessionOrder>,
) -> Answer<Done> {
    mocks.order_session(&at.name, at.verb, &order)?;
    Ok(Done)
}

async fn plan(State(mocks): State<Mocks>, Order(order): Order<PlanOrder>) -> Answer<Made<SessionNames>> {
    let sessions = mocks.plan(&order)?;
    Ok(Made(SessionNames { sessions }))
}
