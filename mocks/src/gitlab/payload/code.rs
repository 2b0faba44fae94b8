//! Pushes of branches and tags.

use serde_json::{Value, json};

use super::Maker;

/// Commits that a payload shows at most; the newest.
const COMMITS: u64 = 20;
/// What a push has for a commit that is not there.
const NO_COMMIT: &str = "0000000000000000000000000000000000000000";

impl Maker<'_> {
    pub(super) fn push(&self) -> Value {
        let count = self.commits.unwrap_or_else(|| 1 + self.below(3));
        let commits: Vec<_> = (0..count.min(COMMITS)).map(|_| self.pushed_commit()).collect();
        let before = self.sha();
        let after = commits
            .last()
            .map_or_else(|| before.clone().into(), |commit| commit["id"].clone());
        let reference = format!("refs/heads/branch-{}", self.seq);
        let mut payload = self.any_push("push", (before.into(), after), &reference);
        payload["commits"] = commits.into();
        payload["total_commits_count"] = count.into();
        payload["user_username"] = self.actor.1.into();
        payload["user_email"] = "".into();
        payload
    }

    pub(super) fn tag_push(&self) -> Value {
        let reference = format!("refs/tags/v1.0.{}", self.seq);
        let mut payload = self.any_push("tag_push", (NO_COMMIT.into(), self.sha().into()), &reference);
        payload["message"] = "A release".into();
        payload
    }

    fn any_push(&self, kind: &str, (before, after): (Value, Value), reference: &str) -> Value {
        let (id, name) = self.actor;
        json!({
            "object_kind": kind,
            "event_name": kind,
            "before": before,
            "after": after,
            "ref": reference,
            "ref_protected": false,
            "checkout_sha": after,
            "message": null,
            "user_id": id,
            "user_name": name,
            "user_avatar": null,
            "project_id": self.topic.project,
            "project": self.project(),
            "commits": [],
            "total_commits_count": 0,
            "push_options": {},
            "repository": self.long_repository(),
        })
    }

    fn pushed_commit(&self) -> Value {
        let mut commit = self.commit(&self.sha());
        commit["added"] = json!([format!("src/{}.py", self.below(1000))]);
        commit["modified"] = json!(["README.md"]);
        commit["removed"] = json!([]);
        commit
    }
}
