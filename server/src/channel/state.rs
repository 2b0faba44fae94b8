//! What a channel is and how it changes; `turns` and `streams` are parts of it. Pure: no waiting, no clock, no chance.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use polytab_protocol::{
    close::CloseCode,
    id::{LoginSessionId, TabId},
    message::{ClientMessage, ErrorCode, ServerMessage, excerpt},
    sessions::SessionsReading,
    topic::Topic,
};

use super::{
    activation::Activations,
    event::{Age, Effect, Event, LoopKind, SessionsKind},
    history::History,
    log::Bounds,
    streams::Stream,
    topics::Topics,
    turns::Turn,
};
use crate::{
    command,
    config::Config,
    coordinator::{Needs, Rank, Stamp},
};

/// Bounds and facts that a channel is made with.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// The server's own version, if it knows one.
    pub(crate) version: Option<String>,
    /// Between two turns of the long loop; told to tabs that ask for the version.
    pub(crate) long_loop: Duration,
    /// Tabs per user.
    pub(crate) tabs: usize,
    /// Topics per user.
    pub(crate) subscriptions: usize,
    /// Followed projects per user.
    pub(crate) projects: usize,
    /// How long a followed project may make no progress.
    pub(crate) activation_patience: Duration,
    /// Notifications kept for `resume`, and for how long.
    pub(crate) history: (usize, Duration),
    /// Events of topics kept for tabs that come back.
    pub(crate) events: Bounds,
}

impl Terms {
    /// Those that the settings give.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            version: config.version.clone(),
            long_loop: config.long_loop.0,
            tabs: config.tabs_per_user,
            subscriptions: config.subscriptions_per_user,
            projects: config.projects_per_user,
            activation_patience: config.activation_patience.0,
            history: (config.resume_entries, config.resume_window.0),
            events: Bounds {
                // All of them go into an outbox at once, beside what is there.
                events: config.resume_entries.min(config.outbox_messages / 2),
                bytes: config.event_bytes,
                window: config.resume_window.0,
            },
        }
    }
}

/// One tab of the channel.
#[derive(Debug)]
pub(crate) struct Tab {
    pub(super) session: LoginSessionId,
    /// The session notifications it asked for.
    pub(super) wants: BTreeSet<SessionsKind>,
    /// Those of them whose current state it is still to be told.
    pub(super) owed: BTreeSet<SessionsKind>,
    /// Whether it is still to be told the current activation.
    pub(super) owed_activation: bool,
}

/// All the server holds for one user.
#[derive(Debug)]
pub(crate) struct ChannelState {
    pub(crate) terms: Terms,
    pub(crate) activations: Activations,
    /// Whether any tab asked for the server's version.
    pub(crate) version_asked: bool,
    pub(super) tabs: BTreeMap<TabId, Tab>,
    pub(super) readings: BTreeMap<SessionsKind, SessionsReading>,
    pub(super) topics: Topics,
    /// What is held upstream.
    pub(super) streams: BTreeMap<Topic, Stream>,
    /// Topics of other instances that GitLab refused; asked for again at the next turn if they are still needed.
    pub(super) refused: BTreeSet<Topic>,
    pub(super) history: History,
    pub(super) under_way: BTreeMap<LoopKind, Turn>,
    pub(super) rank: Rank,
    /// What all other instances need together.
    pub(super) others: Needs,
    /// When what was learned last was shared: older readings are void.
    pub(super) read_at: Stamp,
    /// Whether what is needed here may differ from what was told.
    pub(super) stirred: bool,
    pub(super) told: Needs,
}

impl ChannelState {
    /// A channel without tabs, at the start of the life called `epoch`.
    pub(crate) fn new(terms: Terms, epoch: String) -> Self {
        Self {
            history: History::new(epoch, terms.history.0, terms.history.1),
            topics: Topics::new(terms.events),
            terms,
            activations: Activations::default(),
            version_asked: false,
            tabs: BTreeMap::new(),
            readings: BTreeMap::new(),
            streams: BTreeMap::new(),
            refused: BTreeSet::new(),
            under_way: BTreeMap::new(),
            rank: Rank::Follows,
            others: Needs::default(),
            read_at: 0,
            stirred: false,
            told: Needs::default(),
        }
    }

    /// Takes one event in and says what must follow. Never waits, never fails.
    pub(crate) fn apply(&mut self, event: Event, age: Age) -> Vec<Effect> {
        let mut effects = match event {
            Event::Joined(tab, session) => self.join(tab, session),
            Event::Left(tab) => self.leave(tab),
            Event::Received(tab, message) => self.receive(tab, &message, age),
            Event::Garbled(tab, reason) => self.fault(tab, ErrorCode::BadMessage, &reason),
            Event::TurnDue(kind) => self.begin_turn(kind),
            Event::Checked(kind, validity) => self.checked(kind, &validity, age),
            Event::Answered(kind, readings, at) => self.answered(kind, (&readings, at), age),
            Event::Stood(standing) => self.stand(standing, age),
            Event::NeedsChanged => self.needs_changed(),
            Event::Released => vec![Effect::Claim],
            Event::Relayed(kind, readings, at) => self.relayed(kind, (&readings, Some(at)), age),
            Event::Doubted => {
                self.topics.doubt();
                self.stirred = true;
                Vec::new()
            }
            Event::SessionOver(session) => self.end_session(&session),
            Event::Stream(topic, news) => self.stream_news(topic, news, age),
        };
        effects.extend(self.tend_streams());
        if std::mem::take(&mut self.stirred) && self.needs().are_worth_a_claim(&self.told) {
            effects.push(Effect::Claim);
        }
        effects
    }

    fn join(&mut self, id: TabId, session: LoginSessionId) -> Vec<Effect> {
        if self.tabs.len() + self.others.tabs >= self.terms.tabs {
            return vec![Effect::Close(id, CloseCode::TooManyTabs)];
        }
        let owed_activation = self.activations.len() > 0;
        let tab = Tab {
            session,
            wants: BTreeSet::new(),
            owed: BTreeSet::new(),
            owed_activation,
        };
        self.tabs.insert(id, tab);
        self.stirred = true;
        vec![Effect::Send(
            vec![id],
            ServerMessage::init(self.history.position()),
        )]
    }

    fn leave(&mut self, id: TabId) -> Vec<Effect> {
        self.tabs.remove(&id);
        self.topics.leave(id);
        self.stirred = true;
        Vec::new()
    }

    fn receive(&mut self, tab: TabId, message: &ClientMessage, age: Age) -> Vec<Effect> {
        if !self.tabs.contains_key(&tab) {
            return Vec::new();
        }
        match command::run(self, tab, message, age) {
            Ok(effects) => effects,
            Err(error) => {
                let text = format!("`{}`: {error}", excerpt(&message.kind));
                self.fault(tab, error.code(), &text)
            }
        }
    }

    fn fault(&self, tab: TabId, code: ErrorCode, text: &str) -> Vec<Effect> {
        if !self.tabs.contains_key(&tab) {
            return Vec::new();
        }
        vec![Effect::Send(vec![tab], ServerMessage::error(code, text))]
    }

    pub(super) fn end_session(&mut self, session: &LoginSessionId) -> Vec<Effect> {
        let ended = self.tabs.iter().filter(|(_, tab)| tab.session == *session);
        let ended: Vec<_> = ended.map(|(id, _)| *id).collect();
        if ended.is_empty() {
            return Vec::new();
        }
        let over = ServerMessage::expired("your login session is over; sign in again");
        let mut effects = vec![Effect::Send(ended.clone(), over)];
        for id in ended {
            effects.push(Effect::Close(id, CloseCode::SignedOut));
            effects.extend(self.leave(id));
        }
        effects
    }

    /// A tab wants session notifications of this kind, and the current state.
    pub(crate) fn pull_sessions(&mut self, tab: TabId, kind: SessionsKind) {
        if let Some(tab) = self.tabs.get_mut(&tab) {
            self.stirred |= tab.wants.insert(kind);
            tab.owed.insert(kind);
        }
    }

    /// A tab wants to be told the current activation.
    pub(crate) fn owe_activation(&mut self, tab: TabId) {
        if let Some(tab) = self.tabs.get_mut(&tab) {
            tab.owed_activation = true;
        }
    }

    /// Whether any tab of the user wants session notifications of this kind.
    pub(crate) fn wants_sessions(&self, kind: SessionsKind) -> bool {
        self.others.sessions.contains(&kind) || self.tabs.values().any(|tab| tab.wants.contains(&kind))
    }

    /// The projects that tabs of other instances follow.
    pub(crate) fn projects_of_others(&self) -> &BTreeSet<u64> {
        &self.others.projects
    }

    /// A tab follows these projects.
    pub(crate) fn follow(&mut self, projects: BTreeSet<u64>, age: Age) {
        self.activations.follow(projects, age);
        self.stirred = true;
    }

    /// A tab asked for the server's version.
    pub(crate) fn ask_version(&mut self) {
        self.stirred |= !std::mem::replace(&mut self.version_asked, true);
    }

    /// Compares a reading with the last one: a change is told to every tab that wants its kind, no change only to
    /// those that are owed the current state.
    pub(crate) fn compare_sessions(
        &mut self,
        kind: SessionsKind,
        reading: &SessionsReading,
        age: Age,
    ) -> Vec<Effect> {
        let before = self.readings.insert(kind, reading.clone());
        let changed = before.is_some_and(|before| before != *reading);
        let concerned = |tab: &Tab| {
            if changed {
                tab.wants.contains(&kind)
            } else {
                tab.owed.contains(&kind)
            }
        };
        let mut told = Vec::new();
        for (id, tab) in self.tabs.iter_mut().filter(|(_, tab)| concerned(tab)) {
            tab.owed.remove(&kind);
            told.push(*id);
        }
        let message = ServerMessage::user(kind.message_type(), &serde_json::json!({ "message": "true" }));
        self.notify(told, message, changed.then_some(age))
    }

    /// Tells the activation map: to every tab after a change, else to those that are owed it.
    pub(crate) fn tell_activation(&mut self, changed: bool, age: Age) -> Vec<Effect> {
        let Some(message) = self.activations.message() else {
            return Vec::new();
        };
        let mut told = Vec::new();
        for (id, tab) in self
            .tabs
            .iter_mut()
            .filter(|(_, tab)| changed || tab.owed_activation)
        {
            tab.owed_activation = false;
            told.push(*id);
        }
        self.notify(told, message, changed.then_some(age))
    }

    /// Tells every tab.
    pub(crate) fn tell_all(&mut self, message: ServerMessage, age: Age) -> Vec<Effect> {
        let all = self.tabs.keys().copied().collect();
        self.notify(all, message, Some(age))
    }

    /// A message to tabs; with an age it is a notification of the channel, with a place in its life.
    ///
    /// It keeps that place if no tab is there to be told: one that comes back has missed it.
    fn notify(&mut self, tabs: Vec<TabId>, message: ServerMessage, notification: Option<Age>) -> Vec<Effect> {
        let message = match notification {
            Some(age) => self.history.add(message, age),
            None => message,
        };
        if tabs.is_empty() {
            return Vec::new();
        }
        vec![Effect::Send(tabs, message)]
    }

    /// What a tab missed that last saw notification `seq` of the life `epoch`; `None` if that is no longer known. The
    /// tab is then owed the current state of what it asked for, and else of nothing.
    pub(crate) fn resume(
        &mut self,
        tab: TabId,
        (epoch, seq): (&str, u64),
        age: Age,
    ) -> Option<Vec<ServerMessage>> {
        let missed = self.history.since(epoch, seq, age);
        let has_activation = self.activations.len() > 0;
        if let Some(tab) = self.tabs.get_mut(&tab) {
            let recovered = missed.is_some();
            tab.owed = if recovered {
                BTreeSet::new()
            } else {
                tab.wants.clone()
            };
            tab.owed_activation = !recovered && has_activation;
        }
        missed
    }
}
