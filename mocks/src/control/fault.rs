//! Orders about misbehaviour: faults, and answers that are held back.

use std::time::Duration;

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
    error::ControlError,
    fault::{action::FaultAction, orders::Firing},
    order::{FaultOrder, HoldOrder, UnusedFault},
    route::{STREAM, Selector},
    world::{Wait, World},
};

/// Faults that may still be met, and those that never were.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Faults {
    /// May still be met.
    pub armed: Vec<UnusedFault>,
    /// Met no call since they were ordered, healed ones too.
    pub unused: Vec<UnusedFault>,
}

/// A fault that was ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FaultId {
    /// Its number.
    pub id: u64,
}

/// Answers that were let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Released {
    /// How many were waiting.
    pub released: usize,
}

/// Which routes an order is about.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OnRoute")]
struct On {
    /// A route's name, a service for all of its routes, or `all`.
    route: String,
}

impl Mocks {
    /// Orders a fault; gives its number.
    ///
    /// # Errors
    ///
    /// When no such route or user exists, or it would never fire.
    pub fn arm(&self, fault: FaultOrder) -> Result<u64, ControlError> {
        self.0.world().arm(fault)
    }

    /// Takes one fault away.
    ///
    /// # Errors
    ///
    /// When no fault has that number.
    pub fn disarm(&self, id: u64) -> Result<(), ControlError> {
        self.0.world().orders.disarm(id)
    }

    /// Faults that may still be met, and those that never were.
    pub fn faults(&self) -> Faults {
        let world = self.0.world();
        Faults {
            armed: world.orders.armed(),
            unused: world.orders.unused(),
        }
    }

    /// Faults that met no call since they were ordered, healed ones too.
    pub fn unused_faults(&self) -> Vec<UnusedFault> {
        self.0.world().orders.unused()
    }

    /// Takes away the faults of a route, a service or `all`; calls that hang there end with a reset.
    ///
    /// # Errors
    ///
    /// When no such route exists.
    pub fn heal(&self, route: &str) -> Result<(), ControlError> {
        let selector = Selector::parse(route)?;
        let mut world = self.0.world();
        world.orders.heal(&selector);
        world.wake(&selector, Wait::Hung);
        Ok(())
    }

    /// Orders answers to be held back.
    ///
    /// # Errors
    ///
    /// When no such route or user exists, or nothing would be held.
    pub fn hold(&self, order: HoldOrder) -> Result<(), ControlError> {
        self.0.world().hold(order)
    }

    /// Lets held answers go, and holds no more; gives how many were waiting.
    ///
    /// # Errors
    ///
    /// When no such route exists.
    pub fn release(&self, route: &str) -> Result<usize, ControlError> {
        let selector = Selector::parse(route)?;
        let mut world = self.0.world();
        world.orders.release(&selector);
        Ok(world.wake(&selector, Wait::Held))
    }
}

impl World {
    pub(crate) fn arm(&mut self, order: FaultOrder) -> Result<u64, ControlError> {
        if let Some(user) = &order.on.user {
            self.user(user)?;
        }
        let (on, action) = (order.on.clone(), order.action.clone());
        // Which openings of streams are cut, `when` tells of those to come.
        let is_now = action == FaultAction::DropStreams && order.when.is_none();
        let selector = on.selector()?;
        let now = self.now();
        let id = self.orders.arm(order, now)?;
        if is_now && selector.matches(STREAM) {
            let cut = self.hub.cut(&on);
            let firing = Firing {
                id,
                action,
                wait: Duration::ZERO,
            };
            if !cut.is_empty() {
                self.fired(&firing, STREAM);
            }
            self.orders.spend(id, !cut.is_empty());
            self.streams_closed(cut);
        }
        Ok(id)
    }
}

pub(super) fn routes() -> Routes {
    Routes::about("misbehaviour")
        .get(
            "/faults",
            (
                "listFaults",
                "Faults that may still be met, and those that never were.",
            ),
            faults,
        )
        .post("/faults", ("armFault", "Orders a fault."), arm)
        .delete("/faults/{id}", ("disarmFault", "Takes one fault away."), disarm)
        .post(
            "/heal",
            (
                "heal",
                "Takes away the faults of a route, a service or `all`. Calls that hang there end with a \
                 reset.",
            ),
            heal,
        )
        .post(
            "/hold",
            (
                "hold",
                "Holds answers back: they are made at once, and sent on release.",
            ),
            hold,
        )
        .post(
            "/release",
            ("release", "Lets held answers go, and holds no more."),
            release,
        )
}

/// A fault.
#[derive(Deserialize, JsonSchema)]
struct OfFault {
    /// Its number.
    id: u64,
}

async fn faults(State(mocks): State<Mocks>) -> Json<Faults> {
    Json(mocks.faults())
}

async fn arm(State(mocks): State<Mocks>, Order(fault): Order<FaultOrder>) -> Answer<Made<FaultId>> {
    let id = mocks.arm(fault)?;
    Ok(Made(FaultId { id }))
}

async fn disarm(State(mocks): State<Mocks>, At(at): At<OfFault>) -> Answer<Done> {
    mocks.disarm(at.id)?;
    Ok(Done)
}

async fn heal(State(mocks): State<Mocks>, Order(on): Order<On>) -> Answer<Done> {
    mocks.heal(&on.route)?;
    Ok(Done)
}

async fn hold(State(mocks): State<Mocks>, Order(order): Order<HoldOrder>) -> Answer<Done> {
    mocks.hold(order)?;
    Ok(Done)
}

async fn release(State(mocks): State<Mocks>, Order(on): Order<On>) -> Answer<Json<Released>> {
    let released = mocks.release(&on.route)?;
    Ok(Json(Released { released }))
}
