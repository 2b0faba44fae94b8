//! From a profile to what the driver does.

use std::time::Duration;

use polytab_load::{
    health,
    intent::{Feature, Intent},
    plan::{
        self, Deed, Happening, InitialState, Limits, Needle, Page, Plan, Process, Script, Site, Template,
    },
    result::Shard,
    threshold::{Threshold, ThresholdError},
};
use serde_json::{Value, json};
use thiserror::Error;

use super::{
    behaviour::Behaviour,
    profile::{Arrival, Churn, MeasureName, Notification, Pace, Pointer, Profile, Rate, TabsPerUser},
};
use crate::{
    scenario::{people::Client, window::Intervals},
    tab::habits::Habits,
};

/// The seed of who gives none.
const SEED: u64 = 1;
/// The most users: numbers beyond are mistyped.
const MOST_USERS: u64 = 10_000_000;

/// What is wrong with a profile beyond its form. What follows `; ` is the mend.
#[derive(Debug, Error)]
pub(crate) enum PlanError {
    #[error("`--threshold {0}`: {1}")]
    Threshold(String, ThresholdError),
    #[error("`phases` is empty; write at least one, as `- {{name: steady, for: 1m}}`")]
    NoPhase,
    #[error("{0} users are too many; the most is {MOST_USERS}")]
    Users(u64),
    #[error(
        "`changes` is given, and nothing says what a notification looks like; add `notification: {{match: …}}`"
    )]
    NoNotification,
    #[error(
        "`changes` is given, and nothing makes them; add `--change-url URL` (your own server) or `--control URL` (the mocks), or \
         leave `changes` out"
    )]
    NoChangeMaker,
    #[error(
        "`behaviour` says how many tabs a user has, and how long they stay; leave out `tabs_per_user`, `--tabs` and `stay`"
    )]
    Behaviour,
    #[error("{0}")]
    Shard(String),
}

/// What flags say instead of the profile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) users: Option<u64>,
    pub(crate) tabs: Option<TabsPerUser>,
    /// The whole length: all phases are stretched or shortened alike.
    pub(crate) length: Option<Duration>,
    pub(crate) seed: Option<u64>,
    pub(crate) workers: Option<usize>,
    pub(crate) shard: Option<Shard>,
    pub(crate) thresholds: Vec<String>,
    pub(crate) allow_unmeasured: Vec<MeasureName>,
}

/// The plan, without its site.
pub(crate) fn plan(
    name: &str,
    (profile, behaviour): (&Profile, Option<&Behaviour>),
    overrides: &Overrides,
    site: Site,
) -> Result<Plan, PlanError> {
    let thresholds = thresholds(profile, overrides)?;
    let phases = phases(profile, overrides)?;
    let page = page(profile);
    let script = behaviour.map(|behaviour| behaviour.script.clone());
    let changes = |script: &Script| script.deeds.iter().any(|(_, deed)| *deed == Deed::Change);
    let has_changes = phases.iter().any(has_changes) || script.as_ref().is_some_and(changes);
    if has_changes && page.notification.is_none() {
        return Err(PlanError::NoNotification);
    }
    let allowed = profile.allow_unmeasured.iter().chain(&overrides.allow_unmeasured);
    let tabs = overrides.tabs.as_ref().or(profile.tabs_per_user.as_ref());
    let tabs_per_user = match (behaviour, tabs) {
        (None, Some(tabs)) => tabs.0.clone(),
        (None, None) => vec![(1, 1.0)],
        (Some(behaviour), None) if profile.stay.is_none() => vec![(behaviour.tabs, 1.0)],
        (Some(_), _) => return Err(PlanError::Behaviour),
    };
    Ok(Plan {
        name: name.to_owned(),
        seed: overrides.seed.or(profile.seed).unwrap_or(SEED),
        phases,
        tabs_per_user,
        shard: overrides.shard,
        page,
        script,
        site,
        thresholds,
        allow_unmeasured: allowed.map(|name| name.0.clone()).collect(),
        abort_after: profile.abort_on_fail.map(|span| span.0),
        limits: limits(profile, overrides),
    })
}

/// Checks that something can make the changes of a plan.
pub(crate) fn check_change_maker(plan: &Plan) -> Result<(), PlanError> {
    let features = Intent::from(plan).features;
    if features.contains(&Feature::Changes) && !features.contains(&Feature::ChangeMaker) {
        return Err(PlanError::NoChangeMaker);
    }
    Ok(())
}

fn has_changes(phase: &plan::Phase) -> bool {
    let mut events = phase.events.iter();
    events.any(|event| event.happening == Happening::Change && event.rate > 0.0)
}

fn thresholds(profile: &Profile, overrides: &Overrides) -> Result<Vec<Threshold>, PlanError> {
    let own = profile.thresholds.iter().map(|threshold| Ok(threshold.0.clone()));
    let given = overrides.thresholds.iter();
    let given = given.map(|text| {
        text.parse()
            .map_err(|error| PlanError::Threshold(text.clone(), error))
    });
    own.chain(given).collect()
}

fn phases(profile: &Profile, overrides: &Overrides) -> Result<Vec<plan::Phase>, PlanError> {
    let whole: Duration = profile.phases.iter().map(|phase| phase.length.0).sum();
    let factor = overrides
        .length
        .map_or(1.0, |length| length.as_secs_f64() / whole.as_secs_f64().max(1e-9));
    // Who says how many users says it of the largest phase, and of the others in proportion.
    let most = profile
        .phases
        .iter()
        .filter_map(|phase| phase.users)
        .chain([profile.users])
        .max();
    let most = most.unwrap_or(profile.users).max(1);
    let scaled = |users: u64| match overrides.users {
        Some(wanted) => {
            u64::try_from(u128::from(users) * u128::from(wanted) / u128::from(most)).unwrap_or(u64::MAX)
        }
        None => users,
    };
    let mut phases = Vec::new();
    for phase in &profile.phases {
        let users = scaled(phase.users.unwrap_or(profile.users));
        if users > MOST_USERS {
            return Err(PlanError::Users(users));
        }
        phases.push(plan::Phase {
            name: phase.name.clone(),
            length: phase.length.0.mul_f64(factor),
            users,
            arrival: match phase.arrival {
                Arrival::Constant => plan::Arrival::Constant,
                Arrival::Ramp => plan::Arrival::Ramp,
                Arrival::Poisson => plan::Arrival::Poisson,
                Arrival::Spike => plan::Arrival::Spike,
            },
            events: events(
                phase.changes.or(profile.changes),
                phase.churn.unwrap_or(profile.churn),
            ),
        });
    }
    if phases.is_empty() {
        return Err(PlanError::NoPhase);
    }
    Ok(phases)
}

fn events(changes: Option<Rate>, churn: Churn) -> Vec<Process> {
    let all = [
        (Happening::Change, changes),
        (Happening::Reload, churn.reload),
        (Happening::Drop, churn.drop),
        (Happening::Sleep, churn.sleep),
        (Happening::Stall, churn.stall),
        (Happening::SignOut, churn.sign_out),
        (Happening::Leave, churn.leave),
    ];
    let process = |(happening, rate): (Happening, Option<Rate>)| {
        let rate = rate.filter(|rate| rate.0 > 0.0)?;
        Some(Process {
            happening,
            rate: rate.0,
        })
    };
    all.into_iter().filter_map(process).collect()
}

/// The target's intervals, by which times of a behaviour are resolved.
pub(crate) fn intervals(profile: &Profile) -> Intervals {
    let limits = limits(profile, &Overrides::default());
    Intervals {
        short_loop: limits.turn,
        long_loop: LONG_LOOP,
        start_delay: limits.start_delay,
    }
}

/// The long loop of PROTOCOL A5.
const LONG_LOOP: Duration = Duration::from_mins(3);

fn limits(profile: &Profile, overrides: &Overrides) -> Limits {
    let usual = Limits::default();
    let given = &profile.limits;
    let or = |span: Option<crate::scenario::window::Span>, usual| span.map_or(usual, |span| span.0);
    Limits {
        connect: or(given.connect, usual.connect),
        reply: or(given.reply, usual.reply),
        notification: or(given.notification, usual.notification),
        settling: or(given.settling, usual.settling),
        turn: or(given.turn, usual.turn),
        start_delay: or(given.start_delay, usual.start_delay),
        lag: or(given.lag, usual.lag),
        under_way: given.under_way.unwrap_or(usual.under_way),
        // The target is on this machine, more often than not, and needs a core as well.
        workers: overrides
            .workers
            .unwrap_or_else(|| health::cores().saturating_sub(1).max(1)),
        ..usual
    }
}

/// A time that every message may carry: the protocol asks for one and looks at none.
const TIMESTAMP: &str = "1970-01-01T00:00:00.000Z";

/// A message as it is sent: an object without a timestamp gets one, as pages give it; a text goes as it is.
pub(super) fn template(message: &Value) -> Template {
    let text = match message {
        Value::String(text) => text.clone(),
        Value::Object(object) if object.contains_key("type") && !object.contains_key("timestamp") => {
            let mut object = object.clone();
            object.insert("timestamp".to_owned(), TIMESTAMP.into());
            Value::Object(object).to_string()
        }
        other => other.to_string(),
    };
    Template::new(text)
}

fn page(profile: &Profile) -> Page {
    let habits = Habits::of(&profile.client);
    let is_bare = profile.client == Client::Bare;
    let ping = habits
        .ping
        .filter(|ping| !ping.is_zero())
        .map(|ping| plan::Request {
            send: template(&json!({"type": "ping", "data": {}})),
            reply: Needle::Json(json!({"type": "ack", "data": {"message": "ping"}})),
            pace: plan::Pace::Every(ping),
        });
    let requests = profile.requests.iter().map(|request| plan::Request {
        send: template(&request.send),
        reply: request.reply.clone().map_or(Needle::Any, Needle::Json),
        pace: match request.pace {
            Pace::Every(rate) => plan::Pace::Every(Duration::from_secs_f64(1.0 / rate.0)),
            Pace::BackToBack => plan::Pace::BackToBack,
        },
    });
    let ready = profile
        .ready
        .clone()
        .or_else(|| (!is_bare).then(|| json!({"type": "init"})));
    let notification = match &profile.notification {
        Some(notification) => Some(checked(notification)),
        None if is_bare => None,
        None => Some(plan::Notification {
            is: Needle::Json(json!({"type": "sessionStatusV2"})),
            seq: Some("/seq".to_owned()),
            superseded: Some("/superseded".to_owned()),
            stream: Some("/epoch".to_owned()),
            user: None,
            mark: None,
            initial: InitialState::Sent,
        }),
    };
    Page {
        on_open: habits.on_open.iter().map(template).collect(),
        ready: ready.map(Needle::Json),
        on_ready: habits.on_init.iter().map(template).collect(),
        requests: requests.chain(ping).collect(),
        notification,
        error: (!is_bare).then(|| Needle::Json(json!({"type": "error"}))),
        reconnect_on: habits.reconnect_on.clone(),
        reconnect_after: habits.reconnect_after,
        stay: profile.stay.map(|span| span.0),
        away: profile.away.map_or(Duration::from_secs(20), |span| span.0),
    }
}

fn checked(notification: &Notification) -> plan::Notification {
    let pointer = |pointer: &Option<Pointer>| pointer.as_ref().map(|pointer| pointer.0.clone());
    plan::Notification {
        is: Needle::Json(notification.is.clone()),
        seq: pointer(&notification.seq),
        superseded: pointer(&notification.superseded),
        stream: pointer(&notification.stream),
        user: pointer(&notification.user),
        mark: pointer(&notification.mark),
        initial: match notification.initial {
            Some(true) => InitialState::Sent,
            Some(false) => InitialState::Absent,
            None => InitialState::Unknown,
        },
    }
}

/// `i/n`, or, for `auto`, what the surroundings say.
pub(crate) fn shard(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Shard, PlanError> {
    let wrong = || {
        PlanError::Shard(format!(
            "`{text}` is no shard; write `2/4` for the third of four (they count from 0), or `auto`"
        ))
    };
    let of = |index: &str, count: &str| -> Option<Shard> {
        let shard = Shard {
            index: index.trim().parse().ok()?,
            of: count.trim().parse().ok()?,
        };
        (shard.index < shard.of).then_some(shard)
    };
    if text != "auto" {
        return text
            .split_once('/')
            .and_then(|(index, count)| of(index, count))
            .ok_or_else(wrong);
    }
    for (index, count) in SURROUNDINGS {
        let Some(found) = env(index) else { continue };
        let counted = count.iter().find_map(|name| env(name)).ok_or_else(|| {
            PlanError::Shard(format!(
                "`{index}` is set and nothing says how many shards there are; set `POLYTAB_SHARDS`"
            ))
        })?;
        return of(&found, &counted).ok_or_else(|| {
            PlanError::Shard(format!(
                "`{index}` is `{found}` of `{counted}`, which is no shard; they count from 0"
            ))
        });
    }
    let names = SURROUNDINGS.map(|(index, _)| format!("`{index}`")).join(", ");
    Err(PlanError::Shard(format!(
        "nothing says which shard this is; set one of {names}, or write `--shard 2/4`"
    )))
}

/// Variables that say which shard this is, the first that is set, each with those that say of how many.
const SURROUNDINGS: [(&str, &[&str]); 5] = [
    // Kubernetes' indexed jobs do not tell the count; the job that we write does.
    ("JOB_COMPLETION_INDEX", &["POLYTAB_SHARDS"]),
    (
        "AWS_BATCH_JOB_ARRAY_INDEX",
        &["AWS_BATCH_JOB_ARRAY_SIZE", "POLYTAB_SHARDS"],
    ),
    ("CLOUD_RUN_TASK_INDEX", &["CLOUD_RUN_TASK_COUNT"]),
    ("SLURM_ARRAY_TASK_ID", &["SLURM_ARRAY_TASK_COUNT"]),
    ("NOMAD_ALLOC_INDEX", &["POLYTAB_SHARDS"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_written_or_found() {
        let none = |_: &str| None;
        let kubernetes = |name: &str| match name {
            "JOB_COMPLETION_INDEX" => Some("1".to_owned()),
            "POLYTAB_SHARDS" => Some("3".to_owned()),
            _ => None,
        };
        let alone = |name: &str| (name == "NOMAD_ALLOC_INDEX").then(|| "0".to_owned());

        assert_eq!(shard("2/4", &none).unwrap(), Shard { index: 2, of: 4 });
        assert_eq!(shard("auto", &kubernetes).unwrap(), Shard { index: 1, of: 3 });
        for (text, env) in [
            ("4/4", &none as &dyn Fn(&str) -> Option<String>),
            ("2", &none),
            ("auto", &none),
            ("auto", &alone),
        ] {
            assert!(shard(text, env).unwrap_err().to_string().contains("; "), "{text}");
        }
    }
}
