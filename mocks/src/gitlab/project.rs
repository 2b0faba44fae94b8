//! A project: its number, the names made from it, and how it is shown.

use serde_json::{Value, json};
use url::Url;

/// Where GitLab says that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instance {
    /// Without a slash at the end.
    pub(crate) url: String,
    host: String,
}

impl Instance {
    pub(crate) fn new(url: &Url) -> Self {
        Self {
            url: url.as_str().trim_end_matches('/').to_owned(),
            host: url.host_str().unwrap_or_default().to_owned(),
        }
    }

    /// The page of a user.
    pub(crate) fn profile(&self, username: &str) -> String {
        format!("{}/{username}", self.url)
    }
}

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

    pub(crate) fn url(self, at: &Instance) -> String {
        format!("{}/{}", at.url, self.path())
    }

    pub(crate) fn ssh_url(self, at: &Instance) -> String {
        format!("git@{}:{}.git", at.host, self.path())
    }

    pub(crate) fn http_url(self, at: &Instance) -> String {
        format!("{}.git", self.url(at))
    }

    /// As the REST API shows it.
    pub(crate) fn shown(self, at: &Instance) -> Value {
        json!({
            "id": self.0,
            "name": self.name(),
            "path": self.name(),
            "path_with_namespace": self.path(),
            "name_with_namespace": format!("group / {}", self.name()),
            "description": null,
            "default_branch": "main",
            "visibility": "private",
            "web_url": self.url(at),
            "ssh_url_to_repo": self.ssh_url(at),
            "http_url_to_repo": self.http_url(at),
            "namespace": {"id": 1, "name": "group", "path": "group", "kind": "group", "full_path": "group"},
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_begin_where_gitlab_says_that_it_is() {
        let at = Instance::new(&Url::parse("http://127.0.0.1:7083/gitlab/").unwrap());

        assert_eq!(
            Project(7).url(&at),
            "http://127.0.0.1:7083/gitlab/group/project-7"
        );
        assert_eq!(Project(7).ssh_url(&at), "git@127.0.0.1:group/project-7.git");
        assert_eq!(at.profile("ada"), "http://127.0.0.1:7083/gitlab/ada");
    }

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
