//! `polytab check`: what is wrong with scenario files and load profiles.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
};

use super::{Exit, complain, routes, say, width};
use crate::{
    load::{behaviour::of_profile, profile::Profile},
    scenario::{
        document,
        load::load,
        problem::{Problem, render},
    },
};

/// What to check.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArguments {
    /// Scenario files, and folders of them; load profiles (*.load.yaml)
    #[arg(default_value = "scenarios")]
    paths: Vec<PathBuf>,
}

pub(super) fn check(arguments: &CheckArguments) -> anyhow::Result<Exit> {
    let is_profile = |path: &&PathBuf| path.to_string_lossy().ends_with(".load.yaml");
    let (profiles, scenarios): (Vec<_>, Vec<_>) = arguments.paths.iter().partition(is_profile);
    let mut problems = Vec::new();
    for path in &profiles {
        let folder = path.parent().unwrap_or(Path::new(""));
        let read = document::load::<Profile>(path).and_then(|profile| of_profile(&profile, folder));
        problems.extend(read.err().into_iter().flatten());
    }
    if scenarios.is_empty() {
        return if problems.is_empty() {
            say(&format!("load profiles without problems: {}", profiles.len()))
        } else {
            Ok(show(&problems, profiles.len()))
        };
    }
    let paths: Vec<_> = scenarios.into_iter().cloned().collect();
    let loaded = load(&paths, &routes());
    problems.extend(loaded.problems);
    if !problems.is_empty() {
        return Ok(show(&problems, loaded.files + profiles.len()));
    }
    if loaded.files == 0 {
        complain(&nothing(&arguments.paths));
        return Ok(Exit::NothingRan);
    }
    say(&format!(
        "{} scenarios in {} files: no problems",
        loaded.scenarios.len(),
        loaded.files
    ))
}

/// Says what is wrong with files, on standard error.
pub(super) fn show(problems: &[Problem], files: usize) -> Exit {
    use std::io::Write;
    let is_colourful = std::io::stderr().is_terminal();
    let mut err = anstream::stderr();
    for problem in problems {
        // Without standard error there is nobody to tell.
        writeln!(err, "{}\n", render(problem, is_colourful, width())).ok();
    }
    let count = problems.len();
    let first = problems.first().map_or("", |problem| problem.code.as_str());
    let files = match files {
        0 => String::new(),
        1 => " in 1 file".to_owned(),
        files => format!(" in {files} files"),
    };
    complain(&format!(
        "{count} problem{}{files}; `polytab explain {first}` says more",
        if count == 1 { "" } else { "s" },
    ));
    Exit::InvalidFile
}

/// Why there is nothing.
pub(super) fn nothing(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
    format!("no scenario file (*.tabs.yaml) in {}", paths.join(", "))
}
