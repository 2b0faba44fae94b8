//! Misbehaviour that only event streams know: what becomes of an event on its way to one reader.

use std::fmt;

use axum::body::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an event, or the beginning of a stream, meets on its way to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GitlabFault {
    /// The event is left out: the next id is one too high.
    Gap,
    /// The event comes twice, with one id.
    Duplicate,
    /// The event comes after the next one.
    Reorder,
    /// A `reset` event comes before the event, although nothing is lost.
    ResetEvent,
    /// The event comes in two chunks, cut inside its first character of several bytes; in its middle without one.
    SplitUtf8,
    /// The stream begins with a byte-order mark.
    Bom,
    /// The event's lines end with CR LF, CR and LF in turn.
    CrlfMix,
}

impl fmt::Display for GitlabFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gap => "gap",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::ResetEvent => "reset_event",
            Self::SplitUtf8 => "split_utf8",
            Self::Bom => "bom",
            Self::CrlfMix => "crlf_mix",
        })
    }
}

/// The way of events to one reader.
#[derive(Debug, Default)]
pub(crate) struct Way {
    /// An event that waits for the next to overtake it.
    overtaken: Option<Bytes>,
}

impl Way {
    /// What of an event goes onto the stream, chunk by chunk; `reset` makes the event that says that some are lost.
    pub(crate) fn take(
        &mut self,
        text: Bytes,
        fault: Option<GitlabFault>,
        reset: impl FnOnce() -> Bytes,
    ) -> Vec<Bytes> {
        let overtaken = self.overtaken.take();
        let mut chunks = match fault {
            // A mark is for the beginning of a stream, and no event's affair.
            None | Some(GitlabFault::Bom) => vec![text],
            Some(GitlabFault::Gap) => Vec::new(),
            Some(GitlabFault::Duplicate) => vec![text.clone(), text],
            Some(GitlabFault::Reorder) => {
                self.overtaken = Some(text);
                Vec::new()
            }
            Some(GitlabFault::ResetEvent) => vec![reset(), text],
            Some(GitlabFault::SplitUtf8) => split(text),
            Some(GitlabFault::CrlfMix) => vec![mixed(&text)],
        };
        chunks.extend(overtaken);
        chunks
    }
}

fn split(mut text: Bytes) -> Vec<Bytes> {
    let wide = text.iter().position(|byte| !byte.is_ascii());
    let rest = text.split_off(wide.map_or(text.len() / 2, |first| first + 1));
    vec![text, rest]
}

fn mixed(text: &[u8]) -> Bytes {
    let ends: [&[u8]; 3] = [b"\r\n", b"\r", b"\n"];
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let parts = lines
        .zip(ends.iter().cycle())
        .flat_map(|(line, end)| [line.strip_suffix(b"\n").unwrap_or(line), end]);
    Bytes::from(parts.collect::<Vec<_>>().concat())
}

#[cfg(test)]
mod tests {
    use polytab_protocol::event_stream::{Decoder, Item};

    use super::*;

    fn event(id: u32) -> Bytes {
        Bytes::from(format!("id: {id}\nevent: issue\ndata: {{\"a\":\"😀\"}}\n\n"))
    }

    /// What two events are on the stream when the first meets a fault.
    fn chunks(fault: GitlabFault) -> Vec<Bytes> {
        let mut way = Way::default();
        let reset = || Bytes::from_static(b"event: reset\ndata: {}\n\n");
        let mut chunks = way.take(event(1), Some(fault), reset);
        chunks.extend(way.take(event(2), None, reset));
        chunks
    }

    #[test]
    fn each_fault_does_to_an_event_what_its_name_says() {
        for (fault, ids) in [
            (GitlabFault::Gap, vec!["2"]),
            (GitlabFault::Duplicate, vec!["1", "1", "2"]),
            (GitlabFault::Reorder, vec!["2", "1"]),
            (GitlabFault::ResetEvent, vec!["", "1", "2"]),
            (GitlabFault::SplitUtf8, vec!["1", "2"]),
            (GitlabFault::CrlfMix, vec!["1", "2"]),
            (GitlabFault::Bom, vec!["1", "2"]),
        ] {
            let mut decoder = Decoder::new(1 << 16);
            let items: Vec<_> = chunks(fault)
                .iter()
                .flat_map(|chunk| decoder.push(chunk))
                .collect();

            let found = items.iter().map(|item| match item {
                Item::Event(event) => event.id.as_str(),
                other => panic!("{other:?}"),
            });
            assert_eq!(found.collect::<Vec<_>>(), ids, "{fault}");
        }
    }

    #[test]
    fn a_character_is_cut_between_its_bytes() {
        let chunks = chunks(GitlabFault::SplitUtf8);

        assert_eq!(chunks[0].last(), Some(&0xf0));
        assert!(std::str::from_utf8(&chunks[1]).is_err());
    }

    #[test]
    fn lines_end_in_every_way_there_is() {
        assert_eq!(
            chunks(GitlabFault::CrlfMix)[0],
            "id: 1\r\nevent: issue\rdata: {\"a\":\"😀\"}\n\r\n"
        );
    }
}
