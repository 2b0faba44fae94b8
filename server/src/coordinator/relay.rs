//! Letters of other instances, passed on to this one's channels; and whether the others can be reached.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{Letter, Lost, Record};
use crate::{channel::event::Event, host::Host};

/// Between two attempts to reach a coordinator that cannot be reached.
const RETRY: Duration = Duration::from_millis(500);

/// Between two checks that the coordinator takes writes; reads of letters wait as long.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

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
    lost: Option<Loss>,
    found: Option<Instant>,
}

/// A coordinator that is of no use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    since: Instant,
    /// It answers reads, so that no answer but that to a write shows its return.
    refuses_writes: bool,
}

impl Loss {
    /// The state as operators read it.
    pub(crate) fn describe(self) -> String {
        let seconds = self.since.elapsed().as_secs();
        if self.refuses_writes {
            format!("the coordinator has refused writes for {seconds} s")
        } else {
            format!("the coordinator was not reached for {seconds} s")
        }
    }
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

    fn found(&self, wrote: bool) {
        let mut state = self.state();
        if let Some(loss) = state.lost.take_if(|loss| wrote || !loss.refuses_writes) {
            state.found = Some(Instant::now());
            self.up.set(1);
            self.finds.fetch_add(1, Ordering::AcqRel);
            tracing::info!(
                after_ms = u64::try_from(loss.since.elapsed().as_millis()).unwrap_or(u64::MAX),
                "the coordinator can be used again"
            );
        }
    }

    fn lost(&self, error: &Lost) {
        let refuses_writes = matches!(error, Lost::ReadOnly(_));
        let mut state = self.state();
        if state.lost.is_none() {
            tracing::warn!(%error, "this instance serves its own tabs alone");
            self.up.set(0);
        }
        let since = state.lost.map_or_else(Instant::now, |loss| loss.since);
        state.lost = Some(Loss {
            since,
            refuses_writes,
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present loss; `None` while the coordinator can be used.
    pub(crate) fn loss(&self) -> Option<Loss> {
        self.state().lost
    }

    /// Notes whether an answer came.
    pub(crate) fn note<T>(&self, answer: Result<T, Lost>) -> Result<T, Lost> {
        self.note_of(answer, false)
    }

    /// Notes whether a write succeeded that takes memory.
    pub(crate) fn note_write<T>(&self, answer: Result<T, Lost>) -> Result<T, Lost> {
        self.note_of(answer, true)
    }

    fn note_of<T>(&self, answer: Result<T, Lost>, wrote: bool) -> Result<T, Lost> {
        match &answer {
            Ok(_) => self.found(wrote),
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

/// Passes letters on, until it is dropped. Between them it checks that the coordinator takes writes, and after each loss
/// it shares the login sessions again: some began meanwhile, and a coordinator that was started anew holds none.
pub(crate) async fn relay(host: Arc<Host>) -> Infallible {
    let (mut finds, mut last) = (host.reach.finds(), Instant::now());
    let mut probe = interval(PROBE_INTERVAL);
    probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if host.coordinator.is_shared() && probe.tick().now_or_never().is_some() {
            // The result is in `reach`.
            host.reach.note_write(host.coordinator.probe_write().await).ok();
        }
        let was_found_again = share_after_loss(&host, &mut finds);
        match host.reach.note(host.coordinator.letters().await) {
            Ok(letters) => {
                let is_found_again = share_after_loss(&host, &mut finds);
                // The coordinator may hold less than it did; what it holds for one that stood still is bounded.
                if was_found_again || is_found_again || last.elapsed() > STOOD_STILL {
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

/// Starts to share the login sessions when the coordinator was found again since `finds`; returns `true` if so.
fn share_after_loss(host: &Arc<Host>, finds: &mut u64) -> bool {
    let found = host.reach.finds();
    let is_found_again = std::mem::replace(finds, found) != found;
    if is_found_again {
        let sharing = Arc::clone(&host.auth).share_all();
        let task = host.killed.clone().run_until_cancelled_owned(sharing);
        host.tasks.spawn(task);
    }
    is_found_again
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
