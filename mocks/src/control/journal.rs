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

async fn list(State(mocks): State<Mocks>, Asked(filter): Asked<Filter>) -> Answer<Json<Vec<Entry>>> {
    Ok(Json(mocks.0.world().journal.list(&filter.search()?)))
}

async fn totals(State(mocks): State<Mocks>) -> Json<BTreeMap<&'static str, u64>> {
    Json(mocks.0.world().journal.totals().clone())
}

async fn clear(State(mocks): State<Mocks>) -> Done {
    mocks.0.world().journal.clear();
    Done
}

async fn count(State(mocks): State<Mocks>, Order(filter): Order<Filter>) -> Answer<Json<Count>> {
    let count = mocks.0.world().journal.count(&filter.search()?);
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
    let shared = &mocks.0;
    let search = wait.filter.search()?;
    let enough = async {
        loop {
            // Registered before the count, so that no call between the two is missed.
            let arrived = shared.arrived.notified();
            if shared.world().journal.count(&search) >= wait.at_least {
                return;
            }
            arrived.await;
        }
    };
    let patience = shared.config.scaled(wait.within.min(LONGEST_WAIT));
    let came = tokio::time::timeout(patience, enough).await;
    let count = shared.world().journal.count(&search);
    Ok(Awaited {
        is_enough: came.is_ok(),
        count: Count { count },
    })
}
