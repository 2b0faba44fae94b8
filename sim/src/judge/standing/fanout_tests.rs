//! `no-message-after-close` and `same-to-all-tabs` on small event logs.

use serde_json::json;

use super::{
    Person, Run, Stay,
    fanout::{no_message_after_close, same_to_all_tabs},
};
use crate::events::{Event, Frame, Kind};

const ADA: Person<'static> = Person {
    user: "ada",
    browser: "",
    known: true,
};

/// A run in which ada's tabs A and B are open all the time.
fn run(events: &[Event]) -> Run<'_> {
    let stay = |tab| Stay {
        tab,
        life: 1,
        person: ADA,
        from_ms: 0,
        until_ms: 1_000_000,
        away: Vec::new(),
    };
    Run {
        events,
        tabs: [("A", ADA), ("B", ADA)].into(),
        short_loop_ms: 5_000,
        moment_ms: 100,
        end_ms: 1_000_000,
        stays: ["A", "B"].map(stay).into(),
    }
}

fn log(kinds: Vec<(u64, Kind)>) -> Vec<Event> {
    let number = |(seq, (at_ms, kind)): (usize, (u64, Kind))| Event {
        seq: seq as u64,
        at_ms,
        kind,
    };
    kinds.into_iter().enumerate().map(number).collect()
}

fn received(tab: &str, message: serde_json::Value) -> Kind {
    Kind::TabReceived {
        tab: tab.to_owned(),
        life: 1,
        message: Frame::Json(message),
        secrets: Vec::new(),
    }
}

fn sent(tab: &str, kind: &str) -> Kind {
    Kind::TabSent {
        tab: tab.to_owned(),
        life: 1,
        by_page: false,
        message: Frame::Json(json!({ "type": kind })),
    }
}

fn notification(seq: u64) -> serde_json::Value {
    json!({ "type": "sessionStatusV2", "data": {}, "epoch": "e", "seq": seq })
}

#[test]
fn a_message_right_before_the_end_in_the_same_millisecond_is_in_order() {
    let ack = json!({ "type": "ack" });
    let over = json!({ "type": "error", "expired": true });
    let before = log(vec![
        (7, received("A", ack.clone())),
        (7, received("A", over.clone())),
    ]);
    let after = log(vec![(7, received("A", over)), (7, received("A", ack))]);

    assert!(no_message_after_close(&run(&before)).is_none());
    assert!(no_message_after_close(&run(&after)).is_some());
}

#[test]
fn what_a_resume_brings_is_owed_to_no_other_tab() {
    let live = || {
        vec![
            (0, sent("B", "pullSessionStatusV2")),
            (5_000, received("B", notification(1))),
            (10_000, received("B", notification(2))),
        ]
    };
    let mut resumed = live();
    resumed.push((15_000, sent("A", "resume")));
    resumed.extend([1, 2].map(|seq| (15_003, received("A", notification(seq)))));
    let mut unasked = live();
    unasked.extend([1, 2].map(|seq| (15_003, received("A", notification(seq)))));
    let mut newer = live();
    newer.push((15_000, sent("A", "resume")));
    newer.extend([1, 2].map(|seq| (15_003, received("A", notification(seq)))));
    newer.push((20_000, received("A", notification(3))));

    assert!(same_to_all_tabs(&run(&log(resumed))).is_none());
    assert!(same_to_all_tabs(&run(&log(unasked))).is_some());
    assert!(
        same_to_all_tabs(&run(&log(newer))).is_some(),
        "B was not told of 3"
    );
}
