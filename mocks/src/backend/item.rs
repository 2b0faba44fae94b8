//! The backend sessions of one user, as the list shows them: complete, whatever little an order said.

use std::collections::BTreeMap;

use jiff::Timestamp;
use polytab_seams::random::Random;
use serde_json::{Map, Value, json};

use crate::{
    backend::life::{Operator, STATES, typical},
    error::ControlError,
    json::lay_over,
    order::Verb,
    route::nearest,
};

/// The alphabet of a ULID (Crockford's base 32).
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// One user's sessions, V2 and V1.
#[derive(Debug)]
pub(crate) struct Items {
    user: String,
    list: Vec<Value>,
    /// What every session named so starts from: the same each time it is set.
    defaults: BTreeMap<String, Value>,
    operators: BTreeMap<String, Operator>,
    servers: BTreeMap<String, Value>,
}

impl Items {
    pub(crate) fn new(user: &str) -> Self {
        Self {
            user: user.to_owned(),
            list: Vec::new(),
            defaults: BTreeMap::new(),
            operators: BTreeMap::new(),
            servers: BTreeMap::new(),
        }
    }

    /// The V2 list, of one session type or all.
    pub(crate) fn list<'a>(&'a self, kind: Option<&'a str>) -> impl Iterator<Item = &'a Value> {
        let is = move |item: &&Value| kind.is_none() || item["session_type"].as_str() == kind;
        self.list.iter().filter(is)
    }

    /// Sets the V2 list; each partial item is laid over a complete one.
    pub(crate) fn set(
        &mut self,
        partials: &[Value],
        (random, now): (&Random, Timestamp),
    ) -> Result<(), ControlError> {
        check(partials)?;
        self.list = partials
            .iter()
            .enumerate()
            .map(|(index, partial)| self.complete(partial, index, (random, now)))
            .collect();
        self.operators.clear();
        Ok(())
    }

    fn complete(&mut self, partial: &Value, index: usize, (random, now): (&Random, Timestamp)) -> Value {
        let name = partial["name"]
            .as_str()
            .map_or_else(|| format!("session-{}", index + 1), str::to_owned);
        let purpose = format!("user/{}/session/{name}", self.user);
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

    /// Takes one session a step on.
    pub(crate) fn step(
        &mut self,
        name: &str,
        verb: Verb,
        (random, now): (&Random, Timestamp),
    ) -> Result<(), ControlError> {
        let index = self.list.iter().position(|item| item["name"] == name);
        let (index, operator) = match (index, verb) {
            (None, Verb::Launch) => {
                let item = self.complete(&json!({ "name": name }), self.list.len(), (random, now));
                self.list.push(item);
                (self.list.len() - 1, Operator::NEW)
            }
            (Some(index), _) => {
                let seen = Operator::behind(&self.list[index]["status"]);
                (index, self.operators.get(name).copied().unwrap_or(seen))
            }
            (None, _) => {
                return Err(ControlError::NoBackendSession {
                    user: self.user.clone(),
                    name: name.to_owned(),
                });
            }
        };
        if let Some(operator) = operator.next(verb) {
            self.list[index]["status"] = operator.shown();
            self.operators.insert(name.to_owned(), operator);
        } else {
            self.list.remove(index);
            self.operators.remove(name);
        }
        Ok(())
    }

    /// The V1 servers by name.
    pub(crate) fn servers(&self) -> Value {
        json!(self.servers)
    }

    /// Sets the V1 servers; each partial one is laid over a complete one.
    pub(crate) fn set_servers(&mut self, servers: &BTreeMap<String, Value>, now: Timestamp) {
        let complete = |(name, partial): (&String, &Value)| {
            // What was started stays started.
            let started = self
                .servers
                .get(name)
                .map_or_else(|| json!(second(now)), |server| server["started"].clone());
            let mut server = complete_server(name, &started);
            lay_over(&mut server, partial);
            (name.clone(), server)
        };
        self.servers = servers.iter().map(complete).collect();
    }
}

/// Whether the data service could ever show these.
pub(crate) fn check(partials: &[Value]) -> Result<(), ControlError> {
    for partial in partials {
        let bad = |what, value: &Value, nearest| ControlError::BadValue {
            what,
            value: value.to_string(),
            nearest,
        };
        if !partial.is_object() {
            return Err(bad("a backend session", partial, None));
        }
        match &partial["status"]["state"] {
            Value::Null => {}
            Value::String(state) if STATES.contains(&state.as_str()) => {}
            Value::String(state) => {
                return Err(ControlError::BadValue {
                    what: "the state of a backend session",
                    value: state.clone(),
                    nearest: nearest(state, STATES.into_iter()),
                });
            }
            other => return Err(bad("the state of a backend session", other, None)),
        }
    }
    Ok(())
}

/// A complete V2 item of a running interactive session.
fn complete_item(name: &str, ulid: &dyn Fn() -> String, now: Timestamp) -> Value {
    json!({
        "image": "registry.example.org/renku/environment:1.0",
        "name": name,
        "resources": {"requests": {"cpu": 0.5, "gpu": 0, "memory": 1, "storage": 1}},
        "started": second(now),
        "lastInteraction": second(now),
        "status": typical("running"),
        "url": format!("https://renku.example.org/sessions/{name}"),
        "project_id": ulid(),
        "launcher_id": ulid(),
        "resource_class_id": 1,
        "session_type": "interactive",
    })
}

/// A complete V1 server that runs.
fn complete_server(name: &str, started: &Value) -> Value {
    let details: Vec<Value> = ["Initialization", "Pulling image", "Starting session"]
        .map(|step| json!({"step": step, "status": "ready"}))
        .into();
    let mut server = Map::new();
    server.insert("annotations".to_owned(), json!({}));
    server.insert("name".to_owned(), name.into());
    server.insert("state".to_owned(), json!({"pod_name": format!("{name}-0")}));
    server.insert("started".to_owned(), started.clone());
    let status = json!({
        "state": "running",
        "details": details,
        "readyNumContainers": 2,
        "totalNumContainers": 2,
        "warnings": [],
    });
    server.insert("status".to_owned(), status);
    server.insert(
        "url".to_owned(),
        format!("https://renku.example.org/sessions/{name}").into(),
    );
    server.insert(
        "resources".to_owned(),
        json!({"requests": {"cpu": 0.5, "memory": "1G"}, "usage": {}}),
    );
    server.insert(
        "image".to_owned(),
        "registry.example.org/renku/environment:1.0".into(),
    );
    server.insert("cloudstorage".to_owned(), json!([]));
    Value::Object(server)
}

fn ulid(random: &Random, purpose: &str) -> String {
    (0..26)
        .map(|place| {
            // 26 characters of five bits hold two bits more than an id has.
            let drawn = random.below(purpose, if place == 0 { 8 } else { 32 });
            usize::try_from(drawn).map_or('0', |drawn| char::from(CROCKFORD[drawn]))
        })
        .collect()
}

/// A time as the data service writes it.
fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use polytab_protocol::sessions::SessionsReading;

    use super::*;

    fn items(partials: &Value) -> (Items, Random) {
        let random = Random::seeded(1);
        let mut items = Items::new("ada");
        items
            .set(partials.as_array().unwrap(), (&random, Timestamp::UNIX_EPOCH))
            .unwrap();
        (items, random)
    }

    #[test]
    fn a_partial_item_becomes_a_complete_one_without_nulls() {
        let (items, _) =
            items(&json!([{"name": "s1", "resources": {"requests": {"gpu": 1}}, "lastInteraction": null}]));

        let item = items.list(None).next().unwrap();

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
        let before = items.list.clone();

        items
            .set(partials.as_array().unwrap(), (&random, Timestamp::MAX))
            .unwrap();

        assert_eq!(items.list, before);
        assert_eq!(before[0]["name"], "b");
        assert_eq!(before[1]["status"]["ready_containers"], 0);
    }

    #[test]
    fn a_state_that_cannot_be_is_refused_with_the_nearest() {
        let error = check(&[json!({"status": {"state": "runing"}})]).unwrap_err();

        assert_eq!(error.nearest(), Some("running"));
        assert!(check(&[json!(1)]).is_err());
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
                    .list
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

        let body = json!({"servers": items.servers()}).to_string();
        assert!(SessionsReading::from_v1(body.as_bytes()).is_ok());
        assert_eq!(items.servers()["s1"]["status"]["state"], "stopping");
    }
}
