//! The backend sessions of one owner: as they were told, or on their own way through life.

use std::collections::BTreeMap;

use jiff::Timestamp;
use polytab_seams::random::Random;
use serde_json::{Value, json};

use crate::{
    backend::{
        course::Course,
        fault::{PollFault, Polled},
        item::{check, complete_item, complete_server},
        life::{Kind, Operator, typical},
        name::ulid,
        pace::{Pace, PaceOrder, Trouble},
    },
    error::ControlError,
    json::lay_over,
    order::Verb,
};

/// One owner's sessions, V2 and V1.
#[derive(Debug)]
pub(crate) struct Items {
    /// Whose they are; also the beginning of the names of all random streams.
    owner: String,
    limit: usize,
    list: Vec<Session>,
    /// What every session named so starts from: the same each time it is set.
    defaults: BTreeMap<String, Value>,
    servers: BTreeMap<String, Value>,
    /// How many sessions may use resources at once.
    pub(crate) quota: Option<usize>,
    polled: Polled<Value>,
    polled_servers: Polled<(String, Value)>,
}

/// One session.
#[derive(Debug)]
struct Session {
    item: Value,
    /// Without one it is as it was told.
    course: Option<Course>,
}

/// What a session is launched with.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) name: &'a str,
    /// Laid over a complete item.
    pub(crate) partial: &'a Value,
    pub(crate) trouble: Trouble,
    pub(crate) pace: &'a PaceOrder,
}

/// No session can be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// The owner uses all there is for them.
    Quota,
    /// The mock keeps no more.
    Limit,
}

/// Random numbers, and what time it is.
type Now<'a> = (&'a Random, Timestamp);

impl Items {
    /// None yet, of at most so many. Owners are called `user/ada` or `anonymous`.
    pub(crate) fn new(owner: &str, limit: usize) -> Self {
        Self {
            owner: owner.to_owned(),
            limit,
            list: Vec::new(),
            defaults: BTreeMap::new(),
            servers: BTreeMap::new(),
            quota: None,
            polled: Polled::default(),
            polled_servers: Polled::default(),
        }
    }

    /// The V2 list as it is now.
    pub(crate) fn list(&self, now: Timestamp) -> Vec<Value> {
        self.list.iter().filter_map(|session| session.at(now)).collect()
    }

    /// One session of it.
    pub(crate) fn get(&self, name: &str, now: Timestamp) -> Option<Value> {
        self.list[self.index(name)?].at(now)
    }

    /// What a poll of the V2 list is answered.
    pub(crate) fn poll(&mut self, fault: Option<PollFault>, (random, now): Now<'_>) -> Vec<Value> {
        self.walk(now);
        let purpose = format!("{}/flicker", self.owner);
        let list = self.list(now);
        self.polled
            .answer(list, fault, |bound| random.below(&purpose, bound))
    }

    /// Everybody goes on to where they are now; who is gone is forgotten.
    fn walk(&mut self, now: Timestamp) {
        self.list.retain_mut(|session| {
            let Some(course) = session.course.take() else {
                return true;
            };
            session.course = course.at(now);
            session.course.is_some()
        });
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.list.iter().position(|session| session.item["name"] == name)
    }

    /// Sets the V2 list; each partial item is laid over a complete one.
    pub(crate) fn set(&mut self, partials: &[Value], now: Now<'_>) -> Result<(), ControlError> {
        check(partials)?;
        if partials.len() > self.limit {
            return Err(too_many(partials.len()));
        }
        let complete = |(index, partial)| Session {
            item: self.complete(partial, index, now),
            course: None,
        };
        self.list = partials.iter().enumerate().map(complete).collect();
        Ok(())
    }

    fn complete(&mut self, partial: &Value, index: usize, (random, now): Now<'_>) -> Value {
        let name = partial["name"]
            .as_str()
            .map_or_else(|| format!("session-{}", index + 1), str::to_owned);
        let purpose = format!("{}/session/{name}", self.owner);
        let default = self.defaults.entry(name.clone());
        let mut item = default
            .or_insert_with(|| complete_item(&name, &|| ulid(random, &purpose), now))
            .clone();
        if let Some(state) = partial["status"]["state"].as_str() {
            item["status"] = typical(state);
        }
        lay_over(&mut item, partial);
        item
    }

    /// A new session that goes its own way; none of that name may be there.
    pub(crate) fn launch(&mut self, launch: &Launch<'_>, (random, now): Now<'_>) -> Result<Value, NoRoom> {
        self.walk(now);
        self.check_quota(now)?;
        if self.list.len() >= self.limit {
            return Err(NoRoom::Limit);
        }
        let purpose = format!("{}/launch", self.owner);
        let mut item = complete_item(launch.name, &|| ulid(random, &purpose), now);
        lay_over(&mut item, launch.partial);
        item["name"] = launch.name.into();
        let kind = Kind::of(&item);
        if let (Kind::Job, Some(fields)) = (kind, item.as_object_mut()) {
            // Nobody interacts with a job.
            fields.remove("lastInteraction");
        }
        let pace = Pace::draw(launch.pace, launch.trouble, (random, &self.pace_purpose()));
        let operator = Operator::new(kind, pace.containers);
        let session = Session {
            item,
            course: Some(Course::new(operator, now, Some(pace))),
        };
        let shown = session.at(now);
        self.list.push(session);
        Ok(shown.unwrap_or_default())
    }

    /// How many sessions use resources.
    pub(crate) fn using(&self, now: Timestamp) -> usize {
        let operators = self.list.iter().filter_map(|session| session.operator(now));
        operators.filter(|operator| operator.uses_quota()).count()
    }

    /// How many sessions more could be launched.
    pub(crate) fn room(&self, now: Timestamp) -> usize {
        let free = self.limit.saturating_sub(self.list(now).len());
        let quota = self.quota.map(|quota| quota.saturating_sub(self.using(now)));
        quota.map_or(free, |quota| quota.min(free))
    }

    /// Whether one session more may use resources.
    pub(crate) fn check_quota(&self, now: Timestamp) -> Result<(), NoRoom> {
        match self.quota {
            Some(quota) if self.using(now) >= quota => Err(NoRoom::Quota),
            Some(_) | None => Ok(()),
        }
    }

    /// Takes one session a step on, by hand.
    pub(crate) fn step(&mut self, name: &str, verb: Verb, now: Now<'_>) -> Result<(), ControlError> {
        self.walk(now.1);
        let index = match (self.index(name), verb) {
            (Some(index), _) => index,
            (None, Verb::Launch) if self.list.len() >= self.limit => {
                return Err(too_many(self.list.len() + 1));
            }
            (None, Verb::Launch) => {
                let item = self.complete(&json!({ "name": name }), self.list.len(), now);
                self.list.push(Session { item, course: None });
                self.list.len() - 1
            }
            (None, _) => return Err(self.unknown(name)),
        };
        self.go_on(index, now.1, |course| course.order(verb, now.1));
        Ok(())
    }

    /// Orders something of a session, which takes effect in its own time.
    pub(crate) fn order(
        &mut self,
        name: &str,
        verb: Verb,
        (random, now): Now<'_>,
    ) -> Result<(), ControlError> {
        self.paced(name, (random, now), |course| course.order(verb, now))
    }

    /// A session fails, and says why.
    pub(crate) fn fail(
        &mut self,
        name: &str,
        message: String,
        (random, now): Now<'_>,
    ) -> Result<(), ControlError> {
        self.paced(name, (random, now), |course| course.fail(message, now))
    }

    fn paced(
        &mut self,
        name: &str,
        (random, now): Now<'_>,
        go: impl FnOnce(Course) -> Option<Course>,
    ) -> Result<(), ControlError> {
        self.walk(now);
        let index = self.index(name).ok_or_else(|| self.unknown(name))?;
        let purpose = self.pace_purpose();
        self.go_on(index, now, |mut course| {
            course.walk_at(|| Pace::draw(&PaceOrder::default(), Trouble::None, (random, &purpose)));
            go(course)
        });
        Ok(())
    }

    fn go_on(&mut self, index: usize, now: Timestamp, go: impl FnOnce(Course) -> Option<Course>) {
        let session = &mut self.list[index];
        let told = || Course::behind(&session.item, now);
        match go(session.course.clone().unwrap_or_else(told)) {
            Some(course) => session.course = Some(course),
            None => drop(self.list.remove(index)),
        }
    }

    /// Lays what is known of a session otherwise over its item.
    pub(crate) fn amend(&mut self, name: &str, patch: &Value) {
        if let Some(index) = self.index(name) {
            lay_over(&mut self.list[index].item, patch);
        }
    }

    /// The user of a session did something in it, then.
    pub(crate) fn touch(&mut self, name: &str, time: Timestamp) {
        let Some(index) = self.index(name) else { return };
        let session = &mut self.list[index];
        session.item["lastInteraction"] = super::course::second(time);
        if let Some(course) = &mut session.course {
            course.touch(time);
        }
    }

    fn pace_purpose(&self) -> String {
        format!("{}/pace", self.owner)
    }

    fn unknown(&self, name: &str) -> ControlError {
        ControlError::NoBackendSession {
            user: self.owner.trim_start_matches("user/").to_owned(),
            name: name.to_owned(),
        }
    }

    /// The V2 list as it could be set to be shown again: what an item lacks is said to be lacking.
    pub(crate) fn told(&self, now: Timestamp) -> Vec<Value> {
        let usual = complete_item("any", &String::new, now);
        let list = self.list(now).into_iter();
        list.map(|item| with_gaps(item, &usual)).collect()
    }

    /// The same of the V1 servers.
    pub(crate) fn told_servers(&self) -> BTreeMap<String, Value> {
        let usual = complete_server("any", &Value::Null);
        let servers = self.servers.clone().into_iter();
        servers
            .map(|(name, server)| (name, with_gaps(server, &usual)))
            .collect()
    }

    /// What a poll of the V1 servers is answered.
    pub(crate) fn poll_servers(&mut self, fault: Option<PollFault>, random: &Random) -> Value {
        let purpose = format!("{}/flicker", self.owner);
        let servers = self.servers.clone().into_iter().collect();
        let answer = self
            .polled_servers
            .answer(servers, fault, |bound| random.below(&purpose, bound));
        answer.into_iter().collect::<serde_json::Map<_, _>>().into()
    }

    /// Sets the V1 servers; each partial one is laid over a complete one.
    pub(crate) fn set_servers(&mut self, servers: &BTreeMap<String, Value>, now: Timestamp) {
        let complete = |(name, partial): (&String, &Value)| {
            // What was started stays started.
            let started = self
                .servers
                .get(name)
                .map_or_else(|| super::course::second(now), |server| server["started"].clone());
            let mut server = complete_server(name, &started);
            lay_over(&mut server, partial);
            (name.clone(), server)
        };
        self.servers = servers.iter().map(complete).collect();
    }
}

impl Session {
    /// As it is shown now; none when it is gone.
    fn at(&self, now: Timestamp) -> Option<Value> {
        let mut item = self.item.clone();
        if let Some(course) = &self.course {
            course.clone().at(now)?.show(&mut item, now);
        }
        Some(item)
    }

    /// What its operator says of it now; none when it is gone.
    fn operator(&self, now: Timestamp) -> Option<Operator> {
        match &self.course {
            Some(course) => Some(course.clone().at(now)?.operator()),
            None => Some(Operator::behind(&self.item)),
        }
    }
}

/// Sets to `null` what an item has not and usual ones have, at its top and in its status.
fn with_gaps(mut item: Value, usual: &Value) -> Value {
    let fill = |item: &mut Value, usual: &Value| {
        for (key, _) in usual.as_object().into_iter().flatten() {
            if item.get(key).is_none() {
                item[key] = Value::Null;
            }
        }
    };
    fill(&mut item, usual);
    if item["status"].is_object() {
        fill(&mut item["status"], &usual["status"]);
    }
    item
}

fn too_many(count: usize) -> ControlError {
    ControlError::BadValue {
        what: "the number of a user's backend sessions",
        value: count.to_string(),
        nearest: None,
    }
}

#[cfg(test)]
mod tests {
    use polytab_protocol::sessions::SessionsReading;

    use super::*;

    fn items(partials: &Value) -> (Items, Random) {
        let random = Random::seeded(1);
        let mut items = Items::new("user/ada", 10);
        items
            .set(partials.as_array().unwrap(), (&random, Timestamp::UNIX_EPOCH))
            .unwrap();
        (items, random)
    }

    #[test]
    fn a_partial_item_becomes_a_complete_one_without_nulls() {
        let (items, _) =
            items(&json!([{"name": "s1", "resources": {"requests": {"gpu": 1}}, "lastInteraction": null}]));

        let item = items.list(Timestamp::UNIX_EPOCH).remove(0);

        assert_eq!(
            item["resources"]["requests"],
            json!({"cpu": 0.5, "gpu": 1, "memory": 1, "storage": 1})
        );
        assert_eq!(
            item["status"],
            json!({"state": "running", "ready_containers": 2, "total_containers": 2})
        );
        assert_eq!(item["project_id"].as_str().unwrap().len(), 26);
        assert_eq!(item.get("lastInteraction"), None);
    }

    #[test]
    fn setting_the_same_list_later_changes_nothing_and_order_is_kept() {
        let partials = json!([{"name": "b"}, {"name": "a", "status": {"state": "starting"}}]);
        let (mut items, random) = items(&partials);
        let before = items.list(Timestamp::UNIX_EPOCH);

        items
            .set(partials.as_array().unwrap(), (&random, Timestamp::MAX))
            .unwrap();

        assert_eq!(items.list(Timestamp::MAX), before);
        assert_eq!(before[0]["name"], "b");
        assert_eq!(before[1]["status"]["ready_containers"], 0);
    }

    #[test]
    fn a_session_can_be_stepped_from_launch_to_its_end() {
        let (mut items, random) = items(&json!([]));
        let mut states = Vec::new();

        for verb in [
            Verb::Launch,
            Verb::Step,
            Verb::Step,
            Verb::Step,
            Verb::Delete,
            Verb::Step,
            Verb::Step,
        ] {
            items.step("s1", verb, (&random, Timestamp::UNIX_EPOCH)).unwrap();
            states.push(
                items
                    .list(Timestamp::UNIX_EPOCH)
                    .first()
                    .map(|item| item["status"]["state"].as_str().unwrap().to_owned()),
            );
        }

        let states: Vec<_> = states
            .iter()
            .map(|state| state.as_deref().unwrap_or("gone"))
            .collect();
        assert_eq!(
            states,
            [
                "starting", "starting", "starting", "running", "running", "stopping", "gone"
            ]
        );
        assert!(
            items
                .step("s1", Verb::Step, (&random, Timestamp::UNIX_EPOCH))
                .is_err()
        );
    }

    #[test]
    fn a_partial_server_becomes_one_that_a_poll_can_read() {
        let (mut items, _) = items(&json!([]));

        items.set_servers(
            &[("s1".to_owned(), json!({"status": {"state": "stopping"}}))].into(),
            Timestamp::UNIX_EPOCH,
        );

        let body = json!({"servers": items.told_servers()}).to_string();
        assert!(SessionsReading::from_v1(body.as_bytes()).is_ok());
        assert_eq!(items.told_servers()["s1"]["status"]["state"], "stopping");
    }
}
