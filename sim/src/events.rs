//! The event stream: everything that happened in one run of one scenario, in order.
//!
//! Expectations, standing rules, snapshots, reports and exit codes are views of it; there is no second bookkeeping.
//! It holds no secret: what the recorder is given has been searched for them.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Version of the JSON form (`--message-format json`).
pub const FORMAT: u32 = 1;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number in the run, from 0.
    pub seq: u64,
    /// Scenario time since the first step, in milliseconds.
    pub at_ms: u64,
    /// What it was.
    #[serde(flatten)]
    pub kind: Kind,
}

/// What happened.
///
/// ```json
/// { "seq": 9, "at_ms": 14, "event": "tab_received", "tab": "A", "life": 1,
///   "message": { "json": { "scope": "user", "type": "init", "data": { "message": "Connection established." } } } }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "fields are named by the variants' own docs")]
pub enum Kind {
    /// A step begins; `acting` if it does something, rather than look.
    StepStarted {
        step: String,
        line: usize,
        acting: bool,
        text: String,
    },
    /// A step's effect was seen.
    StepEnded { step: String },
    /// A moment got a name.
    Mark { name: String },
    /// A person signed in at the target, in a browser.
    SignedIn { user: String, browser: String },
    /// A sign-in did not succeed.
    SignInFailed {
        user: String,
        browser: String,
        problem: String,
    },
    /// A person was signed out; `via` says how the target learns of it.
    SignedOut {
        user: String,
        browser: String,
        via: String,
    },
    /// A tab begins to connect; `life` counts its connections from 1.
    TabConnecting { tab: String, life: u32 },
    /// Its WebSocket is open.
    TabOpened { tab: String, life: u32 },
    /// It was refused before it was open; `status` is that of the HTTP answer, if there was one. The page tries again
    /// after `back_ms` of scenario time, if it does at all.
    TabRefused {
        tab: String,
        life: u32,
        status: Option<u16>,
        problem: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        back_ms: Option<u64>,
    },
    /// It sent a message; `by_page` if no step said so.
    TabSent {
        tab: String,
        life: u32,
        by_page: bool,
        message: Frame,
    },
    /// It received a message; `secrets` names the kinds of secret found in it.
    TabReceived {
        tab: String,
        life: u32,
        message: Frame,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        secrets: Vec<String>,
    },
    /// The server sent more than a tab takes; the tab closed the connection. `intake` counts everything that came.
    TabFlooded { tab: String, life: u32, intake: String },
    /// The tab began to leave.
    TabLeaving { tab: String, life: u32 },
    /// Its WebSocket is closed, and by whom. The page connects again after `back_ms` of scenario time, if it does at all.
    TabClosed {
        tab: String,
        life: u32,
        code: u16,
        reason: String,
        by: Closer,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        back_ms: Option<u64>,
    },
    /// The tab was hidden, frozen, cut off, or is so no more.
    TabChanged { tab: String, state: String },
    /// A call arrived at a service.
    Call {
        call: u64,
        route: String,
        method: String,
        path: String,
        user: Option<String>,
        browser: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        form: Option<Map<String, Value>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        json: Option<Value>,
    },
    /// A call was answered (0: the connection was reset); `fault` names the fault it met.
    Answer {
        call: u64,
        status: u16,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<String>,
    },
    /// An event stream is open.
    StreamOpened {
        call: u64,
        user: Option<String>,
        topic: String,
    },
    /// An event stream has ended.
    StreamClosed {
        call: u64,
        user: Option<String>,
        topic: String,
        reason: String,
    },
    /// GitLab has a new event.
    Emitted { topic: String, event_id: String },
    /// The world was changed by a step.
    WorldChanged { what: String },
    /// A fault was armed, a route healed, answers held or released.
    FaultChanged { route: String, what: String },
    /// The server under test was stopped or started.
    Server { state: String },
    /// An `expect`, `calls`, `wait` or `snapshot` was judged.
    Judged {
        step: String,
        line: usize,
        failures: Vec<Failure>,
    },
    /// A standing rule does not hold.
    RuleBroken { rule: String, failure: Failure },
    /// Something to tell the person that is no failure.
    Notice { text: String },
}

/// Who ended a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closer {
    /// The tab.
    Tab,
    /// The server, with a close frame.
    Server,
    /// Nobody in order: the connection broke.
    Network,
}

/// A message as it went over the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// JSON text.
    Json(Value),
    /// Other text.
    Text(String),
    /// Something else, in words: `binary, 4 bytes`.
    Other(String),
}

impl Frame {
    /// The frame of a text message, whole: tabs bound its size.
    pub fn text(text: &str) -> Self {
        serde_json::from_str(text).map_or_else(|_| Self::Text(text.to_owned()), Self::Json)
    }

    /// The message on one line for people; a long one is cut, with the number of bytes that are not shown.
    pub fn excerpt(&self) -> String {
        const LIMIT_BYTES: usize = 2_000;
        let line = self.to_string();
        let (shown, hidden) = line.split_at(line.floor_char_boundary(LIMIT_BYTES));
        match hidden.len() {
            0 => line,
            hidden => format!("{shown}… {hidden} more bytes"),
        }
    }

    /// The message, if it is JSON.
    pub fn json(&self) -> Option<&Value> {
        match self {
            Self::Json(json) => Some(json),
            Self::Text(_) | Self::Other(_) => None,
        }
    }

    /// The message's `type`, if it has one.
    pub fn kind(&self) -> Option<&str> {
        self.json()?.get("type")?.as_str()
    }
}

impl fmt::Display for Frame {
    /// The whole message on one line, without the timestamp, which says nothing that the event's own time does not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Other(words) => write!(f, "({words})"),
            Self::Json(Value::Object(fields)) => {
                let text = |key| fields.get(key).and_then(Value::as_str);
                if let Some(scope) = text("scope") {
                    write!(f, "{scope}/")?;
                }
                write!(f, "{}", text("type").unwrap_or("?"))?;
                if let Some(data) = fields
                    .get("data")
                    .filter(|data| **data != Value::Object(Map::new()))
                {
                    write!(f, " {data}")?;
                }
                let known = ["timestamp", "scope", "type", "data"];
                for (key, value) in fields.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
                    write!(f, " {key}={value}")?;
                }
                Ok(())
            }
            Self::Json(other) => write!(f, "{other}"),
        }
    }
}

/// One thing that was not as it had to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What was wrong, in one sentence.
    pub message: String,
    /// The tab concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tab: Option<String>,
    /// The line of the scenario that wanted it otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The file of that line, if it is not the scenario's own but one that it includes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What was wanted, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expected: Vec<String>,
    /// What was seen, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<String>,
    /// The part of the run to look at, in scenario milliseconds.
    pub window_ms: (u64, u64),
}

impl Failure {
    /// A failure that concerns the whole run, from its start to `end_ms`.
    pub(crate) fn of_run(message: String, end_ms: u64) -> Self {
        Self {
            message,
            tab: None,
            line: None,
            file: None,
            expected: Vec::new(),
            seen: Vec::new(),
            window_ms: (0, end_ms),
        }
    }
}

/// How a scenario ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything held.
    Passed,
    /// It failed, then passed when tried again.
    Flaky,
    /// Everything held, but a fault, hold, change or count of it was never met: nothing was shown.
    Inconclusive,
    /// The target cannot do what it needs, or it was not selected.
    Skipped,
    /// An expectation, rule or snapshot did not hold.
    Failed,
    /// The server sent more than tabs take.
    Flooded,
    /// The run could not go on, for reasons that are not the target's.
    Broken,
    /// A person stopped it.
    Interrupted,
}

impl Verdict {
    /// The word in reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Flaky => "flaky",
            Self::Inconclusive => "inconclusive",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Flooded => "flooded",
            Self::Broken => "broken",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What kept a run from going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// The scenario asks for what there is not.
    File,
    /// A port, the disk, an unreachable target.
    Surroundings,
    /// Polytab itself.
    Tool,
}

/// One finished run of one scenario, with all it left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The scenario's id, as `reload/storm[event=issue]`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its file, as it was given.
    pub path: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Why it was skipped, showed nothing, or could not go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What kept it from going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
    /// The seed of its randomness.
    pub seed: u64,
    /// How often it was tried.
    pub tries: u32,
    /// Scenario time that passed, in milliseconds.
    pub scenario_ms: u64,
    /// Real time that passed, in milliseconds; not part of the event stream, as it differs from run to run.
    #[serde(skip)]
    pub wall_ms: u64,
    /// Everything that was not as it had to be: the step's or rule's name and what was wrong.
    pub failures: Vec<(String, Failure)>,
    /// Everything that happened.
    #[serde(skip)]
    pub events: Vec<Event>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_kept_whole_and_shown_with_the_bytes_that_are_hidden() {
        let text = format!("{}é end", "x".repeat(3_000));
        let long = json_of(&text);

        for frame in [Frame::text(&text), Frame::text(&long)] {
            let whole = match &frame {
                Frame::Text(kept) => kept.clone(),
                Frame::Json(json) => json["data"].as_str().unwrap().to_owned(),
                Frame::Other(_) => unreachable!("it is text"),
            };
            let shown = frame.excerpt();
            assert_eq!(whole, text);
            assert!(shown.len() < 2_100 && shown.ends_with(" more bytes"), "{shown}");
        }
        assert_eq!(Frame::text("short").excerpt(), "\"short\"");
    }

    fn json_of(text: &str) -> String {
        serde_json::json!({ "type": "t", "data": text }).to_string()
    }
}
