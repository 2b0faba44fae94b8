//! What users do by their script, and what happens to them meanwhile: changes, reloads, sleep, sign-outs, leaving.

use std::{rc::Rc, time::Duration};

use super::{Item, Place, Visit, Worker};
use crate::{
    hearing::Mark,
    ledger::Action,
    plan::{Deed, Happening, Template},
    tab::{self, Order},
    tally::Count,
};

impl Worker {
    /// Notes when this happens to the user next, after a time. What would have happened before does not.
    pub(super) fn schedule(&self, number: u64, index: usize, after: Duration) {
        let next = self.with(|state| {
            let user = state.users.get_mut(&number)?;
            let repeated = &mut user.repeated[index];
            std::iter::from_fn(|| self.shared.schedule.next(number, repeated)).find(|next| *next >= after)
        });
        if let Some(next) = next {
            self.at(next, Item::Happen(number, index));
        }
    }

    pub(super) fn happen(self: &Rc<Self>, number: u64, index: usize, due: Duration) {
        self.schedule(number, index, due);
        let chosen = self.with(|state| {
            let user = state.users.get(&number).filter(|user| user.here)?;
            let repeated = &user.repeated[index];
            let tabs = user.tabs.len();
            let tab = self.shared.schedule.which(number, repeated, tabs);
            Some((repeated.happening, tab, tabs))
        });
        let Some((happening, tab, tabs)) = chosen else {
            return;
        };
        let away = self.plan().page.away;
        let deed = match happening {
            Happening::Change => Deed::Change,
            Happening::Reload => Deed::Reload(tab, Duration::ZERO),
            Happening::Drop => Deed::Drop(tab),
            Happening::Sleep => Deed::Sleep((0..tabs).collect(), away),
            Happening::Stall => Deed::Stall(tab, away),
            Happening::SignOut => return self.sign_out(number, Some(away)),
            Happening::Leave => return self.leave(number, due),
        };
        self.act(number, &deed, due);
    }

    /// Everything that a user who has just come is going to do.
    pub(super) fn begin_script(&self, number: u64, begin: Duration) {
        let Some(script) = &self.plan().script else { return };
        let visit = self.with(|state| {
            let nth = state.users.get(&number)?.visit;
            Some(Visit { user: number, nth })
        });
        let Some(visit) = visit else { return };
        for (index, (after, _)) in script.deeds.iter().enumerate() {
            self.at(begin + *after, Item::Deed(visit, index));
        }
        self.at(begin + script.length, Item::Deed(visit, script.deeds.len()));
    }

    /// Does the next thing of a user's script; after the last one the user leaves.
    pub(super) fn follow(self: &Rc<Self>, visit: Visit, index: usize, due: Duration) {
        let is_on = self.with(|state| {
            let user = state.users.get(&visit.user);
            user.is_some_and(|user| user.here && user.visit == visit.nth)
        });
        let Some(script) = self.plan().script.as_ref().filter(|_| is_on) else {
            return;
        };
        match script.deeds.get(index) {
            Some((_, deed)) => self.act(visit.user, deed, due),
            None => self.depart(visit.user),
        }
    }

    fn act(self: &Rc<Self>, number: u64, deed: &Deed, due: Duration) {
        match deed {
            Deed::Open(tab) => {
                if !self.is_open(number, *tab) {
                    self.reopen(number, *tab, due);
                }
            }
            Deed::Close(tab) => {
                self.order(number, *tab, Order::Leave);
                // A handshake that is still under way is no longer wanted.
                self.end_life(number, *tab);
            }
            Deed::Reload(tab, gap) => {
                self.order(number, *tab, Order::Leave);
                self.reopen(number, *tab, due + *gap);
            }
            Deed::Drop(tab) => {
                self.order(number, *tab, Order::Drop);
                if let Some(place) = self.place(number, *tab) {
                    self.come_back(place, tab::BROKEN);
                }
            }
            Deed::Sleep(tabs, away) => {
                for tab in tabs {
                    self.order(number, *tab, Order::Drop);
                    self.reopen(number, *tab, due + *away);
                }
            }
            Deed::Stall(tab, away) => {
                self.excuse(number, *tab);
                self.give(number, *tab, Order::Stall(*away));
            }
            Deed::Say(tab, template) => self.say(number, *tab, template),
            Deed::Change => self.change(number),
            Deed::SignOut => self.sign_out(number, None),
        }
    }

    fn leave(self: &Rc<Self>, number: u64, due: Duration) {
        let nth = self.with(|state| {
            let user = state.users.get_mut(&number)?;
            user.left += 1;
            Some(user.left)
        });
        self.depart(number);
        let away = self.plan().page.away;
        let away = away.mul_f64(self.shared.schedule.away(number, nth.unwrap_or(0)));
        self.at(due + away, Item::Return(number));
    }

    /// A tab in its life of now.
    fn place(&self, number: u64, tab: usize) -> Option<Place> {
        self.with(|state| {
            let life = state.users.get(&number)?.tabs.get(tab)?.life;
            Some(Place {
                user: number,
                tab,
                life,
            })
        })
    }

    fn is_open(&self, number: u64, tab: usize) -> bool {
        self.with(|state| {
            let user = state.users.get(&number);
            user.is_some_and(|user| user.tabs[tab].orders.is_some())
        })
    }

    fn each_tab(&self, number: u64, act: impl Fn(usize)) {
        let tabs = self.with(|state| state.users.get(&number).map_or(0, |user| user.tabs.len()));
        (0..tabs).for_each(act);
    }

    fn end_life(&self, number: u64, tab: usize) {
        self.with(|state| {
            if let Some(user) = state.users.get_mut(&number) {
                user.tabs[tab].life += 1;
            }
        });
    }

    fn excuse(&self, number: u64, tab: usize) {
        self.with(|state| {
            if let Some(user) = state.users.get_mut(&number) {
                user.tabs[tab].excused = true;
            }
        });
    }

    fn give(&self, number: u64, tab: usize, order: Order) {
        let orders = self.with(|state| state.users.get(&number)?.tabs[tab].orders.clone());
        if let Some(orders) = orders {
            orders.give(order, usize::MAX);
        }
    }

    fn say(&self, number: u64, tab: usize, template: &Template) {
        let limit = self.plan().limits.queue;
        self.with(|state| {
            let Some(user) = state.users.get(&number) else {
                return;
            };
            let Some(orders) = &user.tabs[tab].orders else {
                return;
            };
            if orders.give(Order::Say(template.text(&user.name, tab)), limit) {
                state.tally.count(Count::Sent);
            }
        });
    }

    /// The tab ends as it is told. What it was to hear of it no longer has to.
    fn order(&self, number: u64, tab: usize, order: Order) {
        self.with(|state| {
            let Some(user) = state.users.get_mut(&number) else {
                return;
            };
            user.hearing.gone(tab, &mut state.tally);
            let tab = &mut user.tabs[tab];
            tab.excused = true;
            for (.., begun) in tab.waiting.drain(..) {
                state
                    .ledger
                    .end(begun, Count::AbandonedRequests, &mut state.tally);
            }
            if let Some(orders) = tab.orders.take() {
                orders.give_last(order);
            }
        });
    }

    /// The user goes: all tabs leave.
    pub(super) fn depart(&self, number: u64) {
        self.each_tab(number, |tab| self.order(number, tab, Order::Leave));
        self.with(|state| {
            let Some(user) = state.users.get_mut(&number) else {
                return;
            };
            user.here = false;
            // What is under way of this life is no longer wanted.
            user.tabs.iter_mut().for_each(|tab| tab.life += 1);
            if user.open == 0 && self.has_passers_by() {
                state.users.remove(&number);
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
        let begun = self.begin(Action::Change);
        self.at(now + self.plan().limits.notification, Item::Overdue(number, id));
        let worker = Rc::clone(self);
        self.spawn(async move {
            let mark = Mark {
                user: number,
                change: id,
            };
            match change(number, mark.to_string()).await {
                Ok(()) => worker.end(begun, Count::Changes),
                Err(reason) => {
                    worker.fail(begun, Count::FailedChanges, &reason);
                    worker.with(|state| {
                        if let Some(user) = state.users.get_mut(&number) {
                            user.hearing.unmade(id, &mut state.tally);
                        }
                    });
                }
            }
        });
    }

    /// Signs a user out, and lets everybody leave; who is away for a time comes back after it.
    fn sign_out(self: &Rc<Self>, number: u64, away: Option<Duration>) {
        let Some(sign_out) = self.plan().site.sign_out.clone() else {
            return;
        };
        self.each_tab(number, |tab| self.excuse(number, tab));
        self.with(|state| {
            if let Some(user) = state.users.get_mut(&number) {
                user.headers = None;
            }
        });
        let begun = self.begin(Action::SignOut);
        let worker = Rc::clone(self);
        self.spawn(async move {
            match sign_out(number).await {
                Ok(()) => worker.end(begun, Count::SignedOut),
                Err(reason) => worker.fail(begun, Count::FailedSignOuts, &reason),
            }
            worker.depart(number);
            if let Some(away) = away {
                worker.at(worker.now() + away, Item::Return(number));
            }
        });
    }
}
