//! What tabs need of the testbed: the way to the server, the time, and the recorder.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use polytab_mocks::Mocks;
use polytab_seams::{clock::Clock, net::Dial};

use super::recorder::Recorder;
use crate::{events::Kind, tab::flood::RunAllowance, target::Target};

/// Shorter values are no secrets: a number or a name may be in a message by chance.
const SECRET_CHARS: usize = 8;

/// The testbed as a tab sees it.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) recorder: Recorder,
    pub(crate) dial: Arc<dyn Dial>,
    pub(crate) target: Target,
    pub(crate) mocks: Mocks,
    pub(crate) clock: Clock,
    /// Values of cookies that the target gave.
    pub(crate) cookies: Mutex<BTreeSet<String>>,
    /// Left of what all tabs together may receive.
    pub(crate) intake: Mutex<RunAllowance>,
}

impl Site {
    /// Adds an event at the end of the stream.
    pub(crate) fn record(&self, kind: Kind) {
        self.recorder.record(kind);
    }

    /// How long a duration of the scenario really lasts.
    pub(crate) fn real(&self, scenario: Duration) -> Duration {
        self.target.real(scenario)
    }

    /// How long to wait for something that should not take that long: never so short that a busy machine is blamed on
    /// the target.
    pub(crate) fn patience(&self, scenario: Duration) -> Duration {
        self.real(scenario) + self.target.slack * 10
    }

    /// What a clock on the wall shows.
    pub(crate) fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Replaces secrets in a text; gives the text and the kinds of secret that were in it.
    pub(crate) fn redact(&self, text: &str) -> (String, Vec<String>) {
        let mut shown = text.to_owned();
        let mut kinds = BTreeSet::new();
        let cookies: Vec<_> = {
            let cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
            cookies
                .iter()
                .map(|value| ("cookie".to_owned(), value.clone()))
                .collect()
        };
        for (kind, value) in self.mocks.secrets().into_iter().chain(cookies) {
            if value.len() >= SECRET_CHARS && shown.contains(&value) {
                shown = shown.replace(&value, &format!("‹{kind}›"));
                kinds.insert(kind);
            }
        }
        (shown, kinds.into_iter().collect())
    }
}
