//! Orders about the whole: state, reset, seed, clocks, and changes of the world.

use std::collections::{BTreeMap, BTreeSet};

use axum::{Json, extract::State as Shared};
use polytab_seams::random::Random;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Answer,
    openapi::Routes,
    wire::{Done, Order, Whole},
};
use crate::{
    Mocks,
    clocks::{ClockOrder, Mock},
    error::ControlError,
    order::{Change, UnmatchedCall},
    route::{ROUTES, Route},
    state::{Part, State},
    world::World,
};

/// What a reset leaves as it is.
///
/// ```json
/// { "keep": ["users"] }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResetOrder {
    /// These parts; nothing, unless told.
    pub keep: BTreeSet<Part>,
}

/// On what ids, tokens and chances depend from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// The same seed gives the same, for each user and purpose, whatever else is asked for meanwhile.
    pub seed: u64,
}

/// What clocks show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Clocks(pub BTreeMap<Mock, String>);

impl Mocks {
    /// The whole state as one document, without secrets.
    pub fn state(&self) -> State {
        self.0.world().state(&self.0)
    }

    /// Replaces everything as a reset would, and loads a document. Secrets that it does not tell stay.
    ///
    /// # Errors
    ///
    /// When the document cannot be loaded: what is wrong with it, and where. Nothing is changed then.
    pub fn put_state(&self, state: &State) -> Result<(), ControlError> {
        let mut world = self.0.world();
        let shared = (&self.0.config, &self.0.keys);
        let fresh = World::loaded(shared, world.base_seams(), (state, Some(&*world)))?;
        world.start_over(fresh, &BTreeSet::new());
        Ok(())
    }

    /// Goes back to the state that the mocks were started with, but for the parts that are kept. Open streams and held
    /// calls end. A seed begins anew, unless users or realms are kept.
    ///
    /// # Panics
    ///
    /// Never: the mocks were started with this state.
    pub fn start_over(&self, order: &ResetOrder) {
        let mut world = self.0.world();
        let fresh = self.0.started(world.base_seams());
        world.start_over(fresh, &order.keep);
    }

    /// From now on ids, tokens and chances depend on this.
    pub fn set_seed(&self, seed: Seed) {
        self.0.world().seams.random = Random::seeded(seed.seed);
    }

    /// Turns clocks; gives what all of them show then.
    ///
    /// # Errors
    ///
    /// When a clock would be further off than it can be. Nothing is changed then.
    pub fn turn_clocks(&self, order: ClockOrder) -> Result<Clocks, ControlError> {
        let mut world = self.0.world();
        let real = world.now();
        world.clocks.turn(order, real)?;
        let shown = Mock::ALL.map(|mock| (mock, world.now_at(mock).to_string()));
        Ok(Clocks(shown.into()))
    }

    /// Changes the world.
    ///
    /// # Errors
    ///
    /// When there is no such user, or a value is none that the service could have. Nothing is changed then.
    pub fn change(&self, change: Change) -> Result<(), ControlError> {
        self.0.world().change(change)
    }

    /// Requests that no route took.
    pub fn unmatched(&self) -> Vec<UnmatchedCall> {
        self.0.world().unmatched.clone()
    }
}

pub(super) fn routes() -> Routes {
    Routes::about("the world")
        .get(
            "/state",
            (
                "readState",
                "The whole state as one document. Secrets are not in it; it can be put back.",
            ),
            state,
        )
        .put(
            "/state",
            (
                "putState",
                "Replaces everything as a reset would, and loads a document. All of it or nothing: when \
                 something is wrong, `detail` says what and where. A user's password and a client's secret \
                 that the document does not tell stay what they are.",
            ),
            put_state,
        )
        .post(
            "/reset",
            (
                "reset",
                "Goes back to the state that the mocks were started with. Open streams and held calls end. A \
                 seed begins anew, unless users or realms are kept.",
            ),
            reset,
        )
        .post(
            "/seed",
            (
                "setSeed",
                "From now on ids, tokens and chances depend on this number.",
            ),
            seed,
        )
        .post(
            "/clock",
            (
                "turnClock",
                "Turns the clocks of mocks; answers what all of them show then. Nothing is woken by it: \
                 heart-beats, held answers and calls of hooks go by the time that really passes.",
            ),
            clock,
        )
        .post(
            "/change",
            (
                "change",
                "Changes the world. Absent fields stay as they are; all of it is done or nothing.",
            ),
            change,
        )
        .get(
            "/routes",
            (
                "listRoutes",
                "The routes of the mocks: names that faults, holds and the journal go by.",
            ),
            list_routes,
        )
        .get(
            "/unmatched",
            (
                "listUnmatched",
                "Requests that no route took, with the route that each is most like.",
            ),
            unmatched,
        )
}

async fn state(Shared(mocks): Shared<Mocks>) -> Json<State> {
    Json(mocks.state())
}

async fn put_state(Shared(mocks): Shared<Mocks>, Whole(state): Whole<State>) -> Answer<Done> {
    mocks.put_state(&state)?;
    Ok(Done)
}

async fn reset(Shared(mocks): Shared<Mocks>, Order(order): Order<ResetOrder>) -> Answer<Done> {
    mocks.start_over(&order);
    Ok(Done)
}

async fn seed(Shared(mocks): Shared<Mocks>, Order(seed): Order<Seed>) -> Answer<Done> {
    mocks.set_seed(seed);
    Ok(Done)
}

async fn clock(Shared(mocks): Shared<Mocks>, Order(order): Order<ClockOrder>) -> Answer<Json<Clocks>> {
    Ok(Json(mocks.turn_clocks(order)?))
}

async fn change(Shared(mocks): Shared<Mocks>, Order(change): Order<Change>) -> Answer<Done> {
    mocks.change(change)?;
    Ok(Done)
}

async fn list_routes() -> Json<Vec<Route>> {
    Json(ROUTES.to_vec())
}

async fn unmatched(Shared(mocks): Shared<Mocks>) -> Json<Vec<UnmatchedCall>> {
    Json(mocks.unmatched())
}
