//! Alerts: what administrators tell users, about a session or at large (MOCKS B3).

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{caller::Caller, name::ulid, refusal::DataError, request::body};
use crate::{Shared, call::Call, clocks::Mock, shelf::Shelf, world::World};

type Asked = (State<Arc<Shared>>, Extension<Arc<Call>>);
type Answer = Result<Response, DataError>;

/// All alerts by their ids; the oldest make room.
#[derive(Debug)]
pub(crate) struct Alerts(Shelf<Alert>);

impl Alerts {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Shelf::new(limit))
    }
}

/// An alert as it is listed.
#[derive(Clone, Debug, Serialize)]
struct Alert {
    id: String,
    #[serde(flatten)]
    raised: Raised,
    creation_date: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_date: Option<Timestamp>,
}

/// What an administrator says of an alert.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Raised {
    title: String,
    message: String,
    event_type: String,
    /// The subject of the user.
    user_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_name: Option<String>,
}

/// What becomes of an alert.
#[derive(Debug, Deserialize)]
struct Resolution {
    resolved: bool,
}

/// `GET …/alerts`: the caller's, oldest first, of one session or all.
pub(super) async fn list((State(shared), Extension(call)): Asked) -> Answer {
    let world = shared.world();
    let subject = world.subject(&shared, &call)?;
    let session = call.query("session_name");
    let alerts: Vec<_> = world
        .alerts
        .0
        .iter()
        .map(|(_, alert)| alert)
        .filter(|alert| alert.raised.user_id == subject)
        .filter(|alert| session.is_none() || alert.raised.session_name.as_deref() == session)
        .collect();
    Ok(Json(alerts).into_response())
}

/// `POST …/alerts`: for administrators.
pub(super) async fn raise((State(shared), Extension(call)): Asked) -> Answer {
    let mut world = shared.world();
    let name = world.known_caller(&shared, &call)?;
    if !shared.config.admins.contains(&name) {
        return Err(DataError::new(
            403,
            "You do not have the required permissions for this operation",
        ));
    }
    let raised: Raised = body(&call)?;
    if world.users.by_subject(&raised.user_id).is_none() {
        return Err(DataError::new(
            404,
            &format!("The user with ID {} does not exist", raised.user_id),
        ));
    }
    let alert = Alert {
        id: ulid(&world.seams.random, "alerts/id"),
        raised,
        creation_date: world.now_at(Mock::Backend),
        resolved_date: None,
    };
    world.alerts.0.put(alert.id.clone(), alert.clone());
    Ok((StatusCode::CREATED, Json(alert)).into_response())
}

/// `PATCH …/alerts/{id}`: the caller's alert is resolved, or open again.
pub(super) async fn resolve(
    State(shared): State<Arc<Shared>>,
    Extension(call): Extension<Arc<Call>>,
    Path(id): Path<String>,
) -> Answer {
    let resolution: Resolution = body(&call)?;
    let mut world = shared.world();
    let (subject, now) = (world.subject(&shared, &call)?, world.now_at(Mock::Backend));
    let own = world
        .alerts
        .0
        .get_mut(&id)
        .filter(|alert| alert.raised.user_id == subject);
    let alert = own.ok_or_else(|| DataError::new(404, &format!("The alert with ID {id} does not exist")))?;
    // Resolved again it stays as long resolved as it was.
    alert.resolved_date = resolution.resolved.then(|| alert.resolved_date.unwrap_or(now));
    Ok(Json(alert.clone()).into_response())
}

impl World {
    /// The user who makes this call. Alerts are for nobody else.
    fn known_caller(&self, shared: &Shared, call: &Call) -> Result<String, DataError> {
        match self.caller(shared, call) {
            Caller::User(name) => Ok(name),
            Caller::Anonymous(_) => Err(DataError::new(401, "You have to be authenticated to do this")),
        }
    }

    fn subject(&self, shared: &Shared, call: &Call) -> Result<String, DataError> {
        let name = self.known_caller(shared, call)?;
        let user = self.users.get(&name).map(|user| user.subject.clone());
        user.ok_or_else(|| DataError::new(404, "The user does not exist"))
    }
}
