//! How the data service refuses: one shape for all of its errors, its library's too (MOCKS B1).

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::items::NoRoom;

/// What is said of a body, a path or a query of another form.
pub(crate) const NOT_VALID: &str = "The validation failed";

/// A refusal of the data service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataError {
    status: u16,
    message: String,
    detail: Option<String>,
}

impl DataError {
    pub(crate) fn new(status: u16, message: &str) -> Self {
        Self {
            status,
            message: message.to_owned(),
            detail: None,
        }
    }

    /// 422, and why.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::new(422, NOT_VALID)
        }
    }

    /// 404: there is none of that name, or it is somebody else's.
    pub(crate) fn no_session(name: &str) -> Self {
        Self::new(
            404,
            &format!("The session with name {name} does not exist or you have no access to it"),
        )
    }
}

impl From<NoRoom> for DataError {
    fn from(reason: NoRoom) -> Self {
        Self::invalid(match reason {
            NoRoom::Quota => "The quota of the resource class is used up",
            NoRoom::Limit => "There are too many sessions already",
        })
    }
}

impl IntoResponse for DataError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut error = json!({"code": 1000 + self.status, "message": self.message});
        if let Some(detail) = self.detail {
            error["detail"] = detail.into();
        }
        (status, Json(json!({ "error": error }))).into_response()
    }
}
