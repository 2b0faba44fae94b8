//! The event stream of a project: `GET /project/{id}/{eventType}`, and `GET /project/{id}?types=push,issue`.

use std::{collections::BTreeSet, io, sync::Arc};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use polytab_protocol::topic::EventType;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::{
    Shared,
    call::Call,
    gitlab::{
        hub::{End, Feed, Want},
        message, reader, sees,
    },
    observation::Observation,
    route::STREAM,
};

/// Opens a stream of one type of event.
pub(crate) async fn of_one_type(
    State(shared): State<Arc<Shared>>,
    Extension(call): Extension<Arc<Call>>,
    Path((project, event)): Path<(String, String)>,
) -> Response {
    open(&shared, &call, (&project, &event)).unwrap_or_else(|refusal| refusal)
}

/// Opens a stream of the types in the query.
pub(crate) async fn of_several_types(
    State(shared): State<Arc<Shared>>,
    Extension(call): Extension<Arc<Call>>,
    Path(project): Path<String>,
) -> Response {
    let types = call.query("types").unwrap_or("").to_owned();
    open(&shared, &call, (&project, &types)).unwrap_or_else(|refusal| refusal)
}

#[expect(clippy::result_large_err, reason = "a refusal is an answer like the other")]
fn open(shared: &Arc<Shared>, call: &Call, (project, types): (&str, &str)) -> Result<Response, Response> {
    let mut world = shared.world();
    let user =
        reader(&world, shared, call).ok_or_else(|| message(StatusCode::UNAUTHORIZED, "401 Unauthorized"))?;
    let types: BTreeSet<EventType> = types
        .split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|_| message(StatusCode::BAD_REQUEST, "400 Bad request - unknown event type"))?;
    let project = sees(&world, &user, project)
        .ok_or_else(|| message(StatusCode::NOT_FOUND, "404 Project Not Found"))?;
    let words: Vec<_> = types.iter().map(|event| event.as_str()).collect();
    let last_id = call
        .header("last-event-id")
        .or_else(|| call.query("last_event_id"));
    let want = Want {
        topic: format!("/project/{project}/{}", words.join(",")),
        last_id: last_id.filter(|id| !id.is_empty()).map(str::to_owned),
        user: user.clone(),
        project,
        types,
    };
    let topic = want.topic.clone();
    let feed = world.hub.open(call.id, want);
    let id = feed.id;
    world.tell(&Observation::StreamOpened {
        id,
        user: user.clone(),
        topic,
    });
    let now = world.now();
    if let Some(firing) = world.orders.cut(STREAM, &user, now) {
        world.fired(firing, STREAM);
        for closed in world.hub.cut_one(id) {
            world.tell(&closed);
        }
    }
    let generation = world.generation;
    drop(world);
    let guard = Guard {
        shared: Arc::clone(shared),
        generation,
        id,
    };
    Ok(answer(feed, guard))
}

fn answer(feed: Feed, guard: Guard) -> Response {
    let config = &guard.shared.config;
    let beat = config.scaled(config.heartbeat);
    let retry = config.scaled(config.retry).as_millis();
    let mut beats = interval_at(Instant::now() + beat, beat);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reading = Reading {
        feed,
        beats,
        is_over: false,
        guard,
    };
    let hello = format!("retry: {retry}\n: stream {}\n\n", reading.guard.id);
    reading.feed.backlog.push_front(Bytes::from(hello));
    let body = stream::unfold(reading, |mut reading| async move {
        let item = reading.next().await?;
        Some((item, reading))
    });
    let head = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (head, [("x-accel-buffering", "no")], Body::from_stream(body)).into_response()
}

/// One reader's stream, as it is read.
struct Reading {
    feed: Feed,
    beats: Interval,
    is_over: bool,
    guard: Guard,
}

impl Reading {
    /// The next bytes; an error breaks the connection off. Cancel safe: nothing is taken before it is given.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.is_over {
            return None;
        }
        if let Some(bytes) = self.feed.backlog.pop_front() {
            return Some(Ok(bytes));
        }
        tokio::select! {
            biased; // What was cut is cut, whatever still waits.
            end = &mut self.feed.end => {
                self.is_over = true;
                match end.unwrap_or(End::Done) {
                    End::Done => None,
                    End::Broken => Some(Err(io::Error::other("cut off on order"))),
                }
            }
            Some(bytes) = self.feed.queue.recv() => Some(Ok(bytes)),
            _ = self.beats.tick() => Some(Ok(Bytes::from_static(b": heartbeat\n\n"))),
        }
    }
}

/// Closes the stream's record when nobody reads any more.
struct Guard {
    shared: Arc<Shared>,
    generation: u64,
    id: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut world = self.shared.world();
        if world.generation == self.generation
            && let Some(closed) = world.hub.left(self.id)
        {
            world.tell(&closed);
        }
    }
}
