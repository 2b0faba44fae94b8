//! One thread that drives its part of the users: what is due when, and what follows from what tabs hear.
//!
//! Workers share nothing while they run; each hands over what it counted, stretch by stretch.

mod happen;
mod hear;
mod life;

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    alarm::Alarm,
    clock::Clock,
    contact::Contact,
    dial::Dialer,
    health,
    hearing::Hearing,
    histogram::Histogram,
    ledger::{Action, Begun, Failure, Ledger},
    plan::Plan,
    schedule::{Repeated, Schedule},
    tab::Orders,
    tally::{Count, Metric, Tally},
};

/// The part of a stretch in which a worker ran, or would have, above which it has no time left for what is due.
const SATURATED: f64 = 0.95;
/// How often a worker looks how late it is, whatever else is due.
const PROBE: Duration = Duration::from_millis(10);

/// Headers of a user's handshakes, kept as long as the user is there: a map of them would be many times as large.
type Headers = Arc<[(HeaderName, HeaderValue)]>;

fn flat(headers: http::HeaderMap) -> Headers {
    let mut last = None;
    let pairs = headers.into_iter().filter_map(|(name, value)| {
        // The map gives a name only with the first of its values.
        last = name.or(last.take());
        Some((last.clone()?, value))
    });
    pairs.collect()
}

/// What all workers of a run know.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) schedule: Schedule,
    pub(crate) clock: Clock,
    pub(crate) dialer: Dialer,
    /// Ends of the stretches in which counts are told apart.
    pub(crate) bounds: Vec<Duration>,
    /// The run is over, whatever the schedule says.
    pub(crate) stop: CancellationToken,
    /// Whether the target takes tabs at all.
    pub(crate) contact: Contact,
}

/// What a worker hands over at the end of a stretch.
#[derive(Debug)]
pub(crate) struct Handed {
    /// Number of the stretch.
    pub(crate) nth: usize,
    pub(crate) tally: Tally,
    /// Part of the stretch that the worker's thread was running, 0 to 1.
    pub(crate) cpu: f64,
    /// Part of the stretch that it was ready to run, and something else had its core.
    pub(crate) waited: f64,
    pub(crate) users: u64,
    pub(crate) tabs: u64,
}

/// One worker's state.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    /// A tab's place in the whole, for the address that it comes from.
    opened: Cell<u64>,
    state: RefCell<State>,
    agenda_changed: Notify,
    tasks: RefCell<JoinSet<()>>,
    under_way: Semaphore,
    /// Sign-ins and handshakes end without a result.
    over: CancellationToken,
    hand: mpsc::Sender<Handed>,
    /// The run's time, and the thread's on the core and before it, at the end of the last stretch.
    spent: Cell<(Duration, Duration, Duration)>,
}

#[derive(Debug, Default)]
struct State {
    tally: Tally,
    ledger: Ledger,
    /// How long sign-ins and handshakes waited for their turn in this stretch.
    held_up: Histogram,
    /// Boxed: those who leave are taken out of the middle, and the map moves the others.
    users: BTreeMap<u64, Box<User>>,
    agenda: BinaryHeap<Reverse<(Duration, u64, Item)>>,
    entered: u64,
    tabs: u64,
    present: u64,
    /// Time of users with an open tab that is not counted in turns yet.
    rest: Duration,
    /// Nothing begins any more; what was begun may end.
    draining: bool,
}

/// Something that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Probe,
    HandOver(usize),
    Drain,
    Arrive(u64),
    Depart(u64),
    Open(Place),
    Happen(u64, usize),
    Deed(Visit, usize),
    Request(Place, usize),
    Overdue(u64, u32),
    Return(u64),
}

/// A tab of a user, in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    user: u64,
    tab: usize,
    life: u32,
}

/// One stay of a user, of whom some come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Visit {
    user: u64,
    nth: u64,
}

#[derive(Debug)]
struct User {
    name: String,
    here: bool,
    /// Which of all visits of users this one is; that of somebody who came before is another.
    visit: u64,
    /// None, unless signed in.
    headers: Option<Headers>,
    signing: Rc<tokio::sync::Mutex<()>>,
    tabs: Vec<Tab>,
    hearing: Hearing,
    repeated: Vec<Repeated>,
    open: u32,
    since: Duration,
    /// When the last tab was closed.
    gone: Option<Duration>,
    left: u64,
}

#[derive(Debug, Default)]
struct Tab {
    life: u32,
    orders: Option<Orders>,
    /// When it was to open.
    intended: Duration,
    heard: bool,
    ready: bool,
    /// Its end is wanted, or was caused by us.
    excused: bool,
    attempt: i32,
    waiting: VecDeque<Waiting>,
}

/// A request without a reply: its number in the profile, and when it was to be sent.
type Waiting = (usize, Duration, Begun);

impl Item {
    /// Whether it is left undone once the schedule is over.
    const fn begins_something(self) -> bool {
        match self {
            Self::Probe | Self::HandOver(_) | Self::Drain | Self::Depart(_) | Self::Overdue(..) => false,
            Self::Arrive(_)
            | Self::Open(_)
            | Self::Happen(..)
            | Self::Deed(..)
            | Self::Request(..)
            | Self::Return(_) => true,
        }
    }
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, hand: mpsc::Sender<Handed>) -> Rc<Self> {
        let under_way = Semaphore::new(shared.plan.limits.under_way);
        Rc::new(Self {
            shared,
            opened: Cell::new(0),
            state: RefCell::default(),
            agenda_changed: Notify::new(),
            tasks: RefCell::default(),
            under_way,
            over: CancellationToken::new(),
            hand,
            spent: Cell::default(),
        })
    }

    fn now(&self) -> Duration {
        self.shared.clock.now()
    }

    fn plan(&self) -> &Plan {
        &self.shared.plan
    }

    /// Whether users only pass by: who comes again comes as somebody new, as there may be millions of them.
    fn has_passers_by(&self) -> bool {
        self.plan().page.stay.is_some() || self.plan().script.is_some()
    }

    /// Drives the users of this worker, number `index` of so many, until the run is over and all tabs are closed.
    pub(crate) async fn run(self: Rc<Self>, alarm: &Alarm, (index, of): (u64, u64)) {
        self.fill(index, of);
        loop {
            let due = self.do_what_is_due();
            if self.shared.stop.is_cancelled() || self.is_quiet() {
                break;
            }
            while self.tasks.borrow_mut().try_join_next().is_some() {}
            tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => {}
                () = self.agenda_changed.notified() => {}
                () = alarm.sleep(due) => {}
            }
        }
        self.close().await;
        self.hand_over_rest().await;
    }

    /// Whether the schedule is over and nobody waits for anything any more.
    fn is_quiet(&self) -> bool {
        let state = self.state.borrow();
        if !state.draining {
            return false;
        }
        let open = [Action::SignIn, Action::SignOut, Action::Open, Action::Change]
            .map(|action| state.ledger.open(action));
        if open.iter().any(|open| *open > 0)
            && self.now() <= self.shared.schedule.end() + self.plan().limits.closing
        {
            return false;
        }
        let waits = |user: &User| user.hearing.waits() || user.tabs.iter().any(|tab| !tab.waiting.is_empty());
        self.is_past_patience() || !state.users.values().any(|user| waits(user))
    }

    fn is_past_patience(&self) -> bool {
        let limits = &self.plan().limits;
        self.now() > self.shared.schedule.end() + limits.notification.max(limits.reply)
    }

    /// Everything that is known from the beginning.
    fn fill(&self, index: u64, of: u64) {
        let shard = self.plan().shard;
        let (first, step) = shard.map_or((0, 1), |shard| (u64::from(shard.index), u64::from(shard.of)));
        let ours = (first..self.shared.schedule.user_count())
            .step_by(usize::try_from(step).unwrap_or(usize::MAX))
            .enumerate()
            .filter(|(nth, _)| *nth as u64 % of == index);
        for (_, user) in ours {
            for stay in self.shared.schedule.stays(user) {
                self.at(stay.from, Item::Arrive(user));
                if let Some(to) = stay.to {
                    self.at(to, Item::Depart(user));
                }
            }
        }
        self.at(Duration::ZERO, Item::Probe);
        self.at(self.shared.schedule.end(), Item::Drain);
        for (nth, end) in self.shared.bounds.iter().enumerate() {
            self.at(*end, Item::HandOver(nth));
        }
    }

    fn at(&self, due: Duration, item: Item) {
        let mut state = self.state.borrow_mut();
        state.entered += 1;
        let nth = state.entered;
        let is_next = state.agenda.peek().is_none_or(|Reverse((next, ..))| due < *next);
        state.agenda.push(Reverse((due, nth, item)));
        drop(state);
        if is_next {
            self.agenda_changed.notify_one();
        }
    }

    /// How long until the next thing is due.
    fn do_what_is_due(self: &Rc<Self>) -> Duration {
        loop {
            let now = self.now();
            let (due, item) = {
                let mut state = self.state.borrow_mut();
                match state.agenda.peek() {
                    None => return Duration::from_secs(1),
                    Some(Reverse((due, ..))) => {
                        let left = self.shared.clock.until(*due);
                        if !left.is_zero() {
                            return left;
                        }
                    }
                }
                let Some(Reverse((due, _, item))) = state.agenda.pop() else {
                    return Duration::from_secs(1);
                };
                state.tally.record(Metric::Lag, now.saturating_sub(due));
                (due, item)
            };
            self.perform(due, item);
        }
    }

    fn perform(self: &Rc<Self>, due: Duration, item: Item) {
        if self.state.borrow().draining && item.begins_something() {
            return;
        }
        match item {
            // Those that were slept through are not made up for: how late the next one is says it.
            Item::Probe => self.at(self.now().max(due) + PROBE, Item::Probe),
            Item::HandOver(nth) => self.hand_over(nth),
            Item::Drain => self.state.borrow_mut().draining = true,
            Item::Arrive(user) | Item::Return(user) => self.arrive(user, due),
            Item::Depart(user) => self.depart(user),
            Item::Open(place) => {
                let worker = Rc::clone(self);
                self.spawn(async move { worker.open(place, due).await });
            }
            Item::Happen(user, index) => self.happen(user, index, due),
            Item::Deed(visit, index) => self.follow(visit, index, due),
            Item::Request(place, index) => self.request(place, index, due),
            Item::Overdue(user, change) => {
                let state = &mut *self.state.borrow_mut();
                if let Some(user) = state.users.get_mut(&user) {
                    user.hearing.overdue(change, &mut state.tally);
                }
            }
        }
    }

    /// A turn for a sign-in or a handshake.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let asked = self.now();
        // Nobody closes it.
        let turn = self.under_way.acquire().await.ok();
        let waited = self.now().saturating_sub(asked);
        self.with(|state| state.held_up.record(waited));
        turn
    }

    /// Waits for a result, but not beyond the end of the run.
    async fn unless_over<T>(&self, waiting: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.over.cancelled() => None,
            result = waiting => Some(result),
        }
    }

    fn begin(&self, action: Action) -> Begun {
        if matches!(action, Action::SignIn | Action::Open) {
            self.shared.contact.attempt();
        }
        self.with(|state| state.ledger.begin(action, &mut state.tally))
    }

    fn end(&self, begun: Begun, outcome: Count) {
        self.with(|state| state.ledger.end(begun, outcome, &mut state.tally));
    }

    fn fail(&self, begun: Begun, outcome: Count, reason: &str) {
        let failure = Failure { outcome, reason };
        self.with(|state| state.ledger.fail(begun, &failure, &mut state.tally));
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.borrow_mut())
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().spawn_local(task);
    }

    /// Hands over what was counted since the last time. What finds no room goes with the next.
    fn hand_over(&self, nth: usize) {
        if let Ok(room) = self.hand.try_reserve() {
            room.send(self.handed(nth));
        }
    }

    /// Hands over everything that is left.
    async fn hand_over_rest(&self) {
        // The receiver lives as long as the run.
        if let Ok(room) = self.hand.reserve().await {
            room.send(self.handed(self.shared.bounds.len()));
        }
    }

    fn handed(&self, nth: usize) -> Handed {
        let spent = (self.now(), health::thread_time(), health::thread_wait());
        let then = self.spent.replace(spent);
        let (now, wall) = (spent.0, spent.0.saturating_sub(then.0).as_secs_f64());
        let part = |time: Duration, then: Duration| time.saturating_sub(then).as_secs_f64() / wall.max(1e-3);
        let (cpu, waited) = (part(spent.1, then.1), part(spent.2, then.2));
        let turn = self.plan().limits.turn;
        self.with(|state| {
            for user in state.users.values_mut().filter(|user| user.open > 0) {
                state.rest += now.saturating_sub(user.since);
                user.since = now;
            }
            let turns = state.rest.as_nanos() / turn.as_nanos().max(1);
            let turns = u32::try_from(turns).unwrap_or(u32::MAX);
            state.rest -= turn * turns;
            state.tally.add_count(Count::Turns, turns.into());
            let held_up = std::mem::take(&mut state.held_up);
            if cpu + waited >= SATURATED {
                // They waited for us, and not for the target.
                state.tally.add_metric(Metric::Lag, &held_up);
            }
            Handed {
                nth,
                tally: std::mem::take(&mut state.tally),
                cpu,
                waited,
                users: state.present,
                tabs: state.tabs,
            }
        })
    }

    /// All tabs leave; what is under way is waited for, for a while.
    async fn close(&self) {
        let (now, reply) = (self.now(), self.plan().limits.reply);
        let users: Vec<u64> = self.with(|state| {
            state.draining = true;
            for user in state.users.values_mut() {
                user.hearing.end(&mut state.tally);
                for tab in &mut user.tabs {
                    let is_overdue = |waiting: &mut Waiting| now > waiting.1 + reply;
                    while let Some((.., begun)) = tab.waiting.pop_front_if(is_overdue) {
                        state
                            .ledger
                            .unanswered(begun, "no reply in time", &mut state.tally);
                    }
                }
            }
            state.ledger.close(&mut state.tally);
            state.users.keys().copied().collect()
        });
        self.over.cancel();
        for user in users {
            self.depart(user);
        }
        let closing = async {
            loop {
                let mut tasks = std::mem::take(&mut *self.tasks.borrow_mut());
                if tasks.is_empty() {
                    break;
                }
                while tasks.join_next().await.is_some() {}
            }
        };
        tokio::time::timeout(self.plan().limits.closing, closing)
            .await
            .ok();
    }
}

/// Prefix of reasons that are not the target's.
pub(crate) const OURS: &str = "the generator's own: ";
