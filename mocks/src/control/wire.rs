//! How orders are read from requests, and answers written. What is wrong with a request is said with its place.

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_path_to_error::Segment;

use super::problem::Problem;
use crate::Mocks;

/// A JSON body.
pub(super) struct Order<T>(pub(super) T);

/// A JSON body that may be as large as a whole state.
pub(super) struct Whole<T>(pub(super) T);

/// What stands in the path.
pub(super) struct At<T>(pub(super) T);

/// What stands in the query.
pub(super) struct Asked<T>(pub(super) T);

/// 201, and what was made.
pub(super) struct Made<T>(pub(super) T);

/// 204: there is nothing more to be said.
pub(super) struct Done;

impl<T: DeserializeOwned> FromRequest<Mocks> for Order<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, mocks: &Mocks) -> Result<Self, Problem> {
        let body = whole(request, mocks.0.config.body_bytes).await?;
        read(&body).map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<Mocks> for Whole<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, mocks: &Mocks) -> Result<Self, Problem> {
        let body = whole(request, mocks.0.config.state_bytes).await?;
        read(&body).map(Self)
    }
}

async fn whole(request: Request, limit: usize) -> Result<Bytes, Problem> {
    axum::body::to_bytes(request.into_body(), limit)
        .await
        .map_err(|_| Problem::new(413, "Body too large", format!("at most {limit} bytes are taken")))
}

/// An order without a body is one that says nothing.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    let body = if body.is_empty() { b"{}" } else { &body[..] };
    // What has fields could be read from a list as well, and nobody would mean that.
    if body.trim_ascii_start().first() != Some(&b'{') {
        let detail = "an order is a JSON object".to_owned();
        return Err(Problem::new(400, "Not an order", detail));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let order = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let is_placed = error.path().iter().any(|part| !matches!(part, Segment::Unknown));
        let place = if is_placed {
            format!("`{}`: ", error.path())
        } else {
            String::new()
        };
        Problem::new(400, "Not an order", format!("{place}{}", error.inner()))
    })?;
    let rest = json.end();
    rest.map_err(|error| Problem::new(400, "Not an order", error.to_string()))?;
    Ok(order)
}

impl<T: DeserializeOwned + Send> FromRequestParts<Mocks> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, mocks: &Mocks) -> Result<Self, Problem> {
        let path = Path::<T>::from_request_parts(parts, mocks).await;
        path.map(|Path(path)| Self(path))
            .map_err(|error| Problem::new(404, "No such path", error.body_text()))
    }
}

impl<T: DeserializeOwned> FromRequestParts<Mocks> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, mocks: &Mocks) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, mocks).await;
        query
            .map(|Query(query)| Self(query))
            .map_err(|error| Problem::new(400, "Not a query", error.body_text()))
    }
}

impl<T: Serialize> IntoResponse for Made<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}
