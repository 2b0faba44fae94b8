//! Tests of what tabs heard and missed.

use std::borrow::Borrow;

use super::*;

const USER: u64 = 4;

/// Two tabs, ready at 0 and settled at 10 s.
struct Two(Hearing, Tally);

impl Two {
    fn new() -> Self {
        let mut hearing = Hearing::new(2);
        hearing.ready(0, InitialState::Absent, Duration::ZERO);
        hearing.ready(1, InitialState::Absent, Duration::ZERO);
        Self(hearing, Tally::default())
    }

    fn change(&mut self, second: u64) -> u32 {
        self.0.change(Duration::from_secs(second), &mut self.1)
    }

    fn hears(&mut self, tab: usize, second: u64, said: impl Borrow<Said>) {
        let limits = Limits::default();
        let mut moment = Moment {
            limits: &limits,
            now: Duration::from_secs(second),
            tally: &mut self.1,
        };
        self.0.heard((USER, tab), said.borrow(), &mut moment);
    }

    fn counts(&self) -> [u64; 4] {
        [Count::Missed, Count::Doubled, Count::OutOfOrder, Count::CrossUser].map(|count| self.1.get(count))
    }
}

fn plain() -> Said {
    Said {
        notifies: true,
        ..Said::default()
    }
}

fn numbered(seq: u64) -> Said {
    Said {
        seq: Some(seq),
        ..plain()
    }
}

fn marked(change: u32) -> Said {
    let mark = Mark { user: USER, change };
    Said {
        mark: Mark::find(&format!("x {mark} y")),
        ..plain()
    }
}

#[test]
fn a_plain_notification_tells_of_all_changes_until_then() {
    let mut two = Two::new();
    two.change(20);
    two.change(21);

    two.hears(0, 22, plain());
    two.hears(1, 24, plain());

    let fanout = two.1.metric(Metric::Fanout).unwrap();
    assert_eq!((fanout.count(), fanout.max().as_secs()), (4, 4));
    assert_eq!(two.1.metric(Metric::Skew).unwrap().count(), 2);
    assert_eq!(two.counts(), [0, 0, 0, 0]);
}

#[test]
fn a_change_that_one_tab_never_hears_of_is_missed_once() {
    let mut two = Two::new();
    let id = two.change(20);
    two.hears(0, 21, plain());

    two.0.overdue(id, &mut two.1);
    two.hears(1, 60, plain());
    two.hears(1, 61, plain());

    assert_eq!(two.counts(), [1, 1, 0, 0]);
}

#[test]
fn nobody_hears_twice() {
    let mut two = Two::new();
    two.change(20);
    for second in [21, 22] {
        two.hears(0, second, plain());
    }
    two.hears(1, 5, plain());

    assert_eq!(two.counts(), [0, 1, 0, 0]);
}

#[test]
fn numbers_tell_lost_doubled_and_late_ones_apart() {
    let mut two = Two::new();
    for seq in [1, 2, 4, 4, 7, 5, 8] {
        two.hears(0, 20, numbered(seq));
    }

    two.0.end(&mut two.1);

    assert_eq!(two.counts(), [2, 1, 1, 0]);
}

#[test]
fn numbers_that_were_superseded_are_not_missed() {
    let mut two = Two::new();
    for (seq, superseded) in [(1, 0), (4, 2), (8, 2), (9, 100)] {
        let said = Said {
            superseded,
            ..numbered(seq)
        };
        two.hears(0, 20, said);
    }

    two.0.end(&mut two.1);

    assert_eq!(two.counts(), [1, 0, 0, 0]);
}

/// A tab at number 3 when it opens, that is told this, and then the numbers 6, 7 and 9.
fn missed_after(initial: InitialState, told: &[Said]) -> u64 {
    let mut two = Two::new();
    two.0.ready(0, initial, Duration::ZERO);
    let opened = Said {
        seq: Some(3),
        ..Said::default()
    };
    two.hears(0, 1, opened);
    for said in told {
        two.hears(0, 2, said);
    }
    for seq in [6, 7, 9] {
        two.hears(0, 20, numbered(seq));
    }
    two.0.end(&mut two.1);
    assert_eq!(two.counts()[1..], [0, 0, 0], "neither doubled nor late");
    two.counts()[0]
}

#[test]
fn numbers_that_the_state_told_of_are_not_missed() {
    // 4 was told to others before this tab had asked for the like of it.
    assert_eq!(missed_after(InitialState::Sent, &[plain()]), 1, "8");
    assert_eq!(missed_after(InitialState::Sent, &[numbered(5)]), 1, "8");
    assert_eq!(missed_after(InitialState::Sent, &[numbered(4)]), 2, "5 and 8");
    assert_eq!(missed_after(InitialState::Sent, &[numbered(3)]), 3, "4, 5 and 8");
    assert_eq!(missed_after(InitialState::Sent, &[]), 1, "8");
}

#[test]
fn a_tab_that_is_told_no_state_misses_every_number_since_it_opened() {
    assert_eq!(missed_after(InitialState::Absent, &[]), 3, "4, 5 and 8");
}

#[test]
fn a_lost_number_is_not_counted_again_when_its_change_is_overdue() {
    let mut two = Two::new();
    two.hears(0, 11, numbered(1));
    let id = two.change(20);
    two.hears(1, 21, plain());
    two.0.overdue(id, &mut two.1);
    two.change(50);

    two.hears(0, 51, numbered(3));
    two.hears(1, 51, plain());
    two.0.end(&mut two.1);

    assert_eq!(two.counts(), [1, 0, 0, 0]);
}

#[test]
fn marks_tell_which_change_it_was() {
    let mut two = Two::new();
    let ids = [two.change(20), two.change(21), two.change(22)];

    for id in [ids[0], ids[2], ids[1], ids[1]] {
        two.hears(0, 23, marked(id));
    }
    for id in ids {
        two.0.overdue(id, &mut two.1);
    }

    assert_eq!(two.counts(), [3, 1, 1, 0]);
}

#[test]
fn what_is_meant_for_another_is_told_by_name_stream_or_mark() {
    let mut two = Two::new();
    let stream = |name: &str| Said {
        stream: Some(name.to_owned()),
        ..plain()
    };
    two.hears(
        0,
        20,
        Said {
            stream: Some("a".to_owned()),
            ..Said::default()
        },
    );

    two.hears(0, 21, stream("b"));
    two.hears(
        0,
        21,
        Said {
            is_for_another: true,
            ..plain()
        },
    );
    two.hears(
        0,
        21,
        Said {
            mark: Some(Mark { user: 5, change: 0 }),
            ..plain()
        },
    );

    assert_eq!(two.counts(), [0, 0, 0, 3]);
}

#[test]
fn a_tab_that_is_gone_has_missed_nothing() {
    let mut two = Two::new();
    let id = two.change(20);
    two.hears(0, 21, plain());

    two.0.gone(1, &mut two.1);
    two.0.overdue(id, &mut two.1);

    assert_eq!(two.counts(), [0, 0, 0, 0]);
    assert_eq!(two.1.metric(Metric::FanoutLast).unwrap().count(), 1);
}

/// Changes that were heard and covered after a tab of this initial state is told these, one a second from second 2 on.
/// A change was made at second 1.
fn confirmed(initial: InitialState, told: &[Said]) -> (u64, u64) {
    let mut two = Two::new();
    two.0.ready(0, initial, Duration::ZERO);
    two.0.gone(1, &mut two.1);
    two.change(1);
    for (second, said) in (2..).zip(told) {
        two.hears(0, second, said);
    }
    let heard = two
        .1
        .metric(Metric::Fanout)
        .map_or(0, crate::histogram::Histogram::count);
    (heard, two.1.get(Count::Covered))
}

#[test]
fn what_may_be_the_initial_state_confirms_no_change() {
    for (initial, told, expected) in [
        (InitialState::Sent, vec![plain()], (0, 1)),
        (InitialState::Sent, vec![numbered(5)], (0, 1)),
        (InitialState::Unknown, vec![plain()], (0, 1)),
        (InitialState::Absent, vec![plain()], (1, 0)),
        (InitialState::Sent, vec![marked(0)], (1, 0)),
        (InitialState::Absent, vec![numbered(1)], (1, 0)),
    ] {
        assert_eq!(confirmed(initial, &told), expected, "{initial:?} {told:?}");
    }
}

#[test]
fn while_a_tab_settles_only_a_number_tells_a_change_from_the_state() {
    for (initial, second, expected) in [
        (InitialState::Sent, plain(), (0, 1)),
        (InitialState::Sent, numbered(6), (1, 0)),
        (InitialState::Unknown, plain(), (1, 0)),
    ] {
        let mut two = Two::new();
        two.0.ready(0, initial, Duration::ZERO);
        two.0.gone(1, &mut two.1);
        two.hears(0, 1, numbered(5));
        two.change(2);

        two.hears(0, 3, &second);

        let heard = two
            .1
            .metric(Metric::Fanout)
            .map_or(0, crate::histogram::Histogram::count);
        assert_eq!(
            (heard, two.1.get(Count::Covered)),
            expected,
            "{initial:?} {second:?}"
        );
    }
}

/// Fan-out samples of a change after tab 0 heard 7 and tab 1 hears 7: tab 0 in stream `a`, tab 1 in this one.
fn confirmed_by_seven(stream: Option<&str>) -> u64 {
    let mut two = Two::new();
    let seven = |stream: Option<&str>| Said {
        stream: stream.map(str::to_owned),
        ..numbered(7)
    };
    two.hears(0, 20, seven(Some("a")));
    two.change(21);
    two.hears(1, 22, seven(stream));
    two.1
        .metric(Metric::Fanout)
        .map_or(0, crate::histogram::Histogram::count)
}

#[test]
fn a_number_that_another_tab_of_the_stream_had_before_the_change_does_not_confirm_it() {
    assert_eq!(confirmed_by_seven(Some("a")), 0);
    // Another instance of the server counts by itself.
    assert_eq!(confirmed_by_seven(Some("b")), 1);
    assert_eq!(confirmed_by_seven(None), 1);
}
