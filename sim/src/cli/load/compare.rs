//! `polytab load compare`: two results side by side.

use std::path::PathBuf;

use anyhow::bail;
use polytab_load::result::LoadResult;

use super::view::comparison;
use crate::cli::{Exit, complain, report::read, say};

/// Two results, or two series of results.
#[derive(Debug, clap::Args)]
pub(super) struct CompareArguments {
    /// Results before, as `--out` writes them; several runs (`--repeat`) make it sure
    before: PathBuf,
    /// Results after; without them, BEFORE holds those of two servers, as `--beside` writes them
    after: Option<PathBuf>,
    /// How much longer durations may be, as `10%`
    #[arg(long, value_name = "PERCENT", default_value = "10%", value_parser = percent)]
    margin: f64,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text
        .strip_suffix('%')
        .and_then(|number| number.trim().parse().ok());
    match number {
        Some(percent) if (0.0..=1000.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("write a percentage, as `10%`".to_owned()),
    }
}

pub(super) fn compare(arguments: &CompareArguments) -> anyhow::Result<Exit> {
    let runs = match runs(arguments) {
        Ok(runs) => runs,
        Err(error) => {
            complain(&format!("{error:#}"));
            return Ok(Exit::InvalidFile);
        }
    };
    let compared = polytab_load::compare::compare(&runs[0].1, &runs[1].1, arguments.margin);
    let heads = [runs[0].0.as_str(), runs[1].0.as_str()];
    say(&comparison(heads, &compared))?;
    let is_worse = compared.iter().any(|compared| compared.is_worse);
    Ok(if is_worse { Exit::Thresholds } else { Exit::Passed })
}

/// Both sides, each with its name.
fn runs(arguments: &CompareArguments) -> anyhow::Result<[(String, Vec<LoadResult>); 2]> {
    let before = read(&arguments.before)?;
    if let Some(after) = &arguments.after {
        return Ok([("before".to_owned(), before), ("after".to_owned(), read(after)?)]);
    }
    let first = before[0].target.clone();
    let (first_runs, others): (Vec<_>, Vec<_>) = before.into_iter().partition(|run| run.target == first);
    let second = others.first().map(|run| run.target.clone());
    match second {
        Some(second) if others.iter().all(|run| run.target == second) => {
            Ok([(first, first_runs), (second, others)])
        }
        _ => bail!(
            "`{}` does not hold results of two servers; name a second file, or write one by `polytab load … --beside URL`",
            arguments.before.display()
        ),
    }
}
