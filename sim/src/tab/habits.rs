//! What a page does by itself: commands on open and on `init`, pings, coming back (PROTOCOL B7).

use std::time::Duration;

use serde_json::{Value, json};

use crate::scenario::people::{Client, ClientSettings};

/// A tab's own behaviour. Durations are scenario time.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    pub(crate) on_open: Vec<Value>,
    pub(crate) on_init: Vec<Value>,
    pub(crate) ping: Option<Duration>,
    pub(crate) reconnect_on: Vec<u16>,
    pub(crate) reconnect_after: Duration,
    pub(crate) resume: bool,
}

impl Habits {
    /// What the deployed page does.
    fn page() -> Self {
        Self {
            on_open: vec![json!({ "type": "pullSessionStatusV2", "data": {} })],
            on_init: vec![json!({ "type": "init", "data": { "requestServerVersion": true } })],
            ping: Some(Duration::from_secs(45)),
            reconnect_on: vec![1006, 4000],
            reconnect_after: Duration::from_secs(10),
            resume: false,
        }
    }

    fn bare() -> Self {
        Self {
            on_open: Vec::new(),
            on_init: Vec::new(),
            ping: None,
            reconnect_on: Vec::new(),
            reconnect_after: Duration::from_secs(10),
            resume: false,
        }
    }

    /// What a scenario's `client` asks for.
    pub(crate) fn of(client: &Client) -> Self {
        match client {
            Client::Page => Self::page(),
            Client::Bare => Self::bare(),
            Client::Custom(settings) => Self::page().with(settings),
        }
    }

    fn with(self, settings: &ClientSettings) -> Self {
        let ping = settings
            .ping
            .map_or(self.ping, |span| Some(span.0).filter(|ping| !ping.is_zero()));
        Self {
            on_open: settings.on_open.clone().unwrap_or(self.on_open),
            on_init: settings.on_init.clone().unwrap_or(self.on_init),
            ping,
            reconnect_on: settings.reconnect_on.clone().unwrap_or(self.reconnect_on),
            reconnect_after: settings
                .reconnect_after
                .map_or(self.reconnect_after, |span| span.0),
            resume: settings.resume.unwrap_or(self.resume),
        }
    }

    /// How long to stay away before attempt `attempt` (from 1) to come back, or never.
    ///
    /// A reason of `retry_ms=<n>` says so itself; else 10 s × 1.5ⁿ, counted before use as the page does.
    pub(crate) fn delay(&self, code: u16, reason: &str, attempt: u32) -> Option<Duration> {
        if !self.reconnect_on.contains(&code) {
            return None;
        }
        if let Some(told) = reason.strip_prefix("retry_ms=").and_then(|ms| ms.parse().ok()) {
            return Some(Duration::from_millis(told));
        }
        // An hour is far beyond any scenario's patience, and keeps the power from overflowing.
        let exponent = i32::try_from(attempt.min(20)).unwrap_or(20);
        Some(
            self.reconnect_after
                .mul_f64(1.5_f64.powi(exponent))
                .min(Duration::from_hours(1)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_comes_back_later_each_time() {
        let page = Habits::page();

        let delays: Vec<_> = (1..4)
            .map(|attempt| page.delay(1006, "", attempt).unwrap().as_secs_f64())
            .collect();

        assert_eq!(delays, [15.0, 22.5, 33.75]);
        assert_eq!(page.delay(4001, "", 1), None);
    }

    #[test]
    fn a_told_delay_is_kept() {
        let settings = ClientSettings {
            reconnect_on: Some(vec![1012]),
            ..ClientSettings::default()
        };
        let tab = Habits::of(&Client::Custom(settings));

        assert_eq!(
            tab.delay(1012, "retry_ms=250", 1),
            Some(Duration::from_millis(250))
        );
    }
}
