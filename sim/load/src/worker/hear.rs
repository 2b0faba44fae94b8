//! Messages that tabs hear: what each of them is by the profile's patterns.

use std::time::Duration;

use serde_json::Value;

use super::{Place, Tab, Worker};
use crate::{
    hearing::Moment,
    ledger::{Action, Ledger},
    plan::{Pace, Plan},
    tab::{Frame, Order},
    tally::{Count, Metric, Tally},
};

impl Worker {
    /// A message came.
    pub(super) fn hear(&self, place: Place, frame: Frame<'_>) {
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
            let json = page.reads_json().then(|| frame.read());
            if let Some(Err(unreadable)) = json {
                tally.count(unreadable);
                tally.unreadable.add(|| frame.excerpt());
            }
            let json = json.and_then(Result::ok);
            let json = json.as_ref();
            let is_error = page.error.as_ref().is_some_and(|needle| needle.matches(json));
            if is_error && !tab.excused {
                let code = json.and_then(|json| json["code"].as_str());
                // Most servers have no `code`; the message itself explains.
                let said = code.map_or_else(|| frame.excerpt(), short);
                tally.fail(Count::ErrorMessages, &format!("the target says `error`: {said}"));
            }
            let said = json.map(|json| page.said(json, &user.name)).unwrap_or_default();
            let mut moment = Moment {
                limits: &plan.limits,
                now,
                tally: &mut *tally,
            };
            user.hearing.heard((place.user, place.tab), &said, &mut moment);
            let mut is_reply = false;
            if !said.notifies {
                let reply = Reply {
                    plan,
                    json,
                    now,
                    end: self.shared.schedule.end(),
                    name: &user.name,
                    number: place.tab,
                };
                is_reply = reply.take(tab, &mut state.ledger, tally);
            }
            let awaited = page.ready.as_ref().filter(|_| !tab.ready);
            let becomes_ready = awaited.is_some_and(|needle| needle.matches(json));
            if awaited.is_some() && !becomes_ready {
                tally.early.add(|| frame.excerpt());
            }
            if !(is_error || said.notifies || is_reply || becomes_ready) {
                tally.count(Count::Unmatched);
                tally.unmatched.add(|| frame.excerpt());
                if page.notification.is_some() && frame.has_mark() {
                    tally.count(Count::StrayMarks);
                }
            }
            becomes_ready
        };
        if becomes_ready {
            self.ready(place, now);
        }
    }
}

/// Characters of a text of the target that are shown.
const SHOWN: usize = 40;

fn short(text: &str) -> String {
    text.chars()
        .take(SHOWN)
        .filter(|letter| !letter.is_control())
        .collect()
}

/// A message that may be a reply to a request of the tab.
struct Reply<'a> {
    plan: &'a Plan,
    json: Option<&'a Value>,
    now: Duration,
    /// The end of the schedule.
    end: Duration,
    name: &'a str,
    number: usize,
}

impl Reply<'_> {
    /// Ends the oldest request that it answers; with [`Pace::BackToBack`] the next one follows. Returns `false` if it
    /// answers none.
    fn take(&self, tab: &mut Tab, ledger: &mut Ledger, tally: &mut Tally) -> bool {
        let requests = &self.plan.page.requests;
        let found = tab
            .waiting
            .iter()
            .position(|(index, ..)| requests[*index].reply.matches(self.json));
        let Some((index, intended, begun)) = found.and_then(|at| tab.waiting.remove(at)) else {
            return false;
        };
        ledger.end(begun, Count::Replies, tally);
        tally.record(Metric::Reply, self.now.saturating_sub(intended));
        let request = &requests[index];
        if request.pace == Pace::BackToBack
            && self.now < self.end
            && let Some(orders) = &tab.orders
        {
            let begun = ledger.begin(Action::Request, tally);
            tally.count(Count::Sent);
            orders.give(
                Order::Say(request.send.text(self.name, self.number)),
                self.plan.limits.queue,
            );
            tab.waiting.push_back((index, self.now, begun));
        }
        true
    }
}
