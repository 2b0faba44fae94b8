//! What can be ordered of lives of backend sessions: one, or many that have something in common (MOCKS B2).

use std::collections::BTreeMap;

use jiff::Timestamp;
use polytab_seams::random::Random;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    item::MISSING_IMAGE,
    items::{Items, Launch, NoRoom},
    name::is_session_name,
    pace::{PaceOrder, Trouble},
};
use crate::{Mocks, clocks::Mock, error::ControlError, order::Verb, world::World};

/// A session to be launched, which then goes its own way.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LaunchOrder {
    /// Whose it is.
    pub user: String,
    /// What it is called.
    pub name: String,
    /// What goes wrong with it.
    #[serde(default)]
    pub trouble: Trouble,
    /// How long things take.
    #[serde(default)]
    pub pace: PaceOrder,
    /// Laid over a complete item.
    #[serde(default = "nothing")]
    pub item: Value,
}

fn nothing() -> Value {
    json!({})
}

/// Sessions of one user that have something in common.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanOrder {
    /// Whose they are.
    pub user: String,
    /// What they have in common.
    pub preset: Preset,
    /// How many; as many as the preset says unless told.
    #[serde(default)]
    pub count: Option<usize>,
    /// How long things take.
    #[serde(default)]
    pub pace: PaceOrder,
}

/// What sessions have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// One session of which all goes well.
    Happy,
    /// One whose last container breaks down again and again.
    CrashLoop,
    /// One whose image cannot be pulled.
    ImagePullError,
    /// One more than is there uses up the quota: the next is refused.
    Quota,
    /// Ten that are hibernated and resumed in turns.
    Storm,
    /// Fifty of which all goes well.
    Fifty,
    /// One that runs well and badly in turns.
    Flapping,
}

impl Preset {
    /// How many sessions, and what goes wrong with each.
    const fn meaning(self) -> (usize, Trouble) {
        match self {
            Self::Happy | Self::Quota => (1, Trouble::None),
            Self::CrashLoop => (1, Trouble::CrashLoop),
            Self::ImagePullError => (1, Trouble::ImagePullError),
            Self::Storm => (10, Trouble::Storm),
            Self::Fifty => (50, Trouble::None),
            Self::Flapping => (1, Trouble::Flapping),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Happy => "happy",
            Self::CrashLoop => "crash-loop",
            Self::ImagePullError => "image-pull-error",
            Self::Quota => "quota",
            Self::Storm => "storm",
            Self::Fifty => "fifty",
            Self::Flapping => "flapping",
        }
    }
}

/// What happens to a session, for reasons that may be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SessionOrder {
    /// Whose session; need not be told while only one user has one of that name.
    pub user: Option<String>,
    /// Why it fails.
    pub message: Option<String>,
}

impl Mocks {
    /// Launches a backend session that then goes its own way; gives it as it is shown.
    ///
    /// # Errors
    ///
    /// When there is no such user, the name is taken or cannot be, or there is no room.
    pub fn launch(&self, order: &LaunchOrder) -> Result<Value, ControlError> {
        self.0.world().launch(order)
    }

    /// Launches backend sessions that have something in common; gives their names.
    ///
    /// # Errors
    ///
    /// When there is no such user, or no room for all of them.
    pub fn plan(&self, order: &PlanOrder) -> Result<Vec<String>, ControlError> {
        let (usual, trouble) = order.preset.meaning();
        let count = order.count.unwrap_or(usual);
        let mut world = self.0.world();
        let names = world.free_names(&order.user, order.preset.name(), count)?;
        for name in &names {
            world.launch(&LaunchOrder {
                user: order.user.clone(),
                name: name.clone(),
                trouble,
                pace: order.pace.clone(),
                item: nothing(),
            })?;
        }
        if order.preset == Preset::Quota {
            world.use_up_quota(&order.user)?;
        }
        Ok(names)
    }

    /// Orders something of a backend session, which takes effect in its own time.
    ///
    /// # Errors
    ///
    /// When there is no such user or session, or several users have one of that name and none is told.
    pub fn order_session(&self, name: &str, verb: Verb, order: &SessionOrder) -> Result<(), ControlError> {
        let mut world = self.0.world();
        let user = world.owner_of(name, order.user.as_deref())?;
        let (random, now) = (world.seams.random.clone(), world.now_at(Mock::Backend));
        let items = &mut world.user_mut(&user)?.items;
        match (verb, &order.message) {
            (Verb::Fail, Some(message)) => items.fail(name, message.clone(), (&random, now)),
            _ => items.order(name, verb, (&random, now)),
        }
    }
}

fn launched(
    items: &mut Items,
    launch: &Launch<'_>,
    (random, now): (&Random, Timestamp),
) -> Result<Value, ControlError> {
    let bad = |what, value: String| {
        Err(ControlError::BadValue {
            what,
            value,
            nearest: None,
        })
    };
    if !is_session_name(launch.name) {
        return bad("the name of a backend session", launch.name.to_owned());
    }
    if !launch.partial.is_object() {
        return bad("a backend session", launch.partial.to_string());
    }
    if items.get(launch.name, now).is_some() {
        return bad("the name of a new backend session", launch.name.to_owned());
    }
    items
        .launch(launch, (random, now))
        .or_else(|reason| match reason {
            NoRoom::Quota => bad("within the user's quota a session", launch.name.to_owned()),
            NoRoom::Limit => bad("among so many a session", launch.name.to_owned()),
        })
}

impl World {
    fn launch(&mut self, order: &LaunchOrder) -> Result<Value, ControlError> {
        let (random, now) = (self.seams.random.clone(), self.now_at(Mock::Backend));
        let items = &mut self.user_mut(&order.user)?.items;
        let mut partial = order.item.clone();
        if order.trouble == Trouble::ImagePullError && partial.is_object() && partial.get("image").is_none() {
            partial["image"] = MISSING_IMAGE.into();
        }
        let launch = Launch {
            name: &order.name,
            partial: &partial,
            trouble: order.trouble,
            pace: &order.pace,
        };
        launched(items, &launch, (&random, now))
    }

    /// So many names that begin so and are not taken, if there is room for as many sessions.
    fn free_names(&self, user: &str, start: &str, count: usize) -> Result<Vec<String>, ControlError> {
        let (items, now) = (&self.user(user)?.items, self.now_at(Mock::Backend));
        if items.room(now) < count {
            return Err(ControlError::BadValue {
                what: "with what the user may have, the number of further backend sessions",
                value: count.to_string(),
                nearest: None,
            });
        }
        let free = (1_usize..)
            .map(|number| format!("{start}-{number}"))
            .filter(|name| items.get(name, now).is_none());
        Ok(free.take(count).collect())
    }

    /// From now on the user may have no more sessions than there are.
    fn use_up_quota(&mut self, user: &str) -> Result<(), ControlError> {
        let now = self.now_at(Mock::Backend);
        let items = &mut self.user_mut(user)?.items;
        items.quota = Some(items.using(now));
        Ok(())
    }

    /// The user who is told, or the only one who has a session of that name.
    fn owner_of(&self, name: &str, told: Option<&str>) -> Result<String, ControlError> {
        if let Some(user) = told {
            return Ok(user.to_owned());
        }
        let now = self.now_at(Mock::Backend);
        let owners: BTreeMap<_, _> = self
            .users
            .iter()
            .filter(|(_, user)| user.items.get(name, now).is_some())
            .collect();
        let mut names = owners.keys();
        match (names.next(), names.next()) {
            (Some(owner), None) => Ok((*owner).clone()),
            (Some(_), Some(_)) => Err(ControlError::UserMissing(
                "a session of a name that several users have",
            )),
            (None, _) => Err(ControlError::NoBackendSession {
                user: "anybody".to_owned(),
                name: name.to_owned(),
            }),
        }
    }
}
