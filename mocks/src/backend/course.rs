//! A backend session on its way through life: where its operator has it, since when, and what comes next by itself.
//! Nothing runs in the background: the way is walked as far as the clock has come whenever somebody looks.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    backend::{
        life::{FAILURE, Kind, Operator, Phase},
        pace::{Pace, Trouble},
    },
    order::Verb,
};

/// Break-downs after which a session counts as failed.
const CRASHES: u32 = 5;

/// What is said of a session whose image cannot be had.
const NO_IMAGE: &str = "The image of the session cannot be pulled.";
/// What is said of a session that does not come up.
const BROKEN: &str = "A container of the session breaks down again and again.";

/// A session on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Course {
    operator: Operator,
    /// When the operator's last report came.
    since: Timestamp,
    /// When the last order was given.
    ordered: Timestamp,
    /// When its user last did something.
    interacted: Timestamp,
    /// Without one it goes on by orders only.
    pace: Option<Pace>,
    crashes: u32,
    message: Option<String>,
}

/// What happens to a session by itself.
#[derive(Clone, Copy, Debug)]
enum Turn {
    By(Verb),
    Crash,
    Fail(&'static str),
}

impl Course {
    /// A course from this row on.
    pub(crate) fn new(operator: Operator, now: Timestamp, pace: Option<Pace>) -> Self {
        Self {
            operator,
            since: now,
            ordered: now,
            interacted: now,
            pace,
            crashes: 0,
            message: None,
        }
    }

    /// The course of a session that was only told so far. It waits for orders.
    pub(crate) fn behind(item: &Value, now: Timestamp) -> Self {
        let told = item["lastInteraction"]
            .as_str()
            .and_then(|text| text.parse().ok());
        Self {
            interacted: told.unwrap_or(now),
            message: item["status"]["message"].as_str().map(str::to_owned),
            ..Self::new(Operator::behind(item), now, None)
        }
    }

    pub(crate) fn operator(&self) -> Operator {
        self.operator
    }

    /// Gives it a pace, unless it has one.
    pub(crate) fn walk_at(&mut self, pace: impl FnOnce() -> Pace) {
        self.pace.get_or_insert_with(pace);
    }

    /// Where it is now; none when the session is gone.
    #[must_use]
    pub(crate) fn at(mut self, now: Timestamp) -> Option<Self> {
        while let Some((due, turn)) = self.next().filter(|(due, _)| *due <= now) {
            self = match turn {
                Turn::By(verb) => self.order(verb, due)?,
                Turn::Crash => self.crash(due),
                Turn::Fail(message) => self.fail(message.to_owned(), due)?,
            };
        }
        Some(self)
    }

    /// What comes of an order; none when the session is gone.
    #[must_use]
    pub(crate) fn order(mut self, verb: Verb, now: Timestamp) -> Option<Self> {
        let operator = self.operator.next(verb)?;
        match verb {
            Verb::Launch => return Some(Self::new(operator, now, self.pace)),
            Verb::Touch => self.interacted = now,
            // The same order again does not begin anew.
            _ if operator == self.operator => {}
            Verb::Hibernate | Verb::Delete => self.ordered = now,
            Verb::Resume => (self.ordered, self.interacted) = (now, now),
            Verb::Step | Verb::Fail | Verb::Degrade | Verb::Evict => self.since = now,
        }
        self.operator = operator;
        Some(self)
    }

    /// It fails, and says why.
    #[must_use]
    pub(crate) fn fail(mut self, message: String, now: Timestamp) -> Option<Self> {
        self.message = Some(message);
        self.order(Verb::Fail, now)
    }

    fn crash(mut self, now: Timestamp) -> Self {
        self.operator = self.operator.crashed();
        self.since = now;
        self.crashes += 1;
        self
    }

    /// Its user did something, then.
    pub(crate) fn touch(&mut self, time: Timestamp) {
        self.interacted = time;
    }

    /// What comes next by itself, and when.
    fn next(&self) -> Option<(Timestamp, Turn)> {
        let pace = self.pace.as_ref()?;
        let (from, step) = (self.since, Turn::By(Verb::Step));
        let (from, wait, turn) = match (self.operator.phase(), pace.trouble) {
            (Phase::Ordered, _) => (from.max(self.ordered), pace.lag, step),
            (Phase::Unplaced, _) => (from, pace.schedule, step),
            (Phase::Pulling, Trouble::ImagePullError) => (from, pace.pull, Turn::Fail(NO_IMAGE)),
            (Phase::Pulling, _) => (from, pace.pull, step),
            (Phase::Starting { last: true }, Trouble::CrashLoop) => {
                let turn = if self.crashes < CRASHES {
                    Turn::Crash
                } else {
                    Turn::Fail(BROKEN)
                };
                // Each time it is started anew after a longer wait.
                (from, pace.start * (1 << self.crashes.min(CRASHES)), turn)
            }
            (Phase::Starting { .. }, _) => (from, pace.start, step),
            (Phase::Up(Kind::Job), _) => (from, pace.work, step),
            (Phase::Up(_), Trouble::Storm) => (from, pace.turn, Turn::By(Verb::Hibernate)),
            (Phase::Up(_), Trouble::Flapping) => (from, pace.turn, Turn::By(Verb::Degrade)),
            // Somebody is at work in it.
            (Phase::Up(_), _) if pace.ticks.is_some() => return None,
            // Nothing hibernates before it runs, however long it took to start.
            (Phase::Up(_), _) => {
                let idle = after(self.interacted, pace.hibernate).max(from);
                (idle, Duration::ZERO, Turn::By(Verb::Hibernate))
            }
            (Phase::Degraded, _) => (from, pace.turn, step),
            (Phase::Asleep, Trouble::Storm) => (from, pace.turn, Turn::By(Verb::Resume)),
            (Phase::Asleep, _) => (from, pace.delete, Turn::By(Verb::Delete)),
            (Phase::Over(_), _) => return None,
        };
        Some((after(from, wait), turn))
    }

    /// The last interaction that is shown.
    fn last_interaction(&self, now: Timestamp) -> Timestamp {
        let ticks = self.pace.as_ref().and_then(|pace| pace.ticks);
        let Some(ticks) = ticks.map(signed) else {
            return self.interacted;
        };
        let passed = now.duration_since(self.interacted).as_millis().max(0);
        let whole = passed - passed % ticks.as_millis().max(1);
        let whole = SignedDuration::from_millis(i64::try_from(whole).unwrap_or(i64::MAX));
        self.interacted.saturating_add(whole).unwrap_or(now)
    }

    /// Shows it: lays what changes in a life over the item.
    pub(crate) fn show(&self, item: &mut Value, now: Timestamp) {
        let operator = self.operator;
        item["status"] = operator.shown();
        if operator.has_failed() {
            item["status"]["message"] = self.message.as_deref().unwrap_or(FAILURE).into();
        }
        if !operator.is_placed() {
            // The data service makes a text of an address that is not there.
            item["url"] = "None".into();
        }
        let Some(pace) = &self.pace else { return };
        let last = self.last_interaction(now);
        match operator.phase() {
            Phase::Up(Kind::Interactive) if now >= after(self.interacted, pace.notice) => {
                item["status"]["will_hibernate_at"] = second(after(last, pace.hibernate));
            }
            Phase::Asleep => item["status"]["will_delete_at"] = second(after(self.since, pace.delete)),
            Phase::Over(Kind::Job) => item["job_completed_at"] = second(self.since),
            Phase::Ordered
            | Phase::Unplaced
            | Phase::Pulling
            | Phase::Starting { .. }
            | Phase::Up(_)
            | Phase::Degraded
            | Phase::Over(Kind::Interactive) => {}
        }
        if Kind::of(item) == Kind::Interactive {
            item["lastInteraction"] = second(last);
        }
    }
}

/// A time as the data service writes it.
pub(crate) fn second(time: Timestamp) -> Value {
    json!(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

fn after(time: Timestamp, wait: Duration) -> Timestamp {
    time.saturating_add(signed(wait)).unwrap_or(Timestamp::MAX)
}
