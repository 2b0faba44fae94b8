//! Orders about stubs: answers to requests that no route of the mocks owns.

use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Answer,
    openapi::Routes,
    wire::{At, Done, Made, Order},
};
use crate::{
    Mocks,
    stub::{HeldStub, Stub, UnusedStub},
};

/// Stubs that are held, and those that took no request.
#[derive(Serialize, JsonSchema)]
struct Stubs {
    /// Held now, with how many requests each took.
    stubs: Vec<HeldStub>,
    /// Took no request, also when they are gone.
    unused: Vec<UnusedStub>,
}

/// All stubs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AllStubs {
    /// In the order in which they are asked; none takes all away.
    stubs: Vec<Stub>,
}

/// A stub that was ordered.
#[derive(Serialize, JsonSchema)]
struct StubId {
    /// Its number.
    id: u64,
}

/// Stubs that were ordered.
#[derive(Serialize, JsonSchema)]
struct StubIds {
    /// Their numbers, in order.
    ids: Vec<u64>,
}

/// A stub.
#[derive(Deserialize, JsonSchema)]
struct OfStub {
    /// Its number.
    id: u64,
}

pub(super) fn routes() -> Routes {
    Routes::about("stubs")
        .get(
            "/stubs",
            (
                "listStubs",
                "Stubs that are held, with how many requests each took, and those that took none, also when they \
                 are gone.",
            ),
            list,
        )
        .post(
            "/stubs",
            ("addStub", "Answers requests that no route of the mocks owns."),
            add,
        )
        .put("/stubs", ("putStubs", "These stubs instead of any before."), replace)
        .delete("/stubs/{id}", ("removeStub", "Takes one stub away."), remove)
}

async fn list(State(mocks): State<Mocks>) -> Json<Stubs> {
    Json(Stubs {
        stubs: mocks.stubs(),
        unused: mocks.unused_stubs(),
    })
}

async fn add(State(mocks): State<Mocks>, Order(stub): Order<Stub>) -> Answer<Made<StubId>> {
    let id = mocks.add_stub(stub)?;
    Ok(Made(StubId { id }))
}

async fn replace(State(mocks): State<Mocks>, Order(all): Order<AllStubs>) -> Answer<Json<StubIds>> {
    let ids = mocks.put_stubs(all.stubs)?;
    Ok(Json(StubIds { ids }))
}

async fn remove(State(mocks): State<Mocks>, At(at): At<OfStub>) -> Answer<Done> {
    mocks.remove_stub(at.id)?;
    Ok(Done)
}
