//! `polytab snapshot`: what was accepted, what waits, and taking it in or not.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::{Exit, complain, say, say_line};
use crate::snapshot::{
    difference,
    store::{self, Stored},
};

/// What to do with snapshots.
#[derive(Debug, clap::Args)]
pub(super) struct SnapshotArguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List all, and say which wait for review
    List(Paths),
    /// Show what differs and ask about each
    Review(Paths),
    /// Take in everything that waits
    Accept(Paths),
    /// Throw away everything that waits
    Reject(Paths),
}

#[derive(Debug, clap::Args)]
struct Paths {
    /// Snapshots, scenario files whose snapshots are meant, and folders of them
    #[arg(default_value = "scenarios")]
    paths: Vec<PathBuf>,
}

pub(super) fn snapshot(arguments: &SnapshotArguments) -> anyhow::Result<Exit> {
    match &arguments.action {
        Action::List(paths) => list(&found(paths)?),
        Action::Review(paths) => review(&waiting(paths)?),
        Action::Accept(paths) => each(&waiting(paths)?, "accepted", store::accept),
        Action::Reject(paths) => each(&waiting(paths)?, "rejected", store::discard_waiting),
    }
}

fn found(paths: &Paths) -> anyhow::Result<Vec<Stored>> {
    let mut all = Vec::new();
    for path in &paths.paths {
        all.extend(store::find(path).with_context(|| format!("cannot read `{}`", path.display()))?);
    }
    all.sort_by(|left, right| left.path.cmp(&right.path));
    all.dedup_by(|left, right| left.path == right.path);
    Ok(all)
}

fn waiting(paths: &Paths) -> anyhow::Result<Vec<Stored>> {
    Ok(found(paths)?
        .into_iter()
        .filter(|stored| stored.is_waiting)
        .collect())
}

fn list(found: &[Stored]) -> anyhow::Result<Exit> {
    if found.is_empty() {
        return say("no snapshots");
    }
    for stored in found {
        let state = match (stored.is_accepted, stored.is_waiting) {
            (true, false) => "accepted",
            (true, true) => "changed: waits for review",
            (false, _) => "new: waits for review",
        };
        say_line(&format!("{} ({state})", stored.path.display()))?;
    }
    Ok(Exit::Passed)
}

fn each(waiting: &[Stored], word: &str, act: impl Fn(&Path) -> io::Result<()>) -> anyhow::Result<Exit> {
    for stored in waiting {
        act(&stored.path).with_context(|| format!("cannot write `{}`", stored.path.display()))?;
        say_line(&format!("{word} {}", stored.path.display()))?;
    }
    if waiting.is_empty() {
        say("nothing waits for review")
    } else {
        Ok(Exit::Passed)
    }
}

fn review(waiting: &[Stored]) -> anyhow::Result<Exit> {
    let can_ask = io::stdin().is_terminal();
    for stored in waiting {
        show(stored)?;
        if !can_ask {
            continue;
        }
        match ask()? {
            'a' => store::accept(&stored.path)?,
            'r' => store::discard_waiting(&stored.path)?,
            'q' => return Ok(Exit::Passed),
            _ => {}
        }
    }
    if waiting.is_empty() {
        return say("nothing waits for review");
    }
    if can_ask {
        return Ok(Exit::Passed);
    }
    complain("nobody can be asked here; `polytab snapshot accept` and `reject` take paths");
    Ok(Exit::Failed)
}

fn show(stored: &Stored) -> anyhow::Result<()> {
    let read = |path: &Path| store::read(path).with_context(|| format!("cannot read `{}`", path.display()));
    let accepted = read(&stored.path)?.unwrap_or_default();
    let seen = read(&store::waiting_path(&stored.path))?.unwrap_or_default();
    let state = if stored.is_accepted { "changed" } else { "new" };
    say("")?;
    say_line(&format!("{} ({state})", stored.path.display()))?;
    for line in difference(&accepted, &seen) {
        say_line(&format!("  {line}"))?;
    }
    Ok(())
}

fn ask() -> anyhow::Result<char> {
    loop {
        write!(io::stderr(), "[a]ccept, [r]eject, [s]kip, [q]uit? ")?;
        let mut line = String::new();
        if io::stdin().lock().read_line(&mut line)? == 0 {
            return Ok('q');
        }
        if let Some(answer @ ('a' | 'r' | 's' | 'q')) = line.trim().chars().next() {
            return Ok(answer);
        }
    }
}
