//! The medians of all rounds, as Markdown.

use std::fmt::Write;

use anyhow::bail;

use crate::{Arguments, measure::Figures, server::Kind};

/// What is asked of the reference server: kilobytes of a tab, and processor time of a notification and of a ping as
/// multiples of the bare axum server's.
const AIMS: (f64, f64, f64) = (12.0, 1.5, 1.6);
/// Messages of two servers may differ by so many bytes: sequence numbers and epochs grow.
const BYTES: f64 = 4.0;

/// Fails if one server's messages are larger than another's.
pub(crate) fn check_sizes(results: &[(Kind, Vec<Figures>)]) -> anyhow::Result<()> {
    for size in [
        |figures: &Figures| figures.notification.bytes,
        |figures: &Figures| figures.ping.bytes,
    ] {
        let all = results.iter().flat_map(|(_, figures)| figures.iter().map(size));
        let (least, most) = all.fold((f64::MAX, f64::MIN), |(least, most), size| {
            (least.min(size), most.max(size))
        });
        if most - least > BYTES {
            bail!("the servers' messages differ in size: {least:.1} to {most:.1} bytes");
        }
    }
    Ok(())
}

/// The tables, and whether the aims are met.
pub(crate) fn markdown(results: &[(Kind, Vec<Figures>)], arguments: &Arguments) -> String {
    let bare = results.iter().find(|(kind, _)| *kind == Kind::Axum);
    let beside = |own: &[Figures], of: fn(&Figures) -> f64| match bare {
        Some((_, bare)) => figure(middle(ratios((own, bare), of)), 2),
        None => figure(f64::NAN, 2),
    };
    let notification: fn(&Figures) -> f64 = |figures| figures.notification.net_us;
    let ping: fn(&Figures) -> f64 = |figures| figures.ping.net_us;
    let mut text = format!(
        "{} tabs of {} users; medians of {} rounds.\n\n\
         | server | kB per tab | CPU per notification, µs | to {} tabs, ms | × bare axum | CPU per ping, µs | × bare axum |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        arguments.tab_count(),
        arguments.users,
        arguments.rounds,
        arguments.tab_count(),
    );
    let mut rest =
        "\n| server | kB per tab after load | idle, % of a core | notification with idle work, µs | \
                    × bare axum | ping with idle work, µs | × bare axum | to all at once, µs |\n\
                    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
            .to_owned();
    let whole_notification: fn(&Figures) -> f64 = |figures| figures.notification.whole_us;
    let whole_ping: fn(&Figures) -> f64 = |figures| figures.ping.whole_us;
    for (kind, figures) in results {
        let of = |what: fn(&Figures) -> f64| median(figures, what);
        let (name, told, pinged) = (kind.name(), of(notification), of(ping));
        let (told_whole, pinged_whole) = (of(whole_notification), of(whole_ping));
        let at_once = of(|figures| figures.at_once.map_or(f64::NAN, |cost| cost.net_us));
        // Writing to a text never fails.
        writeln!(
            text,
            "| {name} | {:.1} | {told:.1} | {:.0} | {} | {pinged:.1} | {} |",
            of(|figures| figures.tab_kb),
            told * f64::from(arguments.tab_count()) / 1000.0,
            beside(figures, notification),
            beside(figures, ping),
        )
        .ok();
        writeln!(
            rest,
            "| {name} | {:.1} | {:.2} | {told_whole:.1} | {} | {pinged_whole:.1} | {} | {} |",
            of(|figures| figures.tab_kb_after),
            of(|figures| figures.idle) * 100.0,
            beside(figures, whole_notification),
            beside(figures, whole_ping),
            figure(at_once, 1),
        )
        .ok();
    }
    text + &rest + &verdict(results)
}

/// A figure with so many decimals, if there is one.
fn figure(found: f64, decimals: usize) -> String {
    if found.is_nan() {
        "–".to_owned()
    } else {
        format!("{found:.decimals$}")
    }
}

/// Whether the aims are met, as far as it can be said.
fn verdict(results: &[(Kind, Vec<Figures>)]) -> String {
    let of = |wanted: Kind| {
        results
            .iter()
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, figures)| figures)
    };
    let (Some(own), Some(bare)) = (of(Kind::Polytab), of(Kind::Axum)) else {
        return String::new();
    };
    let (kb, fanout, echo) = AIMS;
    let polls = median(own, |figures| figures.polls.unwrap_or(f64::NAN));
    let mut text = format!("\nBackend calls per user and turn: {polls:.3}\n\nAims:\n\n");
    let mut line = |name: &str, found: &[f64], aim: f64| {
        let median = middle(found.to_vec());
        let (least, most) = found.iter().fold((f64::MAX, f64::MIN), |(least, most), one| {
            (one.min(least), one.max(most))
        });
        let word = match median {
            // Load that seems to cost nothing was not measured.
            _ if found.iter().any(|one| one.is_nan()) => "not to be said, for the machine was not quiet",
            median if median <= aim => "met",
            _ => "missed",
        };
        writeln!(
            text,
            "- {name}: {median:.2} ({least:.2} to {most:.2}), at most {aim}: {word}"
        )
        .ok();
    };
    let memory: Vec<_> = own.iter().map(|figures| figures.tab_kb).collect();
    line("kB per tab", &memory, kb);
    let told = ratios((own, bare), |figures| figures.notification.net_us);
    line("notification, × bare axum", &told, fanout);
    let pinged = ratios((own, bare), |figures| figures.ping.net_us);
    line("ping, × bare axum", &pinged, echo);
    text
}

/// How many times another server's figure, in each of the rounds, in which both were measured one after the other: a
/// machine is not the same in all rounds. What is not above nothing was not measured, and its ratio is no number.
fn ratios((own, other): (&[Figures], &[Figures]), of: fn(&Figures) -> f64) -> Vec<f64> {
    let measured = |figures: &Figures| {
        Some(of(figures))
            .filter(|figure| *figure > 0.0)
            .unwrap_or(f64::NAN)
    };
    let rounds = own.iter().zip(other);
    rounds
        .map(|(own, other)| measured(own) / measured(other))
        .collect()
}

/// The median of a figure.
fn median(figures: &[Figures], of: fn(&Figures) -> f64) -> f64 {
    middle(figures.iter().map(of).collect())
}

fn middle(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    match all.len() % 2 {
        0 => f64::midpoint(all[middle - 1], all[middle]),
        _ => all[middle],
    }
}
