//! What every request passes, whatever its route: it is read, put on record, and meets what was ordered.

use std::sync::Arc;

use axum::{
    Extension,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use polytab_seams::serve::Peer;
use tokio::sync::oneshot;

use crate::{
    Shared,
    call::Call,
    fault::{
        action::FaultAction,
        body::{self, End},
        delay::DelayAt,
        orders::Firing,
        status::Status,
    },
    journal::Entry,
    observation::Observation,
    order::UnmatchedCall,
    route::{self, ROUTES},
    seen::Seen,
    world::{Wait, Waiting, World},
};

/// A gate before one route.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) shared: Arc<Shared>,
    pub(crate) route: &'static str,
}

/// What awaits a call.
#[derive(Debug)]
struct Orders {
    firing: Option<Firing>,
    wait: Option<oneshot::Receiver<()>>,
}

/// Lets a request through, or not.
pub(crate) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    if request.extensions().get::<Probe>().is_some() {
        return Extension(Owner(gate.route)).into_response();
    }
    gate.through(request, |request| next.run(request)).await
}

/// Marks a request that only asks which route it would come to. It leaves no trace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe;

/// The answer to a [`Probe`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner(pub(crate) &'static str);

impl Gate {
    /// Puts a request on record, has `serve` answer it, and lets what was ordered happen to it.
    pub(crate) async fn through<F: Future<Output = Response>>(
        &self,
        request: Request,
        serve: impl FnOnce(Request) -> F,
    ) -> Response {
        let (parts, body) = request.into_parts();
        let Ok(body) = to_bytes(body, self.shared.config.body_bytes).await else {
            return StatusCode::PAYLOAD_TOO_LARGE.into_response();
        };
        let mut call = Call::read(&parts, &body);
        let (record, orders) = self.begin(&mut call);
        let peer = parts.extensions.get::<Peer>().cloned();
        let mut request = Request::from_parts(parts, Body::from(body));
        request.extensions_mut().insert(Arc::new(call));

        let Some(response) = self.answer(|| serve(request), (orders, peer.clone())).await else {
            record.answered(0);
            return reset(peer).await;
        };
        record.answered(response.status().as_u16());
        response
    }

    fn begin(&self, call: &mut Call) -> (Record, Orders) {
        let mut world = self.shared.world();
        call.seen = Seen {
            route: self.route,
            method: call.method.to_string(),
            path: call.shown_path(),
            party: world.party(call),
        };
        let id = world.begin(call);
        call.id = id;
        self.shared.arrived.notify_waiters();
        let (now, random) = (world.now(), world.seams.random.clone());
        let firing = world.orders.meet(&call.seen, (now, &random));
        if let Some(firing) = &firing {
            world.fired(firing, self.route);
        }
        call.fault = firing.as_ref().map(|firing| firing.action.clone());
        let kind = if let Some(FaultAction::Hang | FaultAction::Stall) = call.fault {
            Some(Wait::Hung)
        } else {
            let user = call.seen.party.user();
            world.orders.holds(self.route, user).then_some(Wait::Held)
        };
        let wait = kind.map(|kind| world.wait(id, kind, self.route));
        let record = Record {
            shared: Arc::clone(&self.shared),
            generation: world.generation,
            id,
            fault: call.fault.as_ref().map(FaultAction::to_string),
            is_answered: false,
        };
        (record, Orders { firing, wait })
    }

    /// The answer; none when the connection is to be reset.
    async fn answer<F: Future<Output = Response>>(
        &self,
        serve: impl FnOnce() -> F,
        (orders, peer): (Orders, Option<Peer>),
    ) -> Option<Response> {
        let Orders { firing, mut wait } = orders;
        let Some(Firing {
            action, wait: time, ..
        }) = firing
        else {
            return released(serve().await, wait).await;
        };
        let service = route::service(self.route);
        let response = match &action {
            FaultAction::Hang => {
                // Whether it was healed or the mocks were reset: either way it ends.
                if let Some(wait) = wait {
                    wait.await.ok();
                }
                return None;
            }
            FaultAction::Reset => return None,
            FaultAction::Status(status) => status.answer(service),
            FaultAction::RateLimit(_) => {
                let seconds = time.as_millis().div_ceil(1000);
                let status = Status {
                    retry_after: Some(u32::try_from(seconds).unwrap_or(u32::MAX)),
                    ..Status::from(429)
                };
                status.answer(service)
            }
            _ => serve().await,
        };
        let time = self.shared.config.scaled(time);
        let response = match &action {
            FaultAction::Delay(delay) => match delay.at {
                DelayAt::BeforeHeaders => {
                    tokio::time::sleep(time).await;
                    response
                }
                DelayAt::BeforeBody => body::late(response, time),
                DelayAt::PerChunk => body::dripping(response, time).await,
            },
            FaultAction::Stall => match wait.take() {
                Some(healed) => body::stalled(response, healed, peer),
                None => response,
            },
            FaultAction::ResetAfterBytes(bytes) => body::cut_after(response, *bytes, End::Reset(peer)),
            FaultAction::CloseAfterBytes(bytes) => body::cut_after(response, *bytes, End::Close),
            FaultAction::Truncate => body::truncate(response).await,
            FaultAction::Malformed => body::malformed(response),
            FaultAction::Garbage => {
                let random = self.shared.world().seams.random.clone();
                body::garbage(response, &random).await
            }
            FaultAction::Empty => body::empty(response),
            FaultAction::ContentType(kind) => body::called(response, kind),
            FaultAction::Reorder => body::reorder(response).await,
            // These are done before there is an answer, to open streams, or by the service itself.
            FaultAction::Status(_)
            | FaultAction::RateLimit(_)
            | FaultAction::Hang
            | FaultAction::Reset
            | FaultAction::DropStreams
            | FaultAction::Keycloak(_)
            | FaultAction::Gitlab(_)
            | FaultAction::Backend(_) => response,
        };
        released(response, wait).await
    }
}

/// An answer when it is let go; none when the mocks were reset meanwhile.
async fn released(response: Response, wait: Option<oneshot::Receiver<()>>) -> Option<Response> {
    match wait {
        Some(wait) => wait.await.ok().map(|()| response),
        None => Some(response),
    }
}

/// Breaks the connection off; without a connection of its own, breaks the answer off.
async fn reset(peer: Option<Peer>) -> Response {
    match peer {
        Some(peer) => {
            peer.reset();
            // The connection's task ends now and takes this future with it.
            std::future::pending().await
        }
        None => Response::new(body::broken()),
    }
}

/// Sees to it that every call on record gets its end on record, also when the caller leaves first.
struct Record {
    shared: Arc<Shared>,
    generation: u64,
    id: u64,
    fault: Option<String>,
    is_answered: bool,
}

impl Record {
    fn answered(mut self, status: u16) {
        self.is_answered = true;
        let mut world = self.shared.world();
        if world.generation == self.generation {
            world.answered(self.id, status, self.fault.take());
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let mut world = self.shared.world();
        if world.generation == self.generation {
            world.waiting.remove(&self.id);
            world.tell(&Observation::Abandoned { id: self.id });
        }
    }
}

impl World {
    fn begin(&mut self, call: &Call) -> u64 {
        self.calls += 1;
        let entry = Entry {
            seq: self.calls,
            t_ms: self.elapsed_ms(),
            mock: route::service(call.seen.route),
            seen: call.seen.clone(),
            status: None,
            ms: None,
            fault: None,
            stream_end: None,
            stream_events: None,
            form: call.shown_form(),
            json: call.shown_json(),
        };
        self.tell(&Observation::Call {
            id: entry.seq,
            route: entry.seen.route,
            method: entry.seen.method.clone(),
            path: entry.seen.path.clone(),
            user: entry.seen.party.user().map(str::to_owned),
            browser: entry.seen.party.browser().map(str::to_owned),
            form: entry.form.clone(),
            json: entry.json.clone(),
        });
        self.journal.push(entry);
        self.calls
    }

    fn answered(&mut self, id: u64, status: u16, fault: Option<String>) {
        let t_ms = self.elapsed_ms();
        if let Some(entry) = self.journal.entry(id) {
            entry.status = Some(status);
            entry.ms = Some(t_ms - entry.t_ms);
            entry.fault.clone_from(&fault);
        }
        self.tell(&Observation::Answer { id, status, fault });
    }

    pub(crate) fn fired(&self, firing: &Firing, route: &str) {
        self.tell(&Observation::FaultFired {
            id: firing.id,
            route: route.to_owned(),
            fault: firing.action.to_string(),
        });
    }

    fn wait(&mut self, id: u64, kind: Wait, route: &'static str) -> oneshot::Receiver<()> {
        let (wake, woken) = oneshot::channel();
        self.waiting.insert(id, Waiting { route, kind, wake });
        woken
    }

    /// Puts a request on record that no route takes.
    pub(crate) fn unmatched(&mut self, service: &'static str, request: &Request, limit: usize) {
        let path = request.uri().path().to_owned();
        let method = request.method().to_string();
        self.tell(&Observation::Unmatched {
            service,
            method: method.clone(),
            path: path.clone(),
        });
        let of_service = ROUTES
            .iter()
            .filter(|known| route::service(known.name) == service && !route::is_stub(known.name));
        // Of several routes on one path the first is meant.
        let nearest = of_service
            .rev()
            .map(|known| (strsim::jaro(&path, known.path), known.name))
            .max_by(|(left, _), (right, _)| left.total_cmp(right));
        if self.unmatched.len() < limit {
            self.unmatched.push(UnmatchedCall {
                service,
                method,
                path,
                nearest: nearest.map(|(_, name)| name.to_owned()),
            });
        }
    }
}
