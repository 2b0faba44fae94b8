//! Why an order was not carried out, as problem details.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::error::ControlError;

/// Why an order was not carried out (RFC 9457). Nothing was changed.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    title: &'static str,
    detail: String,
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

impl Problem {
    /// The same with what was probably meant.
    pub(super) fn with_nearest(self, nearest: Option<String>) -> Self {
        Self { nearest, ..self }
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        let (status, title) = match &error {
            ControlError::UnknownRoute { .. } => (404, "No such route"),
            ControlError::UnknownUser { .. } => (404, "No such user"),
            ControlError::NoLoginSession { .. } => (404, "No such login session"),
            ControlError::NoBackendSession { .. } => (404, "No such backend session"),
            ControlError::UnknownFault(_) => (404, "No such fault"),
            ControlError::UnknownStream(_) => (404, "No such stream"),
            ControlError::NoBackchannel => (409, "Nobody to tell"),
            ControlError::UnknownStub(_) => (404, "No such stub"),
            ControlError::UserMissing(_)
            | ControlError::BadValue { .. }
            | ControlError::ZeroTimes
            | ControlError::BadStub { .. }
            | ControlError::OwnedPath { .. }
            | ControlError::OneOfStubs { .. }
            | ControlError::TooManyStubs(_) => (422, "Not an order that can be carried out"),
        };
        Self {
            nearest: error.nearest().map(str::to_owned),
            ..Self::new(status, title, error.to_string())
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": "about:blank",
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(nearest) = self.nearest {
            body["nearest"] = nearest.into();
        }
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (self.status, kind, Json(body)).into_response()
    }
}
