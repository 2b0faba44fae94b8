//! Accounts for intended actions: each ends in exactly one outcome.
//!
//! `Ledger::begin` counts an action as intended and gives a `Begun`; `Ledger::end` takes it back and counts its
//! outcome. `Begun` cannot be copied, so nothing ends twice. `Ledger::close` counts everything that is still open as
//! pending; from then on nothing begins or ends any more. At any time
//! `intended = sum of the outcomes + open`, and after `close` nothing is open.

use crate::tally::{Count, Tally};

/// A kind of action that a run intends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A user signs in.
    SignIn,
    /// A tab opens.
    Open,
    /// A tab sends a request and waits for its reply.
    Request,
    /// A user's world changes.
    Change,
    /// A user signs out.
    SignOut,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::SignIn,
        Self::Open,
        Self::Request,
        Self::Change,
        Self::SignOut,
    ];

    /// The count of intended actions of this kind.
    pub const fn intended(self) -> Count {
        match self {
            Self::SignIn => Count::SignIns,
            Self::Open => Count::Opens,
            Self::Request => Count::Requests,
            Self::Change => Count::ChangesDue,
            Self::SignOut => Count::SignOuts,
        }
    }

    /// The counts of its outcomes. They add up to [`Action::intended`].
    pub const fn outcomes(self) -> &'static [Count] {
        match self {
            Self::SignIn => &[Count::SignedIn, Count::FailedSignIns, Count::PendingSignIns],
            Self::Open => &[
                Count::Opened,
                Count::Abandoned,
                Count::RefusedOpens,
                Count::BrokenOpens,
                Count::TimedOutOpens,
                Count::PendingOpens,
            ],
            Self::Request => &[
                Count::Replies,
                Count::AbandonedRequests,
                Count::Unanswered,
                Count::PendingRequests,
            ],
            Self::Change => &[Count::Changes, Count::FailedChanges, Count::PendingChanges],
            Self::SignOut => &[Count::SignedOut, Count::FailedSignOuts, Count::PendingSignOuts],
        }
    }

    /// The outcome of an action that is open at the end of the run.
    const fn pending(self) -> Count {
        match self {
            Self::SignIn => Count::PendingSignIns,
            Self::Open => Count::PendingOpens,
            Self::Request => Count::PendingRequests,
            Self::Change => Count::PendingChanges,
            Self::SignOut => Count::PendingSignOuts,
        }
    }
}

/// An action without an outcome yet.
#[derive(Debug)]
#[must_use = "an action that is dropped counts as pending at the end of the run"]
pub(crate) struct Begun(Action);

/// The end of an action that did not succeed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure<'a> {
    pub(crate) outcome: Count,
    /// For people.
    pub(crate) reason: &'a str,
}

/// The open actions of one worker.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    open: [u64; Action::ALL.len()],
    is_closed: bool,
}

impl Ledger {
    /// Counts an intended action.
    pub(crate) fn begin(&mut self, action: Action, tally: &mut Tally) -> Begun {
        if !self.is_closed {
            tally.count(action.intended());
            self.open[action as usize] += 1;
        }
        Begun(action)
    }

    /// Counts the outcome of an action.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "an action is given back when it ends, so that it cannot end twice"
    )]
    pub(crate) fn end(&mut self, begun: Begun, outcome: Count, tally: &mut Tally) {
        let Begun(action) = begun;
        debug_assert!(
            action.outcomes().contains(&outcome),
            "{action:?} cannot end as {outcome:?}"
        );
        if !self.is_closed {
            self.open[action as usize] -= 1;
            tally.count(outcome);
        }
    }

    /// Counts the outcome of an action that did not succeed.
    pub(crate) fn fail(&mut self, begun: Begun, failure: &Failure<'_>, tally: &mut Tally) {
        if !self.is_closed {
            tally.add_reason(failure.reason, 1);
        }
        self.end(begun, failure.outcome, tally);
    }

    /// Ends a request without a reply.
    pub(crate) fn unanswered(&mut self, begun: Begun, reason: &str, tally: &mut Tally) {
        let outcome = Count::Unanswered;
        self.fail(begun, &Failure { outcome, reason }, tally);
    }

    /// The open actions of a kind.
    pub(crate) fn open(&self, action: Action) -> u64 {
        self.open[action as usize]
    }

    /// Ends everything that is open as pending.
    pub(crate) fn close(&mut self, tally: &mut Tally) {
        for action in Action::ALL {
            let open = std::mem::take(&mut self.open[action as usize]);
            tally.add_count(action.pending(), open);
        }
        self.is_closed = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        /// Actions begin and end in any order, some after the ledger is closed.
        #[test]
        fn outcomes_add_up_to_what_was_intended(
            steps in vec((0..Action::ALL.len(), any::<bool>(), any::<prop::sample::Index>()), 0..200),
            close_at in 0..200_usize,
        ) {
            let (mut ledger, mut tally) = (Ledger::default(), Tally::default());
            let mut open = Vec::new();
            for (nth, (action, begins, index)) in steps.into_iter().enumerate() {
                if nth == close_at {
                    ledger.close(&mut tally);
                }
                if begins {
                    open.push((Action::ALL[action], ledger.begin(Action::ALL[action], &mut tally)));
                } else if !open.is_empty() {
                    let (action, begun) = open.swap_remove(index.index(open.len()));
                    let outcome = action.outcomes()[index.index(action.outcomes().len())];
                    ledger.end(begun, outcome, &mut tally);
                }
                for action in Action::ALL {
                    let sum = tally.sum(action.outcomes()) + ledger.open(action);
                    prop_assert_eq!(tally.get(action.intended()), sum, "{:?}", action);
                }
            }
            ledger.close(&mut tally);
            for action in Action::ALL {
                prop_assert_eq!(tally.get(action.intended()), tally.sum(action.outcomes()));
            }
        }
    }
}
