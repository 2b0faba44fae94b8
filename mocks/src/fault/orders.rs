//! Faults and holds on order: which one a call meets. Decides, and does nothing.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use polytab_seams::random::Random;

use super::{action::FaultAction, limit::Usage, when::When};
use crate::{
    backend::fault::PollFault,
    error::ControlError,
    gitlab::fault::GitlabFault,
    order::{FaultOrder, HoldOrder, UnusedFault},
    route::{STREAM, Selector},
    seen::Seen,
    time::Time,
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
    /// Calls that it was about, whether they met it or not.
    calls: u64,
    usage: Usage,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Firing {
    pub(crate) id: u64,
    pub(crate) action: FaultAction,
    /// How late a late answer is; how long a call that was one too many should have waited.
    pub(crate) wait: Duration,
}

/// When something meets a fault, and the chance it takes.
pub(crate) type Moment<'a> = (Timestamp, &'a Random);

impl Orders {
    /// Takes a fault; gives its number.
    pub(crate) fn arm(&mut self, order: FaultOrder, now: Timestamp) -> Result<u64, ControlError> {
        let selector = order.on.selector()?;
        if order.times == Some(0) {
            return Err(ControlError::ZeroTimes);
        }
        order.when.map_or(Ok(()), When::check)?;
        order.action.check_all()?;
        if matches!(order.action, FaultAction::Gitlab(_)) && !selector.matches(STREAM) {
            return Err(ControlError::BadValue {
                what: "the route of a fault of event streams",
                value: order.on.route.unwrap_or_default(),
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
            calls: 0,
            usage: Usage::default(),
            left: order.times.or(one_round.then_some(1)),
            until: order.duration.map(|Time(time)| {
                // A time beyond all clocks is no limit at all.
                let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
                now.checked_add(time).unwrap_or(Timestamp::MAX)
            }),
            fired: false,
            order,
        });
        Ok(self.next)
    }

    /// The fault that a call meets, if any: of several the one ordered first, and the others do not count the call.
    pub(crate) fn meet(&mut self, seen: &Seen, moment: Moment<'_>) -> Option<Firing> {
        self.fire((seen, moment), |action| !action.is_of_streams())
    }

    /// Whether a stream that opens now is cut at once.
    pub(crate) fn cut(&mut self, seen: &Seen, moment: Moment<'_>) -> Option<Firing> {
        self.fire((seen, moment), |action| *action == FaultAction::DropStreams)
    }

    /// The fault that an event stream meets now, if it is one of those meant.
    pub(crate) fn meet_stream(
        &mut self,
        seen: &Seen,
        moment: Moment<'_>,
        is_meant: impl Fn(GitlabFault) -> bool,
    ) -> Option<(Firing, GitlabFault)> {
        let firing = self.fire(
            (seen, moment),
            |action| matches!(action, FaultAction::Gitlab(fault) if is_meant(*fault)),
        )?;
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

    fn fire(
        &mut self,
        (seen, moment): (&Seen, Moment<'_>),
        is_meant: impl Fn(&FaultAction) -> bool,
    ) -> Option<Firing> {
        self.retire(|armed| armed.until.is_some_and(|until| moment.0 >= until));
        let firing = self.armed.iter_mut().find_map(|armed| {
            let is_about = is_meant(&armed.order.action) && armed.is_about(seen);
            is_about.then(|| armed.meet(seen, moment)).flatten()
        })?;
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
    fn is_about(&self, seen: &Seen) -> bool {
        self.selector.matches(seen.route) && self.order.on.takes(seen)
    }

    /// Counts a call that it is about; gives what the call meets.
    fn meet(&mut self, seen: &Seen, (now, random): Moment<'_>) -> Option<Firing> {
        self.calls += 1;
        let purpose = || format!("fault/{}", seen.party.user().unwrap_or(""));
        let is_now = |when: When| when.is_now(self.calls, |bound| random.below(&purpose(), bound));
        if !self.order.when.is_none_or(is_now) {
            return None;
        }
        let wait = match &self.order.action {
            FaultAction::Delay(delay) => delay.dist.draw(|bound| random.below(&purpose(), bound)),
            FaultAction::RateLimit(limit) => {
                let user = seen.party.user().map(str::to_owned);
                self.usage.over(*limit, user, now)?
            }
            _ => Duration::ZERO,
        };
        Some(Firing {
            id: self.id,
            action: self.order.action.clone(),
            wait,
        })
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
    use super::*;
    use crate::{
        fault::limit::RateLimit,
        route::{SESSIONS, TOKEN},
        seen::Who,
        seen::{CallMatch, Party},
    };

    fn seen(route: &'static str, user: Option<&str>) -> Seen {
        Seen {
            route,
            method: "GET".into(),
            path: "/".into(),
            party: Party {
                who: user.map(|user| Who {
                    user: user.into(),
                    browser: "desk".into(),
                }),
                ..Party::default()
            },
        }
    }

    fn meet(orders: &mut Orders, route: &'static str, user: Option<&str>, second: i64) -> bool {
        let moment = (at(second), &Random::seeded(7));
        orders.meet(&seen(route, user), moment).is_some()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn times_bounds_how_many_calls_meet_a_fault() {
        let mut orders = Orders::default();
        let fault = FaultOrder {
            times: Some(2),
            ..FaultOrder::on("keycloak", FaultAction::Reset)
        };
        orders.arm(fault, at(0)).unwrap();

        let met: Vec<_> = (0..3).map(|_| meet(&mut orders, TOKEN, None, 0)).collect();

        assert_eq!(met, [true, true, false]);
        assert_eq!(orders.unused(), []);
    }

    #[test]
    fn a_time_bounds_how_long_calls_meet_a_fault() {
        let mut orders = Orders::default();
        let fault = FaultOrder {
            duration: Some(Time(Duration::from_secs(5))),
            ..FaultOrder::on("backend.sessions", FaultAction::status(503))
        };
        orders.arm(fault, at(10)).unwrap();

        assert!(meet(&mut orders, SESSIONS, None, 14));
        assert!(!meet(&mut orders, SESSIONS, None, 15));
    }

    #[test]
    fn a_fault_for_one_user_meets_nobody_else() {
        let mut orders = Orders::default();
        let fault = FaultOrder {
            on: CallMatch::of("all").by(Some("ada".into())),
            ..FaultOrder::on("all", FaultAction::Hang)
        };
        orders.arm(fault, at(0)).unwrap();

        assert!(!meet(&mut orders, SESSIONS, None, 0));
        assert!(!meet(&mut orders, SESSIONS, Some("bob"), 0));
        assert!(meet(&mut orders, SESSIONS, Some("ada"), 0));
    }

    #[test]
    fn a_fault_that_met_no_call_is_reported_also_after_it_was_healed() {
        let mut orders = Orders::default();
        orders
            .arm(FaultOrder::on("keycloak.token", FaultAction::Reset), at(0))
            .unwrap();
        orders
            .arm(FaultOrder::on("backend", FaultAction::Reset), at(0))
            .unwrap();

        orders.heal(&Selector::parse("keycloak").unwrap());

        let unused: Vec<_> = orders.unused().iter().map(|fault| fault.id).collect();
        assert_eq!(unused, [1, 2]);
        assert!(!meet(&mut orders, TOKEN, None, 0));
    }

    #[test]
    fn streams_are_cut_for_one_round_unless_told() {
        let mut orders = Orders::default();
        let once = orders
            .arm(FaultOrder::on(STREAM, FaultAction::DropStreams), at(0))
            .unwrap();
        orders.spend(once, false);

        let moment = (at(0), &Random::seeded(7));
        assert_eq!(orders.cut(&seen(STREAM, Some("ada")), moment), None);
        assert_eq!(orders.unused().len(), 1);
    }

    #[test]
    fn an_order_that_can_never_be_carried_out_is_refused() {
        let mut orders = Orders::default();
        let never = FaultOrder {
            times: Some(0),
            ..FaultOrder::on("all", FaultAction::Reset)
        };

        assert_eq!(orders.arm(never, at(0)), Err(ControlError::ZeroTimes));
        assert!(
            orders
                .arm(FaultOrder::on("all", FaultAction::status(99)), at(0))
                .is_err()
        );
        assert!(
            orders
                .arm(FaultOrder::on("nobody", FaultAction::Reset), at(0))
                .is_err()
        );
        let gap = FaultAction::Gitlab(GitlabFault::Gap);
        assert!(orders.arm(FaultOrder::on("backend", gap.clone()), at(0)).is_err());
        assert!(orders.arm(FaultOrder::on("gitlab", gap), at(0)).is_ok());
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

    #[test]
    fn a_fault_meets_every_third_call_of_those_it_is_about() {
        let mut orders = Orders::default();
        let third = FaultOrder {
            on: CallMatch::of(SESSIONS).by(Some("ada".into())),
            when: Some(When::Every(3)),
            ..FaultOrder::on(SESSIONS, FaultAction::Reset).times(2)
        };
        orders.arm(third, at(0)).unwrap();

        let met: Vec<_> = (1..=20)
            .filter(|number| {
                meet(&mut orders, SESSIONS, Some("bob"), *number);
                meet(&mut orders, SESSIONS, Some("ada"), *number)
            })
            .collect();

        assert_eq!(met, [3, 6]);
    }

    #[test]
    fn what_one_user_meets_by_chance_does_not_depend_on_others() {
        let met = |with_bob: bool| {
            let (mut orders, random) = (Orders::default(), Random::seeded(7));
            let by_chance = FaultOrder {
                when: Some(When::Probability(0.5)),
                ..FaultOrder::on("all", FaultAction::Reset)
            };
            orders.arm(by_chance, at(0)).unwrap();
            let mut call = |user| {
                orders
                    .meet(&seen(SESSIONS, Some(user)), (at(0), &random))
                    .is_some()
            };
            let calls = (0..64).map(|_| {
                if with_bob {
                    call("bob");
                }
                call("ada")
            });
            calls.collect::<Vec<_>>()
        };

        let alone = met(false);

        assert_eq!(alone, met(true));
        let count = alone.iter().filter(|met| **met).count();
        assert!((16..48).contains(&count), "{count}");
    }

    #[test]
    fn a_rate_limit_is_met_by_the_calls_beyond_it() {
        let mut orders = Orders::default();
        let limit = RateLimit {
            burst: 2,
            per: Time(Duration::from_secs(10)),
        };
        orders
            .arm(FaultOrder::on("gitlab", FaultAction::RateLimit(limit)), at(0))
            .unwrap();
        orders
            .arm(FaultOrder::on("all", FaultAction::Hang), at(0))
            .unwrap();

        let random = Random::seeded(7);
        let met: Vec<_> = (0..3)
            .map(|_| orders.meet(&seen(STREAM, Some("ada")), (at(0), &random)).unwrap())
            .collect();

        // What a limit lets through goes on to the next fault.
        assert_eq!(
            [&met[0].action, &met[1].action],
            [&FaultAction::Hang, &FaultAction::Hang]
        );
        assert_eq!(met[2].wait, Duration::from_secs(10));
    }
}
