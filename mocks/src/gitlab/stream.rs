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
    config::MocksConfig,
    gitlab::{
        caller,
        fault::GitlabFault,
        hub::{Feed, StreamState, Want},
        message,
    },
    observation::Observation,
    route::STREAM,
    seen::Seen,
    seen::Who,
    world::World,
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
    let caller =
        caller(&world, shared, call).ok_or_else(|| message(StatusCode::UNAUTHORIZED, "401 Unauthorized"))?;
    let types: BTreeSet<EventType> = types
        .split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|_| message(StatusCode::BAD_REQUEST, "400 Bad request - unknown event type"))?;
    let project = world
        .project(&caller.user, project)
        .ok_or_else(|| message(StatusCode::NOT_FOUND, "404 Project Not Found"))?;
    if world.hub.ended.has(project.0) {
        // The one answer that keeps an `EventSource` away for good.
        return Err(StatusCode::NO_CONTENT.into_response());
    }
    let words: Vec<_> = types.iter().map(|event| event.as_str()).collect();
    let last_id = call
        .header("last-event-id")
        .or_else(|| call.query("last_event_id"));
    let want = Want {
        topic: format!("/project/{}/{}", project.0, words.join(",")),
        last_id: last_id.filter(|id| !id.is_empty()).map(str::to_owned),
        seen: seen(call, &caller.user),
        user: caller.user,
        token: caller.token,
        project: project.0,
        types,
    };
    let feed = begin(&mut world, (call.id, want), &shared.config);
    let guard = Guard {
        shared: Arc::clone(shared),
        generation: world.generation,
        id: feed.id,
    };
    drop(world);
    Ok(answer(feed, guard))
}

/// The call as orders know it. A token that was minted belongs to no login session, and still to a user.
fn seen(call: &Call, user: &str) -> Seen {
    let mut seen = call.seen.clone();
    seen.party.who.get_or_insert_with(|| Who {
        user: user.to_owned(),
        browser: call.agent().to_owned(),
    });
    seen
}

/// Takes a reader in. What was ordered of its stream meets it at once.
fn begin(world: &mut World, (id, want): (u64, Want), config: &MocksConfig) -> Feed {
    let (user, topic, seen) = (want.user.clone(), want.topic.clone(), want.seen.clone());
    let (now, random) = (world.now(), world.seams.random.clone());
    let moment = (now, &random);
    let mut firings = Vec::new();
    let World { hub, orders, .. } = world;
    let mut feed = hub.open(id, want, || {
        let (firing, fault) = orders.meet_stream(&seen, moment, |fault| fault != GitlabFault::Bom)?;
        firings.push(firing);
        Some(fault)
    });
    world.tell(&Observation::StreamOpened { id, user, topic });
    for firing in &firings {
        world.fired(firing, STREAM);
    }
    let mark = world.stream_fault(&seen, |fault| fault == GitlabFault::Bom);
    let mark = mark.map_or("", |_| "\u{feff}");
    let retry = config.scaled(config.retry).as_millis();
    let hello = format!("{mark}retry: {retry}\n: stream {id}\n\n");
    feed.backlog.push_front(Bytes::from(hello));
    if let Some(firing) = world.orders.cut(&seen, moment) {
        world.fired(&firing, STREAM);
        let closed = world.hub.cut_one(id);
        world.streams_closed(closed);
    }
    feed
}

fn answer(feed: Feed, guard: Guard) -> Response {
    let config = &guard.shared.config;
    let beat = config.scaled(config.heartbeat);
    let mut beats = interval_at(Instant::now() + beat, beat);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reading = Reading {
        feed,
        beats,
        _guard: guard,
    };
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
    _guard: Guard,
}

impl Reading {
    /// The next bytes; an error breaks the connection off. Cancel safe: nothing is taken before it is given.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if let Some(bytes) = self.feed.backlog.pop_front() {
            return Some(Ok(bytes));
        }
        loop {
            let state = *self.feed.state.borrow_and_update();
            match state {
                StreamState::Flowing | StreamState::Stalled => {}
                StreamState::Done => return None,
                StreamState::Broken => return Some(Err(io::Error::other("cut off on order"))),
            }
            let flows = state == StreamState::Flowing;
            tokio::select! {
                biased; // What was cut is cut, whatever still waits.
                changed = self.feed.state.changed() => if changed.is_err() {
                    // Whoever could say how it ends is gone, and so is the stream.
                    return None;
                },
                Some(bytes) = self.feed.queue.recv(), if flows => return Some(Ok(bytes)),
                _ = self.beats.tick(), if flows => return Some(Ok(Bytes::from_static(b": heartbeat\n\n"))),
            }
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
            world.streams_closed([closed]);
        }
    }
}
