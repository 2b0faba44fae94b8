//! What a channel does when instances come and go, clocks differ and turns are late.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use polytab_protocol::{
    id::{LoginSessionId, TabId},
    message::ClientMessage,
    sessions::SessionsReading,
    topic::Topic,
};
use serde_json::{Value, json, value::RawValue};

use super::{
    event::{Came, Earlier, Effect, Event, LoopKind, Reading, SessionsKind, StreamNews, Wanted},
    state::{ChannelState, Terms},
};
use crate::{
    config::Config,
    coordinator::{Hold, Needs, Rank, Stamp, Standing},
};

const A: TabId = TabId(1);
const B: TabId = TabId(2);

fn channel() -> ChannelState {
    let terms = Terms {
        version: None,
        tabs: 20,
        ..Terms::of(&Config::default())
    };
    ChannelState::new(terms, "e".into())
}

fn session() -> LoginSessionId {
    LoginSessionId("s".into())
}

fn topic() -> Topic {
    "/project/42/push".parse().unwrap()
}

fn apply(state: &mut ChannelState, event: Event) -> Vec<Effect> {
    state.apply(event, Duration::ZERO)
}

fn command(state: &mut ChannelState, tab: TabId, (kind, data): (&str, Value)) -> Vec<Effect> {
    let Value::Object(data) = data else {
        unreachable!("the tests send objects")
    };
    let kind = kind.to_owned();
    apply(state, Event::Received(tab, ClientMessage { kind, data }))
}

/// A channel with tab A, which wants sessions of the second kind, at an instance of this rank.
fn with_a_tab(rank: Rank, at: Stamp) -> ChannelState {
    let mut state = channel();
    apply(&mut state, Event::Joined(A, session()));
    command(&mut state, A, ("pullSessionStatusV2", json!({})));
    stand(&mut state, (rank, at), BTreeMap::new());
    state
}

fn stand(state: &mut ChannelState, (rank, at): (Rank, Stamp), topics: BTreeMap<Topic, Hold>) -> Vec<Effect> {
    let others = Needs {
        topics,
        ..Needs::default()
    };
    apply(state, Event::Stood(Standing { rank, at, others }))
}

/// This many sessions.
fn readings(count: u8) -> Vec<Reading> {
    let names: Vec<_> = (0..count)
        .map(|nth| json!({ "name": format!("n{nth}") }))
        .collect();
    let reading = SessionsReading::from_v2(json!(names).to_string().as_bytes()).unwrap();
    vec![Reading::Sessions(SessionsKind::V2, Some(reading))]
}

fn answered(count: u8, at: Option<Stamp>) -> Event {
    Event::Answered(LoopKind::Short, readings(count), at)
}

fn relayed(count: u8, at: Stamp) -> Event {
    Event::Relayed(LoopKind::Short, readings(count), at)
}

/// The types of what is sent to a tab.
fn told(effects: &[Effect], to: TabId) -> Vec<String> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send(tabs, message) if tabs.contains(&to) => Some(message.kind().to_owned()),
        _ => None,
    });
    sent.collect()
}

/// These tabs hold the topic, and GitLab has accepted it.
fn subscribe(state: &mut ChannelState, tabs: &[TabId]) {
    for tab in tabs {
        command(
            state,
            *tab,
            ("subscribe", json!({ "topic": topic().to_string() })),
        );
    }
    apply(state, accepted());
}

/// GitLab accepted a stream that it was asked for from now on.
fn accepted() -> Event {
    Event::Stream(topic(), StreamNews::Accepted(Earlier::Asked(None)))
}

fn happen(state: &mut ChannelState, id: &str) {
    let payload = RawValue::from_string("{}".into()).unwrap();
    let id = id.to_owned();
    apply(
        state,
        Event::Stream(topic(), StreamNews::Event(Came { id, payload })),
    );
}

/// Whether the first message says that nothing was missed for good.
fn recovered(effects: &[Effect]) -> bool {
    let Some(Effect::Send(_, ack)) = effects.first() else {
        panic!("nothing was sent");
    };
    let frame: Value = serde_json::from_str(&ack.encode(Timestamp::UNIX_EPOCH)).unwrap();
    frame["data"]["recovered"].as_bool().unwrap()
}

fn opened(effects: Vec<Effect>) -> Vec<Wanted> {
    let wanted = effects.into_iter().filter_map(|effect| match effect {
        Effect::OpenStream(wanted) => Some(wanted),
        _ => None,
    });
    wanted.collect()
}

#[test]
fn a_turn_that_is_not_over_when_the_next_one_is_due_keeps_the_lease() {
    let mut state = with_a_tab(Rank::Leads(1), 1);
    apply(&mut state, Event::TurnDue(LoopKind::Short));

    let effects = apply(&mut state, Event::TurnDue(LoopKind::Short));

    assert!(matches!(
        effects[..],
        [Effect::Overrun(LoopKind::Short), Effect::Claim]
    ));
}

#[test]
fn what_others_shared_while_an_instance_was_alone_is_not_told() {
    let mut state = with_a_tab(Rank::Follows, 1);
    apply(&mut state, relayed(0, 2));
    stand(&mut state, (Rank::Alone, 0), BTreeMap::new());
    apply(&mut state, answered(1, None));
    let after_one = apply(&mut state, answered(2, None));

    // The letters come before the next claim.
    let letters: Vec<_> = [(1, 3), (2, 4)]
        .into_iter()
        .flat_map(|(count, at)| apply(&mut state, relayed(count, at)))
        .collect();
    stand(&mut state, (Rank::Follows, 10), BTreeMap::new());
    let late = apply(&mut state, relayed(1, 9));
    let news = apply(&mut state, relayed(3, 11));

    assert_eq!(told(&after_one, A), ["sessionStatusV2"]);
    assert_eq!(told(&letters, A), [""; 0]);
    assert_eq!(told(&late, A), [""; 0]);
    assert_eq!(told(&news, A), ["sessionStatusV2"]);
}

#[test]
fn a_coordinator_whose_clock_goes_back_keeps_nothing_from_the_tabs() {
    let mut state = with_a_tab(Rank::Leads(100), 100);
    apply(&mut state, answered(1, Some(101)));

    stand(&mut state, (Rank::Leads(100), 41), BTreeMap::new());
    let news = apply(&mut state, answered(2, Some(42)));

    assert_eq!(told(&news, A), ["sessionStatusV2"]);
}

#[test]
fn a_stream_that_moves_here_goes_on_from_the_last_event_that_any_instance_knows() {
    let mut state = with_a_tab(Rank::Follows, 1);
    command(
        &mut state,
        A,
        ("subscribe", json!({ "topic": topic().to_string() })),
    );
    let elsewhere = Hold {
        accepted: true,
        last_event: Some("e-1".into()),
        ..Hold::default()
    };

    let effects = stand(&mut state, (Rank::Leads(2), 2), [(topic(), elsewhere)].into());

    let wanted = Wanted {
        topic: topic(),
        session: session(),
        last_event: Some("e-1".into()),
        accepted: true,
    };
    assert_eq!(opened(effects), [wanted]);
}

#[test]
fn a_tab_beside_a_stream_that_is_held_for_another_instance_is_told_that_it_is_accepted() {
    let mut state = with_a_tab(Rank::Leads(1), 1);
    let elsewhere = || {
        let hold = Hold {
            waits: true,
            ..Hold::default()
        };
        [(topic(), hold)].into()
    };
    stand(&mut state, (Rank::Leads(1), 2), elsewhere());
    apply(&mut state, accepted());

    let subscribing = command(
        &mut state,
        A,
        ("subscribe", json!({ "topic": topic().to_string() })),
    );
    let claimed = stand(&mut state, (Rank::Leads(1), 3), elsewhere());

    assert_eq!(told(&[subscribing, claimed].concat(), A), ["ack"]);
}

#[test]
fn who_streams_a_topic_tells_what_it_kept_where_a_tab_waits_for_what_it_missed() {
    let mut state = with_a_tab(Rank::Leads(1), 1);
    subscribe(&mut state, &[A]);
    for id in ["e-1", "e-2"] {
        happen(&mut state, id);
    }
    let mut announced = |behind| {
        let waits = true;
        let elsewhere = Hold {
            waits,
            behind,
            ..Hold::default()
        };
        stand(&mut state, (Rank::Leads(1), 2), [(topic(), elsewhere)].into())
    };

    let [to_one_that_is_new, to_one_that_comes_back] = [false, true].map(&mut announced);

    let [Effect::Announce(_, Earlier::There)] = &to_one_that_is_new[..] else {
        panic!("{to_one_that_is_new:?}");
    };
    let [Effect::Announce(_, Earlier::Kept { after: None, events })] = &to_one_that_comes_back[..] else {
        panic!("{to_one_that_comes_back:?}");
    };
    let ids: Vec<_> = events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids, ["e-1", "e-2"]);
}

#[test]
fn a_tab_that_comes_back_here_is_told_what_it_missed_while_another_instance_had_the_topic() {
    let mut state = with_a_tab(Rank::Follows, 1);
    let subscribing = command(
        &mut state,
        A,
        (
            "subscribe",
            json!({ "topic": topic().to_string(), "lastEventId": "e-1" }),
        ),
    );
    let missed = Came {
        id: "e-2".into(),
        payload: RawValue::from_string("{}".into()).unwrap(),
    };
    let kept = Earlier::Kept {
        after: Some("e-1".into()),
        events: vec![missed],
    };

    let effects = apply(&mut state, Event::Stream(topic(), StreamNews::Accepted(kept)));

    assert!(matches!(subscribing[..], [Effect::Claim]), "{subscribing:?}");
    assert!(recovered(&effects));
    assert_eq!(told(&effects, A), ["ack", "push"]);
}

#[test]
fn a_stream_that_was_accepted_is_so_when_another_browsers_token_carries_it() {
    let mut state = with_a_tab(Rank::Leads(1), 1);
    apply(&mut state, Event::Joined(B, LoginSessionId("phone".into())));
    subscribe(&mut state, &[A, B]);
    happen(&mut state, "e-1");

    let effects = apply(&mut state, Event::Left(A));

    let wanted = Wanted {
        topic: topic(),
        session: LoginSessionId("phone".into()),
        last_event: Some("e-1".into()),
        accepted: true,
    };
    assert_eq!(opened(effects), [wanted]);
}

#[test]
fn a_tab_that_comes_back_is_told_of_a_change_that_nobody_was_there_to_hear() {
    let mut state = with_a_tab(Rank::Leads(1), 1);
    apply(&mut state, Event::Joined(B, session()));
    apply(&mut state, answered(1, Some(2)));
    apply(&mut state, Event::Left(A));
    apply(&mut state, answered(2, Some(3)));

    apply(&mut state, Event::Joined(A, session()));
    command(&mut state, A, ("pullSessionStatusV2", json!({})));
    let effects = command(&mut state, A, ("resume", json!({ "epoch": "e", "seq": 0 })));

    assert_eq!(told(&effects, A), ["ack", "sessionStatusV2"]);
}

#[test]
fn a_tab_that_comes_back_to_a_topic_that_another_holds_is_told_the_events_it_missed() {
    let mut state = with_a_tab(Rank::Leads(1), 1);
    apply(&mut state, Event::Joined(B, session()));
    subscribe(&mut state, &[A, B]);
    happen(&mut state, "e-1");
    apply(&mut state, Event::Left(A));
    happen(&mut state, "e-2");
    happen(&mut state, "e-3");

    apply(&mut state, Event::Joined(A, session()));
    let mut from = |id: &str| {
        let data = json!({ "topic": topic().to_string(), "lastEventId": id });
        command(&mut state, A, ("subscribe", data))
    };
    let (known, unknown) = (from("e-1"), from("e-0"));

    assert_eq!(told(&known, A), ["ack", "push", "push"]);
    assert_eq!(told(&unknown, A), ["ack"]);
    let recovered: Vec<_> = [known, unknown]
        .iter()
        .map(|effects| recovered(effects))
        .collect();
    assert_eq!(recovered, [true, false]);
}
