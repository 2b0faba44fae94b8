//! What the server counts and measures, in the form that Prometheus reads, with the names and units of its
//! conventions: seconds, bytes, `_total`.

use std::{sync::Mutex, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use tokio::time::Instant;

use crate::coordinator::Rank;

/// From a call inside one machine to the longest that is waited for an answer, in seconds.
const DURATIONS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
/// Up to the usual bound of an outbox, in messages.
const MESSAGES: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
/// And in bytes.
const BYTES: [f64; 6] = [256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0];

/// A loop and how a turn of it went.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Turn {
    /// `short` or `long`.
    pub(crate) kind: &'static str,
    /// `begun` or `overrun`.
    pub(crate) result: &'static str,
}

/// An upstream route and how a call of it went.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Call {
    /// As `sessions_v2`.
    pub(crate) route: &'static str,
    /// `ok`, `refused`, `unusable` or `failed`.
    pub(crate) result: &'static str,
}

/// An upstream route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Route {
    /// As `sessions_v2`.
    pub(crate) route: &'static str,
}

/// A loop.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Loop {
    /// `short` or `long`.
    pub(crate) kind: &'static str,
}

/// Why a handshake was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Refused {
    /// `form`, `version`, `origin`, `draining`, `places` or `address`.
    pub(crate) reason: &'static str,
}

/// A close code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Closed {
    /// As `4001`.
    pub(crate) code: u16,
}

/// What an instance became for a user.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Ranked {
    /// `leads`, `follows` or `alone`.
    pub(crate) rank: &'static str,
}

/// All that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) tabs: Gauge,
    pub(crate) channels: Gauge,
    pub(crate) turns: Family<Turn, Counter>,
    pub(crate) calls: Family<Call, Counter>,
    pub(crate) closes: Family<Closed, Counter>,
    pub(crate) messages: Counter,
    pub(crate) superseded: Counter,
    pub(crate) events_left_out: Counter,
    pub(crate) ranks: Family<Ranked, Counter>,
    pub(crate) led: Gauge,
    pub(crate) stale_writes: Counter,
    pub(crate) coordinator_up: Gauge,
    pub(crate) connections: Gauge,
    refused: Family<Refused, Counter>,
    turn_duration: Family<Loop, Histogram, fn() -> Histogram>,
    call_duration: Family<Route, Histogram, fn() -> Histogram>,
    delay: Histogram,
    depth_messages: Histogram,
    depth_bytes: Histogram,
    registry: Mutex<Registry>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            tabs: Gauge::default(),
            channels: Gauge::default(),
            turns: Family::default(),
            calls: Family::default(),
            closes: Family::default(),
            messages: Counter::default(),
            superseded: Counter::default(),
            events_left_out: Counter::default(),
            ranks: Family::default(),
            led: Gauge::default(),
            stale_writes: Counter::default(),
            coordinator_up: Gauge::default(),
            connections: Gauge::default(),
            refused: Family::default(),
            turn_duration: Family::new_with_constructor(durations),
            call_duration: Family::new_with_constructor(durations),
            delay: durations(),
            depth_messages: Histogram::new(MESSAGES),
            depth_bytes: Histogram::new(BYTES),
            registry: Mutex::default(),
        };
        let mut registry = Registry::with_prefix("polytab");
        registry.register("tabs", "Tabs connected now", metrics.tabs.clone());
        registry.register(
            "channels",
            "Users with at least one tab",
            metrics.channels.clone(),
        );
        registry.register(
            "turns",
            "Turns of the loops, by loop and result",
            metrics.turns.clone(),
        );
        registry.register(
            "upstream_calls",
            "Calls of the services, by route and result",
            metrics.calls.clone(),
        );
        registry.register(
            "closes",
            "Tabs closed by the server, by close code",
            metrics.closes.clone(),
        );
        registry.register("messages", "Messages put into outboxes", metrics.messages.clone());
        registry.register(
            "messages_superseded",
            "Notifications left out of a full outbox, as a later one of their type says all that they did",
            metrics.superseded.clone(),
        );
        registry.register(
            "events_left_out",
            "Events of GitLab that were longer than an outbox could take",
            metrics.events_left_out.clone(),
        );
        metrics.register_instances(&mut registry);
        metrics.register_measured(&mut registry);
        *metrics
            .registry
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = registry;
        metrics
    }

    fn register_instances(&self, registry: &mut Registry) {
        registry.register(
            "lease_changes",
            "Changes of what this instance is for a user, by what it became",
            self.ranks.clone(),
        );
        registry.register(
            "channels_led",
            "Users for whom this instance asks the services, for all instances",
            self.led.clone(),
        );
        registry.register(
            "stale_writes",
            "What this instance learned for a user and could not share, as another led by then",
            self.stale_writes.clone(),
        );
        registry.register(
            "coordinator_up",
            "1 while the other instances can be reached",
            self.coordinator_up.clone(),
        );
    }

    fn register_measured(&self, registry: &mut Registry) {
        registry.register(
            "connections",
            "Connections held now, upgraded or not",
            self.connections.clone(),
        );
        registry.register(
            "handshakes_refused",
            "Upgrades refused, and connections closed at accept, by reason",
            self.refused.clone(),
        );
        registry.register_with_unit(
            "turn_duration",
            "From the beginning of a turn to the last answer, by loop",
            Unit::Seconds,
            self.turn_duration.clone(),
        );
        registry.register_with_unit(
            "upstream_call_duration",
            "From a call to the end of its answer (of its head, for an event stream), by route",
            Unit::Seconds,
            self.call_duration.clone(),
        );
        registry.register_with_unit(
            "notification_delay",
            "From a reading or event to the outboxes of all tabs concerned",
            Unit::Seconds,
            self.delay.clone(),
        );
        registry.register(
            "outbox_depth_messages",
            "Messages in the fullest outbox concerned, at each notification",
            self.depth_messages.clone(),
        );
        registry.register(
            "outbox_depth_bytes",
            "Bytes in the fullest outbox concerned, at each notification",
            self.depth_bytes.clone(),
        );
    }

    /// The text that Prometheus scrapes.
    pub(crate) fn text(&self) -> String {
        let registry = self
            .registry
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut text = String::new();
        // Writing to a string cannot fail.
        encode(&mut text, &registry).expect("a string takes any text");
        text
    }

    /// An instance becomes something else for a user.
    pub(crate) fn ranked(&self, before: Rank, now: Rank) {
        if matches!(before, Rank::Leads(_)) {
            self.led.dec();
        }
        if matches!(now, Rank::Leads(_)) {
            self.led.inc();
        }
        self.ranks.get_or_create(&Ranked { rank: now.word() }).inc();
    }

    /// A call that began then is over.
    pub(crate) fn called(&self, route: &'static str, result: &'static str, since: Instant) {
        self.calls.get_or_create(&Call { route, result }).inc();
        self.call_duration
            .get_or_create(&Route { route })
            .observe(since.elapsed().as_secs_f64());
    }

    /// A turn of this loop is over.
    pub(crate) fn turned(&self, kind: &'static str, took: Duration) {
        self.turn_duration
            .get_or_create(&Loop { kind })
            .observe(took.as_secs_f64());
    }

    /// A notification lies in the outboxes of all tabs concerned, the fullest of which holds so many messages and bytes.
    pub(crate) fn notified(&self, delay: Duration, (messages, bytes): (usize, usize)) {
        self.delay.observe(delay.as_secs_f64());
        self.depth_messages.observe(number(messages));
        self.depth_bytes.observe(number(bytes));
    }

    /// An upgrade was refused for this reason, or a connection closed before it.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Refused { reason }).inc();
    }
}

fn durations() -> Histogram {
    Histogram::new(DURATIONS)
}

/// Outboxes are bounded far below the numbers that a float does not hold.
fn number(count: usize) -> f64 {
    u32::try_from(count).unwrap_or(u32::MAX).into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const DASHBOARD: &str = include_str!("../../deploy/grafana/polytab-server.json");
    const PAGE: &str = include_str!("../../docs/operations.md");

    /// Every metric with a sample.
    fn exported() -> String {
        let metrics = Metrics::new();
        let turn = Turn {
            kind: "short",
            result: "begun",
        };
        metrics.turns.get_or_create(&turn).inc();
        metrics.closes.get_or_create(&Closed { code: 4008 }).inc();
        metrics.called("sessions_v2", "ok", Instant::now());
        metrics.turned("short", Duration::from_millis(30));
        metrics.notified(Duration::from_millis(2), (3, 900));
        metrics.refused("origin");
        metrics.text()
    }

    /// The names of metrics that a text speaks of.
    fn names(text: &str) -> BTreeSet<&str> {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| word.starts_with("polytab_"))
            .collect()
    }

    /// The names of samples, as they are queried.
    fn samples(text: &str) -> BTreeSet<&str> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| line.split(['{', ' ']).next()).collect()
    }

    #[test]
    fn names_and_units_follow_the_conventions_of_prometheus() {
        let text = exported();

        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            let help = format!("# HELP {name} ");
            assert!(text.contains(&help), "`{name}` has no help");
            let unit = kind != "histogram"
                || ["_seconds", "_bytes", "_messages"]
                    .iter()
                    .any(|unit| name.ends_with(unit));
            assert!(unit, "`{name}` has no unit");
            assert!(
                kind != "counter" || text.contains(&format!("{name}_total")),
                "{name}"
            );
        }
        assert!(
            text.contains("polytab_notification_delay_seconds_sum 0.002\n"),
            "{text}"
        );
        assert!(
            text.contains("polytab_handshakes_refused_total{reason=\"origin\"} 1\n"),
            "{text}"
        );
    }

    #[test]
    fn the_dashboard_queries_only_what_is_exported() {
        let text = exported();
        let exported = samples(&text);

        let queried = names(DASHBOARD);

        assert!(queried.len() > 10, "{queried:?}");
        let unknown: Vec<_> = queried.difference(&exported).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn the_page_for_operators_names_all_that_is_exported() {
        let text = exported();
        let parts = ["_bucket", "_sum", "_count"];
        let base = |name: &&str| !parts.iter().any(|part| name.ends_with(part));

        let missing: Vec<_> = samples(&text)
            .into_iter()
            .filter(base)
            .filter(|name| !names(PAGE).contains(name))
            .collect();
        let histograms = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" histogram"));
        let unnamed: Vec<_> = histograms.filter(|name| !names(PAGE).contains(name)).collect();

        assert_eq!((missing, unnamed), (vec![], vec![]));
    }
}
