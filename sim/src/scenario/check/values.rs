//! Values that types accept and that no run could use: settings, snapshot names, browsers, hidden messages.

use std::collections::BTreeMap;

use polytab_mocks::realm::SomeSettings;
use polytab_server::Config;
use serde_json::{Map, Value};

use super::Checker;
use crate::{
    pattern::{Bindings, Pattern},
    scenario::{
        explain::Code,
        located::{At, Located},
        node::Node,
        problem::shown,
    },
};

/// The longest snapshot name; file systems allow 255 bytes for the whole file name.
const SNAPSHOT_NAME_BYTES: usize = 100;

/// Settings that the run fills in itself; a scenario may give a path on the mock for the last three.
const GIVEN_URLS: [&str; 4] = ["public_url", "oidc_issuer", "backend_url", "gitlab_url"];
/// Stands for the address of a mock, which is chosen at the start of a run.
const SOME_ADDRESS: &str = "http://127.0.0.1:1";

impl Checker<'_> {
    /// Reports `server` settings with which the reference server could not start.
    pub(super) fn server_settings(&mut self, root: &Node) {
        let given = &self.file.server;
        if given.is_empty() {
            return;
        }
        let mut settings: BTreeMap<String, Value> = GIVEN_URLS
            .into_iter()
            .map(|key| (key.to_owned(), Value::from(SOME_ADDRESS)))
            .collect();
        settings.insert("oidc_client_id".to_owned(), "client".into());
        settings.insert("oidc_client_secret".to_owned(), "secret-of-some-length".into());
        for (key, value) in given {
            let path = value.as_str().filter(|path| path.starts_with('/'));
            let on_mock = path.filter(|_| key != "public_url" && GIVEN_URLS.contains(&key.as_str()));
            let value = on_mock.map_or_else(|| value.clone(), |path| format!("{SOME_ADDRESS}{path}").into());
            settings.insert(key.clone(), value);
        }
        let Err(error) = Config::from_values(&settings) else {
            return;
        };
        let place = root.pairs().iter().find(|pair| pair.key == "server");
        let at = place.map_or(0..self.source.text.len(), |pair| pair.key_at.clone());
        self.report(
            Code::BadValue,
            at,
            format!("the reference server cannot start with these settings: {error}"),
        )
        .help = Some("docs/operations.md lists all settings with their bounds".to_owned());
    }

    /// Reports settings that no realm has, or that have an impossible value.
    pub(super) fn realm_settings(&mut self, at: &At, settings: &SomeSettings) {
        if let Err(error) = settings.check() {
            let nearest = error.nearest().map(str::to_owned);
            self.report(Code::BadValue, at.clone(), error.to_string()).help =
                nearest.map(|nearest| format!("did you mean `{nearest}`?"));
        }
    }

    /// Reports a snapshot name that cannot be part of a file name.
    pub(super) fn snapshot_name(&mut self, at: &At, name: &str) {
        let is_allowed = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        let is_name = !name.is_empty()
            && name.len() <= SNAPSHOT_NAME_BYTES
            && !name.starts_with('.')
            && !name.ends_with('.')
            && name.chars().all(is_allowed);
        if !is_name {
            let message = format!("`{}` cannot be the name of a snapshot", shown(name));
            self.report(Code::BadValue, at.clone(), message).help = Some(format!(
                "it becomes part of a file name: use 1 to {SNAPSHOT_NAME_BYTES} letters, digits, `-`, `_` and `.`, with no \
                 `.` at either end"
            ));
        }
    }

    /// Reports a browser that tabs of two users name: each user has browsers of its own.
    pub(super) fn shared_browsers(&mut self) {
        let file = self.file;
        let mut owners = BTreeMap::new();
        for (name, tab) in &file.tabs {
            let Some(browser) = &tab.value.browser else {
                continue;
            };
            let owner = owners.entry(browser).or_insert(&tab.value.user);
            if **owner != tab.value.user {
                let message = format!(
                    "tab `{}` is in the browser `{}` of `{}`, but belongs to `{}`",
                    shown(name),
                    shown(browser),
                    shown(owner),
                    shown(&tab.value.user)
                );
                let at = self.place(&tab.at, browser);
                self.report(Code::BadValue, at, message).help = Some(
                    "a browser has one user for the whole scenario; give each user browsers with other names"
                        .to_owned(),
                );
            }
        }
    }

    /// Reports patterns whose every match is hidden by `ignore`.
    pub(super) fn hidden(&mut self, patterns: &[Located<Pattern>]) {
        let file = self.file;
        for pattern in patterns {
            let sample = sample(pattern.value.source());
            let hides =
                |ignored: &&Located<Pattern>| ignored.value.matches(&sample, &mut Bindings::new()).is_ok();
            let Some(ignored) = file.ignore.iter().find(hides) else {
                continue;
            };
            let message = format!(
                "no message can satisfy this: `ignore` hides all that match, by `{}`",
                shown(&ignored.value.source().to_string())
            );
            self.report(Code::BadValue, pattern.at.clone(), message).help =
                Some("make the pattern in `ignore` narrower, or remove it".to_owned());
        }
    }
}

/// A message that fits a pattern and has nothing else. Placeholders become a text that no other pattern names, so
/// that a pattern which matches the sample matches every message that fits.
fn sample(pattern: &Value) -> Value {
    match pattern {
        Value::String(text) if text.contains('<') || text.contains("${") => "\u{1}sample".into(),
        Value::Array(items) => items.iter().map(sample).collect(),
        Value::Object(fields) => match fields.get("$exact") {
            Some(inner) => sample(inner),
            None => fields
                .iter()
                .filter(|(_, value)| *value != "<absent>")
                .map(|(name, value)| (name.clone(), sample(value)))
                .collect::<Map<_, _>>()
                .into(),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => pattern.clone(),
    }
}
