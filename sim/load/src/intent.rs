//! The facts about a plan by which its result is judged, also when shards are merged and no plan is at hand.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::plan::{Deed, Happening, Needle, Notification, Plan};

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

impl From<&Plan> for Intent {
    fn from(plan: &Plan) -> Self {
        let mut events = plan.phases.iter().flat_map(|phase| &phase.events);
        let mut deeds = plan.script.iter().flat_map(|script| &script.deeds);
        let changes = events.any(|event| event.happening == Happening::Change && event.rate > 0.0)
            || deeds.any(|(_, deed)| *deed == Deed::Change);
        let rule = plan.page.notification.as_ref();
        let has =
            |pointer: fn(&Notification) -> &Option<String>| rule.is_some_and(|rule| pointer(rule).is_some());
        let features = [
            (Feature::Changes, changes),
            (Feature::ChangeMaker, plan.site.change.is_some()),
            (Feature::Notifications, rule.is_some()),
            (Feature::Requests, !plan.page.requests.is_empty()),
            (Feature::ErrorPattern, plan.page.error.is_some()),
            (Feature::SequenceNumbers, has(|rule| &rule.seq)),
            (Feature::Marks, has(|rule| &rule.mark)),
            (
                Feature::Owners,
                has(|rule| &rule.user) || has(|rule| &rule.stream),
            ),
            (Feature::PollCounter, plan.site.polls.is_some()),
        ];
        let features = features.into_iter().filter(|(_, is_there)| *is_there);
        Self {
            features: features.map(|(feature, _)| feature).collect(),
            ready: plan.page.ready.as_ref().map(Needle::to_string),
            lag_limit_ms: plan.limits.lag.as_secs_f64() * 1e3,
            allow_unmeasured: plan.allow_unmeasured.clone(),
        }
    }
}
