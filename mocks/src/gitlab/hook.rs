//! Hooks of projects: who is to be called for what. Decides, and never waits.

use std::{collections::BTreeMap, sync::Arc};

use axum::http::StatusCode;
use jiff::Timestamp;
use polytab_protocol::topic::EventType;
use serde_json::{Map, Value, json};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};
use url::Url;

use super::{health::Health, payload::time::millis, store::Stored};

/// Hooks of a project at most, as GitLab has it.
const MOST: usize = 100;

/// The hooks of all projects.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    newest: u64,
    by_id: BTreeMap<u64, Hook>,
    /// One task per hook; they end with the hooks.
    tasks: JoinSet<()>,
}

/// A hook.
#[derive(Debug)]
pub(super) struct Hook {
    pub(super) id: u64,
    pub(super) uuid: String,
    pub(super) project: u64,
    pub(super) wish: Wish,
    pub(super) health: Health,
    created_at: Timestamp,
    queue: mpsc::Sender<Delivery>,
    task: AbortHandle,
}

/// What whoever registers a hook wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) url: Url,
    pub(super) secret: Option<String>,
    /// By the names of [`FLAGS`].
    flags: BTreeMap<&'static str, bool>,
}

/// An event that a hook is to be told.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) event: Arc<Stored>,
    /// What GitLab calls the kind of event.
    pub(super) title: &'static str,
    /// The same for all hooks that are told of the event.
    pub(super) event_uuid: String,
    /// The same however often it is tried.
    pub(super) key: String,
}

/// What a hook may be called for, and whether it is unless told.
const FLAGS: [(&str, bool); 12] = [
    ("push_events", true),
    ("tag_push_events", false),
    ("issues_events", false),
    ("confidential_issues_events", false),
    ("note_events", false),
    ("confidential_note_events", false),
    ("merge_requests_events", false),
    ("pipeline_events", false),
    ("job_events", false),
    ("releases_events", false),
    ("deployment_events", false),
    ("enable_ssl_verification", true),
];

/// What an event is called in `X-Gitlab-Event`, and the flag of hooks that want it.
pub(super) fn kind(event: EventType, payload: &Value) -> (&'static str, &'static str) {
    let attributes = &payload["object_attributes"];
    match event {
        EventType::Push => ("Push Hook", "push_events"),
        EventType::TagPush => ("Tag Push Hook", "tag_push_events"),
        EventType::Issue if attributes["confidential"] == true => {
            ("Confidential Issue Hook", "confidential_issues_events")
        }
        EventType::Issue => ("Issue Hook", "issues_events"),
        EventType::Note if attributes["internal"] == true => {
            ("Confidential Note Hook", "confidential_note_events")
        }
        EventType::Note => ("Note Hook", "note_events"),
        EventType::MergeRequest => ("Merge Request Hook", "merge_requests_events"),
        EventType::Pipeline => ("Pipeline Hook", "pipeline_events"),
        EventType::Job => ("Job Hook", "job_events"),
        EventType::Release => ("Release Hook", "releases_events"),
        EventType::Deployment => ("Deployment Hook", "deployment_events"),
    }
}

impl Wish {
    /// Reads the fields of a request.
    ///
    /// # Errors
    ///
    /// The refusal: 400 for what is missing or no flag, 422 for an address that cannot be called.
    pub(super) fn read(fields: &Map<String, Value>) -> Result<Self, (StatusCode, Value)> {
        let bad = |text: String| (StatusCode::BAD_REQUEST, json!({ "error": text }));
        let text = |name: &str| {
            fields
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let url = text("url").ok_or_else(|| bad("url is missing".to_owned()))?;
        let url = Url::parse(url)
            .ok()
            .filter(|url| ["http", "https"].contains(&url.scheme()));
        let url = url.ok_or_else(|| {
            let blocked = json!({"message": {"url": ["is blocked: Only allowed schemes are http, https"]}});
            (StatusCode::UNPROCESSABLE_ENTITY, blocked)
        })?;
        let mut flags = BTreeMap::from(FLAGS);
        for (name, flag) in &mut flags {
            match fields.get(*name) {
                None | Some(Value::Null) => {}
                Some(Value::Bool(wanted)) => *flag = *wanted,
                Some(Value::String(word)) if word == "true" || word == "false" => *flag = word == "true",
                Some(_) => return Err(bad(format!("{name} is invalid"))),
            }
        }
        Ok(Self {
            url,
            secret: text("token").map(str::to_owned),
            flags,
        })
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.get(flag) == Some(&true)
    }
}

/// A hook that is to be, and where its deliveries go.
#[derive(Debug)]
pub(super) struct NewHook {
    pub(super) uuid: String,
    pub(super) project: u64,
    pub(super) wish: Wish,
    pub(super) created_at: Timestamp,
    pub(super) queue: mpsc::Sender<Delivery>,
}

impl Hooks {
    /// The number of the next hook; none when the project has too many.
    pub(super) fn next(&self, project: u64) -> Option<u64> {
        (self.of(project).count() < MOST).then_some(self.newest + 1)
    }

    /// Takes a hook of the number that [`Self::next`] gave, and the work that delivers to it.
    pub(super) fn add(&mut self, new: NewHook, work: impl Future<Output = ()> + Send + 'static) -> &Hook {
        // What has ended need not be kept.
        while self.tasks.try_join_next().is_some() {}
        self.newest += 1;
        let task = self.tasks.spawn(work);
        self.by_id.entry(self.newest).or_insert(Hook {
            id: self.newest,
            uuid: new.uuid,
            project: new.project,
            wish: new.wish,
            health: Health::default(),
            created_at: new.created_at,
            queue: new.queue,
            task,
        })
    }

    /// The hooks of a project, oldest first.
    pub(super) fn of(&self, project: u64) -> impl Iterator<Item = &Hook> {
        self.by_id.values().filter(move |hook| hook.project == project)
    }

    pub(super) fn get(&self, id: u64) -> Option<&Hook> {
        self.by_id.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Hook> {
        self.by_id.get_mut(&id)
    }

    /// Takes a hook of the project away, with what it was still to be told; gives whether there was one.
    pub(super) fn remove(&mut self, project: u64, id: u64) -> bool {
        let is_there = self.get(id).is_some_and(|hook| hook.project == project);
        let hook = is_there.then(|| self.by_id.remove(&id)).flatten();
        hook.inspect(|hook| hook.task.abort()).is_some()
    }
}

impl Hook {
    /// Whether it is to be told of what carries this flag.
    pub(super) fn wants(&self, flag: &str, now: Timestamp) -> bool {
        self.wish.has(flag) && self.health.is_called(now)
    }

    /// Queues a delivery; gives whether there was room.
    pub(super) fn queue(&self, delivery: Delivery) -> bool {
        self.queue.try_send(delivery).is_ok()
    }

    /// As the REST API shows it: never with its secret.
    pub(super) fn shown(&self, now: Timestamp) -> Value {
        let mut shown = json!({
            "id": self.id,
            "url": self.wish.url,
            "project_id": self.project,
            "created_at": millis(self.created_at),
            "alert_status": self.health.status(now),
            "disabled_until": self.health.paused_until.map(millis),
        });
        for (name, flag) in &self.wish.flags {
            shown[*name] = (*flag).into();
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(fields: &Value) -> Result<Wish, (StatusCode, Value)> {
        Wish::read(fields.as_object().unwrap())
    }

    #[test]
    fn a_hook_wants_pushes_and_what_it_asks_for() {
        let wish = wish(&json!({"url": "http://server/hook", "issues_events": true, "note_events": "true"}))
            .unwrap();

        for (event, attributes, wanted) in [
            (EventType::Push, json!({}), true),
            (EventType::Issue, json!({}), true),
            (EventType::Issue, json!({"confidential": true}), false),
            (EventType::Note, json!({}), true),
            (EventType::Note, json!({"internal": true}), false),
            (EventType::Job, json!({}), false),
        ] {
            let (title, flag) = kind(event, &json!({"object_attributes": attributes}));
            assert_eq!(wish.has(flag), wanted, "{title}");
        }
    }

    #[test]
    fn a_hook_that_could_not_be_called_is_refused() {
        for (fields, status) in [
            (json!({}), 400),
            (json!({"url": "ftp://server"}), 422),
            (json!({"url": "nonsense"}), 422),
            (json!({"url": "http://server", "push_events": "maybe"}), 400),
        ] {
            assert_eq!(wish(&fields).unwrap_err().0.as_u16(), status, "{fields}");
        }
    }
}
