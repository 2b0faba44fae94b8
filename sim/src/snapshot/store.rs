//! Snapshots on disk: beside the scenario, as accepted (`.snap`) or waiting for review (`.snap.new`).

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::scenario::{files::ENDING, model::Scenario};

/// Ending of an accepted snapshot.
const ACCEPTED: &str = "snap";
/// Ending of one that waits for review.
const WAITING: &str = "snap.new";
/// How deep folders are searched for waiting snapshots; links to folders are not followed.
const FOLDERS: usize = 16;

/// What happens with snapshots that are missing or differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotMode {
    /// What was seen is written beside the scenario, for review. A missing snapshot is then no failure.
    Write,
    /// Nothing is written: as in a pipeline.
    Check,
}

/// Where the snapshot of this name of a scenario stands: `reload-storm.after.snap`, with the matrix row before the
/// name if there is one.
pub fn path(scenario: &Scenario, name: &str) -> PathBuf {
    let file = scenario
        .source
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let stem = file.split('.').next().unwrap_or_default();
    let row: String = scenario
        .row
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_=".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let parts: Vec<_> = [stem, &row, name, ACCEPTED]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    scenario.source.path.with_file_name(parts.join("."))
}

/// The accepted snapshot.
///
/// # Errors
///
/// When there is one that cannot be read.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where what was seen waits for review.
pub fn waiting_path(path: &Path) -> PathBuf {
    path.with_extension(WAITING)
}

/// Lets what was seen wait for review.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_waiting(path: &Path, text: &str) -> io::Result<()> {
    fs::write(waiting_path(path), text)
}

/// What was seen is as accepted: nothing waits any more.
///
/// # Errors
///
/// When what waits cannot be removed.
pub fn discard_waiting(path: &Path) -> io::Result<()> {
    match fs::remove_file(waiting_path(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Accepts what waits.
///
/// # Errors
///
/// When it cannot be moved to its place.
pub fn accept(path: &Path) -> io::Result<()> {
    fs::rename(waiting_path(path), path)
}

/// A snapshot that is accepted or waits for review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Where it stands once accepted.
    pub path: PathBuf,
    /// Whether one was accepted.
    pub is_accepted: bool,
    /// Whether another waits for review.
    pub is_waiting: bool,
}

/// The snapshots that a path means, in order: one of that name, accepted or waiting; those of a scenario file; or all
/// in a folder.
///
/// # Errors
///
/// When there is no such snapshot, file or folder, or a folder cannot be read.
pub fn find(path: &Path) -> io::Result<Vec<Stored>> {
    let mut found = BTreeMap::new();
    if path.is_dir() {
        search(path, FOLDERS, &mut found)?;
        return Ok(found.into_values().collect());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    search(folder, 1, &mut found)?;
    let is_scenario = path.exists() && name.ends_with(ENDING);
    let stem = format!("{}.", name.strip_suffix(ENDING).unwrap_or(&name));
    let one = name.strip_suffix(".new").unwrap_or(&name);
    let meant: Vec<_> = found
        .into_values()
        .filter(|stored| {
            let found = stored.path.file_name().unwrap_or_default().to_string_lossy();
            if is_scenario {
                found.starts_with(&stem)
            } else {
                found == one
            }
        })
        .map(|stored| Stored {
            path: path.with_file_name(stored.path.file_name().unwrap_or_default()),
            ..stored
        })
        .collect();
    if meant.is_empty() && !is_scenario {
        let text = "it is no snapshot, no scenario file and no folder of them";
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    Ok(meant)
}

fn search(path: &Path, depth: usize, found: &mut BTreeMap<PathBuf, Stored>) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() {
        for entry in fs::read_dir(path)? {
            if depth > 0 {
                search(&entry?.path(), depth - 1, found)?;
            }
        }
        return Ok(());
    }
    let is = |path: &Path, ending: &str| path.extension().is_some_and(|found| found == ending);
    // `a.snap.new`: without its last ending it is where it belongs.
    let place = path.with_extension("");
    if is(path, "new") && is(&place, ACCEPTED) {
        stored(found, place).is_waiting = true;
    } else if is(path, ACCEPTED) {
        stored(found, path.to_owned()).is_accepted = true;
    }
    Ok(())
}

fn stored(found: &mut BTreeMap<PathBuf, Stored>, path: PathBuf) -> &mut Stored {
    found.entry(path).or_insert_with_key(|path| Stored {
        path: path.clone(),
        is_accepted: false,
        is_waiting: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_named_by_its_place_by_what_waits_or_by_its_scenario() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [
            "a.tabs.yaml",
            "a.x.snap",
            "a.x.snap.new",
            "a.y.snap.new",
            "ab.x.snap",
            "b.tabs.yaml",
        ] {
            fs::write(at(name), "").unwrap();
        }

        for (name, meant) in [
            ("a.x.snap", vec![("a.x.snap", true, true)]),
            ("a.x.snap.new", vec![("a.x.snap", true, true)]),
            ("a.y.snap", vec![("a.y.snap", false, true)]),
            (
                "a.tabs.yaml",
                vec![("a.x.snap", true, true), ("a.y.snap", false, true)],
            ),
            ("b.tabs.yaml", vec![]),
        ] {
            let found = find(&at(name)).unwrap();

            let found: Vec<_> = found
                .iter()
                .map(|stored| (stored.path.clone(), stored.is_accepted, stored.is_waiting))
                .collect();
            let meant: Vec<_> = meant
                .into_iter()
                .map(|(name, old, new)| (at(name), old, new))
                .collect();
            assert_eq!(found, meant, "{name}");
        }
        assert!(find(&at("c.snap")).is_err());
        assert!(find(&at("c.tabs.yaml")).is_err());
    }

    #[test]
    fn what_waits_can_be_found_and_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("a.x.snap"), folder.path().join("a.y.snap"));
        fs::write(&old, "1").unwrap();
        write_waiting(&new, "2").unwrap();

        let found = find(folder.path()).unwrap();
        accept(&new).unwrap();

        let states: Vec<_> = found
            .iter()
            .map(|stored| (stored.is_accepted, stored.is_waiting))
            .collect();
        assert_eq!(states, [(true, false), (false, true)]);
        assert_eq!(read(&new).unwrap().as_deref(), Some("2"));
        assert_eq!(read(&waiting_path(&new)).unwrap(), None);
        discard_waiting(&new).unwrap();
    }
}
