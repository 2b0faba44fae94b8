//! The life of a backend session as its operator reports it, and what the data service shows of it (MOCKS B1, B2).
//! Knows no time.

use serde_json::{Value, json};

use crate::order::Verb;

/// Containers of a session of which no more is known.
pub(crate) const CONTAINERS: u32 = 2;

/// What the operator says of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operator {
    status: Status,
    kind: Kind,
    /// What the user ordered, which takes effect later.
    hibernated: bool,
    deleting: bool,
    /// Whether it was ever given a place to run, and with it an address.
    placed: bool,
    ready: u32,
    total: u32,
    /// Containers it has once they are there, init containers counted.
    size: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    NotReady,
    Running,
    RunningDegraded,
    Hibernated,
    Failed,
    Succeeded,
}

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A person works in it.
    Interactive,
    /// It does its work and ends.
    Job,
}

impl Kind {
    /// As `session_type` says it.
    pub(crate) fn of(item: &Value) -> Self {
        if item["session_type"] == "non-interactive" {
            Self::Job
        } else {
            Self::Interactive
        }
    }
}

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// An order to take effect.
    Ordered,
    /// A place to run.
    Unplaced,
    /// Its image.
    Pulling,
    /// Its containers, the last of them if `last`.
    Starting {
        /// Whether all the others are ready.
        last: bool,
    },
    /// Its user, or the end of its work.
    Up(Kind),
    /// Better days.
    Degraded,
    /// Its user to come back.
    Asleep,
    /// Nothing.
    Over(Kind),
}

impl Operator {
    /// A session that was just asked for.
    pub(crate) const fn new(kind: Kind, size: u32) -> Self {
        Self {
            status: Status::NotReady,
            kind,
            hibernated: false,
            deleting: false,
            placed: false,
            ready: 0,
            total: 0,
            size,
        }
    }

    /// What lies behind a shown item.
    pub(crate) fn behind(item: &Value) -> Self {
        let shown = &item["status"];
        let count = |name: &str| {
            let count = shown[name].as_u64().unwrap_or(0);
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        let total = count("total_containers");
        let size = if total == 0 { CONTAINERS } else { total };
        let seen = Self {
            placed: true,
            ready: count("ready_containers"),
            total,
            ..Self::new(Kind::of(item), size)
        };
        let (status, hibernated, deleting) = match shown["state"].as_str() {
            Some("running") => (Status::Running, false, false),
            Some("hibernated") => (Status::Hibernated, true, false),
            Some("failed") => (Status::Failed, false, false),
            Some("succeeded") => (Status::Succeeded, false, false),
            Some("stopping") => (Status::NotReady, false, true),
            _ => (Status::NotReady, false, false),
        };
        Self {
            status,
            hibernated,
            deleting,
            ..seen
        }
    }

    /// What comes of an order, before it takes effect; none when the session is gone.
    pub(crate) fn next(self, verb: Verb) -> Option<Self> {
        let is_up = matches!(self.status, Status::Running | Status::RunningDegraded);
        let is_under_way = is_up || self.status == Status::NotReady;
        let is_leaving = self.deleting && self.status == Status::NotReady;
        Some(match verb {
            Verb::Launch => Self::new(self.kind, self.size),
            Verb::Step => return self.step(),
            // A job's work is done, not interrupted.
            Verb::Hibernate if self.kind == Kind::Interactive => Self {
                hibernated: true,
                ..self
            },
            Verb::Resume => Self {
                hibernated: false,
                ..self
            },
            Verb::Fail if self.status != Status::Succeeded && !is_leaving => Self {
                status: Status::Failed,
                ready: 0,
                ..self
            },
            Verb::Degrade if is_up => Self {
                status: Status::RunningDegraded,
                ready: self.ready.min(1),
                ..self
            },
            Verb::Evict if is_under_way => self.anew(),
            Verb::Delete => Self {
                deleting: true,
                ..self
            },
            // A touch is no matter of the operator's; the others find nothing that they could change.
            Verb::Hibernate | Verb::Fail | Verb::Degrade | Verb::Evict | Verb::Touch => self,
        })
    }

    /// What comes next by itself; none when the session is gone.
    fn step(self) -> Option<Self> {
        Some(match (self.phase(), self.status) {
            (Phase::Ordered, Status::NotReady) => return None,
            (Phase::Ordered, _) if self.deleting => Self {
                status: Status::NotReady,
                ready: 0,
                ..self
            },
            (Phase::Ordered, Status::Hibernated) => self.anew(),
            (Phase::Ordered, _) => Self {
                status: Status::Hibernated,
                ready: 0,
                total: 0,
                ..self
            },
            (Phase::Unplaced, _) => Self {
                placed: true,
                total: self.size,
                ..self
            },
            (Phase::Pulling | Phase::Starting { last: false }, _) if self.ready + 1 < self.total => Self {
                ready: self.ready + 1,
                ..self
            },
            (Phase::Pulling | Phase::Starting { .. } | Phase::Degraded, _) => Self {
                status: Status::Running,
                ready: self.total,
                ..self
            },
            (Phase::Up(Kind::Job), _) => Self {
                status: Status::Succeeded,
                ready: 0,
                ..self
            },
            (Phase::Up(Kind::Interactive) | Phase::Asleep | Phase::Over(_), _) => self,
        })
    }

    /// Without containers again, where it was.
    fn anew(self) -> Self {
        Self {
            placed: self.placed,
            deleting: self.deleting,
            hibernated: self.hibernated,
            ..Self::new(self.kind, self.size)
        }
    }

    /// What broke down as it came up: the image is there, the containers are to start again.
    pub(crate) fn crashed(self) -> Self {
        Self {
            ready: self.ready.min(1),
            ..self
        }
    }

    pub(crate) fn phase(self) -> Phase {
        let is_lagging = match self.status {
            Status::Running | Status::RunningDegraded => self.hibernated,
            Status::Hibernated => !self.hibernated,
            Status::NotReady | Status::Failed | Status::Succeeded => false,
        };
        match self.status {
            _ if self.deleting || is_lagging => Phase::Ordered,
            Status::NotReady if self.total == 0 => Phase::Unplaced,
            Status::NotReady if self.ready == 0 => Phase::Pulling,
            Status::NotReady => Phase::Starting {
                last: self.ready + 1 >= self.total,
            },
            Status::Running => Phase::Up(self.kind),
            Status::RunningDegraded => Phase::Degraded,
            Status::Hibernated => Phase::Asleep,
            Status::Failed | Status::Succeeded => Phase::Over(self.kind),
        }
    }

    pub(crate) fn is_placed(self) -> bool {
        self.placed
    }

    pub(crate) fn has_failed(self) -> bool {
        self.status == Status::Failed
    }

    /// Whether it holds, or will hold, what it needs to run.
    pub(crate) fn uses_quota(self) -> bool {
        let is_over = matches!(self.status, Status::Failed | Status::Succeeded);
        !is_over && !self.hibernated
    }

    /// The status that the data service shows; of a failed session without what went wrong.
    pub(crate) fn shown(self) -> Value {
        json!({
            "state": self.state(),
            "ready_containers": self.ready,
            "total_containers": self.total,
        })
    }

    /// The state that the data service shows.
    pub(crate) fn state(self) -> &'static str {
        match self.status {
            Status::NotReady if self.deleting => "stopping",
            // Shown hibernated before it is so, as the data service looks at the order first.
            Status::Running | Status::Hibernated if self.hibernated => "hibernated",
            Status::NotReady | Status::Hibernated => "starting",
            Status::Running | Status::RunningDegraded => "running",
            Status::Failed => "failed",
            Status::Succeeded => "succeeded",
        }
    }
}

/// The states that the data service knows.
pub(crate) const STATES: [&str; 6] = [
    "running",
    "starting",
    "stopping",
    "failed",
    "hibernated",
    "succeeded",
];

/// What is said of a failed session when nobody said more.
pub(crate) const FAILURE: &str = "The session failed to start.";

/// The status of a session in this state of which no more is known.
pub(crate) fn typical(state: &str) -> Value {
    let (ready, total) = match state {
        "running" => (CONTAINERS, CONTAINERS),
        "hibernated" => (0, 0),
        _ => (0, CONTAINERS),
    };
    let mut status = json!({"state": state, "ready_containers": ready, "total_containers": total});
    if state == "failed" {
        status["message"] = FAILURE.into();
    }
    status
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEW: Operator = Operator::new(Kind::Interactive, CONTAINERS);

    fn shown(operator: Operator) -> String {
        let status = operator.shown();
        format!(
            "{} {}/{}",
            status["state"].as_str().unwrap(),
            status["ready_containers"],
            status["total_containers"]
        )
    }

    #[test]
    fn every_row_of_the_operator_is_shown_as_the_data_service_shows_it() {
        use Status::{Failed, Hibernated, NotReady, Running, RunningDegraded, Succeeded};
        let either = &[false, true][..];
        let (no, yes) = (&[false][..], &[true][..]);

        for (status, hibernated, deleting, state) in [
            (NotReady, either, no, "starting"),
            (NotReady, either, yes, "stopping"),
            (Running, no, either, "running"),
            (Running, yes, either, "hibernated"),
            (Hibernated, yes, either, "hibernated"),
            (Hibernated, no, either, "starting"),
            (RunningDegraded, either, either, "running"),
            (Failed, either, either, "failed"),
            (Succeeded, either, either, "succeeded"),
        ] {
            for (hibernated, deleting) in hibernated
                .iter()
                .flat_map(|a| deleting.iter().map(move |b| (a, b)))
            {
                let operator = Operator {
                    status,
                    hibernated: *hibernated,
                    deleting: *deleting,
                    ..NEW
                };

                assert_eq!(operator.state(), state, "{operator:?}");
            }
        }
    }

    #[test]
    fn a_life_is_shown_as_the_data_service_shows_it() {
        use Verb::{Delete, Hibernate, Resume, Step};
        let mut operator = NEW;
        let mut seen = vec![shown(operator)];

        for verb in [
            Step, Step, Step, Hibernate, Step, Resume, Step, Step, Step, Step, Delete, Step,
        ] {
            operator = operator.next(verb).unwrap();
            seen.push(shown(operator));
        }

        assert_eq!(
            seen,
            [
                "starting 0/0",
                "starting 0/2",
                "starting 1/2",
                "running 2/2",
                "hibernated 2/2", // shown early
                "hibernated 0/0",
                "starting 0/0", // resuming
                "starting 0/0",
                "starting 0/2",
                "starting 1/2",
                "running 2/2",
                "running 2/2", // while the delete is under way
                "stopping 0/2",
            ]
        );
        assert_eq!(operator.next(Step), None);
    }

    #[test]
    fn a_job_succeeds_and_never_hibernates() {
        let mut operator = Operator::new(Kind::Job, 1);

        for verb in [Verb::Step, Verb::Step, Verb::Hibernate, Verb::Step] {
            operator = operator.next(verb).unwrap();
        }

        assert_eq!(shown(operator), "succeeded 0/1");
    }

    #[test]
    fn what_lies_behind_a_typical_status_shows_it() {
        for state in STATES {
            let item = json!({"status": typical(state)});

            assert_eq!(Operator::behind(&item).state(), state);
        }
    }

    proptest! {
        #[test]
        fn no_life_breaks_what_always_holds(verbs in prop::collection::vec(0usize..9, 0..40), is_job: bool) {
            use Verb::{Degrade, Delete, Evict, Fail, Hibernate, Launch, Resume, Step, Touch};
            let all = [Step, Hibernate, Resume, Fail, Degrade, Touch, Evict, Launch, Delete];
            let kind = if is_job { Kind::Job } else { Kind::Interactive };
            let mut operator = Operator::new(kind, 3);
            for verb in verbs {
                let was_deleting = operator.deleting && all[verb] != Launch;
                let Some(next) = operator.next(all[verb]) else { break };
                operator = next;
                prop_assert!(operator.ready <= operator.total);
                prop_assert!(operator.state() != "succeeded" || is_job);
                prop_assert!(operator.state() != "hibernated" || !is_job);
                prop_assert!(operator.deleting || !was_deleting, "no way back");
            }
        }
    }
}
