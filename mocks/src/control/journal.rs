//! The journal over HTTP: list, count, and wait for calls without sleeping.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::fmt::serde::unsigned_duration::friendly::compact as text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Answer,
    openapi::{Output, Page, Routes},
    wire::{Asked, Done, Order},
};
use crate::{
    Mocks,
    error::ControlError,
    journal::{Entry, Filter},
};

/// Nobody waits longer than this for calls.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

pub(super) fn routes() -> Routes {
    Routes::about("calls")
        .get(
            "/journal",
            ("listCalls", "Calls until now, oldest first. Secrets are replaced by a short hash."),
            list,
        )
        .delete("/journal", ("clearJournal", "Forgets all calls until now."), clear)
        .get(
            "/journal/totals",
            (
                "totalCalls",
                "How many calls there were on each route, by its name. Counts on when the journal is full, and from \
                 nothing when it is cleared.",
            ),
            totals,
        )
        .post("/journal/count", ("countCalls", "How many calls there were."), count)
        .post(
            "/journal/wait",
            (
                "awaitCalls",
                "Waits for calls. 200 as soon as there are enough, else 408 when the time is over; both with how many \
                 there are.",
            ),
            wait,
        )
}

/// How many calls there were.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CallCount")]
struct Count {
    /// So many.
    count: usize,
}

/// Calls that came in time, or did not.
struct Awaited {
    is_enough: bool,
    count: Count,
}

impl IntoResponse for Awaited {
    fn into_response(self) -> Response {
        let status = if self.is_enough {
            StatusCode::OK
        } else {
            StatusCode::REQUEST_TIMEOUT
        };
        (status, Json(self.count)).into_response()
    }
}

impl Output for Awaited {
    fn tell(page: &mut Page<'_>) {
        page.answer::<Count>("200", "there are enough");
        page.answer::<Count>("408", "the time is over, and there are not enough");
    }
}

impl Mocks {
    /// Calls until now, oldest first.
    ///
    /// # Errors
    ///
    /// When no route is called as the filter says.
    pub fn calls(&self, filter: Filter) -> Result<Vec<Entry>, ControlError> {
        Ok(self.0.world().journal.list(&filter.search()?))
    }

    /// How many calls there were, of those that are still kept.
    ///
    /// # Errors
    ///
    /// When no route is called as the filter says.
    pub fn count_calls(&self, filter: Filter) -> Result<usize, ControlError> {
        Ok(self.0.world().journal.count(&filter.search()?))
    }

    /// How many calls there were on each route since the journal was last cleared, by its name, kept or not.
    pub fn total_calls(&self) -> BTreeMap<&'static str, u64> {
        self.0.world().journal.totals().clone()
    }

    /// Forgets all calls until now.
    pub fn clear_calls(&self) {
        self.0.world().journal.clear();
    }

    /// Waits for so many calls, in scenario time and for ten minutes of real time at most; how many there are then, and
    /// whether these are enough. Cancel safe.
    ///
    /// # Errors
    ///
    /// When no route is called as the filter says.
    pub async fn await_calls(
        &self,
        filter: Filter,
        at_least: usize,
        within: Duration,
    ) -> Result<(usize, bool), ControlError> {
        let shared = &self.0;
        let search = filter.search()?;
        let enough = async {
            loop {
                // Registered before the count, so that no call between the two is missed.
                let arrived = shared.arrived.notified();
                if shared.world().journal.count(&search) >= at_least {
                    return;
                }
                arrived.await;
            }
        };
        let patience = shared.config.scaled(within.min(LONGEST_WAIT));
        let came = tokio::time::timeout(patience, enough).await;
        let count = shared.world().journal.count(&search);
        Ok((count, came.is_ok()))
    }
}

async fn list(State(mocks): State<Mocks>, Asked(filter): Asked<Filter>) -> Answer<Json<Vec<Entry>>> {
    Ok(Json(mocks.calls(filter)?))
}

async fn totals(State(mocks): State<Mocks>) -> Json<BTreeMap<&'static str, u64>> {
    Json(mocks.total_calls())
}

async fn clear(State(mocks): State<Mocks>) -> Done {
    mocks.clear_calls();
    Done
}

async fn count(State(mocks): State<Mocks>, Order(filter): Order<Filter>) -> Answer<Json<Count>> {
    let count = mocks.count_calls(filter)?;
    Ok(Json(Count { count }))
}

/// Calls to wait for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AwaitCalls")]
struct Wait {
    /// Which calls; all unless told.
    #[serde(default, rename = "match")]
    filter: Filter,
    /// How many.
    at_least: usize,
    /// Scenario time; at most ten minutes of real time.
    #[serde(with = "text::required")]
    #[schemars(with = "String")]
    within: Duration,
}

/// Answers as soon as there are enough calls, or when the time is over.
async fn wait(State(mocks): State<Mocks>, Order(wait): Order<Wait>) -> Answer<Awaited> {
    let (count, is_enough) = mocks.await_calls(wait.filter, wait.at_least, wait.within).await?;
    Ok(Awaited {
        is_enough,
        count: Count { count },
    })
}
