//! Evidence behind a value: a count of zero means something only where the thing could have been seen.

use crate::{
    intent::{Feature, Intent},
    tally::{Count, Metric, Tally},
};

/// A run's counts beside its intent. Each method returns the reason why nothing was measured, or none if something was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight<'a> {
    pub(crate) tally: &'a Tally,
    pub(crate) intent: &'a Intent,
}

impl Sight<'_> {
    /// For a duration.
    pub(crate) fn metric(&self, metric: Metric) -> Option<String> {
        if self
            .tally
            .metric(metric)
            .is_some_and(|histogram| histogram.count() > 0)
        {
            return None;
        }
        match metric {
            Metric::SignIn => Some("no user signed in".to_owned()),
            Metric::Connect => Some("no tab opened".to_owned()),
            Metric::FirstMessage => self.any(Count::Received, "no message arrived"),
            Metric::Reply => self.replies(),
            Metric::Fanout | Metric::FanoutFirst | Metric::FanoutLast => Some(self.unheard()),
            Metric::Skew => Some(match self.heard() {
                0 => self.unheard(),
                _ => "no change was heard in two tabs of one user".to_owned(),
            }),
            Metric::Lag => Some("nothing was due".to_owned()),
        }
    }

    /// For a count.
    pub(crate) fn count(&self, count: Count) -> Option<String> {
        if self.tally.get(count) > 0 {
            return None;
        }
        match count {
            Count::Users => Some("no user arrived".to_owned()),
            Count::SignIns | Count::SignedIn | Count::FailedSignIns | Count::PendingSignIns => {
                self.any(Count::SignIns, "no user was to sign in")
            }
            Count::Opens
            | Count::Abandoned
            | Count::RefusedOpens
            | Count::BrokenOpens
            | Count::TimedOutOpens
            | Count::PendingOpens => self.any(Count::Opens, "no tab was to open"),
            Count::Opened | Count::Ready | Count::Closed | Count::Received | Count::Sent | Count::Lost => {
                self.any(Count::Opened, "no tab opened")
            }
            Count::Unmatched
            | Count::StrayMarks
            | Count::TextFrames
            | Count::BinaryFrames
            | Count::JoinedFrames => self.any(Count::Received, "no message arrived"),
            Count::Requests
            | Count::Replies
            | Count::AbandonedRequests
            | Count::Unanswered
            | Count::PendingRequests => self.requests(),
            Count::ChangesDue | Count::Changes | Count::FailedChanges | Count::PendingChanges => {
                self.any(Count::ChangesDue, &self.no_change())
            }
            Count::Due | Count::Unheard | Count::Covered | Count::Withdrawn => {
                self.any(Count::Due, &self.no_change())
            }
            Count::Notified => self.notifications(),
            Count::Missed => {
                (self.heard() == 0 && self.tally.get(Count::Compared) == 0).then(|| self.unheard())
            }
            Count::Doubled | Count::OutOfOrder | Count::Numbered | Count::Compared | Count::Marked => {
                self.order()
            }
            Count::CrossUser | Count::Owned => self.owners(),
            Count::ErrorMessages => self.error_messages(),
            Count::SignOuts | Count::SignedOut | Count::FailedSignOuts | Count::PendingSignOuts => {
                self.any(Count::SignOuts, "no user was to sign out")
            }
            Count::Polls => self.polls(),
            Count::Turns => self.any(Count::Opened, "no tab opened"),
        }
    }

    /// For errors.
    pub(crate) fn attempts(&self) -> Option<String> {
        (self.tally.attempts() == 0).then(|| "nothing was tried".to_owned())
    }

    /// For the calls of the target's loops.
    pub(crate) fn polls(&self) -> Option<String> {
        if self.tally.get(Count::Polls) > 0 {
            return None;
        }
        Some(if self.intent.has(Feature::PollCounter) {
            "the mocks counted no call of the target".to_owned()
        } else {
            "only the mocks count the target's calls; give their control API with `--control`".to_owned()
        })
    }

    fn any(&self, base: Count, reason: &str) -> Option<String> {
        (self.tally.get(base) == 0).then(|| reason.to_owned())
    }

    /// Notifications that were heard of changes.
    fn heard(&self) -> u64 {
        self.tally
            .metric(Metric::Fanout)
            .map_or(0, crate::histogram::Histogram::count)
    }

    fn requests(&self) -> Option<String> {
        let reason = if self.intent.has(Feature::Requests) {
            "no request was sent"
        } else {
            "the profile has no `requests`"
        };
        self.any(Count::Requests, reason)
    }

    fn replies(&self) -> Option<String> {
        self.requests()
            .or_else(|| self.any(Count::Replies, &format!("no reply came{}", self.unreadable())))
    }

    /// The reason why no change was due in any tab.
    pub(crate) fn no_change(&self) -> String {
        let reason = if !self.intent.has(Feature::Changes) {
            "the profile makes no changes; add `changes: every 15s`"
        } else if !self.intent.has(Feature::ChangeMaker) {
            "nothing can make changes; give `--change-url` or `--control`"
        } else if self.tally.get(Count::ChangesDue) == 0 {
            "no change fell due while a tab was open"
        } else if self.tally.get(Count::Changes) == 0 {
            "no change could be made"
        } else {
            "no tab was ready when a change was made"
        };
        reason.to_owned()
    }

    /// The reason why no change was heard of.
    fn unheard(&self) -> String {
        let count = |count| self.tally.get(count);
        if count(Count::Due) == 0 || count(Count::Changes) == 0 {
            self.no_change()
        } else if count(Count::Missed) > 0 {
            format!("no tab heard of a change{}", self.unreadable())
        } else if count(Count::Covered) > 0 {
            format!(
                "{} notifications that were due cannot be told from a tab's initial state; make changes later, name the \
                 `mark` or `seq` of notifications, or write `initial: false` if the target sends no initial state",
                count(Count::Covered)
            )
        } else {
            format!(
                "every tab went away before it heard of a change{}",
                self.unreadable()
            )
        }
    }

    fn notifications(&self) -> Option<String> {
        let reason = if self.intent.has(Feature::Notifications) {
            format!("no message matched `notification`{}", self.unreadable())
        } else {
            "the profile has no `notification`".to_owned()
        };
        self.any(Count::Notified, &reason)
    }

    fn order(&self) -> Option<String> {
        if self.tally.sum(&[Count::Numbered, Count::Marked]) > 0 {
            return None;
        }
        if !self.intent.has(Feature::SequenceNumbers) && !self.intent.has(Feature::Marks) {
            return Some("`notification` names neither `seq` nor `mark`".to_owned());
        }
        let reason = "no notification had a number or a mark where `notification` names them";
        Some(self.notifications().unwrap_or_else(|| reason.to_owned()))
    }

    fn owners(&self) -> Option<String> {
        if self.tally.sum(&[Count::Owned, Count::Marked]) > 0 {
            return None;
        }
        if !self.intent.has(Feature::Owners) && !self.intent.has(Feature::Marks) {
            return Some("`notification` names neither `user`, `stream` nor `mark`".to_owned());
        }
        let reason = "no message had a user, a stream or a mark where `notification` names them";
        Some(self.notifications().unwrap_or_else(|| reason.to_owned()))
    }

    fn error_messages(&self) -> Option<String> {
        if self.intent.has(Feature::ErrorPattern) {
            self.any(Count::Received, "no message arrived")
        } else {
            Some("the profile does not say what an error message looks like".to_owned())
        }
    }

    /// Messages that no pattern can match, with an example, as the end of a sentence.
    fn unreadable(&self) -> String {
        let example = self.tally.unreadable.texts().next();
        let example = example.map_or_else(String::new, |example| format!(", as `{example}`"));
        self.unreadable_kinds() + &example
    }

    /// Messages that no pattern can match, as the end of a sentence.
    pub(crate) fn unreadable_kinds(&self) -> String {
        let kinds = [
            (Count::TextFrames, "not JSON"),
            (Count::BinaryFrames, "binary"),
            (
                Count::JoinedFrames,
                "JSON with more behind it (a second value, or a separator)",
            ),
        ];
        let kinds: Vec<_> = kinds
            .into_iter()
            .filter(|(count, _)| self.tally.get(*count) > 0)
            .map(|(count, kind)| format!("{} {kind}", self.tally.get(count)))
            .collect();
        if kinds.is_empty() {
            return String::new();
        }
        let received = self.tally.get(Count::Received);
        format!(
            "; of {received} messages these can match no JSON pattern: {}",
            kinds.join(", ")
        )
    }
}
