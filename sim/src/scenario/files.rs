//! Finds and reads scenario files, with bounds on everything that a disk may hold.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{explain::Code, problem::Problem, source::Source};
use crate::suggest::nearest;

/// The ending of a scenario file.
pub(crate) const ENDING: &str = ".tabs.yaml";

/// How large a file may be: the largest scenario we know has 8 kB.
const BYTES: usize = 1 << 20;

/// How much of a file that is too large is kept to show where it begins.
const SHOWN_BYTES: usize = 80;

/// How deep folders are searched; links to folders are not followed.
const FOLDERS: usize = 16;

/// A file to read, and the folder that was asked for.
pub(super) struct Found {
    pub(super) path: PathBuf,
    root: PathBuf,
}

/// The files of a path, sorted: itself, or what lies in it.
pub(super) fn find(path: &Path, problems: &mut Vec<Problem>) -> Vec<Found> {
    let mut files = Vec::new();
    let found = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => search(path, FOLDERS, &mut files),
        Ok(_) => {
            files.push(path.to_owned());
            Ok(())
        }
        Err(error) => Err(error),
    };
    if let Err(error) = found {
        problems.push(unreadable(path, &error));
    }
    files.sort();
    let root = if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(Path::new(""))
    };
    files
        .into_iter()
        .map(|path| Found {
            path,
            root: root.to_owned(),
        })
        .collect()
}

fn search(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if depth > 0 {
                search(&path, depth - 1, files)?;
            }
        } else if entry.file_name().to_string_lossy().ends_with(ENDING) {
            files.push(path);
        }
    }
    Ok(())
}

/// The problem with a path that cannot be read, with the nearest name in its folder.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let source = Arc::new(Source {
        path: path.to_owned(),
        ..Source::default()
    });
    let message = format!("`{}` cannot be read: {}", path.display(), plainly(error));
    let usual = "paths are taken from the folder that the command runs in: go there, or name the file or folder to read";
    Problem::new(Code::Unreadable, &source, 0..0, message)
        .help_if(neighbour(path))
        .help_if_none(usual.to_owned())
}

/// The operating system's words without its number.
pub(super) fn plainly(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => "reading it is not allowed".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        io::ErrorKind::Other => error.to_string(),
        kind => kind.to_string(),
    }
}

/// "did you mean …?" for a mistyped path.
pub(super) fn neighbour(path: &Path) -> Option<String> {
    let parent = path.parent()?;
    let folder = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let name = path.file_name()?.to_string_lossy();
    let names: Vec<String> = fs::read_dir(folder)
        .ok()?
        .take(1000)
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    // Without endings, which would make all names alike.
    let stem = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let stems: Vec<_> = names.iter().map(|name| stem(name)).collect();
    let near = nearest(&stem(&name), stems.iter().map(String::as_str))?;
    let near = &names[stems.iter().position(|stem| stem == near)?];
    // A link that leads nowhere is there, and still cannot be read.
    if *near == name {
        return None;
    }
    Some(format!("did you mean `{}`?", parent.join(near).display()))
}

/// The name of a scenario: its path below the suite, without ending. It is the same from wherever it is run, as long
/// as the suite's folder is called `scenarios`.
pub(super) fn id(found: &Found) -> String {
    let parts: Vec<_> = found.path.iter().map(|part| part.to_string_lossy()).collect();
    let below = if let Some(suite) = parts.iter().rposition(|part| part == "scenarios") {
        parts[suite + 1..].join("/")
    } else {
        let below = found.path.strip_prefix(&found.root).unwrap_or(&found.path);
        below
            .iter()
            .map(|part| part.to_string_lossy())
            .collect::<Vec<_>>()
            .join("/")
    };
    below.strip_suffix(ENDING).map(str::to_owned).unwrap_or(below)
}

/// Returns `true` if a file lies in the project of a scenario: below the nearest folder with `.git` or `polytab.toml`, or
/// else below the scenario's own folder. Both paths are canonical, so that no symbolic link leads out.
pub(super) fn is_in_project(file: &Path, scenario: &Path) -> bool {
    let is_root = |folder: &&Path| {
        [".git", "polytab.toml"]
            .iter()
            .any(|name| folder.join(name).exists())
    };
    let own = scenario.parent().unwrap_or(Path::new(""));
    let root = own.ancestors().find(is_root).unwrap_or(own);
    file.starts_with(root)
}

/// Reads a file as text.
///
/// # Errors
///
/// When it cannot be read; what is wrong with what was read is a problem instead.
pub(super) fn read(path: &Path, id: String) -> io::Result<(Arc<Source>, Option<Problem>)> {
    if !fs::metadata(path)?.is_file() {
        // A pipe would be waited for, a device read without end.
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    // One byte more than allowed tells that there is more, also for what has no length, such as one under `/proc`.
    File::open(path)?.take(BYTES as u64 + 1).read_to_end(&mut bytes)?;
    let large = bytes.len() > BYTES;
    if large {
        bytes.truncate(SHOWN_BYTES);
    }
    let bad = std::str::from_utf8(&bytes)
        .err()
        .map(|error| error.valid_up_to())
        .filter(|_| !large);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let source = Arc::new(Source {
        id,
        path: path.to_owned(),
        text,
    });
    let problem = match bad {
        _ if large => Some(too_large(&source)),
        Some(offset) => Some(not_utf8(&source, offset)),
        None => None,
    };
    Ok((source, problem))
}

fn too_large(source: &Arc<Source>) -> Problem {
    let at = source.head(&(0..source.text.len()));
    Problem::new(
        Code::TooLarge,
        source,
        at,
        "this file is larger than 1 MiB, the most that is taken",
    )
    .help("split it into several scenarios, or move shared steps into a file of their own and `include` it")
}

fn not_utf8(source: &Arc<Source>, offset: usize) -> Problem {
    // Up to the first bad byte the shown text and the file are the same; there it has a replacement character.
    let at = offset..offset + char::REPLACEMENT_CHARACTER.len_utf8();
    let message =
        format!("this file is not UTF-8 text: byte {offset} of it (counted from 0) begins no character");
    Problem::new(Code::NotUtf8, source, at, message)
        .help("save it as UTF-8; to send bad UTF-8 use `send_raw: { tab: A, bad_utf8: true }`")
}
