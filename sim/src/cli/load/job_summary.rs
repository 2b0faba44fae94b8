//! The result as a part of the job summary of GitHub Actions.

use std::{
    fmt::Write as _,
    fs::OpenOptions,
    io::{self, Write as _},
    path::PathBuf,
};

use polytab_load::{result::LoadResult, threshold::shown};

use crate::sink::MarkdownText;

/// The file of the job summary; none outside of GitHub Actions.
pub(super) fn file() -> Option<PathBuf> {
    let path = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty());
    path.map(PathBuf::from)
}

/// Adds the result to the job summary.
///
/// # Errors
///
/// When the file cannot be written.
pub(super) fn append(path: &PathBuf, result: &LoadResult) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(markdown(result).as_bytes())
}

fn markdown(result: &LoadResult) -> String {
    let mut text = String::new();
    writeln!(
        text,
        "### load {}: {}\n\n{} on {}, seed {}\n",
        MarkdownText(&result.profile),
        result.verdict.word(),
        shown(result.length()),
        MarkdownText(&result.target),
        result.seed
    )
    .ok();
    for sentence in result.invalid.iter().chain(&result.notes) {
        writeln!(text, "- {}", MarkdownText(sentence)).ok();
    }
    if !result.thresholds.is_empty() {
        text.push_str("\n| threshold | seen | outcome |\n| --- | --- | --- |\n");
    }
    for judged in &result.thresholds {
        let reason = judged.reason.as_deref();
        let reason = reason.map_or_else(String::new, |reason| format!(": {}", MarkdownText(reason)));
        writeln!(
            text,
            "| {} | {} | {}{reason} |",
            MarkdownText(&judged.threshold),
            MarkdownText(&judged.seen),
            judged.outcome.words()
        )
        .ok();
    }
    text.push('\n');
    text
}
