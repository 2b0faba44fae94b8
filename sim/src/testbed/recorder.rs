//! The recorder: turns what happens into the event stream, and wakes whoever waits for something to happen.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::{sync::watch, time::Instant};

use crate::{
    events::{Event, Kind},
    judge::record::Record,
};

/// What one run may record at most. A scenario that passes it runs away: hours of one poll a second stay far below.
const EVENTS: usize = 2_000_000;

/// Collects events. Clones share the stream.
#[derive(Clone, Debug)]
pub(crate) struct Recorder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    start: OnceLock<Instant>,
    speed: u32,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    events: Vec<Event>,
    record: Record,
    lost: u64,
}

impl Recorder {
    /// A recorder whose scenario time stands at 0 until [`Self::start`], and then goes `speed` times as fast as
    /// `tokio::time`.
    pub(crate) fn new(record: Record, speed: u32) -> Self {
        let state = State {
            events: Vec::new(),
            record,
            lost: 0,
        };
        let (changed, _) = watch::channel(0);
        Self(Arc::new(Shared {
            start: OnceLock::new(),
            speed,
            state: Mutex::new(state),
            changed,
        }))
    }

    /// Scenario time begins.
    pub(crate) fn start(&self) {
        self.0.start.get_or_init(Instant::now);
    }

    /// Scenario time since the start, in milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        let Some(start) = self.0.start.get() else { return 0 };
        let elapsed = start.elapsed() * self.0.speed;
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }

    /// Adds an event at the end of the stream.
    pub(crate) fn record(&self, kind: Kind) {
        let mut state = self.state();
        if state.events.len() >= EVENTS {
            state.lost += 1;
            return;
        }
        // The time is taken under the lock, so that times never fall along the stream.
        let event = Event {
            seq: state.events.len() as u64,
            at_ms: self.now_ms(),
            kind,
        };
        state.record.observe(&event);
        state.events.push(event);
        let seen = state.events.len() as u64;
        drop(state);
        self.0.changed.send_replace(seen);
    }

    /// Waits until something happens after the last time this receiver looked.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Looks at what the judge remembers.
    pub(crate) fn judge<T>(&self, look: impl FnOnce(&mut Record) -> T) -> T {
        look(&mut self.state().record)
    }

    /// Looks at the events so far.
    pub(crate) fn events<T>(&self, look: impl FnOnce(&[Event]) -> T) -> T {
        look(&self.state().events)
    }

    /// Takes the events out, at the end of a run: they are the largest part of its memory.
    pub(crate) fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.state().events)
    }

    /// How many events did not fit.
    pub(crate) fn lost(&self) -> u64 {
        self.state().lost
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
