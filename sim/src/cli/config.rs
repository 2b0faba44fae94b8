//! `polytab.toml`: what a project sets once for everybody.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::target::{ClockKind, Description};

/// The file's usual name.
const NAME: &str = "polytab.toml";

/// Settings of a project.
///
/// ```toml
/// [run]
/// paths = ["scenarios"]
/// target = "staging"
/// seed = 7
///
/// [target.staging]
/// url = "ws://127.0.0.1:8080/ui-server/ws"
/// ```
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProjectFile {
    #[serde(default)]
    pub(super) run: RunSettings,
    /// Servers that are not ours, by name.
    #[serde(default)]
    pub(super) target: BTreeMap<String, Description>,
}

/// What `polytab run` takes when neither a flag nor the environment says otherwise.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunSettings {
    pub(super) paths: Option<Vec<PathBuf>>,
    pub(super) target: Option<String>,
    pub(super) clock: Option<ClockKind>,
    pub(super) speed: Option<u32>,
    pub(super) jobs: Option<std::num::NonZeroUsize>,
    pub(super) seed: Option<u64>,
    pub(super) repeat: Option<u32>,
    pub(super) retries: Option<u32>,
    pub(super) fail_fast: Option<bool>,
    pub(super) strict: Option<bool>,
    pub(super) filter: Option<Vec<String>>,
    pub(super) tag: Option<Vec<String>>,
    pub(super) report: Option<Vec<String>>,
    pub(super) mock_ports: Option<[u16; 4]>,
}

impl ProjectFile {
    /// The file at `path`; without one, `polytab.toml` here, if there is one.
    pub(super) fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let (path, is_asked) = path.map_or((Path::new(NAME), false), |path| (path, true));
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_asked => return Ok(Self::default()),
            Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", path.display())),
        };
        match toml::from_str(&text) {
            Ok(file) => Ok(file),
            Err(error) => bail!(
                "`{}` is not a project file: {}",
                path.display(),
                error.to_string().trim_end()
            ),
        }
    }
}
