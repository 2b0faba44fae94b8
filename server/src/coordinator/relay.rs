//! Letters of other instances, passed on to this one's channels; and whether the others can be reached.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::metrics::gauge::Gauge;
use tokio::time::{Instant, sleep};

use super::{Letter, Lost, Record};
use crate::{channel::event::Event, host::Host};

/// Between two attempts to reach a coordinator that cannot be reached.
const RETRY: Duration = Duration::from_millis(500);

/// A read of letters waits for some for 2 s: an instance that took longer stood still.
const STOOD_STILL: Duration = Duration::from_secs(10);

/// Whether the coordinator can be reached.
#[derive(Debug)]
pub(crate) struct Reach {
    up: Gauge,
    state: Mutex<State>,
    /// How often it was found again: what it held before may be gone.
    finds: AtomicU64,
}

/// Since when it is lost, and when it was last found again.
#[derive(Debug, Default)]
struct State {
    lost: Option<Instant>,
    found: Option<Instant>,
}

impl Reach {
    /// It can be reached, until something else is noted; `up` says so to operators.
    pub(crate) fn new(up: Gauge) -> Self {
        up.set(1);
        Self {
            up,
            state: Mutex::default(),
            finds: AtomicU64::new(1),
        }
    }

    fn found(&self) {
        let mut state = self.state();
        if let Some(since) = state.lost.take() {
            state.found = Some(Instant::now());
            self.up.set(1);
            self.finds.fetch_add(1, Ordering::AcqRel);
            tracing::info!(
                after_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
                "the coordinator can be reached again"
            );
        }
    }

    fn lost(&self, error: &Lost) {
        let mut state = self.state();
        if state.lost.is_none() {
            tracing::warn!(%error, "this instance serves its own tabs alone");
            self.up.set(0);
            state.lost = Some(Instant::now());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it has not been reached; `None` while it can be.
    pub(crate) fn alone_for(&self) -> Option<Duration> {
        self.state().lost.map(|since| since.elapsed())
    }

    /// Notes whether an answer came.
    pub(crate) fn note<T>(&self, answer: Result<T, Lost>) -> Result<T, Lost> {
        match &answer {
            Ok(_) => self.found(),
            Err(error) => self.lost(error),
        }
        answer
    }

    /// Whether it has been reached for this long.
    pub(crate) fn is_settled(&self, span: Duration) -> bool {
        let state = self.state();
        state.lost.is_none() && state.found.is_none_or(|found| found.elapsed() >= span)
    }

    /// How often it was found again.
    pub(crate) fn finds(&self) -> u64 {
        self.finds.load(Ordering::Acquire)
    }
}

/// Passes letters on, until it is dropped.
pub(crate) async fn relay(host: Arc<Host>) -> Infallible {
    let (mut finds, mut last) = (host.reach.finds(), Instant::now());
    loop {
        match host.reach.note(host.coordinator.letters().await) {
            Ok(letters) => {
                // The coordinator may hold less than it did; what it holds for one that stood still is bounded.
                let found = host.reach.finds();
                if std::mem::replace(&mut finds, found) != found || last.elapsed() > STOOD_STILL {
                    host.hub.doubt().await;
                }
                for letter in letters {
                    deliver(&host, letter).await;
                }
                last = Instant::now();
            }
            Err(_) => sleep(RETRY).await,
        }
    }
}

async fn deliver(host: &Host, Letter { user, at, record }: Letter) {
    match record {
        Record::SessionOver(session) => {
            host.auth.forget(&session);
            host.hub.tell(&user, Event::SessionOver(session)).await;
        }
        Record::LoggedOut { sub, sid } => {
            for (user, session) in host.auth.forget_matching(sub.as_deref(), sid.as_deref()) {
                host.hub.tell(&user, Event::SessionOver(session)).await;
            }
        }
        Record::Needs => host.hub.tell(&user, Event::NeedsChanged).await,
        Record::Released => host.hub.tell(&user, Event::Released).await,
        Record::Answered(kind, readings) => {
            let event = Event::Relayed(kind, readings, at);
            host.hub.tell(&user, event).await;
        }
        Record::Stream(topic, news) => host.hub.tell(&user, Event::Stream(topic, news)).await,
    }
}
