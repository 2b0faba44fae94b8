//! What an `expect` holds of small records.

use serde_json::json;

use super::{
    expect::{OpenExpect, Standing, Until},
    record::Record,
    words::clock_text,
};
use crate::{
    events::{Closer, Event, Frame, Kind},
    pattern::Pattern,
    scenario::{
        claim::{Clause, Closed, Expect, Others},
        located::Located,
        step::Names,
    },
};

fn pattern(kind: &str) -> Located<Pattern> {
    Located {
        at: 0..0,
        value: Pattern::compile(&json!({ "type": kind })).unwrap(),
    }
}

fn patterns(kinds: &[&str]) -> Vec<Located<Pattern>> {
    kinds.iter().map(|kind| pattern(kind)).collect()
}

fn expect(clause: Clause) -> Expect {
    Expect {
        within: None,
        since: None,
        skew: None,
        others: None,
        all: None,
        tabs: clause.tabs,
        exactly: clause.exactly,
        contains: clause.contains,
        nothing: clause.nothing,
        any_order: clause.any_order,
        closed: clause.closed,
        stays_open: clause.stays_open,
    }
}

/// A record in which tabs A and B are open and A then saw messages of these types, one every second.
fn record(kinds: &[&str]) -> Record {
    let mut record = Record::new(["A".to_owned(), "B".to_owned()], Vec::new());
    let mut kinds: Vec<_> = kinds.iter().map(|kind| received("A", kind)).collect();
    kinds.splice(
        0..0,
        ["A", "B"].map(|tab| Kind::TabOpened {
            tab: tab.to_owned(),
            life: 1,
        }),
    );
    add(&mut record, kinds);
    record
}

fn add(record: &mut Record, kinds: impl IntoIterator<Item = Kind>) {
    for kind in kinds {
        let seq = record.next;
        record.observe(&Event {
            seq,
            at_ms: seq * 1000,
            kind,
        });
    }
}

fn received(tab: &str, kind: &str) -> Kind {
    let message = Frame::Json(json!({ "type": kind }));
    Kind::TabReceived {
        tab: tab.to_owned(),
        life: 1,
        message,
        secrets: Vec::new(),
    }
}

fn closed(tab: &str, code: u16, by: Closer) -> Kind {
    Kind::TabClosed {
        tab: tab.to_owned(),
        life: 1,
        code,
        reason: String::new(),
        by,
        back_ms: None,
    }
}

fn judge(clause: Clause, record: &mut Record, until: Until) -> Result<bool, String> {
    let open = OpenExpect::open(&expect(clause), record, (1, |_| 1), 0);
    match open.judge(record, until, 9000) {
        Standing::Open => Ok(false),
        Standing::Met => Ok(true),
        Standing::Unmet(failures) => Err(failures[0].message.clone()),
    }
}

fn on_a(clause: Clause) -> Clause {
    Clause {
        tabs: Some(Names::One("A".to_owned())),
        ..clause
    }
}

#[test]
fn contains_is_met_as_soon_as_it_is_seen_and_claims_up_to_there() {
    let mut record = record(&["init", "version", "ack"]);

    let met = judge(
        on_a(Clause {
            contains: Some(patterns(&["version"])),
            ..Clause::default()
        }),
        &mut record,
        Until::Now,
    );

    assert_eq!(met, Ok(true));
    let rest = judge(
        on_a(Clause {
            exactly: Some(patterns(&["ack"])),
            ..Clause::default()
        }),
        &mut record,
        Until::End,
    );
    assert_eq!(rest, Ok(true));
}

#[test]
fn a_tab_that_was_closed_before_is_said_to_be_so() {
    let mut record = record(&[]);
    add(&mut record, [closed("A", 4001, Closer::Server)]);
    let clause = on_a(Clause {
        exactly: Some(patterns(&["init"])),
        ..Clause::default()
    });

    let open = OpenExpect::open(&expect(clause), &record, (1, |_| 1), 5000);
    let Standing::Unmet(failures) = open.judge(&mut record, Until::End, 9000) else {
        panic!("it saw nothing");
    };

    assert_eq!(
        failures[0].message,
        "tab A saw nothing where exactly 1 was expected; it has been closed since +2.000s (4001)"
    );
}

#[test]
fn a_tab_on_its_way_back_is_looked_at_and_one_that_left_is_not() {
    let mut record = record(&[]);
    let broken = Kind::TabClosed {
        tab: "A".to_owned(),
        life: 1,
        code: 1006,
        reason: String::new(),
        by: Closer::Network,
        back_ms: Some(15_000),
    };
    add(&mut record, [broken, closed("B", 1001, Closer::Tab)]);
    let clause = || Clause {
        exactly: Some(patterns(&["init"])),
        ..Clause::default()
    };

    let away = judge(clause(), &mut record.clone(), Until::End);
    let open = OpenExpect::open(&expect(clause()), &record, (1, |_| 1), 0);
    let back = Kind::TabOpened {
        tab: "A".to_owned(),
        life: 2,
    };
    add(&mut record, [back, received("A", "init")]);

    assert_eq!(
        away,
        Err("tab A saw nothing where exactly 1 was expected".to_owned())
    );
    assert_eq!(open.judge(&mut record, Until::End, 9000), Standing::Met);
}

#[test]
fn without_a_tab_to_look_at_nothing_holds() {
    let mut record = record(&[]);
    let left = Kind::TabLeaving {
        tab: "A".to_owned(),
        life: 1,
    };
    add(&mut record, [left, closed("B", 4001, Closer::Server)]);

    let seen = judge(
        Clause {
            nothing: Some(true),
            ..Clause::default()
        },
        &mut record,
        Until::End,
    );

    assert!(seen.unwrap_err().starts_with("no tab is open or on its way back"));
}

#[test]
fn exactly_stays_to_the_end_and_minds_one_message_too_many() {
    let clause = || {
        on_a(Clause {
            exactly: Some(patterns(&["init"])),
            ..Clause::default()
        })
    };

    assert_eq!(judge(clause(), &mut record(&["init"]), Until::Now), Ok(false));
    assert_eq!(judge(clause(), &mut record(&["init"]), Until::End), Ok(true));
    assert_eq!(
        judge(clause(), &mut record(&["init", "ack"]), Until::Now),
        Err("tab A saw 2 messages where exactly 1 was expected".to_owned())
    );
    assert_eq!(
        judge(clause(), &mut record(&[]), Until::End),
        Err("tab A saw nothing where exactly 1 was expected".to_owned())
    );
}

#[test]
fn any_order_takes_each_message_once() {
    let clause = |kinds: &[&str]| {
        on_a(Clause {
            exactly: Some(patterns(kinds)),
            any_order: Some(true),
            ..Clause::default()
        })
    };

    assert_eq!(
        judge(clause(&["b", "a"]), &mut record(&["a", "b"]), Until::End),
        Ok(true)
    );
    assert!(judge(clause(&["a", "a"]), &mut record(&["a", "b"]), Until::End).is_err());
}

#[test]
fn nothing_fails_at_the_first_message() {
    let clause = || {
        on_a(Clause {
            nothing: Some(true),
            ..Clause::default()
        })
    };

    assert!(judge(clause(), &mut record(&["a"]), Until::Now).is_err());
    assert_eq!(judge(clause(), &mut record(&[]), Until::End), Ok(true));
}

#[test]
fn a_close_by_the_tab_itself_is_not_a_close_by_the_server() {
    let clause = || {
        on_a(Clause {
            closed: Some(Closed::Code(4001)),
            ..Clause::default()
        })
    };
    let mut left = record(&[]);
    add(&mut left, [closed("A", 4001, Closer::Tab)]);
    let mut ended = record(&[]);
    add(&mut ended, [closed("A", 4001, Closer::Server)]);

    assert!(judge(clause(), &mut left, Until::End).is_err());
    assert_eq!(judge(clause(), &mut ended, Until::Now), Ok(true));
    assert!(
        judge(
            on_a(Clause {
                stays_open: Some(true),
                ..Clause::default()
            }),
            &mut left,
            Until::End
        )
        .is_err()
    );
}

#[test]
fn others_are_judged_from_the_last_step_that_did_something() {
    let mut record = record(&[]);
    let step = |acting| Kind::StepStarted {
        step: "1".to_owned(),
        line: 1,
        acting,
        text: String::new(),
    };
    add(
        &mut record,
        [received("B", "old"), step(true), received("A", "init")],
    );
    let mut expect = expect(on_a(Clause {
        contains: Some(patterns(&["init"])),
        ..Clause::default()
    }));
    expect.others = Some(Others::Nothing);

    let open = OpenExpect::open(&expect, &record, (1, |_| 1), 0);

    assert_eq!(open.judge(&mut record, Until::Now, 9000), Standing::Open);
    add(&mut record, [step(false), received("B", "new")]);
    assert!(matches!(
        open.judge(&mut record, Until::Now, 9000),
        Standing::Unmet(_)
    ));
}

#[test]
fn skew_is_the_time_between_the_first_and_the_last_tab() {
    let mut record = record(&["x"]);
    add(&mut record, [received("B", "x")]);
    let clause = Clause {
        contains: Some(patterns(&["x"])),
        ..Clause::default()
    };
    let with_skew = |ms| Expect {
        skew: Some(crate::scenario::window::Span(std::time::Duration::from_millis(
            ms,
        ))),
        ..expect(clause.clone())
    };

    let tight = OpenExpect::open(&with_skew(500), &record, (1, |_| 1), 0);
    let loose = OpenExpect::open(&with_skew(1000), &record, (1, |_| 1), 0);
    let on_a_busy_machine =
        |slack_ms| OpenExpect::open(&with_skew(500), &record, (1, |_| 1), 0).with_slack(slack_ms);
    let [still_tight, loosened] = [499, 500].map(on_a_busy_machine);

    for tight in [tight, still_tight] {
        let standing = tight.judge(&mut record, Until::End, 9000);
        assert!(matches!(standing, Standing::Unmet(_)), "{standing:?}");
    }
    assert_eq!(
        loosened.judge(&mut record.clone(), Until::End, 9000),
        Standing::Met
    );
    assert_eq!(loose.judge(&mut record, Until::End, 9000), Standing::Met);
}

#[test]
fn scenario_times_are_readable() {
    assert_eq!(clock_text(250), "+0.250s");
    assert_eq!(clock_text(63_250), "+1m03.250s");
    assert_eq!(clock_text(600_000), "+10m00.000s");
}

#[test]
fn a_tab_whose_end_was_not_judged_is_one_of_all_tabs() {
    let stays_open = || Clause {
        stays_open: Some(true),
        ..Clause::default()
    };
    let mut unjudged = record(&[]);
    add(&mut unjudged, [closed("B", 4003, Closer::Server)]);
    let mut left = record(&[]);
    add(&mut left, [closed("B", 1000, Closer::Tab)]);
    let mut judged = record(&[]);
    add(&mut judged, [closed("B", 4003, Closer::Server)]);
    let of_b = Clause {
        tabs: Some(Names::One("B".to_owned())),
        closed: Some(Closed::Code(4003)),
        ..Clause::default()
    };
    assert_eq!(judge(of_b, &mut judged, Until::End), Ok(true));

    assert_eq!(
        judge(stays_open(), &mut unjudged, Until::End),
        Err("tab B was to stay open, but was closed with 4003".to_owned())
    );
    assert_eq!(judge(stays_open(), &mut left, Until::End), Ok(true));
    assert_eq!(judge(stays_open(), &mut judged, Until::End), Ok(true));
}
