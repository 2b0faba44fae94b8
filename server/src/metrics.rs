//! What the server counts, in the form that Prometheus reads.

use std::sync::Mutex;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

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

/// All that is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) tabs: Gauge,
    pub(crate) channels: Gauge,
    pub(crate) turns: Family<Turn, Counter>,
    pub(crate) calls: Family<Call, Counter>,
    pub(crate) closes: Family<Closed, Counter>,
    pub(crate) notifications: Counter,
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

    pub(crate) fn called(&self, route: &'static str, result: &'static str) {
        self.calls.get_or_create(&Call { route, result }).inc();
    }
}
