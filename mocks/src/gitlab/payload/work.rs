//! Issues, merge requests and what is said of them.

use serde_json::{Value, json};

use super::{Maker, time};

/// How long ago issues and merge requests were made, in seconds.
const AGE: i64 = 3600;

impl Maker<'_> {
    pub(super) fn issue(&self) -> Value {
        let mut payload = self.about("issue", &self.issue_attributes());
        payload["changes"] = json!({
            "updated_at": {"previous": time::words(self.ago(AGE)), "current": time::words(self.now)},
            "updated_by_id": {"previous": null, "current": self.actor.0},
        });
        payload
    }

    pub(super) fn merge_request(&self) -> Value {
        let mut payload = self.about("merge_request", &self.merge_request_attributes());
        payload["reviewers"] = json!([self.user()]);
        payload["changes"] = json!({
            "updated_at": {"previous": time::words(self.ago(AGE)), "current": time::words(self.now)},
            "draft": {"previous": true, "current": false},
        });
        payload
    }

    pub(super) fn note(&self) -> Value {
        let issue = self.issue_attributes();
        let url = format!("{}#note_{}", issue["url"].as_str().unwrap_or(""), self.id(2));
        json!({
            "object_kind": "note",
            "event_type": "note",
            "user": self.user(),
            "project_id": self.topic.project,
            "project": self.project(),
            "repository": self.repository(),
            "object_attributes": {
                "id": self.id(2),
                "internal": false,
                "note": self.title(),
                "noteable_type": "Issue",
                "author_id": self.actor.0,
                "created_at": time::words(self.now),
                "updated_at": time::words(self.now),
                "project_id": self.topic.project,
                "attachment": null,
                "line_code": null,
                "commit_id": "",
                "noteable_id": issue["id"],
                "system": false,
                "st_diff": null,
                "type": null,
                "action": "create",
                "url": url,
            },
            "issue": issue,
        })
    }

    /// What payloads about issues and merge requests share.
    fn about(&self, kind: &str, attributes: &Value) -> Value {
        json!({
            "object_kind": kind,
            "event_type": kind,
            "user": self.user(),
            "project": self.project(),
            "labels": attributes["labels"],
            "object_attributes": attributes,
            "repository": self.repository(),
            "assignees": [self.user()],
            "assignee": self.user(),
        })
    }

    /// Attributes that issues and merge requests share.
    fn attributes(&self, path: &str) -> Value {
        let action = self.action.unwrap_or("open");
        let (state, state_id) = state_after(action);
        json!({
            "id": self.id(1),
            "iid": self.seq,
            "title": self.title(),
            "description": "Made on order.",
            "state": state,
            "state_id": state_id,
            "action": action,
            "author_id": self.actor.0,
            "assignee_id": self.actor.0,
            "assignee_ids": [self.actor.0],
            "milestone_id": null,
            "created_at": time::iso(self.ago(AGE)),
            "updated_at": time::iso(self.now),
            "last_edited_at": null,
            "last_edited_by_id": null,
            "updated_by_id": self.actor.0,
            "time_estimate": 0,
            "total_time_spent": 0,
            "time_change": 0,
            "human_time_estimate": null,
            "human_total_time_spent": null,
            "human_time_change": null,
            "url": format!("{}/-/{path}/{}", self.project_of().url(self.at), self.seq),
            "labels": [self.label()],
        })
    }

    fn issue_attributes(&self) -> Value {
        let mut issue = self.attributes("issues");
        let own = json!({
            "project_id": self.topic.project,
            "confidential": false,
            "discussion_locked": null,
            "due_date": null,
            "relative_position": 0,
            "moved_to_id": null,
            "duplicated_to_id": null,
            "weight": null,
            "health_status": null,
            "severity": "unknown",
            "escalation_status": null,
            "escalation_policy": null,
            "type": "Issue",
        });
        extend(&mut issue, own);
        issue
    }

    fn merge_request_attributes(&self) -> Value {
        let mut request = self.attributes("merge_requests");
        let own = json!({
            "source_branch": format!("branch-{}", self.seq),
            "target_branch": "main",
            "source_project_id": self.topic.project,
            "target_project_id": self.topic.project,
            "reviewer_ids": [self.actor.0],
            "draft": false,
            "work_in_progress": false,
            "merge_status": "unchecked",
            "detailed_merge_status": "not_open",
            "blocking_discussions_resolved": true,
            "first_contribution": false,
            "prepared_at": time::iso(self.ago(AGE)),
            "source": self.project(),
            "target": self.project(),
            "last_commit": self.commit(&self.sha()),
        });
        extend(&mut request, own);
        request
    }
}

/// The state that an action leaves, and its number.
fn state_after(action: &str) -> (&'static str, u8) {
    match action {
        "close" => ("closed", 2),
        "merge" => ("merged", 3),
        _ => ("opened", 1),
    }
}

/// Adds the fields of one object to another; nulls too.
fn extend(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}
