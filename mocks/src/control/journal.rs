//! The journal over HTTP: list, count, and wait for calls without sleeping.

use std::time::Duration;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::fmt::serde::unsigned_duration::friendly::compact as text;
use serde::Deserialize;
use serde_json::json;

use super::{Answer, Order, Problem, done};
use crate::{Mocks, journal::Filter};

/// Nobody waits longer than this for calls.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

pub(super) async fn list(
    State(mocks): State<Mocks>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Answer {
    let Query(filter) = filter.map_err(|error| Problem::new(400, "Not a filter", error.body_text()))?;
    let entries = mocks.shared().world().journal.list(&filter.search()?);
    Ok(Json(entries).into_response())
}

pub(super) async fn clear(State(mocks): State<Mocks>) -> Response {
    mocks.shared().world().journal.clear();
    done()
}

pub(super) async fn count(State(mocks): State<Mocks>, Order(filter): Order<Filter>) -> Answer {
    let count = mocks.shared().world().journal.count(&filter.search()?);
    Ok(Json(json!({ "count": count })).into_response())
}

/// Calls to wait for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    #[serde(default, rename = "match")]
    filter: Filter,
    at_least: usize,
    /// Scenario time.
    #[serde(with = "text::required")]
    within: Duration,
}

/// Answers 200 as soon as there are enough calls, else 408 when the time is over; both with how many there are.
pub(super) async fn wait(State(mocks): State<Mocks>, Order(wait): Order<Wait>) -> Answer {
    let shared = mocks.shared();
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
    let status = if came.is_ok() {
        StatusCode::OK
    } else {
        StatusCode::REQUEST_TIMEOUT
    };
    Ok((status, Json(json!({ "count": count }))).into_response())
}
