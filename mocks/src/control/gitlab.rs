//! Orders about GitLab: events, open streams, what ends for good, how often it may be called.

use axum::{Json, extract::State};
use polytab_protocol::topic::Topic;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Answer,
    openapi::Routes,
    wire::{At, Done, Made, Order},
};
use crate::{
    Mocks,
    error::ControlError,
    gitlab::{
        generate::EventOrder,
        rate::{Limiter, RateLimit},
    },
    state::live::OpenStream,
};

/// An event that GitLab pushes, with this payload and no other.
///
/// ```json
/// { "topic": "/project/42/issue", "payload": { "object_kind": "issue" } }
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Emit {
    /// `/project/<id>/<eventType>`
    topic: String,
    /// What the event says.
    #[serde(default)]
    payload: Value,
}

/// An event that was pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EventId {
    /// Its id on the streams.
    pub id: String,
}

/// Events that were pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EventIds {
    /// Their ids on the streams, in order.
    pub ids: Vec<String>,
}

/// What becomes of one open stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StreamVerb {
    /// Its connection breaks.
    Drop,
    /// Nothing more comes, not even a heart-beat, and the connection stands.
    Stall,
    /// A `reset` event.
    Reset,
    /// The next event is left out.
    Gap,
    /// GitLab takes the token no more that it was opened with: it ends, and 401 meets who comes back.
    Revoke,
}

impl Mocks {
    /// GitLab pushes an event; gives its id.
    pub fn emit(&self, topic: Topic, payload: &Value) -> String {
        self.0.world().emit(topic, payload)
    }

    /// Open event streams.
    pub fn streams(&self) -> Vec<OpenStream> {
        self.0.world().open_streams()
    }

    /// Something becomes of an open event stream.
    ///
    /// # Errors
    ///
    /// When no open stream has that number.
    pub fn order_stream(&self, id: u64, verb: StreamVerb) -> Result<(), ControlError> {
        let mut world = self.0.world();
        let token = world.hub.token(id).map(str::to_owned);
        let token = token.ok_or(ControlError::UnknownStream(id))?;
        match verb {
            StreamVerb::Drop => {
                let closed = world.hub.cut_one(id);
                world.streams_closed(closed);
            }
            StreamVerb::Stall => world.hub.stall(id),
            StreamVerb::Reset => {
                let closed = world.hub.send_reset(id);
                world.streams_closed(closed);
            }
            StreamVerb::Gap => world.hub.leave_gap(id),
            StreamVerb::Revoke => world.revoke_gitlab_token(&token),
        }
        Ok(())
    }

    /// GitLab goes away for good; 204 meets who comes back for a stream, until the next reset.
    pub fn end_streams(&self) {
        self.0.world().end_streams();
    }

    /// A project is deleted; 204 meets who comes back for its events.
    pub fn end_project(&self, project: u64) {
        self.0.world().end_project(project);
    }

    /// From now on GitLab's REST API may be called so often, or as often as one likes.
    pub fn set_rate_limit(&self, limit: Option<RateLimit>) {
        self.0.world().gitlab.limiter = Limiter::new(limit);
    }
}

pub(super) fn routes() -> Routes {
    Routes::about("GitLab")
        .post(
            "/events",
            (
                "emit",
                "GitLab pushes an event with this payload. `POST /projects/{id}/events` makes full payloads.",
            ),
            emit,
        )
        .post(
            "/projects/{id}/events",
            (
                "generate",
                "Something happens in a project, and GitLab tells it with full payloads.",
            ),
            generate,
        )
        .delete(
            "/projects/{id}",
            (
                "endProject",
                "Deletes a project. 204 meets who comes back for its events.",
            ),
            end_project,
        )
        .get("/streams", ("listStreams", "Open event streams."), streams)
        .delete(
            "/streams",
            (
                "endStreams",
                "GitLab goes away for good. 204 meets who comes back, until the next reset.",
            ),
            end_streams,
        )
        .post(
            "/streams/{id}/{verb}",
            ("orderStream", "Something becomes of an open event stream."),
            order,
        )
        .put(
            "/rate-limit",
            ("setRateLimit", "From now on the REST API may be called so often."),
            limit,
        )
        .delete(
            "/rate-limit",
            (
                "endRateLimit",
                "From now on the REST API may be called as often as one likes.",
            ),
            unlimit,
        )
}

/// An open stream, and what becomes of it.
#[derive(Deserialize, JsonSchema)]
struct OfStream {
    /// The number of the call that opened it.
    id: u64,
    /// What becomes of it.
    verb: StreamVerb,
}

/// A project.
#[derive(Deserialize, JsonSchema)]
struct OfProject {
    /// Its number.
    id: u64,
}

async fn emit(State(mocks): State<Mocks>, Order(order): Order<Emit>) -> Answer<Made<EventId>> {
    let topic: Topic = order.topic.parse().map_err(|_| ControlError::BadValue {
        what: "a topic, `/project/<id>/<eventType>`,",
        value: order.topic.clone(),
        nearest: None,
    })?;
    let id = mocks.emit(topic, &order.payload);
    Ok(Made(EventId { id }))
}

async fn streams(State(mocks): State<Mocks>) -> Json<Vec<OpenStream>> {
    Json(mocks.streams())
}

async fn order(State(mocks): State<Mocks>, At(at): At<OfStream>) -> Answer<Done> {
    mocks.order_stream(at.id, at.verb)?;
    Ok(Done)
}

async fn end_streams(State(mocks): State<Mocks>) -> Done {
    mocks.end_streams();
    Done
}

async fn end_project(State(mocks): State<Mocks>, At(at): At<OfProject>) -> Answer<Done> {
    mocks.end_project(at.id);
    Ok(Done)
}

async fn generate(
    State(mocks): State<Mocks>,
    At(at): At<OfProject>,
    Order(order): Order<EventOrder>,
) -> Answer<Made<EventIds>> {
    let ids = mocks.generate(at.id, &order)?;
    Ok(Made(EventIds { ids }))
}

async fn limit(State(mocks): State<Mocks>, Order(limit): Order<RateLimit>) -> Answer<Done> {
    mocks.set_rate_limit(Some(limit));
    Ok(Done)
}

async fn unlimit(State(mocks): State<Mocks>) -> Done {
    mocks.set_rate_limit(None);
    Done
}
