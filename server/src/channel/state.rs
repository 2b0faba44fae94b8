//! What a channel is and how it changes. Pure: no waiting, no clock, no chance.

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
    event::{Age, Effect, Event, LoopKind, Reading, SessionsKind, StreamNews, Validity},
    history::History,
    topics::Topics,
};
use crate::{command, iteration};

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
}

/// One tab of the channel.
#[derive(Debug)]
pub(crate) struct Tab {
    session: LoginSessionId,
    /// The session notifications it asked for.
    wants: BTreeSet<SessionsKind>,
    /// Those of them whose current state it is still to be told.
    owed: BTreeSet<SessionsKind>,
    /// Whether it is still to be told the current activation.
    owed_activation: bool,
}

/// All the server holds for one user.
#[derive(Debug)]
pub(crate) struct ChannelState {
    pub(crate) terms: Terms,
    pub(crate) activations: Activations,
    /// Whether any tab asked for the server's version.
    pub(crate) version_asked: bool,
    tabs: BTreeMap<TabId, Tab>,
    readings: BTreeMap<SessionsKind, SessionsReading>,
    topics: Topics,
    /// Whose token each upstream stream uses.
    stream_sessions: BTreeMap<Topic, LoginSessionId>,
    history: History,
    under_way: BTreeSet<LoopKind>,
}

impl ChannelState {
    /// A channel without tabs, at the start of the life called `epoch`.
    pub(crate) fn new(terms: Terms, epoch: String) -> Self {
        Self {
            history: History::new(epoch, terms.history.0, terms.history.1),
            terms,
            activations: Activations::default(),
            version_asked: false,
            tabs: BTreeMap::new(),
            readings: BTreeMap::new(),
            topics: Topics::default(),
            stream_sessions: BTreeMap::new(),
            under_way: BTreeSet::new(),
        }
    }

    /// Takes one event in and says what must follow. Never waits, never fails.
    pub(crate) fn apply(&mut self, event: Event, age: Age) -> Vec<Effect> {
        match event {
            Event::Joined(tab, session) => self.join(tab, session),
            Event::Left(tab) => self.leave(tab),
            Event::Received(tab, message) => self.receive(tab, &message, age),
            Event::Garbled(tab, reason) => self.fault(tab, ErrorCode::BadMessage, &reason),
            Event::TurnDue(kind) => self.begin_turn(kind),
            Event::Checked(kind, validity) => self.checked(kind, &validity, age),
            Event::Answered(kind, readings) => self.answered(kind, &readings, age),
            Event::SessionOver(session) => self.end_session(&session),
            Event::Stream(topic, news) => self.stream_news(topic, news),
        }
    }

    /// The topics that are held, for people to look at.
    pub(crate) fn topics(&self) -> impl Iterator<Item = Topic> {
        self.topics.iter().map(|(topic, _)| topic)
    }

    fn join(&mut self, id: TabId, session: LoginSessionId) -> Vec<Effect> {
        if self.tabs.len() >= self.terms.tabs {
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
        vec![Effect::Send(
            vec![id],
            ServerMessage::init(self.history.position()),
        )]
    }

    fn leave(&mut self, id: TabId) -> Vec<Effect> {
        let Some(tab) = self.tabs.remove(&id) else {
            return Vec::new();
        };
        let free = self.topics.leave(id);
        let mut effects = self.close_streams(free);
        if self.tabs.values().all(|other| other.session != tab.session) {
            effects.extend(self.rehome_streams(&tab.session));
        }
        effects
    }

    fn close_streams(&mut self, topics: Vec<Topic>) -> Vec<Effect> {
        for topic in &topics {
            self.stream_sessions.remove(topic);
        }
        topics.into_iter().map(Effect::CloseStream).collect()
    }

    /// Streams that used the token of a login session which is no longer here go on with another's.
    fn rehome_streams(&mut self, session: &LoginSessionId) -> Vec<Effect> {
        let Some(other) = self
            .tabs
            .values()
            .map(|tab| &tab.session)
            .find(|other| *other != session)
            .cloned()
        else {
            return Vec::new();
        };
        let mut effects = Vec::new();
        for (topic, last_event) in self.topics.iter() {
            if self.stream_sessions.get(&topic) == Some(session) {
                self.stream_sessions.insert(topic, other.clone());
                effects.push(Effect::OpenStream(topic, other.clone(), last_event));
            }
        }
        effects
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

    fn begin_turn(&mut self, kind: LoopKind) -> Vec<Effect> {
        if !self.under_way.insert(kind) {
            return vec![Effect::Overrun(kind)];
        }
        let sessions = self.tabs.values().map(|tab| tab.session.clone()).collect();
        vec![Effect::Check(kind, sessions)]
    }

    fn checked(
        &mut self,
        kind: LoopKind,
        validity: &BTreeMap<LoginSessionId, Validity>,
        age: Age,
    ) -> Vec<Effect> {
        let with = |wanted: Validity| {
            validity
                .iter()
                .filter(move |(_, is)| **is == wanted)
                .map(|(session, _)| session)
        };
        let mut effects: Vec<_> = with(Validity::Over)
            .flat_map(|session| self.end_session(session))
            .collect();
        let token =
            with(Validity::Valid).find(|session| self.tabs.values().any(|tab| tab.session == **session));
        let questions: Vec<_> = iteration::functions(kind)
            .filter_map(|function| function.question(self))
            .collect();
        match token {
            Some(session) if !questions.is_empty() => {
                effects.push(Effect::Ask(kind, session.clone(), questions));
            }
            Some(_) | None => effects.extend(self.answered(kind, &[], age)),
        }
        effects
    }

    fn answered(&mut self, kind: LoopKind, readings: &[Reading], age: Age) -> Vec<Effect> {
        self.under_way.remove(&kind);
        let mut effects = Vec::new();
        for function in iteration::functions(kind) {
            effects.extend(
                readings
                    .iter()
                    .flat_map(|reading| function.learn(self, reading, age)),
            );
            effects.extend(function.tell(self, age));
        }
        effects
    }

    fn end_session(&mut self, session: &LoginSessionId) -> Vec<Effect> {
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

    fn stream_news(&mut self, topic: Topic, news: StreamNews) -> Vec<Effect> {
        let (tabs, message) = match news {
            StreamNews::Accepted => (
                self.topics.accepted(topic),
                ServerMessage::ack_topic("subscribe", topic),
            ),
            StreamNews::Refused(code) => {
                self.stream_sessions.remove(&topic);
                let text = format!("`subscribe`: no events of `{topic}` for you");
                (self.topics.refused(topic), ServerMessage::error(code, &text))
            }
            StreamNews::Event { id, payload } => {
                let tabs = self.topics.event(topic, &id);
                (
                    tabs,
                    ServerMessage::project_event(topic, payload, (!id.is_empty()).then_some(id)),
                )
            }
        };
        if tabs.is_empty() {
            Vec::new()
        } else {
            vec![Effect::Send(tabs, message)]
        }
    }

    /// A tab wants session notifications of this kind, and the current state.
    pub(crate) fn pull_sessions(&mut self, tab: TabId, kind: SessionsKind) {
        if let Some(tab) = self.tabs.get_mut(&tab) {
            tab.wants.insert(kind);
            tab.owed.insert(kind);
        }
    }

    /// A tab wants to be told the current activation.
    pub(crate) fn owe_activation(&mut self, tab: TabId) {
        if let Some(tab) = self.tabs.get_mut(&tab) {
            tab.owed_activation = true;
        }
    }

    /// Whether any tab wants session notifications of this kind.
    pub(crate) fn wants_sessions(&self, kind: SessionsKind) -> bool {
        self.tabs.values().any(|tab| tab.wants.contains(&kind))
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
    fn notify(&mut self, tabs: Vec<TabId>, message: ServerMessage, notification: Option<Age>) -> Vec<Effect> {
        if tabs.is_empty() {
            return Vec::new();
        }
        let message = match notification {
            Some(age) => self.history.add(message, age),
            None => message,
        };
        vec![Effect::Send(tabs, message)]
    }

    /// A tab subscribes. `None` if the user holds too many topics already.
    pub(crate) fn subscribe(
        &mut self,
        tab: TabId,
        topic: Topic,
        last_event: Option<String>,
    ) -> Option<Vec<Effect>> {
        use super::topics::Subscribed;

        if !self.topics.contains(topic) && self.topics.len() >= self.terms.subscriptions {
            return None;
        }
        let session = self.tabs.get(&tab)?.session.clone();
        Some(match self.topics.subscribe(tab, topic, last_event.clone()) {
            Subscribed::Opens => {
                self.stream_sessions.insert(topic, session.clone());
                vec![Effect::OpenStream(topic, session, last_event)]
            }
            Subscribed::Waits => Vec::new(),
            Subscribed::Shares => vec![Effect::Send(
                vec![tab],
                ServerMessage::ack_topic("subscribe", topic),
            )],
        })
    }

    /// A tab lets go of a topic. `None` if it did not hold it.
    pub(crate) fn unsubscribe(&mut self, tab: TabId, topic: Topic) -> Option<Vec<Effect>> {
        let was_last = self.topics.unsubscribe(tab, topic)?;
        let mut effects = vec![Effect::Send(
            vec![tab],
            ServerMessage::ack_topic("unsubscribe", topic),
        )];
        effects.extend(self.close_streams(if was_last { vec![topic] } else { Vec::new() }));
        Some(effects)
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
