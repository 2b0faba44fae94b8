//! How long each part of a backend session's life takes, and what goes wrong in it (MOCKS B2).

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact as text;
use polytab_seams::random::Random;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What goes wrong in a session's life, again and again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// Its last container breaks down as it comes up, until that counts as a failure.
    CrashLoop,
    /// Its image cannot be pulled.
    ImagePullError,
    /// It is hibernated and resumed in turns.
    Storm,
    /// It runs well and badly in turns.
    Flapping,
}

/// Wishes about the time that things take; absent ones are as usual. All durations are scenario time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PaceOrder {
    /// From an order to its effect.
    #[serde(with = "text::optional")]
    #[schemars(with = "Option<String>")]
    pub lag: Option<Duration>,
    /// From launch to a place to run: 0 to 5 s unless told.
    #[serde(with = "text::optional")]
    #[schemars(with = "Option<String>")]
    pub schedule: Option<Duration>,
    /// Until the image is there: 5 to 90 s unless told.
    #[serde(with = "text::optional")]
    #[schemars(with = "Option<String>")]
    pub pull: Option<Duration>,
    /// From one container to the next.
    #[serde(with = "text::optional")]
    #[schemars(with = "Option<String>")]
    pub start: Option<Duration>,
    /// From the last interaction to `will_hibernate_at`.
    #[serde(with = "text::optional")]
    #[schemars(with = "Option<String>")]
    pub notice: Option<Duration>,
    /// From the last interaction to hibernation.
    #[serde(with = "text::optional")]
    #[schemars(with = "Option<String>")]
    pub hibernate: Option<Duration>,
    /// From hibernation to deletion.
    #[serde(with = "text::optional")]
    #[schemars(with = "Option<String>")]
    pub delete: Option<Duration>,
    /// How often the last interaction moves although nobody does anything visible; held still unless told.
    #[serde(with = "text::optional")]
    #[schemars(with = "Option<String>")]
    pub ticks: Option<Duration>,
    /// Between two turns of a trouble; at least a second.
    #[serde(with = "text::optional")]
    #[schemars(with = "Option<String>")]
    pub turn: Option<Duration>,
    /// How long a job works.
    #[serde(with = "text::optional")]
    #[schemars(with = "Option<String>")]
    pub work: Option<Duration>,
    /// Containers of a session, init containers counted; two at least.
    pub containers: Option<u32>,
}

/// The times of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) trouble: Trouble,
    pub(crate) lag: Duration,
    pub(crate) schedule: Duration,
    pub(crate) pull: Duration,
    pub(crate) start: Duration,
    pub(crate) notice: Duration,
    pub(crate) hibernate: Duration,
    pub(crate) delete: Duration,
    pub(crate) ticks: Option<Duration>,
    pub(crate) turn: Duration,
    pub(crate) work: Duration,
    pub(crate) containers: u32,
}

/// Containers that a session may have at most.
const MOST_CONTAINERS: u32 = 20;

impl Pace {
    /// Draws what was not wished for from the stream of this purpose.
    pub(crate) fn draw(order: &PaceOrder, trouble: Trouble, (random, purpose): (&Random, &str)) -> Self {
        // Everything is drawn, wished for or not: a wish must not move what is drawn after it.
        let between = |least: u64, most: u64| {
            Duration::from_millis(least * 1000 + random.below(purpose, (most - least) * 1000 + 1))
        };
        let (schedule, pull, start) = (between(0, 5), between(5, 90), between(1, 5));
        let containers = 3 + u32::try_from(random.below(purpose, 3)).unwrap_or(0);
        let second = Duration::from_secs(1);
        Self {
            trouble,
            lag: order.lag.unwrap_or(2 * second),
            schedule: order.schedule.unwrap_or(schedule),
            pull: order.pull.unwrap_or(pull),
            start: order.start.unwrap_or(start),
            notice: order.notice.unwrap_or(Duration::from_mins(5)),
            hibernate: order.hibernate.unwrap_or(Duration::from_hours(2)),
            delete: order.delete.unwrap_or(Duration::from_hours(48)),
            // Turns and ticks go round and round: without a length they would never end.
            ticks: order.ticks.map(|ticks| ticks.max(second)),
            turn: order.turn.unwrap_or(20 * second).max(second),
            work: order.work.unwrap_or(Duration::from_mins(2)),
            containers: order.containers.unwrap_or(containers).clamp(2, MOST_CONTAINERS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_wished_for_is_drawn_within_its_bounds() {
        let random = Random::seeded(1);

        for _ in 0..100 {
            let pace = Pace::draw(&PaceOrder::default(), Trouble::None, (&random, "user/ada/pace"));

            assert!(pace.schedule <= Duration::from_secs(5));
            assert!((Duration::from_secs(5)..=Duration::from_secs(90)).contains(&pace.pull));
            assert!((3..=5).contains(&pace.containers));
        }
    }

    #[test]
    fn a_wish_moves_nothing_that_is_drawn_after_it() {
        let draw = |order: &PaceOrder| {
            let random = Random::seeded(1);
            Pace::draw(order, Trouble::None, (&random, "user/ada/pace"))
        };
        let usual = draw(&PaceOrder::default());

        let wished = draw(&PaceOrder {
            schedule: Some(Duration::from_secs(9)),
            turn: Some(Duration::ZERO),
            ..PaceOrder::default()
        });

        assert_eq!(wished.pull, usual.pull);
        assert_eq!(
            (wished.schedule, wished.turn),
            (Duration::from_secs(9), Duration::from_secs(1))
        );
    }
}
