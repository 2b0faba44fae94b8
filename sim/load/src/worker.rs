//! One thread that drives its part of the users: what is due when, and what follows from what tabs hear.
//!
//! Workers share nothing while they run; each hands over what it counted, stretch by stretch.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use serde_json::Value;
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    alarm::Alarm,
    clock::Clock,
    dial::Dialer,
    health,
    hearing::{Hearing, Mark, Moment},
    plan::{Happening, Pace, Plan},
    schedule::{Repeated, Schedule},
    tab::{self, End, Order, Orders},
    tally::{Count, Metric, Tally},
};

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
}

/// What a worker hands over at the end of a stretch.
#[derive(Debug)]
pub(crate) struct Handed {
    /// Number of the stretch.
    pub(crate) nth: usize,
    pub(crate) tally: Tally,
    /// Part of the stretch that the worker's thread was running, 0 to 1.
    pub(crate) cpu: f64,
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
    hand: mpsc::Sender<Handed>,
    /// Wall and thread time at the end of the last stretch.
    spent: Cell<(Duration, Duration)>,
}

#[derive(Debug, Default)]
struct State {
    tally: Tally,
    users: BTreeMap<u64, User>,
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

#[derive(Debug)]
struct User {
    name: String,
    here: bool,
    /// None, unless signed in.
    headers: Option<Headers>,
    signing: Rc<tokio::sync::Mutex<()>>,
    tabs: Vec<Tab>,
    hearing: Hearing,
    repeated: Vec<Repeated>,
    open: u32,
    since: Duration,
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
    waiting: VecDeque<(usize, Duration)>,
}

impl Item {
    /// Whether it is left undone once the schedule is over.
    const fn begins_something(self) -> bool {
        match self {
            Self::Probe | Self::HandOver(_) | Self::Drain | Self::Depart(_) | Self::Overdue(..) => false,
            Self::Arrive(_) | Self::Open(_) | Self::Happen(..) | Self::Request(..) | Self::Return(_) => true,
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
        self.hand_over(self.shared.bounds.len());
    }

    /// Whether the schedule is over and nobody waits for anything any more.
    fn is_quiet(&self) -> bool {
        let state = self.state.borrow();
        let waits = |user: &User| user.hearing.waits() || user.tabs.iter().any(|tab| !tab.waiting.is_empty());
        state.draining && (self.is_past_patience() || !state.users.values().any(waits))
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
            Item::Open(place) => self.open(place, due),
            Item::Happen(user, index) => self.happen(user, index, due),
            Item::Request(place, index) => self.request(place, index, due),
            Item::Overdue(user, change) => {
                let state = &mut *self.state.borrow_mut();
                if let Some(user) = state.users.get_mut(&user) {
                    user.hearing.overdue(change, &mut state.tally);
                }
            }
        }
    }

    fn arrive(self: &Rc<Self>, number: u64, due: Duration) {
        let is_new = !self.state.borrow().users.contains_key(&number);
        if is_new {
            let user = self.new_user(number);
            self.state.borrow_mut().users.insert(number, user);
            for index in 0..self.shared.schedule.happenings().len() {
                self.schedule(number, index, due);
            }
        }
        {
            let state = &mut *self.state.borrow_mut();
            let Some(user) = state.users.get_mut(&number) else {
                return;
            };
            if user.here {
                return;
            }
            user.here = true;
            state.tally.count(Count::Users);
        }
        let worker = Rc::clone(self);
        self.spawn(async move { worker.enter(number, due).await });
    }

    fn new_user(&self, number: u64) -> User {
        let tabs = self.shared.schedule.tabs(number) as usize;
        User {
            name: (self.plan().site.user_name)(number),
            here: false,
            headers: None,
            signing: Rc::default(),
            tabs: (0..tabs).map(|_| Tab::default()).collect(),
            hearing: Hearing::new(tabs),
            repeated: self
                .shared
                .schedule
                .happenings()
                .iter()
                .copied()
                .map(Repeated::of)
                .collect(),
            open: 0,
            since: Duration::ZERO,
            left: 0,
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().spawn_local(task);
    }

    /// Signs a user in, and lets the tabs open.
    async fn enter(self: Rc<Self>, number: u64, due: Duration) {
        let has_headers = {
            let state = self.state.borrow();
            state
                .users
                .get(&number)
                .is_some_and(|user| user.headers.is_some())
        };
        if !has_headers && !self.sign_in(number, due).await {
            // The page of a sign-in that failed has no tab that could come back.
            self.with(|state| {
                if let Some(user) = state.users.get_mut(&number) {
                    user.here = false;
                }
            });
            return;
        }
        let begin = self.now().max(due);
        for tab in 0..self.shared.schedule.tabs(number) {
            let intended = begin + self.shared.schedule.opening(number, tab);
            self.reopen(number, tab as usize, intended);
        }
    }

    async fn sign_in(&self, number: u64, due: Duration) -> bool {
        let Ok(_permit) = self.under_way.acquire().await else {
            return false;
        };
        let signed_in = (self.plan().site.sign_in)(number).await;
        let state = &mut *self.state.borrow_mut();
        let Some(user) = state.users.get_mut(&number) else {
            return false;
        };
        match signed_in {
            Ok(headers) => {
                state
                    .tally
                    .record(Metric::SignIn, self.shared.clock.now().saturating_sub(due));
                user.headers = Some(flat(headers));
                true
            }
            Err(reason) => {
                state.tally.fail(Count::FailedSignIns, &reason);
                false
            }
        }
    }

    /// Has a tab open at this time, in a new life.
    fn reopen(&self, number: u64, tab: usize, intended: Duration) {
        let place = {
            let mut state = self.state.borrow_mut();
            let Some(user) = state.users.get_mut(&number).filter(|user| user.here) else {
                return;
            };
            let life = user.tabs[tab].life + 1;
            let attempt = user.tabs[tab].attempt;
            user.tabs[tab] = Tab {
                life,
                intended,
                attempt,
                ..Tab::default()
            };
            Place {
                user: number,
                tab,
                life,
            }
        };
        self.at(intended, Item::Open(place));
    }

    fn open(self: &Rc<Self>, place: Place, due: Duration) {
        let headers = {
            let state = &mut *self.state.borrow_mut();
            let Some(user) = state.users.get_mut(&place.user).filter(|user| user.here) else {
                return;
            };
            let tab = &mut user.tabs[place.tab];
            if tab.life != place.life {
                return;
            }
            tab.intended = due;
            state.tally.count(Count::Opens);
            user.headers.clone()
        };
        let worker = Rc::clone(self);
        self.spawn(async move {
            let headers = match headers {
                Some(headers) => headers,
                // The login session is over: the page sends its user to sign in again.
                None => match worker.sign_in_again(place.user, due).await {
                    Some(headers) => headers,
                    None => return worker.come_back(place, tab::BROKEN),
                },
            };
            worker.live(place, headers).await;
        });
    }

    /// Signs a user in whom several tabs may want to be signed in: only one of them does it.
    async fn sign_in_again(&self, number: u64, due: Duration) -> Option<Headers> {
        let signing = self.with(|state| Some(Rc::clone(&state.users.get(&number)?.signing)))?;
        let _turn = signing.lock().await;
        let headers = || self.with(|state| state.users.get(&number)?.headers.clone());
        if let Some(headers) = headers() {
            return Some(headers);
        }
        self.sign_in(number, due).await;
        headers()
    }

    /// A tab's life.
    async fn live(self: Rc<Self>, place: Place, headers: Headers) {
        // Boxed, so that what only opening needs is given back before the tab's long life.
        let socket = Box::pin(async {
            let _permit = self.under_way.acquire().await;
            self.opened.set(self.opened.get() + 1);
            self.shared.dialer.open(self.opened.get(), &headers).await
        })
        .await;
        drop(headers);
        let mut socket = match socket {
            Ok(socket) => socket,
            Err(error) => {
                let ours = if error.is_ours() { OURS } else { "" };
                self.with(|state| state.tally.fail(Count::FailedOpens, &format!("{ours}{error}")));
                return self.come_back(place, tab::BROKEN);
            }
        };
        let Some(orders) = self.opened(place) else { return };
        let end = tab::drive(&mut socket, &orders, |text| self.hear(place, text)).await;
        self.ended(place, end);
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.borrow_mut())
    }

    /// The handshake is over. Nothing, when the tab is no longer wanted.
    fn opened(&self, place: Place) -> Option<Orders> {
        let now = self.now();
        let plan = self.plan();
        let orders = Orders::default();
        let is_ready = plan.page.ready.is_none();
        let stays = {
            let state = &mut *self.state.borrow_mut();
            let user = state.users.get_mut(&place.user).filter(|user| user.here)?;
            let tab = &mut user.tabs[place.tab];
            if tab.life != place.life {
                return None;
            }
            state.tally.count(Count::Opened);
            state
                .tally
                .record(Metric::Connect, now.saturating_sub(tab.intended));
            tab.orders = Some(orders.clone());
            for template in &plan.page.on_open {
                state.tally.count(Count::Sent);
                orders.give(
                    Order::Say(template.text(&user.name, place.tab)),
                    plan.limits.queue,
                );
            }
            state.tabs += 1;
            user.open += 1;
            if user.open == 1 {
                user.since = now;
                state.present += 1;
            }
            plan.page.stay.filter(|_| user.open == 1)
        };
        if let Some(stay) = stays {
            self.at(now + stay, Item::Depart(place.user));
        }
        if is_ready {
            self.ready(place, now);
        }
        Some(orders)
    }

    /// The tab does what it does once it is ready.
    fn ready(&self, place: Place, now: Duration) {
        let plan = self.plan();
        let state = &mut *self.state.borrow_mut();
        let Some(user) = state.users.get_mut(&place.user) else {
            return;
        };
        let tab = &mut user.tabs[place.tab];
        tab.ready = true;
        tab.attempt = 0;
        let initial = plan.page.notification.as_ref().is_some_and(|rule| rule.initial);
        user.hearing.ready(place.tab, initial, now);
        for template in &plan.page.on_ready {
            if let Some(orders) = &tab.orders {
                state.tally.count(Count::Sent);
                orders.give(
                    Order::Say(template.text(&user.name, place.tab)),
                    plan.limits.queue,
                );
            }
        }
        let number = u32::try_from(place.tab).unwrap_or(u32::MAX);
        let part = self.shared.schedule.request_phase(place.user, number);
        for (index, request) in plan.page.requests.iter().enumerate() {
            let first = match request.pace {
                Pace::Every(every) => now + every.mul_f64(part),
                Pace::BackToBack => now,
            };
            state.entered += 1;
            let nth = state.entered;
            state
                .agenda
                .push(Reverse((first, nth, Item::Request(place, index))));
        }
        self.agenda_changed.notify_one();
    }

    fn request(&self, place: Place, index: usize, due: Duration) {
        let plan = self.plan();
        let request = &plan.page.requests[index];
        {
            let state = &mut *self.state.borrow_mut();
            let Some(user) = state.users.get_mut(&place.user) else {
                return;
            };
            let tab = &mut user.tabs[place.tab];
            let Some(orders) = tab.orders.as_ref().filter(|_| tab.life == place.life) else {
                return;
            };
            let now = self.shared.clock.now();
            while tab
                .waiting
                .front()
                .is_some_and(|(_, intended)| now > *intended + plan.limits.reply)
            {
                tab.waiting.pop_front();
                state.tally.fail(Count::Unanswered, "no reply in time");
            }
            state.tally.count(Count::Requests);
            if orders.give(
                Order::Say(request.send.text(&user.name, place.tab)),
                plan.limits.queue,
            ) {
                state.tally.count(Count::Sent);
                tab.waiting.push_back((index, due));
            } else {
                state.tally.fail(
                    Count::Unanswered,
                    "the target reads too slowly: the tab's queue is full",
                );
            }
        }
        if let Pace::Every(every) = request.pace {
            self.at(due + every, Item::Request(place, index));
        }
    }

    /// A message came.
    fn hear(&self, place: Place, text: &str) {
        let now = self.now();
        let plan = self.plan();
        let page = &plan.page;
        let becomes_ready = {
            let state = &mut *self.state.borrow_mut();
            let tally = &mut state.tally;
            let Some(user) = state.users.get_mut(&place.user) else {
                return;
            };
            let tab = &mut user.tabs[place.tab];
            tally.count(Count::Received);
            if !tab.heard {
                tab.heard = true;
                tally.record(Metric::FirstMessage, now.saturating_sub(tab.intended));
            }
            let json = if page.reads_json() {
                serde_json::from_str::<Value>(text).ok()
            } else {
                None
            };
            let json = json.as_ref();
            if page.error.as_ref().is_some_and(|needle| needle.matches(json)) && !tab.excused {
                let code = json.and_then(|json| json["code"].as_str()).unwrap_or("no code");
                tally.fail(
                    Count::ErrorMessages,
                    &format!("the target says `error`: {}", short(code)),
                );
            }
            let said = json.map(|json| page.said(json, &user.name)).unwrap_or_default();
            let mut moment = Moment {
                limits: &plan.limits,
                now,
                tally: &mut *tally,
            };
            user.hearing.heard((place.user, place.tab), &said, &mut moment);
            if !said.notifies {
                replied(
                    tab,
                    (plan, json),
                    (now, self.shared.schedule.end()),
                    (tally, &user.name, place.tab),
                );
            }
            !tab.ready && page.ready.as_ref().is_some_and(|needle| needle.matches(json))
        };
        if becomes_ready {
            self.ready(place, now);
        }
    }

    fn ended(&self, place: Place, end: End) {
        let now = self.now();
        let code = {
            let state = &mut *self.state.borrow_mut();
            let Some(user) = state.users.get_mut(&place.user) else {
                return;
            };
            let tab = &mut user.tabs[place.tab];
            state.tabs -= 1;
            user.open -= 1;
            if user.open == 0 {
                state.present -= 1;
                state.rest += now.saturating_sub(user.since);
                if self.plan().page.stay.is_some() && !user.here {
                    // Who comes again comes as somebody new: of passers-by there may be millions.
                    state.users.remove(&place.user);
                    return;
                }
            }
            if tab.life != place.life {
                return;
            }
            tab.orders = None;
            let unanswered = std::mem::take(&mut tab.waiting).len() as u64;
            user.hearing.gone(place.tab, &mut state.tally);
            let End::Closed(code) = end else { return };
            state.tally.count(Count::Closed);
            *state.tally.closes.entry(code).or_default() += 1;
            if !tab.excused {
                state
                    .tally
                    .fail(Count::Lost, &format!("the target closed a tab: {code}"));
                state.tally.add_count(Count::Unanswered, unanswered);
            }
            code
        };
        self.come_back(place, code);
    }

    /// The page comes back by itself, if it does after this code.
    fn come_back(&self, place: Place, code: u16) {
        let page = &self.plan().page;
        if !page.reconnect_on.contains(&code) {
            return;
        }
        let after = self.with(|state| {
            let user = state.users.get_mut(&place.user).filter(|user| user.here)?;
            let tab = &mut user.tabs[place.tab];
            if tab.life != place.life {
                return None;
            }
            if SIGN_IN_AGAIN.contains(&code) {
                user.headers = None;
            }
            // Counted before use, as the deployed page does; an hour is beyond any run's patience.
            tab.attempt = (tab.attempt + 1).min(20);
            let after = page.reconnect_after.mul_f64(1.5_f64.powi(tab.attempt));
            Some(after.min(Duration::from_hours(1)))
        });
        if let Some(after) = after {
            self.reopen(place.user, place.tab, self.now() + after);
        }
    }
}

/// Close codes after which the login session is over (PROTOCOL A6).
const SIGN_IN_AGAIN: [u16; 2] = [4000, 4001];
/// Prefix of reasons that are not the target's.
pub(crate) const OURS: &str = "the generator's own: ";
/// Characters of a text of the target that are shown.
const SHOWN: usize = 40;

fn short(text: &str) -> String {
    text.chars()
        .take(SHOWN)
        .filter(|letter| !letter.is_control())
        .collect()
}

/// The oldest request that this is a reply to has been answered.
fn replied(
    tab: &mut Tab,
    (plan, json): (&Plan, Option<&Value>),
    (now, end): (Duration, Duration),
    (tally, name, number): (&mut Tally, &str, usize),
) {
    let requests = &plan.page.requests;
    let found = tab
        .waiting
        .iter()
        .position(|(index, _)| requests[*index].reply.matches(json));
    let Some((index, intended)) = found.and_then(|at| tab.waiting.remove(at)) else {
        return;
    };
    tally.count(Count::Replies);
    tally.record(Metric::Reply, now.saturating_sub(intended));
    let request = &requests[index];
    if request.pace == Pace::BackToBack
        && now < end
        && let Some(orders) = &tab.orders
    {
        tally.count(Count::Requests);
        tally.count(Count::Sent);
        orders.give(Order::Say(request.send.text(name, number)), plan.limits.queue);
        tab.waiting.push_back((index, now));
    }
}

/// What happens to users, and the end.
impl Worker {
    /// Notes when this happens to the user next, after a time. What would have happened before does not.
    fn schedule(&self, number: u64, index: usize, after: Duration) {
        let next = self.with(|state| {
            let user = state.users.get_mut(&number)?;
            let repeated = &mut user.repeated[index];
            std::iter::from_fn(|| self.shared.schedule.next(number, repeated)).find(|next| *next >= after)
        });
        if let Some(next) = next {
            self.at(next, Item::Happen(number, index));
        }
    }

    fn happen(self: &Rc<Self>, number: u64, index: usize, due: Duration) {
        self.schedule(number, index, due);
        let place = self.with(|state| {
            let user = state.users.get(&number).filter(|user| user.here)?;
            let repeated = &user.repeated[index];
            let tab = self.shared.schedule.which(number, repeated, user.tabs.len());
            let life = user.tabs[tab].life;
            Some((
                Place {
                    user: number,
                    tab,
                    life,
                },
                repeated.happening,
            ))
        });
        let Some((place, happening)) = place else { return };
        let away = self.plan().page.away;
        match happening {
            Happening::Change => self.change(number),
            Happening::Reload => {
                self.order(place, Order::Leave);
                self.reopen(place.user, place.tab, due);
            }
            Happening::Drop => {
                self.order(place, Order::Drop);
                self.come_back(place, tab::BROKEN);
            }
            Happening::Sleep => self.each_tab(number, |place| {
                self.order(place, Order::Drop);
                self.reopen(place.user, place.tab, due + away);
            }),
            Happening::Stall => {
                self.excuse(place);
                self.give(place, Order::Stall(away));
            }
            Happening::SignOut => self.sign_out(number, away),
            Happening::Leave => {
                let nth = self.with(|state| {
                    let user = state.users.get_mut(&number)?;
                    user.left += 1;
                    Some(user.left)
                });
                self.depart(number);
                let away = away.mul_f64(self.shared.schedule.away(number, nth.unwrap_or(0)));
                self.at(due + away, Item::Return(number));
            }
        }
    }

    fn each_tab(&self, number: u64, act: impl Fn(Place)) {
        let places: Vec<Place> = self.with(|state| {
            let tabs = state.users.get(&number).map(|user| user.tabs.iter().enumerate());
            let places = tabs.into_iter().flatten();
            places
                .map(|(tab, state)| Place {
                    user: number,
                    tab,
                    life: state.life,
                })
                .collect()
        });
        places.into_iter().for_each(act);
    }

    fn excuse(&self, place: Place) {
        self.with(|state| {
            if let Some(user) = state.users.get_mut(&place.user) {
                user.tabs[place.tab].excused = true;
            }
        });
    }

    fn give(&self, place: Place, order: Order) {
        let orders = self.with(|state| state.users.get(&place.user)?.tabs[place.tab].orders.clone());
        if let Some(orders) = orders {
            orders.give(order, usize::MAX);
        }
    }

    /// The tab ends as it is told. What it was to hear of it no longer has to.
    fn order(&self, place: Place, order: Order) {
        self.with(|state| {
            let Some(user) = state.users.get_mut(&place.user) else {
                return;
            };
            let tab = &mut user.tabs[place.tab];
            tab.excused = true;
            user.hearing.gone(place.tab, &mut state.tally);
            if let Some(orders) = tab.orders.take() {
                orders.give_last(order);
            }
        });
    }

    /// The user goes: all tabs leave.
    fn depart(&self, number: u64) {
        self.each_tab(number, |place| self.order(place, Order::Leave));
        self.with(|state| {
            if let Some(user) = state.users.get_mut(&number) {
                user.here = false;
                // What is under way of this life is no longer wanted.
                user.tabs.iter_mut().for_each(|tab| tab.life += 1);
            }
        });
    }

    fn change(self: &Rc<Self>, number: u64) {
        let Some(change) = self.plan().site.change.clone() else {
            return;
        };
        let now = self.now();
        let id = self.with(|state| {
            let user = state.users.get_mut(&number)?;
            (user.open > 0).then(|| user.hearing.change(now, &mut state.tally))
        });
        let Some(id) = id else { return };
        self.at(now + self.plan().limits.notification, Item::Overdue(number, id));
        let worker = Rc::clone(self);
        self.spawn(async move {
            let made = change(
                number,
                Mark {
                    user: number,
                    change: id,
                }
                .to_string(),
            )
            .await;
            worker.with(|state| match made {
                Ok(()) => state.tally.count(Count::Changes),
                Err(reason) => {
                    state.tally.fail(Count::FailedChanges, &reason);
                    if let Some(user) = state.users.get_mut(&number) {
                        user.hearing.unmade(id);
                    }
                }
            });
        });
    }

    fn sign_out(self: &Rc<Self>, number: u64, away: Duration) {
        let Some(sign_out) = self.plan().site.sign_out.clone() else {
            return;
        };
        self.each_tab(number, |place| self.excuse(place));
        self.with(|state| {
            if let Some(user) = state.users.get_mut(&number) {
                user.headers = None;
            }
        });
        let worker = Rc::clone(self);
        self.spawn(async move {
            if let Err(reason) = sign_out(number).await {
                worker.with(|state| state.tally.fail(Count::FailedSignIns, &reason));
            }
            worker.depart(number);
            worker.at(worker.now() + away, Item::Return(number));
        });
    }

    /// Hands over what was counted since the last time. What finds no room goes with the next.
    fn hand_over(&self, nth: usize) {
        let Ok(room) = self.hand.try_reserve() else { return };
        let (now, thread) = (self.now(), health::thread_time());
        let (then, thread_then) = self.spent.replace((now, thread));
        let wall = now.saturating_sub(then).as_secs_f64();
        let cpu = thread.saturating_sub(thread_then).as_secs_f64() / wall.max(1e-3);
        let turn = self.plan().limits.turn;
        room.send(self.with(|state| {
            for user in state.users.values_mut().filter(|user| user.open > 0) {
                state.rest += now.saturating_sub(user.since);
                user.since = now;
            }
            let turns = state.rest.as_nanos() / turn.as_nanos().max(1);
            let turns = u32::try_from(turns).unwrap_or(u32::MAX);
            state.rest -= turn * turns;
            state.tally.add_count(Count::Turns, turns.into());
            Handed {
                nth,
                tally: std::mem::take(&mut state.tally),
                cpu,
                users: state.present,
                tabs: state.tabs,
            }
        }));
    }

    /// All tabs leave; what is under way is waited for, for a while.
    async fn close(&self) {
        let users: Vec<u64> = self.with(|state| {
            state.draining = true;
            for user in state.users.values_mut() {
                user.hearing.end(&mut state.tally);
            }
            state.users.keys().copied().collect()
        });
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
