//! The event stream as JSON lines: one object each, told apart by its only key.
//!
//! ```json
//! { "start": { "format": 1, "polytab": "0.1.0", "target": "reference", "clock": "virtual", "seed": 7, "runs": 1 } }
//! { "event": { "id": "reload/storm", "seed": 7, "seq": 0, "at_ms": 0, "event": "step_started" } }
//! { "report": { "id": "reload/storm", "verdict": "passed" } }
//! { "summary": { "passed": 1 } }
//! ```

use std::io::{self, Write};

use serde::Serialize;

use super::{Reporter, Start, Summary};
use crate::events::{Event, FORMAT, Report};

/// Writes JSON lines.
pub(crate) struct Json<W>(pub(crate) W);

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Start {
        format: u32,
        #[serde(flatten)]
        start: &'a Start,
    },
    Event {
        id: &'a str,
        seed: u64,
        #[serde(flatten)]
        event: &'a Event,
    },
    Report(&'a Report),
    Summary(&'a Summary),
}

impl<W: Write> Json<W> {
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.0, line)?;
        self.0.write_all(b"\n")
    }
}

impl<W: Write> Reporter for Json<W> {
    fn output(&self) -> String {
        "to standard output".to_owned()
    }

    fn start(&mut self, start: &Start) -> io::Result<()> {
        self.line(&Line::Start {
            format: FORMAT,
            start,
        })
    }

    fn finished(&mut self, report: &Report) -> io::Result<()> {
        let (id, seed) = (report.id.as_str(), report.seed);
        for event in &report.events {
            self.line(&Line::Event { id, seed, event })?;
        }
        self.line(&Line::Report(report))
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        self.line(&Line::Summary(summary))?;
        self.0.flush()
    }
}
