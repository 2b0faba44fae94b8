//! Why an order was not carried out, as problem details.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::ControlError;

/// Why an order was not carried out (RFC 9457). Nothing was changed.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    title: &'static str,
    detail: String,
    nearest: Option<String>,
}

/// Problem details (RFC 9457).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct Details {
    /// `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The same for all problems of a kind.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong here, and where.
    detail: String,
    /// What was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<String>,
}

impl Problem {
    pub(super) fn new(status: u16, title: &'static str, detail: String) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST),
            title,
            detail,
            nearest: None,
        }
    }
}

/// Status and title of an error.
fn kind(error: &ControlError) -> (u16, &'static str) {
    match error {
        ControlError::UnknownRoute { .. } => (404, "No such route"),
        ControlError::UnknownUser { .. } => (404, "No such user"),
        ControlError::UnknownRealm { .. } => (404, "No such realm"),
        ControlError::UnknownClient { .. } => (404, "No such client"),
        ControlError::UnknownLogin(_) | ControlError::NoLoginSession { .. } => (404, "No such login session"),
        ControlError::NoBackendSession { .. } => (404, "No such backend session"),
        ControlError::UnknownFault(_) => (404, "No such fault"),
        ControlError::UnknownStream(_) => (404, "No such stream"),
        ControlError::UnknownStub(_) => (404, "No such stub"),
        ControlError::NoBackchannel => (409, "Nobody to tell"),
        ControlError::UnknownSetting { .. } => (422, "No such setting"),
        ControlError::BadSetting(_) => (422, "Not a setting of a realm"),
        ControlError::Within { .. }
        | ControlError::UserMissing(_)
        | ControlError::BadValue { .. }
        | ControlError::ZeroTimes
        | ControlError::BadStub { .. }
        | ControlError::OwnedPath { .. }
        | ControlError::OneOfStubs { .. }
        | ControlError::TooManyStubs(_) => (422, "Not an order that can be carried out"),
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        let (status, title) = kind(&error);
        Self {
            nearest: error.nearest().map(str::to_owned),
            ..Self::new(status, title, error.to_string())
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Details {
            kind: "about:blank",
            title: self.title,
            status: self.status.as_u16(),
            detail: self.detail,
            nearest: self.nearest,
        };
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (self.status, kind, Json(body)).into_response()
    }
}
