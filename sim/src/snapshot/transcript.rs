//! The transcript: what every tab saw, as text that is the same whenever the same was seen.
//!
//! It holds no times and no ids, and of the order only what each tab by itself saw: how the copies of a notification
//! interleave between tabs says nothing about the server.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::LazyLock,
};

use regex::{Captures, Regex};

use crate::{
    events::{Closer, Event, Kind},
    judge::record::Record,
    sink::printable,
};

/// Ids, times and tokens in a message, by what they are called in patterns.
static TOKENS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?P<jwt>eyJ[\w-]+\.[\w-]+\.[\w-]+)",
        r"|(?P<uuid>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})",
        r"|(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))",
        // A target's intervals differ with its speed.
        r"|(?P<interval>\b\d+ (?:second|minute)s?\b)",
        r"|(?P<ulid>\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b)",
    ))
    .expect("the expression is fixed")
});

/// Names of fields whose values differ from run to run.
static EPOCH: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#""?epoch"?[:=]"[^"]*""#).expect("the expression is fixed"));

/// What the tabs saw in these events, a line each; what several saw alike stands in one line.
///
/// What a page sends by itself is left out, and so are messages that the scenario ignores.
pub(crate) fn transcript(events: &[Event], record: &Record) -> String {
    let mut queues: BTreeMap<&str, VecDeque<String>> = BTreeMap::new();
    for event in events {
        if let Some((tab, line)) = line(&event.kind, record) {
            queues.entry(tab).or_default().push_back(line);
        }
    }
    let mut ids = Ids::default();
    let mut text = String::new();
    while let Some(line) = queues.values().find_map(|queue| queue.front().cloned()) {
        let mut tabs = Vec::new();
        for (tab, queue) in &mut queues {
            if queue.front() == Some(&line) {
                queue.pop_front();
                tabs.push(*tab);
            }
        }
        text.extend([tabs.join(",").as_str(), " ", &ids.redact(&line), "\n"]);
    }
    text
}

fn line<'a>(kind: &'a Kind, record: &Record) -> Option<(&'a str, String)> {
    let (tab, line) = match kind {
        Kind::TabOpened { tab, .. } => (tab, "opened".to_owned()),
        Kind::TabRefused { tab, status, .. } => {
            let status = status.map_or_else(|| "without an answer".to_owned(), |status| status.to_string());
            (tab, format!("refused {status}"))
        }
        Kind::TabSent {
            tab,
            by_page: false,
            message,
            ..
        } => (tab, format!("> {message}")),
        Kind::TabReceived { tab, message, .. } if !record.ignores(message) => (tab, format!("< {message}")),
        Kind::TabClosed {
            tab,
            code,
            reason,
            by,
            ..
        } => {
            let by = match by {
                Closer::Tab => "itself",
                Closer::Server => "the server",
                Closer::Network => "the network",
            };
            (tab, format!("closed by {by}: {code} {reason:?}"))
        }
        Kind::TabChanged { tab, state } => (tab, state.clone()),
        _ => return None,
    };
    Some((tab, printable(&line).into_owned()))
}

/// Ids by kind, numbered by first sight.
#[derive(Default)]
struct Ids(BTreeMap<&'static str, Vec<String>>);

impl Ids {
    fn redact(&mut self, line: &str) -> String {
        let line = EPOCH.replace_all(line, |found: &Captures<'_>| {
            let (name, value) = found[0].split_once([':', '=']).unwrap_or((&found[0], ""));
            let separator = &found[0][name.len()..=name.len()];
            format!("{name}{separator}<epoch:{}>", self.number("epoch", value))
        });
        let line = line.into_owned();
        let redacted = TOKENS.replace_all(&line, |found: &Captures<'_>| {
            for kind in ["uuid", "ulid"] {
                if let Some(id) = found.name(kind) {
                    return format!("<{kind}:{}>", self.number(kind, id.as_str()));
                }
            }
            // Which of several times or tokens it is says nothing.
            let nameless = ["jwt", "interval", "time"];
            let kind = nameless.into_iter().find(|kind| found.name(kind).is_some());
            format!("<{}>", kind.unwrap_or("any"))
        });
        redacted.into_owned()
    }

    fn number(&mut self, kind: &'static str, id: &str) -> usize {
        let seen = self.0.entry(kind).or_default();
        let index = seen.iter().position(|found| found == id).unwrap_or_else(|| {
            seen.push(id.to_owned());
            seen.len() - 1
        });
        index + 1
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{events::Frame, pattern::Pattern};

    fn received(tab: &str, json: serde_json::Value) -> Event {
        event(Kind::TabReceived {
            tab: tab.into(),
            life: 1,
            message: Frame::Json(json),
            secrets: Vec::new(),
        })
    }

    fn event(kind: Kind) -> Event {
        Event {
            seq: 0,
            at_ms: 0,
            kind,
        }
    }

    fn sent(tab: &str, by_page: bool) -> Event {
        event(Kind::TabSent {
            tab: tab.into(),
            life: 1,
            by_page,
            message: Frame::Json(json!({"type": "init"})),
        })
    }

    #[test]
    fn what_tabs_saw_alike_stands_in_one_line_whoever_saw_it_first() {
        let (x, y) = (json!({"type": "x"}), json!({"type": "y"}));
        let record = Record::default();
        let one = [
            received("A", x.clone()),
            received("B", x.clone()),
            received("A", y.clone()),
        ];
        let other = [received("B", x.clone()), received("A", x), received("A", y)];

        assert_eq!(transcript(&one, &record), "A,B < x\nA < y\n");
        assert_eq!(transcript(&one, &record), transcript(&other, &record));
    }

    #[test]
    fn ids_are_numbered_and_times_are_only_named() {
        let id = "6f1c2a9e-0b1d-4c3e-8f4a-5b6c7d8e9f00";
        let events = [
            received(
                "A",
                json!({"type": "a", "data": {"id": id, "at": "2026-01-01T00:00:00.123Z"}}),
            ),
            received(
                "A",
                json!({"type": "b", "data": {"id": id}, "epoch": "i-3", "seq": 2}),
            ),
        ];

        insta::assert_snapshot!(transcript(&events, &Record::default()), @r#"
        A < a {"at":"<time>","id":"<uuid:1>"}
        A < b {"id":"<uuid:1>"} epoch=<epoch:1> seq=2
        "#);
    }

    #[test]
    fn what_pages_do_by_themselves_and_what_is_ignored_is_left_out() {
        let ack = Pattern::compile(&json!({"type": "ack"})).unwrap();
        let record = Record::new(["A".to_owned()], vec![ack]);
        let events = [
            sent("A", true),
            sent("A", false),
            received("A", json!({"type": "ack"})),
        ];

        assert_eq!(transcript(&events, &record), "A > init\n");
    }
}
