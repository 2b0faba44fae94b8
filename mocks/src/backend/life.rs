//! The life of a backend session as its operator reports it, and what the data service shows of it (MOCKS B1, B2).

use serde_json::{Value, json};

use crate::order::Verb;

/// Containers of a session that runs.
const CONTAINERS: u32 = 2;

/// What the operator says of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operator {
    status: Status,
    /// What the user ordered, which takes effect later.
    hibernated: bool,
    deleting: bool,
    ready: u32,
    total: u32,
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

impl Operator {
    /// A session that was just asked for.
    pub(crate) const NEW: Self = Self {
        status: Status::NotReady,
        hibernated: false,
        deleting: false,
        ready: 0,
        total: 0,
    };

    /// What lies behind a shown status.
    pub(crate) fn behind(status: &Value) -> Self {
        let count = |name: &str| {
            let count = status.get(name).and_then(Value::as_u64).unwrap_or(0);
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        let seen = Self {
            ready: count("ready_containers"),
            total: count("total_containers"),
            ..Self::NEW
        };
        match status.get("state").and_then(Value::as_str) {
            Some("running") => Self {
                status: Status::Running,
                ..seen
            },
            Some("hibernated") => Self {
                status: Status::Hibernated,
                hibernated: true,
                ..seen
            },
            Some("failed") => Self {
                status: Status::Failed,
                ..seen
            },
            Some("succeeded") => Self {
                status: Status::Succeeded,
                ..seen
            },
            Some("stopping") => Self {
                deleting: true,
                ..seen
            },
            _ => seen,
        }
    }

    /// What comes next; none when the session is gone.
    pub(crate) fn next(self, verb: Verb) -> Option<Self> {
        Some(match verb {
            Verb::Launch => Self::NEW,
            Verb::Step => return self.step(),
            Verb::Hibernate => Self {
                hibernated: true,
                ..self
            },
            Verb::Resume => Self {
                hibernated: false,
                ..self
            },
            Verb::Fail => Self {
                status: Status::Failed,
                ready: 0,
                ..self
            },
            Verb::Degrade => Self {
                status: Status::RunningDegraded,
                ready: self.ready.min(1),
                ..self
            },
            Verb::Delete => Self {
                deleting: true,
                ..self
            },
        })
    }

    fn step(self) -> Option<Self> {
        let is_up = matches!(self.status, Status::Running | Status::RunningDegraded);
        Some(match self.status {
            Status::NotReady if self.deleting => return None,
            _ if self.deleting => Self {
                status: Status::NotReady,
                ready: 0,
                ..self
            },
            _ if is_up && self.hibernated => Self {
                status: Status::Hibernated,
                ready: 0,
                total: 0,
                ..self
            },
            Status::Hibernated if !self.hibernated => Self::NEW,
            Status::NotReady if self.total == 0 => Self {
                total: CONTAINERS,
                ..self
            },
            Status::NotReady if self.ready + 1 < self.total => Self {
                ready: self.ready + 1,
                ..self
            },
            Status::NotReady | Status::RunningDegraded => Self {
                status: Status::Running,
                ready: self.total,
                ..self
            },
            Status::Running | Status::Hibernated | Status::Failed | Status::Succeeded => self,
        })
    }

    /// The status that the data service shows.
    pub(crate) fn shown(self) -> Value {
        let state = match self.status {
            Status::NotReady if self.deleting => "stopping",
            // Shown hibernated before it is so, as the data service looks at the order first.
            Status::Running | Status::Hibernated if self.hibernated => "hibernated",
            Status::NotReady | Status::Hibernated => "starting",
            Status::Running | Status::RunningDegraded => "running",
            Status::Failed => "failed",
            Status::Succeeded => "succeeded",
        };
        let mut status = json!({
            "state": state,
            "ready_containers": self.ready,
            "total_containers": self.total,
        });
        if self.status == Status::Failed {
            status["message"] = "The session failed to start.".into();
        }
        status
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

/// The status of a session in this state of which no more is known.
pub(crate) fn typical(state: &str) -> Value {
    let (ready, total) = match state {
        "running" => (CONTAINERS, CONTAINERS),
        "hibernated" => (0, 0),
        _ => (0, CONTAINERS),
    };
    let counts = json!({"state": state, "ready_containers": ready, "total_containers": total});
    Operator::behind(&counts).shown()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
    fn a_life_is_shown_as_the_data_service_shows_it() {
        use Verb::{Delete, Hibernate, Resume, Step};
        let mut operator = Operator::NEW;
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
    fn a_typical_status_shows_the_state_it_was_made_for() {
        for state in STATES {
            assert_eq!(typical(state)["state"], state);
        }
    }

    proptest! {
        #[test]
        fn no_life_shows_more_containers_ready_than_there_are(verbs in prop::collection::vec(0usize..7, 0..40)) {
            use Verb::{Degrade, Delete, Fail, Hibernate, Launch, Resume, Step};
            let all = [Launch, Step, Hibernate, Resume, Fail, Degrade, Delete];
            let mut operator = Operator::NEW;
            for verb in verbs {
                let Some(next) = operator.next(all[verb]) else { break };
                operator = next;
                prop_assert!(operator.ready <= operator.total);
                prop_assert!(STATES.contains(&operator.shown()["state"].as_str().unwrap()));
            }
        }
    }
}
