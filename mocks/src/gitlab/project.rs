//! A project: its number, the names made from it, and how it is shown.

use serde_json::{Value, json};

/// Where GitLab says that it is.
pub(crate) const INSTANCE: &str = "https://gitlab.example.org";

/// A project by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Project(pub(crate) u64);

impl Project {
    /// Reads a number, or a path as [`Self::path`] makes it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let number = text.strip_prefix("group/project-").unwrap_or(text);
        // One project has one name: no leading plus or zero.
        let project = Self(number.parse().ok()?);
        (project.0.to_string() == number).then_some(project)
    }

    pub(crate) fn name(self) -> String {
        format!("project-{}", self.0)
    }

    pub(crate) fn path(self) -> String {
        format!("group/{}", self.name())
    }

    pub(crate) fn url(self) -> String {
        format!("{INSTANCE}/{}", self.path())
    }

    pub(crate) fn ssh_url(self) -> String {
        format!("git@gitlab.example.org:{}.git", self.path())
    }

    pub(crate) fn http_url(self) -> String {
        format!("{}.git", self.url())
    }

    /// As the REST API shows it.
    pub(crate) fn shown(self) -> Value {
        json!({
            "id": self.0,
            "name": self.name(),
            "path": self.name(),
            "path_with_namespace": self.path(),
            "name_with_namespace": format!("group / {}", self.name()),
            "description": null,
            "default_branch": "main",
            "visibility": "private",
            "web_url": self.url(),
            "ssh_url_to_repo": self.ssh_url(),
            "http_url_to_repo": self.http_url(),
            "namespace": {"id": 1, "name": "group", "path": "group", "kind": "group", "full_path": "group"},
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_named_by_its_number_or_its_path() {
        for (text, project) in [
            ("42", Some(Project(42))),
            ("group/project-42", Some(Project(42))),
            ("+42", None),
            ("042", None),
            ("group/other", None),
        ] {
            assert_eq!(Project::parse(text), project, "{text}");
        }
    }
}
