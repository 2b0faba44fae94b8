//! The verdict of a run: one function of its evidence, from which every output and the exit code derive.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::{
    intent::{Feature, Intent},
    lateness::lateness,
    result::{Generator, Shard},
    sight::Sight,
    tally::{Count, Samples, Tally},
    threshold::{Judged, Outcome},
    worker::OURS,
};

/// The verdict of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All thresholds held.
    Passed,
    /// A threshold was missed.
    Failed,
    /// There is not enough evidence to judge the target.
    Invalid,
    /// A person ended the run.
    Interrupted,
}

impl Verdict {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Invalid => "invalid",
            Self::Interrupted => "interrupted",
        }
    }
}

/// The reason why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Its schedule was over.
    Schedule,
    /// A threshold could not be kept any more (`abort_on_fail`).
    Threshold,
    /// No tab opened, and every attempt failed.
    Unreachable,
    /// A person ended it.
    Interrupt,
}

/// Everything that a verdict is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) intent: &'a Intent,
    pub(crate) ending: Ending,
    pub(crate) tally: &'a Tally,
    pub(crate) thresholds: &'a [Judged],
    pub(crate) generators: &'a [Generator],
    /// Set for a shard that is not merged yet: its thresholds are judged with the others.
    pub(crate) shard: Option<Shard>,
    /// Faults of the set of shards.
    pub(crate) shard_faults: &'a [String],
}

/// A verdict with its reasons.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conclusion {
    pub(crate) verdict: Verdict,
    /// Reasons for [`Verdict::Invalid`], a sentence each.
    pub(crate) invalid: Vec<String>,
}

/// The one decision about a run.
pub(crate) fn conclude(evidence: &Evidence<'_>) -> Conclusion {
    let mut invalid = evidence.shard_faults.to_vec();
    invalid.extend(evidence.generator_faults());
    if evidence.ending == Ending::Interrupt {
        return Conclusion {
            verdict: Verdict::Interrupted,
            invalid,
        };
    }
    invalid.extend(evidence.lack_of_contact());
    if !invalid.is_empty() {
        return Conclusion {
            verdict: Verdict::Invalid,
            invalid,
        };
    }
    let mut verdict = Verdict::Passed;
    if evidence.shard.is_none() {
        let has = |outcome| evidence.thresholds.iter().any(|judged| judged.outcome == outcome);
        invalid = evidence.lack_of_measurements();
        if has(Outcome::Missed) {
            // A limit that was exceeded was measured: what else was not cannot take that back.
            verdict = Verdict::Failed;
            invalid.clear();
        } else if !invalid.is_empty() {
            verdict = Verdict::Invalid;
        }
    }
    Conclusion { verdict, invalid }
}

/// Excerpts for people.
fn quoted(samples: &Samples) -> String {
    let samples: Vec<_> = samples.texts().map(|text| format!("`{text}`")).collect();
    samples.join(", ")
}

impl Evidence<'_> {
    fn count(&self, count: Count) -> u64 {
        self.tally.get(count)
    }

    fn sight(&self) -> Sight<'_> {
        Sight {
            tally: self.tally,
            intent: self.intent,
        }
    }

    /// Faults of the generator, which hide what the target did.
    fn generator_faults(&self) -> Vec<String> {
        let mut faults: Vec<_> = self
            .generators
            .iter()
            .filter_map(|generator| lateness(generator, self.intent.lag_limit_ms))
            .collect();
        for generator in self
            .generators
            .iter()
            .filter(|generator| generator.lost_workers > 0)
        {
            faults.push(format!(
                "{} workers of the generator ended by a defect of Polytab",
                generator.lost_workers
            ));
        }
        let own = self
            .tally
            .reasons
            .iter()
            .filter_map(|(reason, times)| Some((reason.strip_prefix(OURS)?, times)));
        faults.extend(
            own.map(|(reason, times)| {
                format!("{times} times the generator itself could not go on: {reason}")
            }),
        );
        faults
    }

    /// The first reason why nothing was learned about the target.
    fn lack_of_contact(&self) -> Option<String> {
        let is_part = self.shard.is_some();
        if self.count(Count::Users) == 0 {
            // A shard may have no user.
            return (!is_part).then(|| "no user arrived in this run".to_owned());
        }
        let early = match self.ending {
            Ending::Unreachable => "the run ended early, as ",
            Ending::Schedule | Ending::Threshold | Ending::Interrupt => "",
        };
        if self.count(Count::SignIns) > 0 && self.count(Count::SignedIn) == 0 && self.count(Count::Opens) == 0
        {
            return Some(format!(
                "{early}no user could sign in: {}",
                self.outcomes_of_sign_ins()
            ));
        }
        if self.count(Count::Opened) == 0 {
            return Some(format!("{early}no tab opened: {}", self.outcomes_of_opens()));
        }
        if self.count(Count::Ready) == 0 {
            return Some(self.never_ready());
        }
        if is_part {
            return None;
        }
        self.no_change().or_else(|| self.no_match())
    }

    fn outcomes_of_sign_ins(&self) -> String {
        let outcomes = [
            (Count::FailedSignIns, "failed"),
            (Count::PendingSignIns, "pending at the end"),
        ];
        self.outcomes(Count::SignIns, "sign-ins", &outcomes)
    }

    fn outcomes_of_opens(&self) -> String {
        let outcomes = [
            (Count::RefusedOpens, "refused"),
            (Count::BrokenOpens, "broken"),
            (Count::TimedOutOpens, "timed out"),
            (Count::PendingOpens, "pending at the end"),
            (
                Count::Abandoned,
                "closed by their user before the handshake ended",
            ),
        ];
        self.outcomes(Count::Opens, "attempts", &outcomes)
    }

    /// `40 attempts, 38 refused, 2 timed out; most often: …`
    fn outcomes(&self, intended: Count, name: &str, outcomes: &[(Count, &str)]) -> String {
        let mut text = format!("{} {name}", self.count(intended));
        for (outcome, word) in outcomes {
            if self.count(*outcome) > 0 {
                write!(text, ", {} {word}", self.count(*outcome)).ok();
            }
        }
        text + &self.most_frequent_reason()
    }

    fn most_frequent_reason(&self) -> String {
        let most = self.tally.reasons.iter().max_by_key(|(_, times)| **times);
        most.map_or_else(String::new, |(reason, _)| format!("; most often: {reason}"))
    }

    fn never_ready(&self) -> String {
        let awaited = self.intent.ready.as_deref().unwrap_or("nothing");
        let mut text = format!(
            "no tab became ready: {} opened and waited for {awaited} (`ready`), and ",
            self.count(Count::Opened)
        );
        match self.count(Count::Received) {
            0 => text.push_str("no message arrived"),
            received => {
                let samples = quoted(&self.tally.early);
                write!(text, "these arrived instead ({received} messages): {samples}").ok();
            }
        }
        text + &self.sight().unreadable_kinds() + &self.most_frequent_reason()
    }

    fn no_change(&self) -> Option<String> {
        let is_needed = self.intent.has(Feature::Changes) && !self.intent.allows("changes");
        if !is_needed || self.count(Count::Changes) > 0 {
            return None;
        }
        let reason = match self.count(Count::FailedChanges) {
            0 => String::new(),
            failed => format!(" ({failed} failed{})", self.most_frequent_reason()),
        };
        Some(format!(
            "the profile has `changes`, and none was made: {}{reason}",
            self.sight().no_change()
        ))
    }

    /// A pattern that matched nothing, beside messages which show that it is the pattern that is wrong, and not the target:
    /// they carry the mark of a change, or no JSON pattern can match them.
    fn no_match(&self) -> Option<String> {
        let unreadable = self.sight().unreadable_kinds();
        let strays = self.count(Count::StrayMarks);
        let has_notifications = self.intent.has(Feature::Notifications) && self.count(Count::Notified) == 0;
        let pattern = if has_notifications && (strays > 0 || !unreadable.is_empty()) {
            "notification"
        } else if self.count(Count::Requests) > 0 && self.count(Count::Replies) == 0 && !unreadable.is_empty()
        {
            "reply"
        } else {
            return None;
        };
        let strays = match strays {
            0 => String::new(),
            strays => format!(", although {strays} carried the mark of a change"),
        };
        let samples = quoted(&self.tally.unmatched);
        Some(format!(
            "no message matched `{pattern}`{strays}; these came: {samples}{unreadable}"
        ))
    }

    fn lack_of_measurements(&self) -> Vec<String> {
        let unmeasured = self
            .thresholds
            .iter()
            .filter(|judged| judged.outcome == Outcome::NotMeasured && !judged.allowed);
        unmeasured
            .map(|judged| {
                let reason = judged.reason.as_deref().unwrap_or("nothing was seen");
                format!("`{}` was not measured: {reason}", judged.threshold)
            })
            .collect()
    }
}
