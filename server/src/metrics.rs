//! What the server counts, in the form that Prometheus reads.

use std::sync::Mutex;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::coordinator::Rank;

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
    /// `ok`, `unusable` or `failed`.
    pub(crate) result: &'static str,
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
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) tabs: Gauge,
    pub(crate) channels: Gauge,
    pub(crate) turns: Family<Turn, Counter>,
    pub(crate) calls: Family<Call, Counter>,
    pub(crate) closes: Family<Closed, Counter>,
    pub(crate) notifications: Counter,
    pub(crate) ranks: Family<Ranked, Counter>,
    pub(crate) led: Gauge,
    pub(crate) stale_writes: Counter,
    pub(crate) coordinator_up: Gauge,
    registry: Mutex<Registry>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let metrics = Self::default();
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
        registry.register(
            "messages",
            "Messages put into outboxes",
            metrics.notifications.clone(),
        );
        registry.register(
            "lease_changes",
            "Changes of what this instance is for a user, by what it became",
            metrics.ranks.clone(),
        );
        registry.register(
            "channels_led",
            "Users for whom this instance asks the services, for all instances",
            metrics.led.clone(),
        );
        registry.register(
            "stale_writes",
            "What this instance learned for a user and could not share, as another led by then",
            metrics.stale_writes.clone(),
        );
        registry.register(
            "coordinator_up",
            "1 while the other instances can be reached",
            metrics.coordinator_up.clone(),
        );
        *metrics
            .registry
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = registry;
        metrics
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

    pub(crate) fn called(&self, route: &'static str, result: &'static str) {
        self.calls.get_or_create(&Call { route, result }).inc();
    }
}
