//! The verdict of a run: one function of its evidence, from which every output and the exit code derive.

use std::{collections::BTreeSet, fmt::Write};

use serde::{Deserialize, Serialize};

use crate::{
    lateness::lateness,
    result::{Generator, Shard},
    sight::Sight,
    tally::{Count, Tally},
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

/// A part that a plan has or lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Changes of users' worlds.
    Changes,
    /// Something that can make changes.
    ChangeMaker,
    /// A pattern of notifications.
    Notifications,
    /// Requests.
    Requests,
    /// A pattern of error messages.
    ErrorPattern,
    /// The place of a sequence number in notifications.
    SequenceNumbers,
    /// The place of a change's mark in notifications.
    Marks,
    /// The place of a user's or a stream's name in notifications.
    Owners,
    /// A count of the calls of the target's loops.
    PollCounter,
}

/// The facts about a plan by which its result is judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// What the plan has.
    pub features: BTreeSet<Feature>,
    /// The pattern that makes a tab ready; none if it is so at once.
    pub ready: Option<String>,
    /// The generator's lateness (99th percentile) above which the run is invalid.
    pub lag_limit_ms: f64,
    /// Names of what may stay unmeasured.
    pub allow_unmeasured: Vec<String>,
}

impl Intent {
    /// Returns `true` if the plan has this part.
    pub(crate) fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// Returns `true` if what is called so may stay unmeasured.
    pub(crate) fn allows(&self, name: &str) -> bool {
        self.allow_unmeasured.iter().any(|allowed| allowed == name)
    }
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
        if self.count(Count::SignedIn) == 0 {
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
            (Count::FailedOpens, "failed"),
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
                let samples: Vec<_> = self
                    .tally
                    .early
                    .0
                    .keys()
                    .map(|excerpt| format!("`{excerpt}`"))
                    .collect();
                let samples = samples.join(", ");
                write!(text, "these arrived instead ({received} messages): {samples}").ok();
            }
        }
        text + &self.sight().unreadable()
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

    /// Patterns that were never met, beside messages that none of them can match.
    fn no_match(&self) -> Option<String> {
        let pattern = if self.intent.has(Feature::Notifications) && self.count(Count::Notified) == 0 {
            "notification"
        } else if self.count(Count::Requests) > 0 && self.count(Count::Replies) == 0 {
            "reply"
        } else {
            return None;
        };
        let unreadable = self.sight().unreadable();
        (!unreadable.is_empty()).then(|| format!("no message matched `{pattern}`{unreadable}"))
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
