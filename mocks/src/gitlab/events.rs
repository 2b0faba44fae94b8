//! The events API: what happened in a project, as items made from the events that streams carry (MOCKS G1).

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::{civil::Date, tz::TimeZone};
use polytab_protocol::topic::EventType;
use serde_json::{Value, json};

use super::{
    api::{self, author},
    paging::page,
    payload::time::millis,
    project::Instance,
    store::Stored,
};
use crate::{Shared, call::Call};

/// `GET /api/v4/projects/{id}/events`: newest first; `before` and `after` are days, neither of them included.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(call): Extension<Arc<Call>>,
    Path(project): Path<String>,
) -> Response {
    let wanted = match Wanted::read(&call) {
        Ok(wanted) => wanted,
        Err(error) => return (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response(),
    };
    let world = shared.world();
    let project = match api::access(&world, &shared, (&call, &project)) {
        Ok((_, project)) => project,
        Err(refusal) => return *refusal,
    };
    let mut items: Vec<_> = world
        .hub
        .store
        .events(project.0)
        .filter(|event| wanted.is_of_day(event))
        .filter_map(|event| item(event, &world.gitlab.instance))
        .filter(|item| wanted.takes(item))
        .collect();
    if !wanted.is_ascending {
        items.reverse();
    }
    page(&call, &items)
}

/// Which events are asked for.
struct Wanted {
    action: Option<String>,
    target_type: Option<String>,
    before: Option<Date>,
    after: Option<Date>,
    is_ascending: bool,
}

impl Wanted {
    fn read(call: &Call) -> Result<Self, String> {
        let day = |name: &str| {
            let day = call.query(name).map(str::parse);
            day.transpose().map_err(|_| format!("{name} is invalid"))
        };
        let word = |name: &str| call.query(name).map(str::to_owned);
        Ok(Self {
            action: word("action"),
            target_type: word("target_type"),
            before: day("before")?,
            after: day("after")?,
            is_ascending: call.query("sort") == Some("asc"),
        })
    }

    fn is_of_day(&self, event: &Stored) -> bool {
        let day = TimeZone::UTC.to_datetime(event.at).date();
        self.before.is_none_or(|before| day < before) && self.after.is_none_or(|after| day > after)
    }

    fn takes(&self, item: &Value) -> bool {
        let action = item["action_name"].as_str().unwrap_or("");
        let target = item["target_type"].as_str().unwrap_or("");
        self.action
            .as_deref()
            .is_none_or(|wanted| wanted == filter_word(action))
            && self
                .target_type
                .as_deref()
                // `MergeRequest` is asked for as `merge_request`.
                .is_none_or(|wanted| wanted.replace('_', "").eq_ignore_ascii_case(target))
    }
}

/// The word by which an action is asked for; what is shown is another one.
fn filter_word(action: &str) -> &str {
    match action {
        "pushed to" | "pushed new" | "deleted" => "pushed",
        "commented on" => "commented",
        "opened" => "created",
        "accepted" => "merged",
        other => other,
    }
}

/// An event as the API shows it; none for what the API does not show: pipelines, jobs, releases, deployments and
/// mere updates.
pub(super) fn item(event: &Stored, at: &Instance) -> Option<Value> {
    let payload = event.payload();
    let attributes = &payload["object_attributes"];
    let (action, target_type) = match event.topic.event {
        EventType::Push | EventType::TagPush => (push_action(&payload), None),
        EventType::Issue => (work_action(attributes)?, Some("Issue")),
        EventType::MergeRequest => (work_action(attributes)?, Some("MergeRequest")),
        EventType::Note => ("commented on", Some("Note")),
        EventType::Pipeline | EventType::Job | EventType::Release | EventType::Deployment => return None,
    };
    let author = author(&payload, at);
    let is_note = event.topic.event == EventType::Note;
    let (iid, title) = if is_note {
        (&attributes["id"], &payload["issue"]["title"])
    } else {
        (&attributes["iid"], &attributes["title"])
    };
    let mut item = json!({
        "id": event.number,
        "title": null,
        "project_id": event.topic.project,
        "action_name": action,
        "target_id": attributes["id"],
        "target_iid": iid,
        "target_type": target_type,
        "target_title": title,
        "created_at": millis(event.at),
        "author_id": author["id"],
        "author_username": author["username"],
        "author": author,
    });
    if target_type.is_none() {
        item["push_data"] = push_data(&payload);
    }
    if is_note {
        item["note"] = json!({
            "id": attributes["id"],
            "body": attributes["note"],
            "attachment": null,
            "author": item["author"],
            "created_at": millis(event.at),
            "system": attributes["system"],
            "noteable_id": attributes["noteable_id"],
            "noteable_type": attributes["noteable_type"],
            "noteable_iid": payload["issue"]["iid"],
        });
    }
    Some(item)
}

/// What the API calls what was done to an issue or a merge request, if it shows it at all.
fn work_action(attributes: &Value) -> Option<&'static str> {
    Some(match attributes["action"].as_str()? {
        "open" => "opened",
        "close" => "closed",
        "reopen" => "reopened",
        "merge" => "accepted",
        "approved" => "approved",
        _ => return None,
    })
}

/// Whether a commit is none: a branch or tag is new, or gone.
fn is_nothing(commit: &Value) -> bool {
    let commit = commit.as_str().unwrap_or("");
    commit.bytes().all(|byte| byte == b'0')
}

fn push_action(payload: &Value) -> &'static str {
    if is_nothing(&payload["after"]) {
        "deleted"
    } else if is_nothing(&payload["before"]) {
        "pushed new"
    } else {
        "pushed to"
    }
}

fn push_data(payload: &Value) -> Value {
    let (action, from, to) = match push_action(payload) {
        "deleted" => ("removed", &payload["before"], &Value::Null),
        "pushed new" => ("created", &Value::Null, &payload["after"]),
        _ => ("pushed", &payload["before"], &payload["after"]),
    };
    let reference = payload["ref"].as_str().unwrap_or("");
    let tag = reference.strip_prefix("refs/tags/");
    let newest = payload["commits"].as_array().and_then(|commits| commits.last());
    json!({
        "commit_count": payload["total_commits_count"],
        "action": action,
        "ref_type": if tag.is_some() { "tag" } else { "branch" },
        "commit_from": from,
        "commit_to": to,
        "ref": tag.or(reference.strip_prefix("refs/heads/")).unwrap_or(reference),
        "commit_title": newest.map_or(&Value::Null, |commit| &commit["title"]),
        "ref_count": null,
    })
}
