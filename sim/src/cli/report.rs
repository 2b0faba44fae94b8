//! `polytab report`: what people and machines read of the results of loads.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::ValueEnum;
use polytab_load::{
    merge::merge,
    read::{ReadError, parse},
    report,
    result::{FORMAT, LoadResult},
};
use serde::Deserialize;

use crate::sink::write_whole;

use super::{
    Exit, complain,
    load::{exit, view::summary},
    say,
};

/// Results of one load, and what is to become of them.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReportArguments {
    /// What to make of it
    #[arg(value_enum)]
    kind: Kind,
    /// Results, as `polytab load --out` writes them; several are shards of one run, and merged; `-` is standard input
    #[arg(required = true, value_name = "RESULT")]
    results: Vec<PathBuf>,
    /// Write to this file, not to standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What a report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// What the command itself says in the end
    Show,
    /// One page that opens from disk
    Html,
    /// A row for each stretch of time, for spreadsheets
    Csv,
    /// A test case for each threshold
    Junit,
    /// Prometheus' text format
    Prometheus,
    /// One result of several shards
    Merge,
}

const EXAMPLES: &str = "\
Examples:
  polytab report html result.json -o result.html
  kubectl logs -l job-name=load --tail=-1 | polytab report merge - -o result.json

Exit codes: those of `polytab load`: 0 passed, 99 failed, 6 invalid, as when a shard is missing, 130 interrupted; 3 a \
file holds no result that can be read.";

/// Largest result that is read, in bytes.
const BYTES: u64 = 1024 * 1024 * 1024;

pub(super) fn report(arguments: &ReportArguments) -> anyhow::Result<Exit> {
    let mut parts = Vec::new();
    for path in &arguments.results {
        match read(path) {
            Ok(read) => parts.extend(read),
            Err(error) => {
                complain(&format!("{error:#}"));
                return Ok(Exit::InvalidFile);
            }
        }
    }
    let result = match merge(parts) {
        Ok(result) => result,
        Err(error) => {
            complain(&error.to_string());
            return Ok(Exit::InvalidFile);
        }
    };
    let text = match arguments.kind {
        Kind::Show => summary(&result),
        Kind::Html => report::html(&result),
        Kind::Csv => report::csv(&result),
        Kind::Junit => report::junit(&result)?,
        Kind::Prometheus => report::prometheus(&result),
        Kind::Merge => serde_json::to_string(&result)?,
    };
    match &arguments.out {
        Some(path) => write_whole(path, &format!("{}\n", text.trim_end()))
            .with_context(|| format!("cannot write `{}`", path.display()))?,
        None => {
            say(text.trim_end())?;
        }
    }
    Ok(exit(result.verdict))
}

/// The part of a result that every version has.
#[derive(Deserialize)]
struct Head {
    format: String,
}

fn check_format(place: &str, format: &str) -> anyhow::Result<()> {
    if format.starts_with("polytab-load/") && format != FORMAT {
        bail!("`{place}` has the format `{format}`, and this version reads `{FORMAT}`; make the run again");
    }
    Ok(())
}

/// All results in a file: one document, or one in each line. Other lines, as logs have them, are passed over.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<LoadResult>> {
    let name = path.display();
    let mut text = String::new();
    if path == Path::new("-") {
        io::stdin()
            .take(BYTES)
            .read_to_string(&mut text)
            .context("cannot read standard input")?;
    } else {
        let file = fs::File::open(path).with_context(|| format!("cannot read `{name}`"))?;
        file.take(BYTES)
            .read_to_string(&mut text)
            .with_context(|| format!("cannot read `{name}`"))?;
    }
    if let Ok(Head { format }) = serde_json::from_str(&text) {
        check_format(&name.to_string(), &format)?;
    }
    match parse(&text) {
        Ok(result) => return Ok(vec![result]),
        Err(error @ (ReadError::Number { .. } | ReadError::Phase { .. })) => bail!("`{name}` {error}"),
        Err(ReadError::Form(_)) => {}
    }
    let mut results = Vec::new();
    for (nth, line) in text.lines().enumerate() {
        if !line.starts_with("{\"format\":\"polytab-load/") {
            continue;
        }
        if let Ok(Head { format }) = serde_json::from_str(line) {
            check_format(&format!("{name}, line {}", nth + 1), &format)?;
        }
        let result = parse(line).map_err(|error| anyhow::anyhow!("`{name}`, line {}, {error}", nth + 1))?;
        results.push(result);
    }
    if results.is_empty() {
        bail!("`{name}` holds no result of a load; `polytab load … --out FILE` writes one");
    }
    Ok(results)
}
