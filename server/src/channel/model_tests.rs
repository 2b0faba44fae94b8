//! The channel state against a small model: whatever the order of joins, leaves, pulls, subscriptions, turns and
//! answers, no loop is doubled, no notification lost or doubled, and streams match subscriptions.

use std::collections::{BTreeMap, BTreeSet};

use polytab_protocol::{
    id::{LoginSessionId, TabId},
    message::ClientMessage,
    sessions::SessionsReading,
    topic::Topic,
};
use proptest::prelude::*;
use serde_json::{json, value::RawValue};

use super::{
    event::{
        Ask, Came, Earlier, Effect, Event, LoopKind, Reading, SessionsKind, StreamNews, Validity, Wanted,
    },
    state::{ChannelState, Terms},
};
use crate::{
    config::Config,
    coordinator::{Needs, Rank, Standing},
};

#[derive(Clone, Debug)]
enum Move {
    Join(u64, u8),
    Leave(u64),
    Pull(u64),
    Subscribe(u64, u64),
    Unsubscribe(u64, u64),
    TurnDue,
    /// The sessions of this number are over, if it is not 0.
    Checked(u8),
    /// The backend lists this many sessions; 9 stands for an answer that cannot be used.
    Answered(u8),
    Accepted(u64),
    Refused(u64),
    /// An event of a topic, with this id: small ids come again, as after a cut.
    Happened(u64, u8),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let (tab, topic, session) = (1..5u64, 1..3u64, 1..3u8);
    let one = prop_oneof![
        3 => (tab.clone(), session.clone()).prop_map(|(tab, session)| Move::Join(tab, session)),
        2 => tab.clone().prop_map(Move::Leave),
        3 => tab.clone().prop_map(Move::Pull),
        3 => (tab.clone(), topic.clone()).prop_map(|(tab, topic)| Move::Subscribe(tab, topic)),
        2 => (tab, topic.clone()).prop_map(|(tab, topic)| Move::Unsubscribe(tab, topic)),
        4 => Just(Move::TurnDue),
        4 => prop_oneof![6 => Just(0), 1 => session].prop_map(Move::Checked),
        4 => prop_oneof![6 => 0..3u8, 1 => Just(9)].prop_map(Move::Answered),
        2 => topic.clone().prop_map(Move::Accepted),
        1 => topic.clone().prop_map(Move::Refused),
        3 => (topic, 1..6u8).prop_map(|(topic, id)| Move::Happened(topic, id)),
    ];
    prop::collection::vec(one, 1..60)
}

/// What a tab of the model knows.
#[derive(Clone, Debug, Default)]
struct Tab {
    session: u8,
    pulls: bool,
    asked: bool,
    informed: Option<u8>,
    topics: BTreeSet<u64>,
}

/// The state under test, and what must be true of it.
struct Model {
    state: ChannelState,
    tabs: BTreeMap<u64, Tab>,
    check_pending: Option<BTreeSet<LoginSessionId>>,
    ask_pending: bool,
    open_streams: BTreeSet<u64>,
    events: BTreeSet<(u64, u8)>,
}

fn session(number: u8) -> LoginSessionId {
    LoginSessionId(format!("s{number}"))
}

fn topic(number: u64) -> Topic {
    format!("/project/{number}/push").parse().unwrap()
}

fn command(kind: &str, data: serde_json::Value) -> ClientMessage {
    let serde_json::Value::Object(data) = data else {
        unreachable!("the tests send objects")
    };
    ClientMessage {
        kind: kind.to_owned(),
        data,
    }
}

fn leads() -> Event {
    Event::Stood(Standing {
        rank: Rank::Leads(1),
        at: 1,
        others: Needs::default(),
    })
}

fn reading(count: u8) -> SessionsReading {
    let names: Vec<_> = (0..count)
        .map(|nth| json!({ "name": format!("n{nth}") }))
        .collect();
    SessionsReading::from_v2(json!(names).to_string().as_bytes()).unwrap()
}

impl Model {
    fn new() -> Self {
        let terms = Terms {
            version: None,
            tabs: 20,
            ..Terms::of(&Config::default())
        };
        let mut state = ChannelState::new(terms, "e".into());
        state.apply(leads(), std::time::Duration::ZERO);
        Self {
            state,
            tabs: BTreeMap::new(),
            check_pending: None,
            ask_pending: false,
            open_streams: BTreeSet::new(),
            events: BTreeSet::new(),
        }
    }

    /// Applies an event, follows what concerns upstream, and gives who was sent which type of message.
    fn apply(&mut self, event: Event) -> Vec<(u64, String)> {
        let mut sent = Vec::new();
        for effect in self.state.apply(event, std::time::Duration::ZERO) {
            match effect {
                Effect::Send(tabs, message) => {
                    let code = message
                        .code()
                        .map_or(String::new(), |code| format!(":{}", code.as_str()));
                    sent.extend(
                        tabs.iter()
                            .map(|tab| (tab.0, format!("{}{code}", message.kind()))),
                    );
                }
                Effect::Close(tab, code) => sent.push((tab.0, format!("close {}", code.number()))),
                Effect::Check(_, sessions) => {
                    assert!(
                        self.check_pending.is_none() && !self.ask_pending,
                        "two turns at once"
                    );
                    self.check_pending = Some(sessions);
                }
                // Heard at the next check: this instance always leads.
                Effect::Claim => {}
                Effect::Announce(topic, _) => unreachable!("nobody else waits for {topic}"),
                Effect::Ask(Ask {
                    session,
                    questions,
                    rank,
                    ..
                }) => {
                    assert_eq!(rank, Rank::Leads(1));
                    assert!(!self.ask_pending, "two questions at once");
                    assert!(
                        self.tabs
                            .values()
                            .any(|tab| self::session(tab.session) == session),
                        "a stranger's token"
                    );
                    assert_eq!(questions.len(), 1);
                    self.ask_pending = true;
                }
                Effect::OpenStream(Wanted { topic, session, .. }) => {
                    assert!(
                        self.tabs
                            .values()
                            .any(|tab| self::session(tab.session) == session),
                        "a stranger's token"
                    );
                    self.open_streams.insert(topic.project);
                }
                Effect::CloseStream(topic) => assert!(self.open_streams.remove(&topic.project), "not open"),
                Effect::Overrun(_) => assert!(self.check_pending.is_some() || self.ask_pending),
            }
        }
        sent.sort();
        sent
    }

    fn step(&mut self, step: &Move) {
        match *step {
            Move::Join(tab, number) if !self.tabs.contains_key(&tab) => {
                self.tabs.insert(
                    tab,
                    Tab {
                        session: number,
                        ..Tab::default()
                    },
                );
                let sent = self.apply(Event::Joined(TabId(tab), session(number)));
                assert_eq!(sent, [(tab, "init".to_owned())]);
            }
            Move::Leave(tab) => {
                self.tabs.remove(&tab);
                assert_eq!(self.apply(Event::Left(TabId(tab))), []);
            }
            Move::Pull(tab) => {
                if let Some(tab) = self.tabs.get_mut(&tab) {
                    (tab.pulls, tab.asked) = (true, true);
                }
                let pull = command("pullSessionStatusV2", json!({}));
                assert_eq!(self.apply(Event::Received(TabId(tab), pull)), []);
            }
            Move::Subscribe(tab, number) => self.subscribe(tab, number),
            Move::Unsubscribe(tab, number) => self.unsubscribe(tab, number),
            Move::TurnDue => assert_eq!(self.apply(Event::TurnDue(LoopKind::Short)), []),
            Move::Checked(over) => self.checked(over),
            Move::Answered(count) if self.ask_pending => self.answered(count),
            Move::Accepted(number) if self.open_streams.contains(&number) => {
                let sent = self.apply(Event::Stream(
                    topic(number),
                    StreamNews::Accepted(Earlier::Asked(None)),
                ));
                assert!(
                    sent.iter()
                        .all(|(tab, kind)| kind == "ack" && self.tabs[tab].topics.contains(&number))
                );
            }
            Move::Refused(number) if self.open_streams.remove(&number) => self.refused(number),
            Move::Happened(number, id) if self.open_streams.contains(&number) => self.happened(number, id),
            _ => {}
        }
        let held: BTreeSet<_> = self
            .tabs
            .values()
            .flat_map(|tab| tab.topics.iter().copied())
            .collect();
        assert_eq!(self.open_streams, held, "streams match subscriptions");
        // Ids are remembered for as long as the topic is held.
        self.events.retain(|(topic, _)| held.contains(topic));
    }

    fn subscribe(&mut self, tab: u64, number: u64) {
        if let Some(tab) = self.tabs.get_mut(&tab) {
            tab.topics.insert(number);
        }
        let subscribe = command("subscribe", json!({ "topic": topic(number).to_string() }));
        self.apply(Event::Received(TabId(tab), subscribe));
    }

    fn unsubscribe(&mut self, tab: u64, number: u64) {
        let held = self.tabs.get_mut(&tab).map(|tab| tab.topics.remove(&number));
        let unsubscribe = command("unsubscribe", json!({ "topic": topic(number).to_string() }));
        let sent = self.apply(Event::Received(TabId(tab), unsubscribe));
        let expected = match held {
            None => vec![],
            Some(true) => vec![(tab, "ack".to_owned())],
            Some(false) => vec![(tab, "error:not_subscribed".to_owned())],
        };
        assert_eq!(sent, expected);
    }

    fn checked(&mut self, over: u8) {
        let Some(sessions) = self.check_pending.take() else {
            return;
        };
        let is_over = |id: &LoginSessionId| over != 0 && *id == session(over);
        let verdict = |id: &LoginSessionId| {
            if is_over(id) {
                Validity::Over
            } else {
                Validity::Valid
            }
        };
        let validity: BTreeMap<_, _> = sessions.iter().map(|id| (id.clone(), verdict(id))).collect();
        let ends = validity.values().any(|validity| *validity == Validity::Over);
        let gone: Vec<_> = self
            .tabs
            .iter()
            .filter(|(_, tab)| ends && tab.session == over)
            .map(|(id, _)| *id)
            .collect();
        for tab in &gone {
            self.tabs.remove(tab);
        }
        assert_eq!(self.apply(leads()), []);
        let sent = self.apply(Event::Checked(LoopKind::Short, validity));
        let each = |tab: &u64| {
            [
                (*tab, "close 4001".to_owned()),
                (*tab, "error:auth_expired".to_owned()),
            ]
        };
        assert_eq!(sent, gone.iter().flat_map(each).collect::<Vec<_>>());
    }

    fn answered(&mut self, count: u8) {
        self.ask_pending = false;
        let usable = (count != 9).then(|| reading(count));
        let sent = self.apply(Event::Answered(
            LoopKind::Short,
            vec![Reading::Sessions(SessionsKind::V2, usable)],
            None,
        ));
        if count == 9 {
            return assert_eq!(sent, [], "an unusable answer tells nobody");
        }
        let mut expected = Vec::new();
        for (id, tab) in self.tabs.iter_mut().filter(|(_, tab)| tab.pulls) {
            if tab.asked || tab.informed != Some(count) {
                expected.push((*id, "sessionStatusV2".to_owned()));
            }
            (tab.asked, tab.informed) = (false, Some(count));
        }
        assert_eq!(
            sent, expected,
            "told once each who asked, or who knew something else"
        );
    }

    fn refused(&mut self, number: u64) {
        let news = StreamNews::Refused(polytab_protocol::message::ErrorCode::Forbidden);
        let mut expected = Vec::new();
        for (id, tab) in &mut self.tabs {
            if tab.topics.remove(&number) {
                expected.push((*id, "error:forbidden".to_owned()));
            }
        }
        self.events.retain(|(topic, _)| *topic != number);
        assert_eq!(self.apply(Event::Stream(topic(number), news)), expected);
    }

    fn happened(&mut self, number: u64, id: u8) {
        let payload = RawValue::from_string("{}".into()).unwrap();
        let news = StreamNews::Event(Came {
            id: format!("e-{id}"),
            payload,
        });
        let sent = self.apply(Event::Stream(topic(number), news));
        let is_new = self.events.insert((number, id));
        let holders = self
            .tabs
            .iter()
            .filter(|(_, tab)| is_new && tab.topics.contains(&number));
        assert_eq!(
            sent,
            holders
                .map(|(tab, _)| (*tab, "push".to_owned()))
                .collect::<Vec<_>>()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_channel_agrees_with_its_model(moves in moves()) {
        let mut model = Model::new();
        for step in &moves {
            model.step(step);
        }
    }
}

#[test]
fn a_loop_never_asks_while_its_last_turn_is_under_way() {
    let mut model = Model::new();
    model.step(&Move::Join(1, 1));
    model.step(&Move::Pull(1));

    model.step(&Move::TurnDue);
    let second = model
        .state
        .apply(Event::TurnDue(LoopKind::Short), std::time::Duration::ZERO);

    assert!(matches!(
        second.as_slice(),
        [Effect::Overrun(LoopKind::Short), Effect::Claim]
    ));
}

#[test]
fn nobody_is_asked_when_nobody_asked() {
    let mut model = Model::new();
    model.step(&Move::Join(1, 1));

    model.step(&Move::TurnDue);
    model.step(&Move::Checked(0));

    assert!(!model.ask_pending);
}
