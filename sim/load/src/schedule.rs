//! When everything is meant to happen: a pure function of the plan and a user's number, so that the shards of a run
//! have, together, exactly the schedule of the whole.

use std::time::Duration;

use crate::{
    draw::{Draw, Purpose},
    plan::{Arrival, Happening, Phase, Plan},
};

/// The times of a plan.
#[derive(Debug)]
pub(crate) struct Schedule {
    draw: Draw,
    /// Beginnings of the phases, and the end of the last.
    bounds: Vec<f64>,
    /// Users at the beginning of each phase, and at the end of the last.
    users: Vec<u64>,
    /// For each phase that people come to at random: when, as sorted parts of it.
    random: Vec<Vec<f64>>,
    phases: Vec<Phase>,
    happenings: Vec<Happening>,
    tabs: Vec<(u32, f64)>,
}

/// A user's presence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stay {
    pub(crate) from: Duration,
    /// None until the end of the run.
    pub(crate) to: Option<Duration>,
}

/// How far a repeated happening of one user has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repeated {
    pub(crate) happening: Happening,
    nth: u64,
    /// Expected number of events until the last one.
    sum: f64,
}

impl Repeated {
    pub(crate) fn of(happening: Happening) -> Self {
        Self {
            happening,
            nth: 0,
            sum: 0.0,
        }
    }
}

impl Schedule {
    pub(crate) fn new(plan: &Plan) -> Self {
        let draw = Draw(plan.seed);
        let mut bounds = vec![0.0];
        let mut users = vec![0];
        let mut random = Vec::new();
        for (index, phase) in plan.phases.iter().enumerate() {
            let before = users[index];
            let comers = phase.users.saturating_sub(before);
            let mut parts = Vec::new();
            if phase.arrival == Arrival::Poisson {
                // Given how many come, the times of a Poisson process are even draws, sorted.
                let nth = index as u64;
                parts.extend((0..comers).map(|comer| draw.unit(before + comer, Purpose::Arrival, nth)));
                parts.sort_unstable_by(f64::total_cmp);
            }
            random.push(parts);
            bounds.push(bounds[index] + phase.length.as_secs_f64());
            users.push(phase.users);
        }
        let happens = |happening: &Happening| {
            let mut events = plan.phases.iter().flat_map(|phase| &phase.events);
            events.any(|process| process.happening == *happening && process.rate > 0.0)
        };
        Self {
            draw,
            bounds,
            users,
            random,
            phases: plan.phases.clone(),
            happenings: Happening::ALL.into_iter().filter(happens).collect(),
            tabs: plan.tabs_per_user.clone(),
        }
    }

    /// The end of the last phase.
    pub(crate) fn end(&self) -> Duration {
        Duration::from_secs_f64(self.bounds.last().copied().unwrap_or(0.0))
    }

    /// Ends of the phases.
    pub(crate) fn phase_ends(&self) -> Vec<Duration> {
        self.bounds[1..]
            .iter()
            .map(|end| Duration::from_secs_f64(*end))
            .collect()
    }

    /// What happens to users in some phase.
    pub(crate) fn happenings(&self) -> &[Happening] {
        &self.happenings
    }

    /// How many users there ever are.
    pub(crate) fn user_count(&self) -> u64 {
        self.users.iter().copied().max().unwrap_or(0)
    }

    /// How many tabs a user has.
    pub(crate) fn tabs(&self, user: u64) -> u32 {
        let whole: f64 = self.tabs.iter().map(|(_, share)| share).sum();
        let mut left = self.draw.unit(user, Purpose::Tabs, 0) * whole;
        for (tabs, share) in &self.tabs {
            if left < *share {
                return *tabs;
            }
            left -= share;
        }
        self.tabs.last().map_or(1, |(tabs, _)| *tabs)
    }

    /// How long after the user came the tab opens: people open one after the other, within a second.
    pub(crate) fn opening(&self, user: u64, tab: u32) -> Duration {
        let after = if tab == 0 {
            0.0
        } else {
            self.draw.unit(user, Purpose::Opening, tab.into())
        };
        Duration::from_secs_f64(after)
    }

    /// Where in its first interval a tab's first request lies, as a part of it.
    pub(crate) fn request_phase(&self, user: u64, tab: u32) -> f64 {
        self.draw.unit(user, Purpose::Phase, tab.into())
    }

    /// When the user is there.
    pub(crate) fn stays(&self, user: u64) -> Vec<Stay> {
        let mut stays: Vec<Stay> = Vec::new();
        for (index, phase) in self.phases.iter().enumerate() {
            let (before, after) = (self.users[index], self.users[index + 1]);
            let at =
                |part: f64| Duration::from_secs_f64(self.bounds[index] + part * phase.length.as_secs_f64());
            if (before..after).contains(&user) {
                let part = self.arrival_part(index, user - before, after - before);
                stays.push(Stay {
                    from: at(part),
                    to: None,
                });
            } else if (after..before).contains(&user)
                && let Some(stay) = stays.last_mut()
            {
                stay.to = Some(at(middle(before - 1 - user, before - after)));
            }
        }
        stays
    }

    fn arrival_part(&self, phase: usize, nth: u64, of: u64) -> f64 {
        match self.phases[phase].arrival {
            Arrival::Constant => middle(nth, of),
            // At a rate that grows with time, the number of those who came grows with its square.
            Arrival::Ramp => middle(nth, of).sqrt(),
            Arrival::Poisson => usize::try_from(nth)
                .ok()
                .and_then(|nth| self.random[phase].get(nth).copied())
                .unwrap_or(0.0),
            Arrival::Spike => 0.0,
        }
    }

    /// The next time at which this happens to the user; none when it never does again.
    pub(crate) fn next(&self, user: u64, repeated: &mut Repeated) -> Option<Duration> {
        let happening = repeated.happening;
        let purpose = Purpose::Event(happening as u8);
        let step = match (happening.is_regular(), repeated.nth) {
            // Each user's first one anywhere in the interval, so that not all happen at once.
            (true, 0) => self.draw.unit(user, purpose, 0),
            (true, _) => 1.0,
            (false, nth) => self.draw.step(user, purpose, nth),
        };
        repeated.nth += 1;
        repeated.sum += step;
        self.when(happening, repeated.sum)
    }

    /// To which of so many tabs the last event happens.
    pub(crate) fn which(&self, user: u64, repeated: &Repeated, of: usize) -> usize {
        let bits = self
            .draw
            .bits(user, Purpose::Which(repeated.happening as u8), repeated.nth);
        usize::try_from(bits % of.max(1) as u64).unwrap_or(0)
    }

    /// How long a user of the closed model stays away, as a part of the mean.
    pub(crate) fn away(&self, user: u64, nth: u64) -> f64 {
        self.draw.step(user, Purpose::Stay, nth)
    }

    /// The time until which so many events are expected.
    fn when(&self, happening: Happening, mut expected: f64) -> Option<Duration> {
        for (phase, bounds) in self.phases.iter().zip(self.bounds.windows(2)) {
            let rate = phase
                .events
                .iter()
                .filter(|process| process.happening == happening)
                .map(|process| process.rate)
                .sum::<f64>();
            let here = rate * (bounds[1] - bounds[0]);
            if expected < here {
                return Some(Duration::from_secs_f64(bounds[0] + expected / rate));
            }
            expected -= here;
        }
        None
    }
}

/// The middle of the `nth` of so many equal parts of 1.
#[expect(clippy::cast_precision_loss, reason = "no run has 2⁵² users")]
fn middle(nth: u64, of: u64) -> f64 {
    (nth as f64 + 0.5) / of as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Page, Process, tests_support::plan};

    fn phase(seconds: u64, users: u64, arrival: Arrival) -> Phase {
        Phase {
            name: "p".to_owned(),
            length: Duration::from_secs(seconds),
            users,
            arrival,
            events: Vec::new(),
        }
    }

    fn schedule(phases: Vec<Phase>) -> Schedule {
        Schedule::new(&plan(phases, Page::default()))
    }

    #[test]
    fn users_come_as_their_phase_says_and_the_last_go_first() {
        let schedule = schedule(vec![
            phase(10, 10, Arrival::Constant),
            phase(10, 20, Arrival::Spike),
            phase(10, 15, Arrival::Constant),
            phase(10, 20, Arrival::Ramp),
        ]);
        let seconds = |user: u64| -> Vec<(f64, Option<f64>)> {
            let stays = schedule.stays(user).into_iter();
            stays
                .map(|stay| (stay.from.as_secs_f64(), stay.to.map(|to| to.as_secs_f64())))
                .collect()
        };

        assert_eq!(seconds(0), [(0.5, None)]);
        assert_eq!(seconds(9), [(9.5, None)]);
        assert_eq!(seconds(10), [(10.0, None)]);
        assert_eq!(seconds(19)[0], (10.0, Some(21.0)));
        assert_eq!(seconds(15)[0], (10.0, Some(29.0)));
        assert!(seconds(19)[1].0 > seconds(15)[1].0);
        assert_eq!(seconds(20), []);
        assert_eq!((schedule.end().as_secs(), schedule.user_count()), (40, 20));
    }

    #[test]
    fn random_arrivals_are_in_order_and_within_their_phase() {
        let schedule = schedule(vec![phase(10, 1000, Arrival::Poisson)]);

        let times: Vec<_> = (0..1000).map(|user| schedule.stays(user)[0].from).collect();

        assert!(times.is_sorted());
        assert!(times[999] < Duration::from_secs(10));
        let early = times.iter().filter(|time| time.as_secs() < 5).count();
        assert!((400..600).contains(&early), "{early}");
    }

    #[test]
    fn events_keep_the_rate_of_their_phase() {
        let mut phases = vec![
            phase(100, 10, Arrival::Spike),
            phase(100, 10, Arrival::Spike),
            phase(100, 10, Arrival::Spike),
        ];
        for (index, rate) in [(0, 0.2), (2, 1.0)] {
            phases[index].events.push(Process {
                happening: Happening::Reload,
                rate,
            });
            phases[index].events.push(Process {
                happening: Happening::Change,
                rate: 0.1,
            });
        }
        let schedule = schedule(phases);
        let times = |happening| -> Vec<u64> {
            let mut times = Vec::new();
            for user in 0..10 {
                let mut repeated = Repeated::of(happening);
                while let Some(time) = schedule.next(user, &mut repeated) {
                    times.push(time.as_secs());
                }
            }
            times
        };
        let within = |times: &[u64], from, to| times.iter().filter(|time| (from..to).contains(*time)).count();

        let (reloads, changes) = (times(Happening::Reload), times(Happening::Change));

        assert!((150..250).contains(&within(&reloads, 0, 100)), "{reloads:?}");
        assert_eq!(within(&reloads, 100, 200), 0);
        assert!((900..1100).contains(&within(&reloads, 200, 300)), "{reloads:?}");
        assert_eq!((within(&changes, 0, 100), within(&changes, 200, 300)), (100, 100));
    }

    #[test]
    fn shares_of_tabs_are_kept() {
        let mut plan = plan(vec![phase(1, 1, Arrival::Spike)], Page::default());
        plan.tabs_per_user = vec![(1, 60.0), (2, 25.0), (5, 15.0)];
        let schedule = Schedule::new(&plan);

        let count = |wanted| (0..10_000).filter(|user| schedule.tabs(*user) == wanted).count();

        for (tabs, about) in [(1, 6000), (2, 2500), (5, 1500_usize)] {
            assert!(count(tabs).abs_diff(about) < 150, "{tabs}: {}", count(tabs));
        }
    }
}
