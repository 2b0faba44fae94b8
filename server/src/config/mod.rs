//! Every setting and every bound of the server, with its unit and its reason, in one place.

mod check;
mod sources;
mod values;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;
use url::Url;

use self::sources::Given;
pub use self::values::{RedisUrl, Span};
use crate::network::{ForwardedHeader, Network};

/// Environment variables that begin so are settings: `POLYTAB_SERVER_SHORT_LOOP=5s`.
pub const ENV_PREFIX: &str = "POLYTAB_SERVER_";

/// A setting that no message may show.
const SECRET: &str = "oidc_client_secret";

/// The server's settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port to listen on.
    pub listen: String,
    /// Where browsers reach the server; its origin is allowed, and sign-ins come back to it.
    pub public_url: Url,
    /// The server's certificate, with those of its issuers after it, as PEM; with it and its key https is spoken.
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's key, as PEM.
    pub tls_key: Option<PathBuf>,
    /// Path of the WebSocket (PROTOCOL A1).
    pub path: String,
    /// Name of the session cookie (PROTOCOL A1). With the prefix `__Host-` browsers take it from this host alone, over
    /// https.
    pub session_cookie: String,
    /// Further origins whose pages may connect.
    pub allowed_origins: Vec<Url>,
    /// Issuer of the identity provider's realm.
    pub oidc_issuer: Url,
    /// The server's client there.
    pub oidc_client_id: String,
    /// That client's secret.
    pub oidc_client_secret: String,
    /// Base of the backend services, with `/api`.
    pub backend_url: Url,
    /// Base of GitLab.
    pub gitlab_url: Url,
    /// The server's own version, told to tabs; unknown when absent.
    pub version: Option<String>,

    /// Between two turns of the short loop (PROTOCOL A5).
    pub short_loop: Span,
    /// Between two turns of the long loop (PROTOCOL A5).
    pub long_loop: Span,
    /// From a channel's first tab to the first short turn (PROTOCOL A5).
    pub start_delay: Span,
    /// From the first short turn to the first long turn (PROTOCOL A5).
    pub long_after_short: Span,
    /// Added to the start delay, drawn for each channel below this, so that a herd spreads out.
    pub phase_jitter: Span,
    /// Between ping frames: a tab that is gone without a word is found with the third of them, within 60 s
    /// (PROTOCOL A5: at most 25 s; proxies cut connections that are idle for 60 s).
    pub ping_interval: Span,
    /// Pings in a row that a tab may leave unanswered (PROTOCOL A5).
    pub pings_unanswered: u32,

    /// An upstream service may take this long to answer; longer than a short loop, as turns then skip.
    pub upstream_timeout: Span,
    /// The largest body read from upstream, in bytes: some hundred sessions of 2 kB.
    pub upstream_body_bytes: usize,
    /// The longest event of a stream, in bytes; longer ones are left out. GitLab's usual ones have 10 kB. It must fit
    /// into `outbox_bytes`, with the frame around it.
    pub event_bytes: usize,
    /// How long an event stream may be silent before it counts as dead: three of GitLab's heart-beats of 15 s.
    pub stream_silence: Span,
    /// First delay before a cut stream is opened again, unless GitLab says another; doubles up to a minute.
    pub stream_retry: Span,
    /// How long a followed project may make no progress (PROTOCOL A4).
    pub activation_patience: Span,
    /// Calls for followed projects under way at once, per user (PROTOCOL B6).
    pub activation_calls: usize,

    /// A token is refreshed this long before it expires (PROTOCOL A5).
    pub token_leeway: Span,
    /// Between two introspections of one login session; `0s` asks at each turn (PROTOCOL A5).
    pub introspection_interval: Span,
    /// Login sessions kept at once; the oldest go first. A session takes about 5 kB, mostly its tokens.
    pub login_sessions: usize,
    /// Login sessions that are made of an access token alone, kept at once until it expires; the oldest go first.
    pub bearer_sessions: usize,
    /// How long a login session is kept without a sign of life: Keycloak's longest session is 10 h by default.
    pub login_session_life: Span,
    /// How long a person may take to sign in.
    pub sign_in_life: Span,

    /// The largest message and frame from a tab, in bytes (PROTOCOL A2).
    pub message_bytes: usize,
    /// Commands that a tab may send at once (PROTOCOL A2).
    pub commands_burst: u32,
    /// And after that, each second (PROTOCOL A2).
    pub commands_per_second: u32,
    /// Tabs per user (PROTOCOL A2).
    pub tabs_per_user: usize,
    /// Topics per user (PROTOCOL A2).
    pub subscriptions_per_user: usize,
    /// Followed projects per user: a page follows those it shows.
    pub projects_per_user: usize,
    /// Messages that wait for a tab (PROTOCOL A2).
    pub outbox_messages: usize,
    /// And their bytes (PROTOCOL A2).
    pub outbox_bytes: usize,
    /// How long a write to a tab may be stuck (PROTOCOL A2).
    pub write_timeout: Span,
    /// How long a tab may take to answer a close frame.
    pub close_timeout: Span,
    /// Events that wait for a channel: several commands of each of its tabs.
    pub mailbox: usize,
    /// Notifications kept for `resume`.
    pub resume_entries: usize,
    /// And for how long.
    pub resume_window: Span,

    /// Tabs held at once; further ones are refused with 503. A process has 20,000 descriptors on common systems,
    /// and those below and upstream need some.
    pub connections: usize,
    /// Connections held at once that are no tabs, or not yet; further ones wait in the system's backlog. A
    /// handshake takes some milliseconds, and a peer that is slow at it has as long as `header_timeout`.
    pub handshakes: usize,
    /// Descriptors that no connection of a client takes: they are for calls to upstream services, Redis and files. Where
    /// the system allows too few, this keeps at most a quarter of them, and `connections` and `handshakes` are lowered.
    pub reserved_descriptors: usize,
    /// Connections of one address, or of one IPv6 network of 64 bits; `0` is no limit. Many people share an address
    /// behind a NAT: this is 50 of them with 20 tabs each. The loopback may have any number.
    pub connections_per_address: usize,
    /// Networks of the proxies that say for whom they ask; their own connections are not counted by address.
    pub trusted_proxies: Vec<Network>,
    /// The header in which they say it: `x-forwarded-for` or `forwarded`.
    pub forwarded_header: ForwardedHeader,
    /// How long a peer may take to send the head of a request, and after that its body.
    pub header_timeout: Span,
    /// The largest head of a request, and the largest body, in bytes.
    pub header_bytes: usize,
    /// The most header fields of a request: browsers send some twenty, proxies add ten.
    pub header_fields: usize,

    /// Redis, where several instances meet; without it this is the only instance.
    pub redis_url: Option<RedisUrl>,
    /// What the names of all keys there begin with.
    pub redis_prefix: String,
    /// How long an instance leads a user's channels without saying so again: two short loops, and some time for a
    /// slow turn.
    pub lease: Span,
    /// Letters of other instances that wait for this one.
    pub letters: usize,

    /// Close code sent instead of every code after which a tab should come back by itself (1001, 1012, 4008, 4029,
    /// 4503), for clients that come back on one code only: `4000` for deployed Renku clients (PROTOCOL A6).
    pub reconnect_close_code: Option<u16>,
    /// From the error that refuses a tab to its close frame. Some deployed clients open the next WebSocket at once
    /// after close 4000; without this pause they open hundreds a second.
    pub refusal_pause: Span,
    /// Tabs are closed over this time, so that they do not come back all at once.
    pub drain_time: Span,
    /// After that, this long for what is still under way.
    pub drain_grace: Span,
    /// What a drained tab is told to wait before it comes back, in milliseconds; who is refused with 503 is told the
    /// same in whole seconds.
    pub retry_ms: u64,
    /// Whether `/debug/channels` answers (to the loopback only).
    pub debug_channels: bool,
}

impl Default for Config {
    fn default() -> Self {
        let url = |text: &str| Url::parse(text).expect("a constant URL parses");
        let seconds = |seconds| Span(Duration::from_secs(seconds));
        Self {
            listen: "127.0.0.1:8080".into(),
            public_url: url("http://127.0.0.1:8080"),
            tls_certificate: None,
            tls_key: None,
            path: "/ui-server/ws".into(),
            session_cookie: "_renku_session".into(),
            allowed_origins: Vec::new(),
            oidc_issuer: url("http://127.0.0.1:7081/auth/realms/Renku"),
            oidc_client_id: "renku-ui".into(),
            oidc_client_secret: String::new(),
            backend_url: url("http://127.0.0.1:7082/api"),
            gitlab_url: url("http://127.0.0.1:7083"),
            version: None,
            short_loop: seconds(5),
            long_loop: seconds(180),
            start_delay: seconds(3),
            long_after_short: seconds(1),
            phase_jitter: seconds(0),
            ping_interval: seconds(20),
            pings_unanswered: 2,
            upstream_timeout: seconds(10),
            upstream_body_bytes: 2 << 20,
            event_bytes: 192 << 10,
            stream_silence: seconds(45),
            stream_retry: seconds(1),
            activation_patience: seconds(120),
            activation_calls: 5,
            token_leeway: seconds(10),
            introspection_interval: seconds(60),
            login_sessions: 100_000,
            bearer_sessions: 20_000,
            login_session_life: seconds(10 * 60 * 60),
            sign_in_life: seconds(10 * 60),
            message_bytes: 64 << 10,
            commands_burst: 30,
            commands_per_second: 2,
            tabs_per_user: 20,
            subscriptions_per_user: 50,
            projects_per_user: 100,
            outbox_messages: 64,
            outbox_bytes: 256 << 10,
            write_timeout: seconds(10),
            close_timeout: seconds(5),
            mailbox: 256,
            resume_entries: 100,
            resume_window: seconds(120),
            connections: 16_000,
            handshakes: 2_000,
            reserved_descriptors: 2_000,
            connections_per_address: 1024,
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::XForwardedFor,
            header_timeout: seconds(5),
            header_bytes: 16 << 10,
            header_fields: 64,
            redis_url: None,
            redis_prefix: "polytab".into(),
            lease: seconds(12),
            letters: 10_000,
            reconnect_close_code: None,
            refusal_pause: seconds(2),
            drain_time: seconds(20),
            drain_grace: seconds(10),
            retry_ms: 1000,
            debug_channels: false,
        }
    }
}

/// Why the settings cannot be used. Each names the key, and where it was given, if it was.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("`{path}` is not TOML: {problem}")]
    Toml {
        /// The file.
        path: String,
        /// Where and why.
        problem: String,
    },
    /// No setting has this name.
    #[error("no setting is called `{key}`{}{}", at(place.as_deref()), nearest(key))]
    Unknown {
        /// The name.
        key: String,
        /// Where it was given.
        place: Option<String>,
    },
    /// A setting has a value that it cannot have.
    #[error("setting `{key}`{}: {problem}", at(place.as_deref()))]
    Value {
        /// The setting.
        key: String,
        /// Where it was given; a default may not go with other settings.
        place: Option<String>,
        /// What is wrong with its value.
        problem: String,
    },
}

impl ConfigError {
    fn unknown(key: impl Into<String>) -> Self {
        let (key, place) = (key.into(), None);
        Self::Unknown { key, place }
    }

    fn value(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Value {
            key: key.into(),
            place: None,
            problem: problem.into(),
        }
    }

    /// The same with where its setting was given.
    fn placed(mut self, places: &BTreeMap<String, String>) -> Self {
        if let Self::Unknown { key, place } | Self::Value { key, place, .. } = &mut self {
            *place = places.get(key).cloned();
        }
        self
    }
}

fn at(place: Option<&str>) -> String {
    place.map_or_else(String::new, |place| format!(" ({place})"))
}

fn nearest(key: &str) -> String {
    let known = keys();
    let near = known
        .iter()
        .min_by_key(|known| strsim::damerau_levenshtein(known, key));
    near.filter(|near| strsim::damerau_levenshtein(near, key) <= 3)
        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// The names of all settings.
pub fn keys() -> Vec<String> {
    let Ok(Value::Object(all)) = serde_json::to_value(Config::default()) else {
        return Vec::new();
    };
    all.into_iter().map(|(key, _)| key).collect()
}

impl Config {
    /// Settings from a file, then the environment, then flags; what comes later wins.
    ///
    /// # Errors
    ///
    /// When any of them names no setting, or gives one a value it cannot have.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        flags: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut given = file.map(sources::read).transpose()?.unwrap_or_default();
        given.extend(sources::environment(env).chain(sources::flags(flags)));
        let mut places = BTreeMap::new();
        let values = given.into_iter().map(|(key, Given { value, place })| {
            places.insert(key.clone(), place);
            (key, value)
        });
        Self::from_values(&values.collect()).map_err(|error| error.placed(&places))
    }

    /// Settings laid over the defaults.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn from_values(values: &BTreeMap<String, Value>) -> Result<Self, ConfigError> {
        let known = keys();
        if let Some(key) = values.keys().find(|key| !known.contains(key)) {
            return Err(ConfigError::unknown(key));
        }
        // One at a time first: what is wrong with all of them together names no key.
        for (key, value) in values {
            let one = Map::from_iter([(key.clone(), value.clone())]);
            serde_json::from_value::<Self>(Value::Object(one)).map_err(|error| {
                // What else is said of a value shows it.
                let problem = match key.as_str() {
                    SECRET => "must be text".to_owned(),
                    _ => error.to_string(),
                };
                ConfigError::value(key, problem)
            })?;
        }
        let all = Value::Object(values.clone().into_iter().collect());
        let config: Self =
            serde_json::from_value(all).map_err(|error| ConfigError::value("?", error.to_string()))?;
        config.check()?;
        Ok(config)
    }

    /// How long a connection that is no tab takes requests: a head, and the longest answer, a sign-in that asks the
    /// provider where it is, for tokens and for its keys.
    pub(crate) fn request_life(&self) -> Duration {
        self.header_timeout.0 + self.upstream_timeout.0 * 3
    }

    /// Whether browsers reach the server over https, by itself or through a proxy.
    pub(crate) fn is_https(&self) -> bool {
        self.public_url.scheme() == "https"
    }

    /// The same settings for a process that may open so many descriptors. Both bounds of connections shrink alike, and
    /// neither below one.
    #[must_use]
    pub fn fitted_to(mut self, descriptors: usize) -> Self {
        let wanted = self.connections as u128 + self.handshakes as u128;
        let reserved = self.reserved_descriptors.min(descriptors / 4);
        let free = (descriptors - reserved) as u128;
        if wanted > free {
            let shrunk = |bound: usize| {
                let share = bound as u128 * free / wanted;
                usize::try_from(share).unwrap_or(usize::MAX).max(1)
            };
            (self.connections, self.handshakes) = (shrunk(self.connections), shrunk(self.handshakes));
        }
        self
    }

    /// The same settings for people to look at: secrets are masked.
    #[must_use]
    pub fn masked(mut self) -> Self {
        if !self.oidc_client_secret.is_empty() {
            values::MASK.clone_into(&mut self.oidc_client_secret);
        }
        self.redis_url = self.redis_url.map(|url| url.masked());
        self
    }

    /// The same settings for time that goes `speed` times as fast: every wait is that much shorter. Token times are
    /// wall-clock time, which the clock itself scales.
    #[must_use]
    pub fn scaled(mut self, speed: u32) -> Self {
        for span in [
            &mut self.short_loop,
            &mut self.long_loop,
            &mut self.start_delay,
            &mut self.long_after_short,
            &mut self.phase_jitter,
            &mut self.ping_interval,
            &mut self.upstream_timeout,
            &mut self.stream_silence,
            &mut self.stream_retry,
            &mut self.activation_patience,
            &mut self.introspection_interval,
            &mut self.write_timeout,
            &mut self.close_timeout,
            &mut self.refusal_pause,
            &mut self.resume_window,
            &mut self.lease,
            &mut self.drain_time,
            &mut self.drain_grace,
        ] {
            span.0 /= speed;
        }
        self
    }
}

#[cfg(test)]
mod tests;
