//! What is kept of topics, and what tabs are told that come back or wait.

use std::time::Duration;

use polytab_protocol::{id::TabId, topic::Topic};
use serde_json::value::RawValue;

use super::{
    event::{Came, Earlier},
    log::Bounds,
    topics::{Topics, Welcome},
};
use crate::coordinator::Hold;

const A: TabId = TabId(1);
const B: TabId = TabId(2);
const BOUNDS: Bounds = Bounds {
    events: 3,
    bytes: 100,
    window: Duration::from_mins(2),
};

fn topic() -> Topic {
    "/project/42/push".parse().unwrap()
}

fn topics() -> Topics {
    Topics::new(BOUNDS)
}

/// An event whose payload has this many bytes.
fn came(id: &str, bytes: usize) -> Came {
    let payload = RawValue::from_string("1".repeat(bytes)).unwrap();
    let id = id.to_owned();
    Came { id, payload }
}

fn event(topics: &mut Topics, id: &str) -> Vec<TabId> {
    topics.event(topic(), &came(id, 1), Duration::ZERO)
}

fn accept(topics: &mut Topics, earlier: Earlier) -> Vec<Told> {
    told(topics.accepted(topic(), earlier, Duration::ZERO))
}

fn kept(after: Option<&str>, ids: &[&str]) -> Earlier {
    Earlier::Kept {
        after: after.map(str::to_owned),
        events: ids.iter().map(|id| came(id, 1)).collect(),
    }
}

fn asked(after: &str) -> Earlier {
    Earlier::Asked(Some(after.to_owned()))
}

type Told = (TabId, Option<bool>, Vec<String>);

/// What each tab is told, in the order of the tabs.
fn told(welcomes: impl IntoIterator<Item = Welcome>) -> Vec<Told> {
    let told = welcomes.into_iter().map(|welcome| {
        let ids = welcome.events.into_iter().map(|event| event.id);
        (welcome.tab, welcome.recovered, ids.collect())
    });
    told.collect()
}

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// What a tab is told at once; nothing if it must wait.
fn subscribe(topics: &mut Topics, tab: TabId, (last, second): (Option<&str>, u64)) -> Vec<Told> {
    let last = last.map(str::to_owned);
    told(topics.subscribe(tab, (topic(), last), Duration::from_secs(second)))
}

/// A topic that is streamed here, of which these events came.
fn streamed(came: &[&str]) -> Topics {
    let mut topics = topics();
    topics.stream(topic(), None);
    accept(&mut topics, Earlier::Asked(None));
    for id in came {
        event(&mut topics, id);
    }
    topics
}

#[test]
fn events_are_kept_for_who_comes_back_within_bounds_and_without_gaps() {
    let mut topics = streamed(&["e-1", "e-2", "e-3", "e-4"]);
    let mut missed = |last, second| {
        let welcome = subscribe(&mut topics, A, (Some(last), second)).remove(0);
        (welcome.1.unwrap(), welcome.2)
    };

    assert_eq!(
        missed("e-1", 1),
        (true, ids(&["e-2", "e-3", "e-4"])),
        "three are kept"
    );
    assert_eq!(missed("e-3", 1), (true, ids(&["e-4"])));
    assert_eq!(missed("e-9", 1), (false, vec![]));
    assert_eq!(missed("e-3", 121), (false, vec![]), "too old");
    assert_eq!(missed("e-4", 121), (true, vec![]), "nothing was missed");

    for (id, bytes) in [("e-5", 99), ("e-6", 2)] {
        topics.event(topic(), &came(id, bytes), Duration::from_secs(121));
    }
    assert_eq!(
        subscribe(&mut topics, A, (Some("e-4"), 121))[0].1,
        Some(false),
        "too large"
    );
    assert_eq!(
        subscribe(&mut topics, A, (Some("e-5"), 121)),
        [(A, Some(true), ids(&["e-6"]))]
    );

    topics.leave(A);
    topics.end_stream(topic());
    assert_eq!(topics.log.size(), (0, 0, 0), "more may come meanwhile");
}

#[test]
fn one_stream_serves_all_tabs_until_the_last_lets_go() {
    let mut topics = topics();

    assert_eq!(subscribe(&mut topics, A, (None, 0)), []);
    assert_eq!(subscribe(&mut topics, B, (None, 0)), []);
    assert_eq!(
        accept(&mut topics, Earlier::Asked(None)),
        [(A, None, vec![]), (B, None, vec![])]
    );
    assert_eq!(subscribe(&mut topics, A, (None, 0)), [(A, None, vec![])]);
    assert!(topics.unsubscribe(A, topic()));
    assert!(!topics.unsubscribe(A, topic()));
    assert_eq!(topics.len(), 1);
    topics.leave(B);
    assert_eq!(topics.len(), 0);
}

#[test]
fn an_event_that_is_replayed_is_told_once() {
    let mut topics = topics();
    subscribe(&mut topics, A, (None, 0));

    assert_eq!(event(&mut topics, "e-1"), [A]);
    assert_eq!(event(&mut topics, "e-1"), []);
    assert_eq!(event(&mut topics, ""), [A]);
    let hold = Hold {
        waits: true,
        last_event: Some("e-1".to_owned()),
        ..Hold::default()
    };
    assert_eq!(topics.holds().collect::<Vec<_>>(), [(topic(), hold)]);
}

#[test]
fn who_waits_is_told_what_it_missed_and_then_what_came_meanwhile() {
    let mut topics = topics();
    subscribe(&mut topics, A, (Some("e-1"), 0));
    subscribe(&mut topics, B, (None, 0));
    subscribe(&mut topics, A, (None, 0));

    let meanwhile = ["e-3", "e-4"].map(|id| event(&mut topics, id));
    let welcomes = accept(&mut topics, kept(Some("e-1"), &["e-2", "e-3"]));

    assert_eq!(meanwhile, [[B], [B]], "A is to be told of another before");
    let missed = ids(&["e-2", "e-3", "e-4"]);
    assert_eq!(welcomes, [(A, Some(true), missed), (B, None, vec![])]);
    assert_eq!(event(&mut topics, "e-2"), [], "it was told");
    assert_eq!(event(&mut topics, "e-5"), [A, B]);
    assert_eq!(
        subscribe(&mut topics, A, (Some("e-3"), 0)),
        [(A, Some(true), ids(&["e-4", "e-5"]))]
    );
}

#[test]
fn one_answer_is_for_all_that_wait_whatever_they_saw() {
    let mut topics = topics();
    subscribe(&mut topics, A, (Some("e-1"), 0));
    subscribe(&mut topics, B, (Some("e-2"), 0));

    let welcomes = accept(&mut topics, kept(Some("e-1"), &["e-2", "e-3"]));

    let [all, end] = [ids(&["e-2", "e-3"]), ids(&["e-3"])];
    assert_eq!(welcomes, [(A, Some(true), all.clone()), (B, Some(true), end)]);
    assert_eq!(
        subscribe(&mut topics, A, (Some("e-1"), 0)),
        [(A, Some(true), all)]
    );
}

#[test]
fn what_is_not_known_is_not_said_to_be_whole() {
    let mut unknown = topics();
    subscribe(&mut unknown, A, (Some("e-1"), 0));
    event(&mut unknown, "e-5");
    let welcomes = accept(&mut unknown, kept(Some("e-3"), &["e-4"]));
    assert_eq!(welcomes, [(A, Some(false), ids(&["e-5"]))]);

    // What a tab says that it saw is no knowledge of this instance.
    let mut said = topics();
    subscribe(&mut said, A, (Some("e-1"), 0));
    accept(&mut said, kept(None, &[]));
    assert_eq!(subscribe(&mut said, B, (Some("e-1"), 0)), []);

    let mut reset = streamed(&["e-1"]);
    reset.reset(topic());
    event(&mut reset, "f-1");
    assert_eq!(
        subscribe(&mut reset, A, (Some("e-1"), 0)),
        [(A, Some(false), vec![])]
    );
}

#[test]
fn who_saw_what_gitlab_is_asked_for_is_told_the_rest_by_gitlab_and_others_by_who_streams() {
    let mut topics = topics();
    subscribe(&mut topics, A, (Some("e-1"), 0));
    subscribe(&mut topics, B, (Some("e-2"), 0));

    assert_eq!(accept(&mut topics, asked("e-1")), [(A, None, vec![])]);
    let waits = topics.holds().next().unwrap().1;
    assert!(waits.waits && waits.behind, "{waits:?}");
    assert_eq!(event(&mut topics, "e-3"), [A]);

    let welcomes = accept(&mut topics, kept(Some("e-1"), &["e-2", "e-3"]));
    assert_eq!(welcomes, [(B, Some(true), ids(&["e-3"]))]);
}

#[test]
fn who_waits_for_what_it_missed_is_not_answered_by_an_announcement_to_others() {
    let mut topics = topics();
    subscribe(&mut topics, A, (None, 0));
    subscribe(&mut topics, B, (Some("e-1"), 0));

    assert_eq!(accept(&mut topics, Earlier::There), [(A, None, vec![])]);
    event(&mut topics, "e-3");
    assert_eq!(accept(&mut topics, Earlier::There), []);

    let welcomes = accept(&mut topics, kept(Some("e-1"), &["e-2"]));
    assert_eq!(welcomes, [(B, Some(true), ids(&["e-2", "e-3"]))]);
}

#[test]
fn who_streams_asks_nobody() {
    let mut topics = topics();
    subscribe(&mut topics, A, (Some("e-1"), 0));
    subscribe(&mut topics, B, (Some("e-2"), 0));
    assert_eq!(topics.stream(topic(), Some("e-1".into())), Some("e-1".into()));

    let welcomes = accept(&mut topics, asked("e-1"));
    assert_eq!(welcomes, [(A, None, vec![]), (B, Some(false), vec![])]);
    assert_eq!(event(&mut topics, "e-2"), [A, B]);
    assert_eq!(
        subscribe(&mut topics, A, (Some("e-0"), 0)),
        [(A, Some(false), vec![])]
    );
    assert_eq!(
        subscribe(&mut topics, A, (Some("e-1"), 0)),
        [(A, Some(true), ids(&["e-2"]))]
    );
}

#[test]
fn what_is_streamed_for_others_is_kept_and_goes_on_where_it_was() {
    let mut topics = streamed(&["e-1", "e-2"]);

    assert_eq!((topics.len(), topics.holds().count()), (0, 0));
    let Earlier::Kept { after, events } = topics.kept(topic(), Duration::ZERO) else {
        panic!("it is streamed here");
    };
    assert_eq!((after, events.len()), (None, 2));
    assert_eq!(
        subscribe(&mut topics, A, (Some("e-1"), 0)),
        [(A, Some(true), ids(&["e-2"]))]
    );
    assert_eq!(topics.stream(topic(), Some("e-1".into())), Some("e-2".into()));
}

#[test]
fn where_letters_may_have_been_lost_tabs_hear_what_was_in_them_in_order() {
    let mut topics = topics();
    subscribe(&mut topics, A, (None, 0));
    accept(&mut topics, Earlier::Asked(None));
    event(&mut topics, "e-1");

    topics.doubt();
    let meanwhile = ["e-3", "e-4"].map(|id| event(&mut topics, id));
    let welcomes = topics.accepted(topic(), kept(None, &["e-1", "e-2", "e-3"]), Duration::ZERO);

    assert_eq!(meanwhile, [[], []]);
    assert!(welcomes.iter().all(|welcome| welcome.has_ack));
    assert_eq!(told(welcomes), [(A, Some(true), ids(&["e-2", "e-3", "e-4"]))]);
    assert_eq!(event(&mut topics, "e-5"), [A]);
    assert_eq!(event(&mut topics, "e-2"), []);

    topics.doubt();
    assert_eq!(subscribe(&mut topics, A, (None, 0)), []);
    assert_eq!(
        subscribe(&mut topics, B, (Some("e-4"), 0)),
        [],
        "there may be a gap"
    );
    topics.leave(B);
    let welcomes = topics.accepted(topic(), kept(None, &["e-5"]), Duration::ZERO);
    assert!(!welcomes[0].has_ack, "it asked for another");

    // Who streams has missed nothing.
    topics.stream(topic(), None);
    topics.doubt();
    assert_eq!(event(&mut topics, "e-6"), [A]);
}
