//! Faults and holds on order: which one a call meets. Decides, and does nothing.

use jiff::{SignedDuration, Timestamp};

use crate::{
    backend::fault::PollFault,
    error::ControlError,
    gitlab::fault::GitlabFault,
    order::{FaultAction, FaultOrder, HoldOrder, UnusedFault},
    route::{STREAM, Selector},
};

/// What was ordered and is still to be carried out.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    next: u64,
    armed: Vec<Armed>,
    /// Gone without having met a call.
    unused: Vec<UnusedFault>,
    holds: Vec<Hold>,
}

#[derive(Debug)]
struct Armed {
    id: u64,
    order: FaultOrder,
    selector: Selector,
    left: Option<u32>,
    until: Option<Timestamp>,
    fired: bool,
}

#[derive(Debug)]
struct Hold {
    selector: Selector,
    user: Option<String>,
    left: Option<u32>,
}

/// A fault that met a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Firing {
    pub(crate) id: u64,
    pub(crate) action: FaultAction,
}

impl Orders {
    /// Takes a fault; gives its number.
    pub(crate) fn arm(&mut self, order: FaultOrder, now: Timestamp) -> Result<u64, ControlError> {
        let selector = Selector::parse(&order.route)?;
        if order.times == Some(0) {
            return Err(ControlError::ZeroTimes);
        }
        if let FaultAction::Status(status) = order.action
            && !(200..=599).contains(&status)
        {
            return Err(ControlError::BadValue {
                what: "the status of an answer",
                value: status.to_string(),
                nearest: None,
            });
        }
        if matches!(order.action, FaultAction::Gitlab(_)) && !selector.matches(STREAM) {
            return Err(ControlError::BadValue {
                what: "the route of a fault of event streams",
                value: order.route,
                nearest: Some(STREAM.to_owned()),
            });
        }
        // Streams are cut by rounds, and a flicker is one: without a number or a time it is this one round.
        let goes_by_rounds = [FaultAction::DropStreams, FaultAction::Backend(PollFault::Flicker)];
        let one_round = goes_by_rounds.contains(&order.action) && order.duration.is_none();
        self.next += 1;
        self.armed.push(Armed {
            id: self.next,
            selector,
            left: order.times.or(one_round.then_some(1)),
            until: order.duration.map(|time| {
                // A time beyond all clocks is no limit at all.
                let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
                now.checked_add(time).unwrap_or(Timestamp::MAX)
            }),
            fired: false,
            order,
        });
        Ok(self.next)
    }

    /// The fault that a call on this route meets, if any: the one ordered first.
    pub(crate) fn meet(&mut self, route: &str, user: Option<&str>, now: Timestamp) -> Option<Firing> {
        self.fire(now, |armed| {
            let is_of_streams = matches!(
                armed.order.action,
                FaultAction::DropStreams | FaultAction::Gitlab(_)
            );
            !is_of_streams && armed.is_about(route, user)
        })
    }

    /// Whether a stream that opens now is cut at once.
    pub(crate) fn cut(&mut self, route: &str, user: &str, now: Timestamp) -> Option<Firing> {
        self.fire(now, |armed| {
            armed.order.action == FaultAction::DropStreams && armed.is_about(route, Some(user))
        })
    }

    /// The fault that an event stream of this user meets now, if it is one of those meant.
    pub(crate) fn meet_stream(
        &mut self,
        user: &str,
        now: Timestamp,
        is_meant: impl Fn(GitlabFault) -> bool,
    ) -> Option<(Firing, GitlabFault)> {
        let firing = self.fire(now, |armed| {
            matches!(armed.order.action, FaultAction::Gitlab(fault) if is_meant(fault))
                && armed.is_about(STREAM, Some(user))
        })?;
        match firing.action {
            FaultAction::Gitlab(fault) => Some((firing, fault)),
            _ => None,
        }
    }

    /// Takes one round off the fault of this number, which cut streams if `fired`.
    pub(crate) fn spend(&mut self, id: u64, fired: bool) {
        if let Some(armed) = self.armed.iter_mut().find(|armed| armed.id == id) {
            armed.fired |= fired;
            armed.left = armed.left.map(|left| left.saturating_sub(1));
        }
        self.retire(|armed| armed.left == Some(0));
    }

    fn fire(&mut self, now: Timestamp, is_met: impl Fn(&Armed) -> bool) -> Option<Firing> {
        self.retire(|armed| armed.until.is_some_and(|until| now >= until));
        let armed = self.armed.iter().find(|armed| is_met(armed))?;
        let firing = Firing {
            id: armed.id,
            action: armed.order.action,
        };
        self.spend(firing.id, true);
        Some(firing)
    }

    /// Takes away what is on these routes.
    pub(crate) fn heal(&mut self, selector: &Selector) {
        // A fault on a whole service is healed by the service's name or by `all`, not by one of its routes.
        self.retire(|armed| selector.covers(&armed.selector));
    }

    /// Takes away one fault.
    pub(crate) fn disarm(&mut self, id: u64) -> Result<(), ControlError> {
        if !self.armed.iter().any(|armed| armed.id == id) {
            return Err(ControlError::UnknownFault(id));
        }
        self.retire(|armed| armed.id == id);
        Ok(())
    }

    fn retire(&mut self, is_over: impl Fn(&Armed) -> bool) {
        for armed in self.armed.extract_if(.., |armed| is_over(armed)) {
            if !armed.fired {
                self.unused.push(armed.unused());
            }
        }
    }

    /// Faults that met no call, in the order they were given.
    pub(crate) fn unused(&self) -> Vec<UnusedFault> {
        let armed = self.armed.iter().filter(|armed| !armed.fired).map(Armed::unused);
        let mut unused: Vec<_> = self.unused.iter().cloned().chain(armed).collect();
        unused.sort_by_key(|fault| fault.id);
        unused
    }

    /// Faults that may still be met.
    pub(crate) fn armed(&self) -> Vec<UnusedFault> {
        self.armed.iter().map(Armed::unused).collect()
    }

    /// Takes a hold.
    pub(crate) fn hold(&mut self, order: HoldOrder) -> Result<(), ControlError> {
        let selector = Selector::parse(&order.route)?;
        if order.times == Some(0) {
            return Err(ControlError::ZeroTimes);
        }
        self.holds.push(Hold {
            selector,
            user: order.user,
            left: order.times,
        });
        Ok(())
    }

    /// Holds as they could be ordered again.
    pub(crate) fn holding(&self) -> Vec<HoldOrder> {
        let order = |hold: &Hold| HoldOrder {
            route: hold.selector.name().to_owned(),
            user: hold.user.clone(),
            times: hold.left,
        };
        self.holds.iter().map(order).collect()
    }

    /// Whether the answer to this call is held back.
    pub(crate) fn holds(&mut self, route: &str, user: Option<&str>) -> bool {
        let met = self.holds.iter_mut().find(|hold| {
            hold.left != Some(0)
                && hold.selector.matches(route)
                && (hold.user.is_none() || hold.user.as_deref() == user)
        });
        let Some(hold) = met else {
            return false;
        };
        hold.left = hold.left.map(|left| left - 1);
        self.holds.retain(|hold| hold.left != Some(0));
        true
    }

    /// Holds no more on these routes.
    pub(crate) fn release(&mut self, selector: &Selector) {
        self.holds.retain(|hold| !selector.covers(&hold.selector));
    }
}

impl Armed {
    fn is_about(&self, route: &str, user: Option<&str>) -> bool {
        self.selector.matches(route) && (self.order.user.is_none() || self.order.user.as_deref() == user)
    }

    fn unused(&self) -> UnusedFault {
        UnusedFault {
            id: self.id,
            order: self.order.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::route::{SESSIONS, TOKEN};

    fn order(route: &str, action: FaultAction) -> FaultOrder {
        FaultOrder {
            route: route.into(),
            user: None,
            action,
            times: None,
            duration: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn times_bounds_how_many_calls_meet_a_fault() {
        let mut orders = Orders::default();
        let fault = FaultOrder {
            times: Some(2),
            ..order("keycloak", FaultAction::Reset)
        };
        orders.arm(fault, at(0)).unwrap();

        let met: Vec<_> = (0..3)
            .map(|_| orders.meet(TOKEN, None, at(0)).is_some())
            .collect();

        assert_eq!(met, [true, true, false]);
        assert_eq!(orders.unused(), []);
    }

    #[test]
    fn a_time_bounds_how_long_calls_meet_a_fault() {
        let mut orders = Orders::default();
        let fault = FaultOrder {
            duration: Some(Duration::from_secs(5)),
            ..order("backend.sessions", FaultAction::Status(503))
        };
        orders.arm(fault, at(10)).unwrap();

        assert!(orders.meet(SESSIONS, None, at(14)).is_some());
        assert_eq!(orders.meet(SESSIONS, None, at(15)), None);
    }

    #[test]
    fn a_fault_for_one_user_meets_nobody_else() {
        let mut orders = Orders::default();
        let fault = FaultOrder {
            user: Some("ada".into()),
            ..order("all", FaultAction::Hang)
        };
        orders.arm(fault, at(0)).unwrap();

        assert_eq!(orders.meet(SESSIONS, None, at(0)), None);
        assert_eq!(orders.meet(SESSIONS, Some("bob"), at(0)), None);
        assert!(orders.meet(SESSIONS, Some("ada"), at(0)).is_some());
    }

    #[test]
    fn a_fault_that_met_no_call_is_reported_also_after_it_was_healed() {
        let mut orders = Orders::default();
        orders
            .arm(order("keycloak.token", FaultAction::Reset), at(0))
            .unwrap();
        orders.arm(order("backend", FaultAction::Reset), at(0)).unwrap();

        orders.heal(&Selector::parse("keycloak").unwrap());

        let unused: Vec<_> = orders.unused().iter().map(|fault| fault.id).collect();
        assert_eq!(unused, [1, 2]);
        assert_eq!(orders.meet(TOKEN, None, at(0)), None);
    }

    #[test]
    fn streams_are_cut_for_one_round_unless_told() {
        let mut orders = Orders::default();
        let once = orders
            .arm(order(STREAM, FaultAction::DropStreams), at(0))
            .unwrap();
        orders.spend(once, false);

        assert_eq!(orders.cut(STREAM, "ada", at(0)), None);
        assert_eq!(orders.unused().len(), 1);
    }

    #[test]
    fn an_order_that_can_never_be_carried_out_is_refused() {
        let mut orders = Orders::default();
        let never = FaultOrder {
            times: Some(0),
            ..order("all", FaultAction::Reset)
        };

        assert_eq!(orders.arm(never, at(0)), Err(ControlError::ZeroTimes));
        assert!(orders.arm(order("all", FaultAction::Status(99)), at(0)).is_err());
        assert!(orders.arm(order("nobody", FaultAction::Reset), at(0)).is_err());
        let gap = FaultAction::Gitlab(GitlabFault::Gap);
        assert!(orders.arm(order("backend", gap), at(0)).is_err());
        assert!(orders.arm(order("gitlab", gap), at(0)).is_ok());
    }

    #[test]
    fn a_hold_counts_answers_until_released() {
        let mut orders = Orders::default();
        let hold = HoldOrder {
            route: SESSIONS.into(),
            user: Some("ada".into()),
            times: Some(1),
        };
        orders.hold(hold.clone()).unwrap();
        orders.hold(HoldOrder { times: None, ..hold }).unwrap();

        assert!(!orders.holds(SESSIONS, Some("bob")));
        assert!(orders.holds(SESSIONS, Some("ada")));
        assert!(orders.holds(SESSIONS, Some("ada")));
        orders.release(&Selector::parse("backend").unwrap());
        assert!(!orders.holds(SESSIONS, Some("ada")));
    }
}
