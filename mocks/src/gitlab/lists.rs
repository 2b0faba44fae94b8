//! Pipelines, issues and merge requests of a project, as its kept events left them.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension,
    extract::{Path, State},
    response::Response,
};
use jiff::Timestamp;
use polytab_protocol::topic::EventType;
use serde_json::{Value, json};

use super::{
    api::{self, author},
    paging::page,
    payload::time::millis,
    project::Instance,
};
use crate::{Shared, call::Call};

/// A list of things that events are about.
#[derive(Clone, Copy)]
struct List {
    event: EventType,
    /// The attribute that tells two apart; newer ones have greater ones.
    key: &'static str,
    /// Fields that may be asked for.
    filters: &'static [&'static str],
    show: fn(&Value, &Instance) -> Value,
}

const PIPELINES: List = List {
    event: EventType::Pipeline,
    key: "id",
    filters: &["status", "ref", "sha", "source"],
    show: pipeline,
};

const ISSUES: List = List {
    event: EventType::Issue,
    key: "iid",
    filters: &["state"],
    show: issue,
};

const MERGE_REQUESTS: List = List {
    event: EventType::MergeRequest,
    key: "iid",
    filters: &["state", "source_branch", "target_branch"],
    show: merge_request,
};

type Asked = (State<Arc<Shared>>, Extension<Arc<Call>>, Path<String>);

/// `GET /api/v4/projects/{id}/pipelines`
pub(super) async fn pipelines(asked: Asked) -> Response {
    list(&asked, PIPELINES)
}

/// `GET /api/v4/projects/{id}/issues`
pub(super) async fn issues(asked: Asked) -> Response {
    list(&asked, ISSUES)
}

/// `GET /api/v4/projects/{id}/merge_requests`
pub(super) async fn merge_requests(asked: Asked) -> Response {
    list(&asked, MERGE_REQUESTS)
}

fn list((State(shared), Extension(call), Path(project)): &Asked, list: List) -> Response {
    let world = shared.world();
    let project = match api::access(&world, shared, (call, project)) {
        Ok((_, project)) => project,
        Err(refusal) => return *refusal,
    };
    let mut newest = BTreeMap::new();
    let events = world.hub.store.events(project.0);
    for event in events.filter(|event| event.topic.event == list.event) {
        let payload = event.payload();
        // What was sent as it is, without a number, is about nothing that could be listed.
        if let Some(key) = payload["object_attributes"][list.key].as_u64() {
            newest.insert(key, payload);
        }
    }
    let is_wanted = |item: &Value| {
        list.filters.iter().all(|name| {
            let wanted = call.query(name).filter(|wanted| *wanted != "all");
            wanted.is_none_or(|wanted| item[name] == wanted)
        })
    };
    let at = &world.gitlab.instance;
    let mut items: Vec<_> = newest
        .values()
        .rev()
        .map(|payload| (list.show)(payload, at))
        .filter(is_wanted)
        .collect();
    for item in &mut items {
        item["project_id"] = project.0.into();
    }
    page(call, &items)
}

fn pipeline(payload: &Value, _: &Instance) -> Value {
    let found = &payload["object_attributes"];
    json!({
        "id": found["id"],
        "iid": found["iid"],
        "sha": found["sha"],
        "ref": found["ref"],
        "status": found["status"],
        "source": found["source"],
        "created_at": shown_time(&found["created_at"]),
        "updated_at": shown_time(&found["finished_at"]),
        "web_url": found["url"],
    })
}

/// What issues and merge requests share.
fn work(payload: &Value, at: &Instance) -> Value {
    let found = &payload["object_attributes"];
    let labels = found["labels"].as_array().into_iter().flatten();
    let closed_at = (found["state"] == "closed").then(|| shown_time(&found["updated_at"]));
    json!({
        "id": found["id"],
        "iid": found["iid"],
        "title": found["title"],
        "description": found["description"],
        "state": found["state"],
        "created_at": shown_time(&found["created_at"]),
        "updated_at": shown_time(&found["updated_at"]),
        "closed_at": closed_at,
        "labels": labels.map(|label| &label["title"]).collect::<Vec<_>>(),
        "milestone": null,
        "author": author(payload, at),
        "assignee": payload["assignee"],
        "assignees": payload["assignees"],
        "user_notes_count": 0,
        "upvotes": 0,
        "downvotes": 0,
        "web_url": found["url"],
    })
}

fn issue(payload: &Value, at: &Instance) -> Value {
    let found = &payload["object_attributes"];
    let mut shown = work(payload, at);
    shown["type"] = "ISSUE".into();
    shown["issue_type"] = "issue".into();
    for name in ["due_date", "confidential", "discussion_locked", "severity"] {
        shown[name] = found[name].clone();
    }
    shown
}

fn merge_request(payload: &Value, at: &Instance) -> Value {
    let found = &payload["object_attributes"];
    let mut shown = work(payload, at);
    let merged_at = (found["state"] == "merged").then(|| shown_time(&found["updated_at"]));
    shown["merged_at"] = json!(merged_at);
    shown["sha"] = found["last_commit"]["id"].clone();
    shown["reviewers"] = payload["reviewers"].clone();
    for name in [
        "source_branch",
        "target_branch",
        "source_project_id",
        "target_project_id",
        "draft",
        "work_in_progress",
        "merge_status",
        "detailed_merge_status",
    ] {
        shown[name] = found[name].clone();
    }
    shown
}

/// A payload's time as the API writes it; null for what is none.
fn shown_time(text: &Value) -> Value {
    let text = text.as_str().unwrap_or("");
    // `2016-08-12 15:23:28 UTC` is no ISO time, and means one.
    let iso = text.strip_suffix(" UTC").map(|text| format!("{text}Z"));
    let time: Option<Timestamp> = iso.as_deref().unwrap_or(text).parse().ok();
    time.map_or(Value::Null, |time| millis(time).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_of_a_payload_is_shown_in_one_way() {
        for (text, shown) in [
            (json!("2026-01-01T10:00:00Z"), json!("2026-01-01T10:00:00.000Z")),
            (
                json!("2026-01-01 10:00:00 UTC"),
                json!("2026-01-01T10:00:00.000Z"),
            ),
            (json!(null), json!(null)),
            (json!("yesterday"), json!(null)),
        ] {
            assert_eq!(shown_time(&text), shown, "{text}");
        }
    }
}
