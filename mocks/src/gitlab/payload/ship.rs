//! Releases and deployments.

use serde_json::{Value, json};

use super::{Maker, time};

impl Maker<'_> {
    pub(super) fn release(&self) -> Value {
        let (tag, url) = (format!("v1.0.{}", self.seq), self.project_of().url(self.at));
        let archive =
            |format: &str| json!({"format": format, "url": format!("{url}/-/archive/{tag}/{tag}.{format}")});
        let sources = ["zip", "tar.gz", "tar.bz2", "tar"].map(archive);
        json!({
            "object_kind": "release",
            "id": self.id(1),
            "name": self.title(),
            "tag": tag,
            "description": "Made on order.",
            "action": "create",
            "created_at": time::words(self.now),
            "released_at": time::words(self.now),
            "project": self.project(),
            "url": format!("{url}/-/releases/{tag}"),
            "assets": {"count": sources.len(), "links": [], "sources": sources},
            "commit": self.commit(&self.sha()),
        })
    }

    pub(super) fn deployment(&self) -> Value {
        let (sha, url) = (self.sha(), self.project_of().url(self.at));
        json!({
            "object_kind": "deployment",
            "status": "success",
            "status_changed_at": time::words(self.now),
            "deployment_id": self.id(1),
            "deployable_id": self.id(3),
            "deployable_url": format!("{url}/-/jobs/{}", self.id(3)),
            "environment": "staging",
            "environment_tier": "staging",
            "environment_slug": "staging",
            "environment_external_url": "https://staging.example.org",
            "project": self.project(),
            "ref": "main",
            "short_sha": &sha[..8],
            "user": self.user(),
            "user_url": self.profile(),
            "commit_url": format!("{url}/-/commit/{sha}"),
            "commit_title": self.title(),
        })
    }
}
