//! What several payloads share: project, user, repository, label, commit.

use serde_json::{Value, json};

use super::{Maker, time};

/// What GitLab shows instead of an e-mail address that its owner does not publish.
const NO_EMAIL: &str = "[REDACTED]";
/// `visibility_level` of a private project.
const PRIVATE: u8 = 0;

impl Maker<'_> {
    /// The project, up to its default branch: as pipelines and jobs carry it.
    pub(super) fn short_project(&self) -> Value {
        let project = self.project_of();
        json!({
            "id": project.0,
            "name": project.name(),
            "description": "",
            "web_url": project.url(self.at),
            "avatar_url": null,
            "git_ssh_url": project.ssh_url(self.at),
            "git_http_url": project.http_url(self.at),
            "namespace": "group",
            "visibility_level": PRIVATE,
            "path_with_namespace": project.path(),
            "default_branch": "main",
        })
    }

    /// The project, with the old names of its addresses.
    pub(super) fn project(&self) -> Value {
        let project = self.project_of();
        let mut shown = self.short_project();
        shown["ci_config_path"] = "".into();
        shown["homepage"] = project.url(self.at).into();
        shown["url"] = project.ssh_url(self.at).into();
        shown["ssh_url"] = project.ssh_url(self.at).into();
        shown["http_url"] = project.http_url(self.at).into();
        shown
    }

    /// Who does it.
    pub(super) fn user(&self) -> Value {
        let (id, name) = self.actor;
        json!({"id": id, "name": name, "username": name, "avatar_url": null, "email": NO_EMAIL})
    }

    pub(super) fn repository(&self) -> Value {
        let project = self.project_of();
        json!({
            "name": project.name(),
            "url": project.ssh_url(self.at),
            "description": "",
            "homepage": project.url(self.at),
        })
    }

    /// The repository, as pushes carry it.
    pub(super) fn long_repository(&self) -> Value {
        let project = self.project_of();
        let mut shown = self.repository();
        shown["git_http_url"] = project.http_url(self.at).into();
        shown["git_ssh_url"] = project.ssh_url(self.at).into();
        shown["visibility_level"] = PRIVATE.into();
        shown
    }

    pub(super) fn label(&self) -> Value {
        json!({
            "id": 206,
            "title": "API",
            "color": "#ffffff",
            "project_id": self.topic.project,
            "created_at": time::words(self.ago(86_400)),
            "updated_at": time::words(self.ago(86_400)),
            "template": false,
            "description": "API related",
            "type": "ProjectLabel",
            "group_id": null,
        })
    }

    /// A commit as everything but a push shows it.
    pub(super) fn commit(&self, sha: &str) -> Value {
        let title = self.title();
        let (_, name) = self.actor;
        json!({
            "id": sha,
            "message": format!("{title}\n"),
            "title": title,
            "timestamp": time::zoned(self.ago(60)),
            "url": format!("{}/-/commit/{sha}", self.project_of().url(self.at)),
            "author": {"name": name, "email": format!("{name}@example.org")},
        })
    }

    pub(super) fn profile(&self) -> String {
        self.at.profile(self.actor.1)
    }
}

/// The machine that a job ran on.
pub(super) fn runner() -> Value {
    json!({
        "id": 380_987,
        "description": "shared-runners-manager-6.example.org",
        "runner_type": "instance_type",
        "active": true,
        "is_shared": true,
        "tags": ["linux", "docker"],
    })
}
