//! The target: the server under test, what it can do, and how its time relates to the scenarios'.

use std::{collections::BTreeSet, time::Duration};

use serde::Deserialize;
use thiserror::Error;
use url::{Host, Url};

use crate::scenario::{
    model::Capability,
    window::{Intervals, Span},
};

/// Which clock a run is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockKind {
    /// Hours pass in milliseconds; everything in one process, in memory.
    Virtual,
    /// As on a wall, over TCP.
    Real,
}

impl ClockKind {
    /// The word on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Virtual => "virtual",
            Self::Real => "real",
        }
    }
}

/// The server under test.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name in reports.
    pub name: String,
    /// Where it listens; none for the reference server, which every run starts for itself.
    pub url: Option<Url>,
    /// Where a browser begins to sign in, on the target's host.
    pub login: String,
    /// Where a browser signs out.
    pub logout: String,
    /// Name of its session cookie; without it, that of the cookies which a sign-in sets.
    pub cookie: Option<String>,
    /// What it can do.
    pub capabilities: BTreeSet<Capability>,
    /// How many times shorter its intervals are than those in the scenarios; every duration of a scenario is divided
    /// by it.
    pub speed: u32,
    /// Its intervals in scenario time, for windows written as multiples of them.
    pub intervals: Intervals,
    /// Real time added to the end of every window and to every skew, for scheduling and the network; none on the
    /// virtual clock.
    pub slack: Duration,
}

/// A target as `polytab.toml` describes it.
///
/// ```toml
/// [target.staging]
/// url = "ws://127.0.0.1:8080/ui-server/ws"
/// login = "/ui-server/auth/login"
/// capabilities = ["sessions_v2"]
/// speed = 10
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Where it listens (`ws://…`).
    pub url: String,
    /// Where a browser begins to sign in.
    #[serde(default = "default_login")]
    pub login: String,
    /// Where a browser signs out.
    #[serde(default = "default_logout")]
    pub logout: String,
    /// Name of its session cookie, for tabs with `cookie: unknown`; taken from a sign-in by default.
    #[serde(default)]
    pub cookie: Option<String>,
    /// What it can do.
    #[serde(default)]
    pub capabilities: BTreeSet<Capability>,
    /// How many times shorter its intervals are than those in the scenarios.
    #[serde(default = "default_speed")]
    pub speed: u32,
    /// Its short loop, in scenario time.
    #[serde(default)]
    pub short_loop: Option<Span>,
    /// Its long loop, in scenario time.
    #[serde(default)]
    pub long_loop: Option<Span>,
    /// From a channel's first tab to its first turn, in scenario time.
    #[serde(default)]
    pub start_delay: Option<Span>,
    /// Real time added to the end of every window.
    #[serde(default)]
    pub slack: Option<Span>,
}

fn default_login() -> String {
    "/auth/login".to_owned()
}

fn default_logout() -> String {
    "/auth/logout".to_owned()
}

const fn default_speed() -> u32 {
    1
}

/// Why a target cannot be used.
#[derive(Debug, Error)]
pub enum TargetError {
    /// Its URL does not parse.
    #[error("`{0}` is not a URL; a target looks like `ws://127.0.0.1:8080/ui-server/ws`")]
    Url(String),
    /// Its URL is not a WebSocket's.
    #[error("a target is reached by `ws://`, not by `{0}://`")]
    Scheme(String),
    /// A capability that Polytab itself would have to provide, and cannot for a server that it does not start.
    #[error(
        "`target.{target}` declares the capability `{}`, which works only with the reference server: Polytab has no way \
         to do it with a server at a URL; remove it from `capabilities`",
        word(*capability)
    )]
    Capability {
        /// Name of the target.
        target: String,
        /// The capability.
        capability: Capability,
    },
    /// A speed out of bounds: above 100 the margins that scale along hide everything short.
    #[error("speed is 1 to 100, not {0}")]
    Speed(u32),
}

/// The intervals that scenarios are written for (PROTOCOL A5).
pub const USUAL_INTERVALS: Intervals = Intervals {
    short_loop: Duration::from_secs(5),
    long_loop: Duration::from_mins(3),
    start_delay: Duration::from_secs(3),
};

/// Session cookie of the reference server with default settings.
const REFERENCE_COOKIE: &str = "_renku_session";

/// Ports of Keycloak, backend, GitLab and control API beside a target that is not ours.
pub const MOCK_PORTS: [u16; 4] = [7081, 7082, 7083, 7084];

/// Slack on the real clock: what scheduling on a busy two-core machine was seen to add, with room.
pub const REAL_SLACK: Duration = Duration::from_millis(60);

impl Target {
    /// The reference server, on this clock.
    ///
    /// # Errors
    ///
    /// When the speed is out of bounds.
    pub fn reference(clock: ClockKind, speed: u32) -> Result<Self, TargetError> {
        Ok(Self {
            name: "reference".to_owned(),
            url: None,
            login: default_login(),
            logout: default_logout(),
            cookie: Some(REFERENCE_COOKIE.to_owned()),
            capabilities: [
                Capability::Subscribe,
                Capability::Resume,
                Capability::Activation,
                Capability::SessionsV1,
                Capability::SessionsV2,
                Capability::UserChannel,
                Capability::OriginCheck,
                Capability::BackchannelLogout,
                Capability::Introspection,
                Capability::Limits,
                Capability::KeepAlive,
                Capability::ErrorCodes,
                Capability::TokenRefresh,
                Capability::Settings,
                Capability::Restart,
            ]
            .into(),
            speed: check_speed(speed)?,
            intervals: USUAL_INTERVALS,
            slack: if clock == ClockKind::Virtual {
                Duration::ZERO
            } else {
                REAL_SLACK
            },
        })
    }

    /// A server at a URL, as described.
    ///
    /// # Errors
    ///
    /// When the URL or the speed is none.
    pub fn described(name: &str, description: &Description) -> Result<Self, TargetError> {
        let url = Url::parse(&description.url).map_err(|_| TargetError::Url(description.url.clone()))?;
        if url.scheme() != "ws" {
            return Err(TargetError::Scheme(url.scheme().to_owned()));
        }
        // Both are acts of the runner on a server that it has started itself.
        let own = [Capability::Restart, Capability::Settings];
        if let Some(capability) = own.into_iter().find(|own| description.capabilities.contains(own)) {
            return Err(TargetError::Capability {
                target: name.to_owned(),
                capability,
            });
        }
        let usual = USUAL_INTERVALS;
        let or = |span: Option<Span>, usual: Duration| span.map_or(usual, |span| span.0);
        Ok(Self {
            name: name.to_owned(),
            url: Some(url),
            login: description.login.clone(),
            logout: description.logout.clone(),
            cookie: description.cookie.clone(),
            capabilities: description.capabilities.clone(),
            speed: check_speed(description.speed)?,
            intervals: Intervals {
                short_loop: or(description.short_loop, usual.short_loop),
                long_loop: or(description.long_loop, usual.long_loop),
                start_delay: or(description.start_delay, usual.start_delay),
            },
            slack: or(description.slack, REAL_SLACK),
        })
    }

    /// A server of which only the URL is known: it can do what the original server could.
    ///
    /// # Errors
    ///
    /// When the URL is none.
    pub fn at_url(url: &str) -> Result<Self, TargetError> {
        let description = Description {
            url: url.to_owned(),
            login: default_login(),
            logout: default_logout(),
            cookie: None,
            capabilities: [
                Capability::Activation,
                Capability::SessionsV1,
                Capability::SessionsV2,
            ]
            .into(),
            speed: 1,
            short_loop: None,
            long_loop: None,
            start_delay: None,
            slack: None,
        };
        Self::described(url, &description)
    }

    /// The same, with other intervals.
    ///
    /// # Errors
    ///
    /// When the speed is out of bounds.
    pub fn at_speed(mut self, speed: u32) -> Result<Self, TargetError> {
        self.speed = check_speed(speed)?;
        Ok(self)
    }

    /// How long a duration of a scenario really lasts.
    pub fn real(&self, scenario: Duration) -> Duration {
        scenario / self.speed
    }

    /// Its slack in scenario time, in milliseconds.
    pub(crate) fn slack_ms(&self) -> u64 {
        u64::try_from((self.slack * self.speed).as_millis()).unwrap_or(u64::MAX)
    }
}

fn check_speed(speed: u32) -> Result<u32, TargetError> {
    if (1..=100).contains(&speed) {
        Ok(speed)
    } else {
        Err(TargetError::Speed(speed))
    }
}

/// A capability's word in scenario files.
pub fn word(capability: Capability) -> String {
    // A variant without fields serializes to its name.
    serde_json::to_value(capability)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Returns `true` if a URL names this machine's loopback.
pub(crate) fn is_on_this_machine(url: &Url) -> bool {
    match url.host() {
        None => false,
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_at_a_url_cannot_claim_what_only_the_runner_can_do() {
        for word in ["restart", "settings"] {
            let text = format!("url = \"ws://127.0.0.1:1/\"\ncapabilities = [\"{word}\"]");
            let description: Description = toml::from_str(&text).unwrap();

            let error = Target::described("mine", &description).unwrap_err().to_string();

            assert!(
                error.starts_with(&format!("`target.mine` declares the capability `{word}`")),
                "{error}"
            );
        }
    }
}
