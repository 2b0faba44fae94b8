//! Users and tabs from their coming to their end: sign-in, handshake, what is said and heard, and coming back.

use std::{cmp::Reverse, rc::Rc, time::Duration};

use super::{Headers, Item, OURS, Place, Tab, User, Waiting, Worker, flat};
use crate::{
    hearing::Hearing,
    ledger::{Action, Begun},
    plan::{InitialState, Pace},
    schedule::Repeated,
    tab::{self, End, Order, Orders},
    tally::{Count, Metric},
};

impl Worker {
    pub(super) fn arrive(self: &Rc<Self>, number: u64, due: Duration) {
        let is_new = !self.state.borrow().users.contains_key(&number);
        if is_new {
            let user = Box::new(self.new_user(number));
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
            // Nobody comes twice without something on the agenda between.
            user.visit = state.entered;
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
            visit: 0,
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
            gone: None,
            left: 0,
        }
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
        if self.plan().script.is_some() {
            return self.begin_script(number, begin);
        }
        for tab in 1..self.shared.schedule.tabs(number) {
            let intended = begin + self.shared.schedule.opening(number, tab);
            self.reopen(number, tab as usize, intended);
        }
        // The first one opens at once, and goes on in this task.
        let is_draining = self.state.borrow().draining;
        let place = self.new_life(number, 0, begin).filter(|_| !is_draining);
        if let Some(place) = place {
            self.open(place, begin).await;
        }
    }

    async fn sign_in(&self, number: u64, due: Duration) -> bool {
        if !self.plan().site.signs_in {
            return self.take_headers(number).await;
        }
        let begun = self.begin(Action::SignIn);
        let signed_in = self
            .unless_over(async {
                let _turn = self.turn().await;
                (self.plan().site.sign_in)(number).await
            })
            .await;
        let now = self.now();
        match signed_in {
            None => false,
            Some(Err(reason)) => {
                self.shared.contact.failed(Count::FailedSignIns, now);
                self.fail(begun, Count::FailedSignIns, &reason);
                false
            }
            Some(Ok(headers)) => {
                self.shared.contact.signed_in();
                self.end(begun, Count::SignedIn);
                self.with(|state| state.tally.record(Metric::SignIn, now.saturating_sub(due)));
                self.keep_headers(number, headers)
            }
        }
    }

    /// Takes the headers of a user who does not sign in. Only a failure is an action.
    async fn take_headers(&self, number: u64) -> bool {
        match (self.plan().site.sign_in)(number).await {
            Ok(headers) => self.keep_headers(number, headers),
            Err(reason) => {
                let begun = self.begin(Action::SignIn);
                self.shared.contact.failed(Count::FailedSignIns, self.now());
                self.fail(begun, Count::FailedSignIns, &reason);
                false
            }
        }
    }

    /// Returns `false` if the user is gone.
    fn keep_headers(&self, number: u64, headers: http::HeaderMap) -> bool {
        self.with(|state| {
            let user = state.users.get_mut(&number);
            user.map(|user| user.headers = Some(flat(headers))).is_some()
        })
    }

    /// Has a tab open at this time, in a new life.
    pub(super) fn reopen(&self, number: u64, tab: usize, intended: Duration) {
        if let Some(place) = self.new_life(number, tab, intended) {
            self.at(intended, Item::Open(place));
        }
    }

    fn new_life(&self, number: u64, tab: usize, intended: Duration) -> Option<Place> {
        self.with(|state| {
            let user = state.users.get_mut(&number).filter(|user| user.here)?;
            for (.., begun) in user.tabs[tab].waiting.drain(..) {
                state
                    .ledger
                    .end(begun, Count::AbandonedRequests, &mut state.tally);
            }
            let Tab { life, attempt, .. } = user.tabs[tab];
            user.tabs[tab] = Tab {
                life: life + 1,
                intended,
                attempt,
                ..Tab::default()
            };
            Some(Place {
                user: number,
                tab,
                life: life + 1,
            })
        })
    }

    /// Opens a tab, if it is still wanted, and drives it to its end.
    pub(super) async fn open(self: &Rc<Self>, place: Place, due: Duration) {
        let headers = self.with(|state| {
            let user = state.users.get_mut(&place.user).filter(|user| user.here)?;
            let tab = &mut user.tabs[place.tab];
            if tab.life != place.life {
                return None;
            }
            tab.intended = due;
            Some(user.headers.clone())
        });
        let Some(headers) = headers else { return };
        let begun = self.begin(Action::Open);
        let headers = match headers {
            Some(headers) => Some(headers),
            // The login session is over: the page sends its user to sign in again.
            None => self.sign_in_again(place.user, due).await,
        };
        let Some(headers) = headers else {
            self.shared.contact.failed(Count::BrokenOpens, self.now());
            self.fail(begun, Count::BrokenOpens, "the user is not signed in");
            return self.come_back(place, tab::BROKEN);
        };
        self.live(place, headers, begun).await;
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
    async fn live(self: &Rc<Self>, place: Place, headers: Headers, begun: Begun) {
        // Boxed, so that what only opening needs is given back before the tab's long life.
        let socket = Box::pin(self.unless_over(async {
            let _turn = self.turn().await;
            self.opened.set(self.opened.get() + 1);
            self.shared.dialer.open(self.opened.get(), &headers).await
        }))
        .await;
        drop(headers);
        let mut socket = match socket {
            None => return,
            Some(Ok(socket)) => socket,
            Some(Err(error)) => {
                let ours = if error.is_ours() { OURS } else { "" };
                self.shared.contact.failed(error.outcome(), self.now());
                self.fail(begun, error.outcome(), &format!("{ours}{error}"));
                return self.come_back(place, tab::BROKEN);
            }
        };
        self.shared.contact.opened();
        let Some(orders) = self.opened(place) else {
            return self.end(begun, Count::Abandoned);
        };
        self.end(begun, Count::Opened);
        let end = tab::drive(&mut socket, &orders, |frame| self.hear(place, frame)).await;
        self.ended(place, end);
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
                // Who was away for a turn or more begins anew: the first turn comes after the start delay, and not
                // after a whole turn. So many turns a right server makes at most, however long the user stays.
                let limits = &plan.limits;
                if user.gone.is_none_or(|gone| now > gone + limits.turn) {
                    state.rest += limits.turn.saturating_sub(limits.start_delay);
                }
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
    pub(super) fn ready(&self, place: Place, now: Duration) {
        let plan = self.plan();
        let state = &mut *self.state.borrow_mut();
        let Some(user) = state.users.get_mut(&place.user) else {
            return;
        };
        let tab = &mut user.tabs[place.tab];
        tab.ready = true;
        tab.attempt = 0;
        state.tally.count(Count::Ready);
        let rule = plan.page.notification.as_ref();
        let initial = rule.map_or(InitialState::Absent, |rule| rule.initial);
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

    pub(super) fn request(&self, place: Place, index: usize, due: Duration) {
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
            let is_overdue = |waiting: &mut Waiting| now > waiting.1 + plan.limits.reply;
            while let Some((.., begun)) = tab.waiting.pop_front_if(is_overdue) {
                state
                    .ledger
                    .unanswered(begun, "no reply in time", &mut state.tally);
            }
            let begun = state.ledger.begin(Action::Request, &mut state.tally);
            let order = Order::Say(request.send.text(&user.name, place.tab));
            if orders.give(order, plan.limits.queue) {
                state.tally.count(Count::Sent);
                tab.waiting.push_back((index, due, begun));
            } else {
                let reason = "the target reads too slowly: the tab's queue is full";
                state.ledger.unanswered(begun, reason, &mut state.tally);
            }
        }
        if let Pace::Every(every) = request.pace {
            self.at(due + every, Item::Request(place, index));
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
                user.gone = Some(now);
                if self.has_passers_by() && !user.here {
                    state.users.remove(&place.user);
                    return;
                }
            }
            if tab.life != place.life {
                return;
            }
            tab.orders = None;
            let is_lost = matches!(end, End::Closed(_)) && !tab.excused;
            let outcome = if is_lost {
                Count::Unanswered
            } else {
                Count::AbandonedRequests
            };
            for (.., begun) in tab.waiting.drain(..) {
                state.ledger.end(begun, outcome, &mut state.tally);
            }
            user.hearing.gone(place.tab, &mut state.tally);
            let End::Closed(code) = end else { return };
            state.tally.count(Count::Closed);
            *state.tally.closes.entry(code).or_default() += 1;
            if is_lost {
                state
                    .tally
                    .fail(Count::Lost, &format!("the target closed a tab: {code}"));
            }
            code
        };
        self.come_back(place, code);
    }

    /// The page comes back by itself, if it does after this code.
    pub(super) fn come_back(&self, place: Place, code: u16) {
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
