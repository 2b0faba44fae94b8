//! What happens to users meanwhile: changes, reloads, sleep, sign-outs, leaving.

use std::{rc::Rc, time::Duration};

use super::{Item, Place, Worker};
use crate::{
    hearing::Mark,
    plan::Happening,
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
    pub(super) fn depart(&self, number: u64) {
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
}
