//! `polytab load compare`: two results side by side.

use std::path::PathBuf;

use super::view::comparison;
use crate::cli::{Exit, complain, report::read, say};

/// Two results, or two series of results.
#[derive(Debug, clap::Args)]
pub(super) struct CompareArguments {
    /// Results before, as `--out` writes them; several runs (`--repeat`) make it sure
    before: PathBuf,
    /// Results after
    after: PathBuf,
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
    let mut runs = Vec::new();
    for path in [&arguments.before, &arguments.after] {
        match read(path) {
            Ok(read) => runs.push(read),
            Err(error) => {
                complain(&format!("{error:#}"));
                return Ok(Exit::InvalidFile);
            }
        }
    }
    let compared = polytab_load::compare::compare(&runs[0], &runs[1], arguments.margin);
    say(&comparison(&compared))?;
    let is_worse = compared.iter().any(|compared| compared.is_worse);
    Ok(if is_worse { Exit::Thresholds } else { Exit::Passed })
}
