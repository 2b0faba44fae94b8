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
    event::{Age, Ask, Effect, Event, LoopKind, Reading, SessionsKind, StreamNews, Validity, Wanted},
    history::History,
    topics::Topics,
};
use crate::{
    command,
    coordinator::{Hold, Needs, Rank, Stamp, Standing},
    iteration,
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
    /// What is held upstream.
    streams: BTreeMap<Topic, Stream>,
    /// Topics of other instances that GitLab refused; asked for again at the next turn if they are still needed.
    refused: BTreeSet<Topic>,
    history: History,
    under_way: BTreeMap<LoopKind, Turn>,
    rank: Rank,
    /// What all other instances need together.
    others: Needs,
    /// When what was learned last was shared: older readings are void.
    read_at: Stamp,
    /// Whether what is needed here may differ from what was told.
    stirred: bool,
    told: Needs,
}

/// An event stream that is held upstream.
#[derive(Debug)]
struct Stream {
    /// Whose token it uses.
    session: LoginSessionId,
    accepted: bool,
}

/// What was read, and when it was shared.
type Read<'a> = (&'a [Reading], Option<Stamp>);

/// How far a turn is.
#[derive(Debug)]
enum Turn {
    /// It waits for the checks of the login sessions, and to know what this instance is.
    Begun {
        valid: Option<BTreeSet<LoginSessionId>>,
        stood: bool,
    },
    /// Its questions are asked.
    Asking,
}

impl ChannelState {
    /// A channel without tabs, at the start of the life called `epoch`.
    pub(crate) fn new(terms: Terms, epoch: String) -> Self {
        Self {
            history: History::new(epoch, terms.history.0, terms.history.1),
            topics: Topics::new(terms.history),
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
            Event::SessionOver(session) => self.end_session(&session),
            Event::Stream(topic, news) => self.stream_news(topic, news, age),
        };
        effects.extend(self.tend_streams());
        if std::mem::take(&mut self.stirred) && self.needs().are_worth_a_claim(&self.told) {
            effects.push(Effect::Claim);
        }
        effects
    }

    /// The topics that are held, for people to look at.
    pub(crate) fn topics(&self) -> impl Iterator<Item = Topic> {
        self.topics.iter()
    }

    /// What this instance is for the user.
    pub(crate) fn rank(&self) -> Rank {
        self.rank
    }

    /// What is to be told to the coordinator now, and whether whoever leads must act on it at once.
    pub(crate) fn claim(&mut self) -> (Needs, bool) {
        let needs = self.needs();
        let before = std::mem::replace(&mut self.told, needs.clone());
        let news = needs.are_news_after(&before);
        (needs, news)
    }

    fn needs(&self) -> Needs {
        Needs {
            tabs: self.tabs.len(),
            sessions: self
                .tabs
                .values()
                .flat_map(|tab| tab.wants.iter().copied())
                .collect(),
            projects: self.activations.under_way(),
            topics: self.topics.holds().collect(),
            version: self.version_asked,
        }
    }

    fn leads(&self) -> bool {
        !matches!(self.rank, Rank::Follows)
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

    /// Who leads holds a stream for each topic that is needed anywhere, with the token of a login session that has
    /// tabs here.
    fn tend_streams(&mut self) -> Vec<Effect> {
        if self.streams.is_empty() && (!self.leads() || self.topics.len() + self.others.topics.len() == 0) {
            return Vec::new();
        }
        let wanted = if self.leads() {
            self.topics_wanted()
        } else {
            BTreeMap::new()
        };
        let vain = self.streams.keys().filter(|topic| !wanted.contains_key(*topic));
        let vain: Vec<_> = vain.copied().collect();
        let mut effects = Vec::new();
        for topic in vain {
            self.streams.remove(&topic);
            effects.push(Effect::CloseStream(topic));
        }
        for (topic, hold) in wanted {
            let has_tabs = |session: &LoginSessionId| self.tabs.values().any(|tab| tab.session == *session);
            if self
                .streams
                .get(&topic)
                .is_some_and(|stream| has_tabs(&stream.session))
            {
                continue;
            }
            let holder = self.topics.holder(topic).and_then(|tab| self.tabs.get(&tab));
            let Some(tab) = holder.or_else(|| self.tabs.values().next()) else {
                continue;
            };
            let session = tab.session.clone();
            let stream = Stream {
                session: session.clone(),
                accepted: false,
            };
            self.streams.insert(topic, stream);
            effects.push(Effect::OpenStream(Wanted {
                topic,
                session,
                last_event: hold.last_event,
                accepted: hold.accepted,
            }));
        }
        effects
    }

    /// The topics that are needed anywhere, but for those of other instances that GitLab refused.
    fn topics_wanted(&self) -> BTreeMap<Topic, Hold> {
        let mut wanted: BTreeMap<Topic, Hold> = self.topics.holds().collect();
        for (topic, hold) in &self.others.topics {
            if self.topics.contains(*topic) || !self.refused.contains(topic) {
                wanted.entry(*topic).or_default().add(hold.clone());
            }
        }
        wanted
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

    /// Whether a turn of this loop is under way.
    pub(crate) fn is_under_way(&self, kind: LoopKind) -> bool {
        self.under_way.contains_key(&kind)
    }

    fn begin_turn(&mut self, kind: LoopKind) -> Vec<Effect> {
        if self.under_way.contains_key(&kind) {
            // Whoever asks for longer than a lease lasts leads on.
            return vec![Effect::Overrun(kind), Effect::Claim];
        }
        let turn = Turn::Begun {
            valid: None,
            stood: false,
        };
        self.under_way.insert(kind, turn);
        self.refused.clear();
        let sessions = self.tabs.values().map(|tab| tab.session.clone()).collect();
        vec![Effect::Check(kind, sessions), Effect::Claim]
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
        if let Some(Turn::Begun { valid, .. }) = self.under_way.get_mut(&kind) {
            *valid = Some(with(Validity::Valid).cloned().collect());
        }
        effects.extend(self.proceed(kind, age));
        effects
    }

    /// Takes in what this instance is now.
    fn stand(&mut self, Standing { rank, at, others }: Standing, age: Age) -> Vec<Effect> {
        match (self.rank, rank) {
            (_, Rank::Alone) => {}
            // What others shared meanwhile is older than what was read here.
            (Rank::Alone, _) => self.read_at = at,
            // The coordinator's clock may go back, and no reading is void for that.
            _ => self.read_at = self.read_at.min(at),
        }
        self.rank = rank;
        self.version_asked |= others.version;
        self.others = others;
        let waiting = self.others.topics.iter().filter(|(_, hold)| hold.waits);
        let accepted = |topic: &Topic| self.streams.get(topic).is_some_and(|stream| stream.accepted);
        let mut effects: Vec<_> = waiting
            .map(|(topic, _)| *topic)
            .filter(accepted)
            .map(Effect::Announce)
            .collect();
        let kinds: Vec<_> = self.under_way.keys().copied().collect();
        for kind in kinds {
            if let Some(Turn::Begun { stood, .. }) = self.under_way.get_mut(&kind) {
                *stood = true;
            }
            effects.extend(self.proceed(kind, age));
        }
        effects
    }

    /// Asks what a turn needs, once all is known that it waits for.
    fn proceed(&mut self, kind: LoopKind, age: Age) -> Vec<Effect> {
        let Some(Turn::Begun {
            valid: Some(valid),
            stood: true,
        }) = self.under_way.get(&kind)
        else {
            return Vec::new();
        };
        let token = valid
            .iter()
            .find(|session| self.tabs.values().any(|tab| tab.session == **session))
            .cloned();
        let questions: Vec<_> = iteration::functions(kind)
            .filter_map(|function| function.question(self))
            .collect();
        match token {
            Some(session) if self.leads() && !questions.is_empty() => {
                self.under_way.insert(kind, Turn::Asking);
                vec![Effect::Ask(Ask {
                    kind,
                    session,
                    questions,
                    rank: self.rank,
                })]
            }
            Some(_) | None => self.answered(kind, (&[], None), age),
        }
    }

    /// Who leads looks at once at what another instance needs; the others need not know.
    fn needs_changed(&self) -> Vec<Effect> {
        if self.leads() {
            vec![Effect::Claim]
        } else {
            Vec::new()
        }
    }

    /// Takes in what the leader read. An instance that is alone reads itself; what comes to it then was written before.
    fn relayed(&mut self, kind: LoopKind, read: Read<'_>, age: Age) -> Vec<Effect> {
        if self.rank == Rank::Alone {
            return Vec::new();
        }
        self.learn(kind, read, age)
    }

    fn answered(&mut self, kind: LoopKind, read: Read<'_>, age: Age) -> Vec<Effect> {
        self.under_way.remove(&kind);
        let mut effects = self.learn(kind, read, age);
        for function in iteration::functions(kind) {
            effects.extend(function.tell(self, age));
        }
        effects
    }

    /// Takes in readings, but for those that are older than the last.
    fn learn(&mut self, kind: LoopKind, (readings, at): Read<'_>, age: Age) -> Vec<Effect> {
        if at.is_some_and(|at| at < self.read_at) {
            return Vec::new();
        }
        self.read_at = at.unwrap_or(self.read_at);
        self.stirred |= !readings.is_empty();
        let mut effects = Vec::new();
        for function in iteration::functions(kind) {
            let learned = readings
                .iter()
                .flat_map(|reading| function.learn(self, reading, age));
            effects.extend(learned);
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

    fn stream_news(&mut self, topic: Topic, news: StreamNews, age: Age) -> Vec<Effect> {
        let settled = !matches!(news, StreamNews::Event { .. });
        let (tabs, message) = match news {
            StreamNews::Accepted => {
                if let Some(stream) = self.streams.get_mut(&topic) {
                    stream.accepted = true;
                }
                let tabs = self.topics.accepted(topic);
                (tabs, ServerMessage::ack_topic("subscribe", topic))
            }
            StreamNews::Refused(code) => {
                if self.streams.remove(&topic).is_some() {
                    self.refused.insert(topic);
                }
                let text = format!("`subscribe`: no events of `{topic}` for you");
                (self.topics.refused(topic), ServerMessage::error(code, &text))
            }
            StreamNews::Event { id, payload } => {
                let tabs = self.topics.event(topic, &id);
                let bytes = payload.get().len();
                let told_id = (!id.is_empty()).then(|| id.clone());
                let message = ServerMessage::project_event(topic, payload, told_id);
                if !tabs.is_empty() {
                    self.topics.keep(topic, (&id, &message), (bytes, age));
                }
                (tabs, message)
            }
        };
        self.stirred |= settled;
        if tabs.is_empty() {
            Vec::new()
        } else {
            vec![Effect::Send(tabs, message)]
        }
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

    /// A tab subscribes, and wants what came after an event. `None` if the user holds too many topics already.
    pub(crate) fn subscribe(
        &mut self,
        tab: TabId,
        (topic, last_event): (Topic, Option<String>),
        age: Age,
    ) -> Option<Vec<Effect>> {
        use super::topics::Subscribed;

        if !self.topics.contains(topic) && self.topics.len() >= self.terms.subscriptions {
            return None;
        }
        self.stirred = true;
        // Who leads asks GitLab for it anew, whatever it said to others.
        self.refused.remove(&topic);
        Some(match self.topics.subscribe(tab, topic, last_event.clone()) {
            Subscribed::Waits => Vec::new(),
            Subscribed::Shares => {
                let missed = last_event.map(|id| self.topics.after(topic, &id, age));
                let ack = match &missed {
                    None => ServerMessage::ack_topic("subscribe", topic),
                    Some(missed) => ServerMessage::ack_subscribe(topic, missed.is_some()),
                };
                let messages = std::iter::once(ack).chain(missed.flatten().into_iter().flatten());
                messages.map(|message| Effect::Send(vec![tab], message)).collect()
            }
        })
    }

    /// A tab lets go of a topic. `None` if it did not hold it.
    pub(crate) fn unsubscribe(&mut self, tab: TabId, topic: Topic) -> Option<Vec<Effect>> {
        if !self.topics.unsubscribe(tab, topic) {
            return None;
        }
        self.stirred = true;
        Some(vec![Effect::Send(
            vec![tab],
            ServerMessage::ack_topic("unsubscribe", topic),
        )])
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
