//! Snapshots: the transcript of a run up to a step, compared with the one that was accepted.

pub mod store;
pub(crate) mod transcript;

use similar::{ChangeTag, TextDiff};

use self::{store::SnapshotMode, transcript::transcript};
use crate::{
    events::{Event, Failure, Kind},
    judge::expect::Standing,
    run::{
        error::RunError,
        stage::{Flow, Place, Stage},
    },
    suggest::quoted,
};

/// Lines around a difference that are shown with it.
const CONTEXT: usize = 2;

/// Compares what every tab saw so far with the accepted snapshot of this name.
pub(crate) fn judge(stage: &Stage, name: &str, place: &Place) -> Result<Flow, RunError> {
    let recorder = &stage.site().recorder;
    let events = recorder.events(<[Event]>::to_vec);
    let seen = recorder.judge(|record| transcript(&events, record));
    let path = store::path(&stage.scenario, name);
    let io = |source| RunError::Snapshot {
        path: path.clone(),
        source,
    };
    let accepted = store::read(&path).map_err(io)?;
    let is_writing = stage.snapshots == SnapshotMode::Write;
    if accepted.as_ref() == Some(&seen) {
        if is_writing {
            store::discard_waiting(&path).map_err(io)?;
        }
        return Ok(stage.settle(place, Standing::Met));
    }
    if is_writing {
        store::write_waiting(&path, &seen).map_err(io)?;
    }
    let review = format!(
        "`polytab snapshot review {}` shows it and takes it in",
        quoted(&path.display().to_string())
    );
    if accepted.is_none() && is_writing {
        stage.record(Kind::Notice {
            text: format!("snapshot `{name}` is new: {review}"),
        });
        return Ok(stage.settle(place, Standing::Met));
    }
    let message = match &accepted {
        None => format!("there is no snapshot `{name}`: run once outside a pipeline, then {review}"),
        Some(_) => format!(
            "what the tabs saw is not what snapshot `{name}` has; if it is right now, {}{review}",
            if is_writing {
                ""
            } else {
                "run once outside a pipeline, then "
            }
        ),
    };
    let failure = Failure {
        message,
        tab: None,
        line: Some(place.line),
        file: None,
        expected: Vec::new(),
        seen: difference(accepted.as_deref().unwrap_or(""), &seen),
        // The difference says where to look; a timeline of the whole run would not.
        window_ms: (0, 0),
    };
    Ok(stage.settle(place, Standing::Unmet(vec![failure])))
}

/// The lines that differ, `-` accepted and `+` seen, with a few around them.
pub fn difference(accepted: &str, seen: &str) -> Vec<String> {
    let diff = TextDiff::from_lines(accepted, seen);
    let groups = diff.grouped_ops(CONTEXT);
    let mut lines = Vec::new();
    for (nth, group) in groups.iter().enumerate() {
        if nth > 0 {
            lines.push("…".to_owned());
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            lines.push(format!("{sign} {}", change.value().trim_end()));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown() {
        assert_eq!(
            difference("a\nb\nc\nd\n", "a\nb\nc\nx\n"),
            ["  b", "  c", "- d", "+ x"]
        );
        assert_eq!(difference("a\n", "a\n"), Vec::<String>::new());
    }
}
