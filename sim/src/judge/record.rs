//! What the judge remembers of the event stream, arranged for its questions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::{
    events::{Closer, Event, Frame, Kind},
    pattern::{Bindings, Pattern},
    scenario::people::DEFAULT_BROWSER,
};

/// What one tab saw, as far as an `expect` may ask.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) seq: u64,
    pub(crate) at_ms: u64,
    pub(crate) what: Sight,
}

/// One thing that a tab saw.
#[derive(Clone, Debug)]
pub(crate) enum Sight {
    Message(Frame),
    Closed { code: u16, reason: String, by: Closer },
}

/// One tab's history and how far it is judged.
#[derive(Clone, Debug, Default)]
pub(crate) struct TabRecord {
    pub(crate) seen: Vec<Seen>,
    pub(crate) cursor: usize,
    pub(crate) open: bool,
    /// Its page is loaded, and connected, about to be, or on its way back.
    pub(crate) present: bool,
    /// The scenario, or the person, left its page.
    left: bool,
    /// When and why its latest handshake was refused; none once a connection is open.
    pub(crate) refusal: Option<(u64, String)>,
    /// The latest connection that showed what it is: by a message, a refusal or its end.
    pub(crate) settled_life: u32,
    /// The latest connection that has ended or was refused.
    pub(crate) ended_life: u32,
}

impl TabRecord {
    /// The index of the first thing seen at or after event `seq`.
    pub(crate) fn index_at(&self, seq: u64) -> usize {
        self.seen.partition_point(|seen| seen.seq < seq)
    }

    /// The messages from index `from` on, with their index.
    pub(crate) fn messages(&self, from: usize) -> impl Iterator<Item = (usize, u64, &Frame)> {
        self.seen
            .iter()
            .enumerate()
            .skip(from)
            .filter_map(|(index, seen)| match &seen.what {
                Sight::Message(frame) => Some((index, seen.at_ms, frame)),
                Sight::Closed { .. } => None,
            })
    }

    /// How the tab ended, if it is over by another's making: when, and with which code.
    pub(crate) fn is_over(&self) -> Option<(u64, u16)> {
        let last = self.seen.iter().rev().find_map(|seen| match &seen.what {
            Sight::Closed { code, by, .. } if *by != Closer::Tab => Some((seen.at_ms, *code)),
            Sight::Closed { .. } | Sight::Message(_) => None,
        });
        last.filter(|_| !self.open)
    }

    /// Returns `true` if the tab was closed by another's making, has not come back, and no `expect` has judged that.
    fn has_unjudged_end(&self) -> bool {
        !self.present && !self.left && self.ends(self.cursor).next().is_some()
    }

    /// The ends from index `from` on that were not of the tab's own making.
    pub(crate) fn ends(&self, from: usize) -> impl Iterator<Item = (u16, &str)> {
        self.seen.iter().skip(from).filter_map(|seen| match &seen.what {
            Sight::Closed { code, reason, by } if *by != Closer::Tab => Some((*code, reason.as_str())),
            Sight::Closed { .. } | Sight::Message(_) => None,
        })
    }
}

/// One call that arrived at a service.
#[derive(Clone, Debug)]
pub(crate) struct CallRecord {
    pub(crate) seq: u64,
    pub(crate) at_ms: u64,
    pub(crate) route: String,
    pub(crate) path: String,
    pub(crate) user: Option<String>,
    /// In which browser, where it has a name.
    pub(crate) browser: Option<String>,
    pub(crate) form: Option<Map<String, Value>>,
    pub(crate) json: Option<Value>,
    pub(crate) streaming: bool,
}

/// The whole run so far.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub(crate) tabs: BTreeMap<String, TabRecord>,
    pub(crate) calls: BTreeMap<u64, CallRecord>,
    pub(crate) marks: BTreeMap<String, (u64, u64)>,
    /// The tabs that were present at each mark.
    present_at: BTreeMap<String, BTreeSet<String>>,
    pub(crate) bindings: Bindings,
    /// The sequence number at which the latest step that did something began.
    pub(crate) cause: u64,
    /// The sequence number of the next event.
    pub(crate) next: u64,
    ignore: Vec<Pattern>,
}

impl Record {
    /// An empty record of these tabs, blind to messages that match one of `ignore`.
    pub fn new(tabs: impl IntoIterator<Item = String>, ignore: Vec<Pattern>) -> Self {
        let tabs = tabs.into_iter().map(|tab| (tab, TabRecord::default())).collect();
        Self {
            tabs,
            ignore,
            ..Self::default()
        }
    }

    /// Whether no `expect` and no snapshot looks at this message.
    pub(crate) fn ignores(&self, frame: &Frame) -> bool {
        let Some(json) = frame.json() else { return false };
        self.ignore
            .iter()
            .any(|pattern| pattern.matches(json, &mut self.bindings.clone()).is_ok())
    }

    /// Takes the next event in.
    pub fn observe(&mut self, event: &Event) {
        self.next = event.seq + 1;
        self.follow_life(&event.kind);
        self.follow_page(&event.kind);
        if let Some((tab, sight)) = self.sight(&event.kind) {
            self.see(event, tab, sight);
        }
        match &event.kind {
            Kind::StepStarted { acting: true, .. } => self.cause = event.seq,
            Kind::Mark { name } => {
                self.marks.insert(name.clone(), (event.seq, event.at_ms));
                self.present_at.insert(name.clone(), self.present());
            }
            Kind::Call {
                call,
                route,
                path,
                user,
                browser,
                form,
                json,
                ..
            } => {
                let record = CallRecord {
                    seq: event.seq,
                    at_ms: event.at_ms,
                    route: route.clone(),
                    path: path.clone(),
                    user: user.clone(),
                    browser: browser.clone().filter(|name| name != DEFAULT_BROWSER),
                    form: form.clone(),
                    json: json.clone(),
                    streaming: false,
                };
                self.calls.insert(*call, record);
            }
            Kind::TabRefused { tab, problem, .. } => {
                self.tab(tab).refusal = Some((event.at_ms, problem.clone()));
            }
            Kind::TabOpened { tab, .. } => self.tab(tab).refusal = None,
            Kind::StreamOpened { call, .. } => self.set_streaming(*call, true),
            Kind::StreamClosed { call, .. } => self.set_streaming(*call, false),
            _ => {}
        }
    }

    /// What a tab saw of an event, if it saw any.
    fn sight<'a>(&self, kind: &'a Kind) -> Option<(&'a str, Sight)> {
        match kind {
            Kind::TabReceived { tab, message, .. } if !self.ignores(message) => {
                Some((tab, Sight::Message(message.clone())))
            }
            // A page sees a refused upgrade as a connection that broke; what people are told says more.
            Kind::TabRefused { tab, status, .. } => {
                let sight = Sight::Closed {
                    code: 1006,
                    reason: status.map_or_else(String::new, |status| format!("refused {status}")),
                    by: Closer::Network,
                };
                Some((tab, sight))
            }
            Kind::TabClosed {
                tab,
                code,
                reason,
                by,
                ..
            } => {
                let sight = Sight::Closed {
                    code: *code,
                    reason: reason.clone(),
                    by: *by,
                };
                Some((tab, sight))
            }
            _ => None,
        }
    }

    fn follow_life(&mut self, kind: &Kind) {
        let (tab, life, ended) = match kind {
            Kind::TabReceived { tab, life, .. } => (tab, *life, false),
            Kind::TabRefused { tab, life, .. } | Kind::TabClosed { tab, life, .. } => (tab, *life, true),
            _ => return,
        };
        let tab = self.tab(tab);
        tab.settled_life = tab.settled_life.max(life);
        if ended {
            tab.ended_life = tab.ended_life.max(life);
        }
    }

    fn follow_page(&mut self, kind: &Kind) {
        if let Kind::TabConnecting { tab, .. } | Kind::TabLeaving { tab, .. } = kind {
            self.tab(tab).left = matches!(kind, Kind::TabLeaving { .. });
        }
        let (tab, open, present) = match kind {
            Kind::TabConnecting { tab, .. } => (tab, false, true),
            Kind::TabOpened { tab, .. } => (tab, true, true),
            Kind::TabRefused { tab, back_ms, .. } | Kind::TabClosed { tab, back_ms, .. } => {
                (tab, false, back_ms.is_some())
            }
            Kind::TabLeaving { tab, .. } => (tab, false, false),
            _ => return,
        };
        let tab = self.tab(tab);
        (tab.open, tab.present) = (open, present);
    }

    fn tab(&mut self, tab: &str) -> &mut TabRecord {
        self.tabs.entry(tab.to_owned()).or_default()
    }

    fn see(&mut self, event: &Event, tab: &str, what: Sight) {
        let seen = Seen {
            seq: event.seq,
            at_ms: event.at_ms,
            what,
        };
        self.tab(tab).seen.push(seen);
    }

    fn set_streaming(&mut self, call: u64, streaming: bool) {
        if let Some(call) = self.calls.get_mut(&call) {
            call.streaming = streaming;
        }
    }

    /// The tabs that are present now or were at a mark, in name order: open, or with a page that is connecting or on
    /// its way back. When a connection breaks differs between clocks and runs; which pages there are does not.
    pub(crate) fn present_since(&self, mark: Option<&str>) -> BTreeSet<String> {
        let then = mark
            .and_then(|mark| self.present_at.get(mark))
            .into_iter()
            .flatten()
            .cloned();
        self.present().into_iter().chain(then).collect()
    }

    /// The tabs that were closed without any `expect` having judged it.
    pub(crate) fn unjudged_ends(&self) -> impl Iterator<Item = &String> {
        let unjudged = self.tabs.iter().filter(|(_, tab)| tab.has_unjudged_end());
        unjudged.map(|(name, _)| name)
    }

    fn present(&self) -> BTreeSet<String> {
        self.tabs
            .iter()
            .filter(|(_, tab)| tab.present)
            .map(|(name, _)| name.clone())
            .collect()
    }
}
