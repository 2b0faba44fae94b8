//! Tests of thresholds.

use super::*;

#[test]
fn what_is_missed_for_good_is_told_from_what_may_still_come() {
    for (text, may_still_hold) in [
        ("opens >= 2000", true),
        ("opens == 2000", true),
        ("opens == 999", false),
        ("opens < 1000", false),
        ("reply.p99 < 1ms", true),
        ("fanout.p99 < 1ms", false),
        ("fanout.count > 100", true),
    ] {
        let threshold: Threshold = text.parse().unwrap();
        assert_eq!(threshold.may_still_hold(&tally()), may_still_hold, "{text}");
    }
}

fn tally() -> Tally {
    let mut tally = Tally::default();
    for millis in 1..=100 {
        tally.record(Metric::Fanout, Duration::from_millis(millis));
    }
    tally.add_count(Count::Opens, 1000);
    tally.fail(Count::RefusedOpens, "refused");
    tally.add_count(Count::Polls, 210);
    tally.add_count(Count::Turns, 200);
    tally
}

#[test]
fn thresholds_are_judged() {
    for (text, outcome, seen) in [
        ("fanout.p99 < 100ms", Outcome::Held, "99.0 ms"),
        ("fanout.p99<99ms", Outcome::Missed, "99.0 ms"),
        ("fanout.p50 <= 0.06s", Outcome::Held, "50.0 ms"),
        ("fanout.max >= 100ms", Outcome::Held, "100 ms"),
        ("fanout.count == 100", Outcome::Held, "100"),
        ("missed == 0", Outcome::Held, "0"),
        ("failed_opens == 0", Outcome::Missed, "1"),
        ("errors < 0.1%", Outcome::Missed, "0.100%"),
        ("errors <= 1", Outcome::Held, "1"),
        ("polls_per_user_and_turn <= 1.05", Outcome::Held, "1.050"),
        ("connect.p99 < 1s", Outcome::NotMeasured, "nothing"),
    ] {
        let judged = text
            .parse::<Threshold>()
            .unwrap()
            .judge(&tally(), &Intent::default());
        assert_eq!((judged.outcome, judged.seen.as_str()), (outcome, seen), "{text}");
    }
}

#[test]
fn a_zero_needs_evidence_and_a_mistake_is_evidence() {
    let mut tally = Tally::default();
    let outcome = |tally: &Tally, text: &str| {
        let threshold = text.parse::<Threshold>().unwrap();
        threshold.judge(tally, &Intent::default()).outcome
    };
    let names = [
        "missed",
        "doubled",
        "out_of_order",
        "cross_user",
        "errors",
        "unanswered",
        "lost",
    ];

    for name in names {
        assert_eq!(
            outcome(&tally, &format!("{name} == 0")),
            Outcome::NotMeasured,
            "{name}"
        );
        assert_eq!(
            outcome(&tally, &format!("{name} >= 1")),
            Outcome::Missed,
            "{name}"
        );
    }
    tally.count(Count::Doubled);
    tally.count(Count::Marked);

    assert_eq!(outcome(&tally, "doubled == 0"), Outcome::Missed);
    assert_eq!(outcome(&tally, "cross_user == 0"), Outcome::Held);
}

#[test]
fn names_of_measures_are_checked() {
    for (name, is_one) in [
        ("missed", true),
        ("fanout", true),
        ("fanout.p99", true),
        ("errors", true),
        ("mised", false),
    ] {
        assert_eq!(check_name(name).is_ok(), is_one, "{name}");
    }
}

#[test]
fn what_is_no_threshold_is_told_with_a_mend() {
    for (text, part) in [
        ("fanout", "compares nothing"),
        ("fanout = 3ms", "compares nothing"),
        (
            "fanot.p99 < 3ms",
            "nothing is measured or counted as `fanot.p99`; durations are",
        ),
        ("fanout < 3ms", "no such statistic; write `p50`"),
        ("fanout.p101 < 3ms", "no such statistic"),
        (
            "fanout.p99 < 3",
            "cannot be compared with `fanout.p99`; write a duration",
        ),
        ("missed == 0ms", "write a number"),
        ("errors < 200%", "a part, as `0.1%`"),
        ("missed == -1", "write a number"),
    ] {
        let error = text.parse::<Threshold>().unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}
