//! What can be set of the mocks as a process, each at three places: as a flag, in the environment, in a file. Knows
//! nothing of how a file is read, and decides nothing but which of several values stands.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::{ValueEnum, builder::BoolishValueParser};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de::Error as _};
use thiserror::Error;
use url::Url;

/// A mock by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// Keycloak: realms, sign-in, tokens
    Keycloak,
    /// The backend services, as the gateway meets them
    Backend,
    /// GitLab: REST API, event streams, web-hooks
    Gitlab,
    /// The gateway before the backend services: cookies in, tokens out
    Gateway,
    /// All four
    All,
}

/// Settings of the mocks as a process; what is not said is left to the built-in default.
///
/// A key is the flag's name with `_` for `-`; those of flags that may be repeated are lists with an `s` at the end of
/// their name. The environment variable is `POLYTAB_MOCK_` and the key in capitals.
#[derive(Clone, Debug, Default, clap::Args, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Which mocks listen; the control API does in any case
    #[arg(skip)]
    pub mocks: Option<Vec<Name>>,

    /// Address to listen on; `0.0.0.0` in a container (default: 127.0.0.1)
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "POLYTAB_MOCK_LISTEN",
        help_heading = "Where they listen"
    )]
    pub listen: Option<IpAddr>,
    /// Port of Keycloak; 0 takes a free one, for the others as well (default: 7081)
    #[arg(
        long,
        value_name = "PORT",
        env = "POLYTAB_MOCK_KEYCLOAK_PORT",
        help_heading = "Where they listen"
    )]
    pub keycloak_port: Option<u16>,
    /// Port of the backend services (default: 7082)
    #[arg(
        long,
        value_name = "PORT",
        env = "POLYTAB_MOCK_BACKEND_PORT",
        help_heading = "Where they listen"
    )]
    pub backend_port: Option<u16>,
    /// Port of GitLab (default: 7083)
    #[arg(
        long,
        value_name = "PORT",
        env = "POLYTAB_MOCK_GITLAB_PORT",
        help_heading = "Where they listen"
    )]
    pub gitlab_port: Option<u16>,
    /// Port of the control API (default: 7084)
    #[arg(
        long,
        value_name = "PORT",
        env = "POLYTAB_MOCK_CONTROL_PORT",
        help_heading = "Where they listen"
    )]
    pub control_port: Option<u16>,
    /// Port of the gateway (default: 7085)
    #[arg(
        long,
        value_name = "PORT",
        env = "POLYTAB_MOCK_GATEWAY_PORT",
        help_heading = "Where they listen"
    )]
    pub gateway_port: Option<u16>,

    /// Host name or address under which clients reach the mocks, as `mocks` in a container network: it stands in the
    /// issuer and in all URLs instead of the address that they listen on
    #[arg(
        long,
        value_name = "HOST",
        env = "POLYTAB_MOCK_PUBLIC_HOST",
        help_heading = "How they are reached"
    )]
    pub public_host: Option<String>,
    /// URL under which clients reach Keycloak, as behind a proxy; the issuer begins with it
    #[arg(
        long,
        value_name = "URL",
        env = "POLYTAB_MOCK_PUBLIC_URL",
        help_heading = "How they are reached"
    )]
    #[schemars(with = "Option<String>", url)]
    pub public_url: Option<Url>,
    /// Path that all of Keycloak's begin with; empty for none (default: /auth)
    #[arg(
        long,
        value_name = "PATH",
        env = "POLYTAB_MOCK_BASE_PATH",
        help_heading = "How they are reached"
    )]
    pub base_path: Option<String>,
    /// URL under which browsers reach the gateway, as behind a proxy
    #[arg(
        long,
        value_name = "URL",
        env = "POLYTAB_MOCK_GATEWAY_URL",
        help_heading = "How they are reached"
    )]
    #[schemars(with = "Option<String>", url)]
    pub gateway_url: Option<Url>,
    /// URL that GitLab gives for itself: the `web_url` of projects and people begins with it
    #[arg(
        long,
        value_name = "URL",
        env = "POLYTAB_MOCK_GITLAB_URL",
        help_heading = "How they are reached"
    )]
    #[schemars(with = "Option<String>", url)]
    pub gitlab_url: Option<Url>,

    /// Speak https, with a certificate that is made on the spot unless one is given
    #[arg(
        long,
        value_name = "BOOL",
        env = "POLYTAB_MOCK_TLS",
        help_heading = "TLS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub tls: Option<bool>,
    /// Write the certificate of the authority that signed the one made on the spot to this file, for clients to trust;
    /// means --tls
    #[arg(
        long,
        value_name = "FILE",
        env = "POLYTAB_MOCK_TLS_CA_OUT",
        help_heading = "TLS"
    )]
    pub tls_ca_out: Option<PathBuf>,
    /// Certificate to use, as PEM, with those of its issuers after it; means --tls
    #[arg(
        long,
        value_name = "FILE",
        env = "POLYTAB_MOCK_TLS_CERT",
        help_heading = "TLS"
    )]
    pub tls_cert: Option<PathBuf>,
    /// Its private key, as PEM
    #[arg(long, value_name = "FILE", env = "POLYTAB_MOCK_TLS_KEY", help_heading = "TLS")]
    pub tls_key: Option<PathBuf>,

    /// A user known from the start, with the password `password-of-NAME`; may be repeated. Further ones:
    /// `PUT /users/{name}` at the control API (default: ada, bob)
    #[arg(
        long = "user",
        value_name = "NAME",
        env = "POLYTAB_MOCK_USERS",
        value_delimiter = ',',
        help_heading = "What they know"
    )]
    pub users: Option<Vec<String>>,
    /// Where logins of the server's client may lead; a trailing `*` stands for anything. May be repeated (default:
    /// anywhere on 127.0.0.1 and localhost)
    #[arg(
        long = "redirect-uri",
        value_name = "URI",
        env = "POLYTAB_MOCK_REDIRECT_URIS",
        value_delimiter = ',',
        help_heading = "What they know"
    )]
    pub redirect_uris: Option<Vec<String>>,
    /// Where the server takes back-channel logouts
    #[arg(
        long,
        value_name = "URL",
        env = "POLYTAB_MOCK_BACKCHANNEL_LOGOUT_URL",
        help_heading = "What they know"
    )]
    #[schemars(with = "Option<String>", url)]
    pub backchannel_logout_url: Option<Url>,

    /// Refresh tokens are good for one refresh each
    #[arg(
        long,
        value_name = "BOOL",
        env = "POLYTAB_MOCK_ROTATION",
        help_heading = "How they behave",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub rotation: Option<bool>,
    /// Time between two heart-beat comments on an event stream (default: 15s)
    #[arg(
        long,
        value_name = "TIME",
        env = "POLYTAB_MOCK_HEARTBEAT",
        help_heading = "How they behave"
    )]
    pub heartbeat: Option<Span>,
    /// Calls kept in the journal; the oldest go first (default: 100000)
    #[arg(
        long,
        value_name = "N",
        env = "POLYTAB_MOCK_JOURNAL_ENTRIES",
        help_heading = "How they behave"
    )]
    pub journal_entries: Option<usize>,
    /// Ids and tokens that depend on nothing but this number, instead of random ones
    #[arg(
        long,
        value_name = "N",
        env = "POLYTAB_MOCK_SEED",
        help_heading = "How they behave"
    )]
    pub seed: Option<u64>,
}

impl Settings {
    /// These, and where they say nothing, `others`.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            mocks: self.mocks.or(others.mocks),
            listen: self.listen.or(others.listen),
            keycloak_port: self.keycloak_port.or(others.keycloak_port),
            backend_port: self.backend_port.or(others.backend_port),
            gitlab_port: self.gitlab_port.or(others.gitlab_port),
            control_port: self.control_port.or(others.control_port),
            gateway_port: self.gateway_port.or(others.gateway_port),
            public_host: self.public_host.or(others.public_host),
            public_url: self.public_url.or(others.public_url),
            base_path: self.base_path.or(others.base_path),
            gateway_url: self.gateway_url.or(others.gateway_url),
            gitlab_url: self.gitlab_url.or(others.gitlab_url),
            tls: self.tls.or(others.tls),
            tls_ca_out: self.tls_ca_out.or(others.tls_ca_out),
            tls_cert: self.tls_cert.or(others.tls_cert),
            tls_key: self.tls_key.or(others.tls_key),
            users: self.users.or(others.users),
            redirect_uris: self.redirect_uris.or(others.redirect_uris),
            backchannel_logout_url: self.backchannel_logout_url.or(others.backchannel_logout_url),
            rotation: self.rotation.or(others.rotation),
            heartbeat: self.heartbeat.or(others.heartbeat),
            journal_entries: self.journal_entries.or(others.journal_entries),
            seed: self.seed.or(others.seed),
        }
    }

    /// The same with paths that start at this folder: those in a file start where the file is.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Self {
        let paths = [&mut self.tls_ca_out, &mut self.tls_cert, &mut self.tls_key];
        for path in paths.into_iter().flatten() {
            *path = folder.join(path.as_path());
        }
        self
    }
}

/// A time with its unit, as `250ms` or `15s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// A text that is no time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no time; write a number with its unit, as `250ms`, `15s` or `2m`")]
pub struct NoSpan(String);

impl FromStr for Span {
    type Err = NoSpan;

    fn from_str(text: &str) -> Result<Self, NoSpan> {
        let time = text.parse::<SignedDuration>().ok();
        let time = time.and_then(|time| Duration::try_from(time).ok());
        // Nothing can be done every zero seconds.
        let time = time.filter(|time| !time.is_zero());
        time.map(Self).ok_or_else(|| NoSpan(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "examples": ["250ms", "15s"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_first_stands() {
        let flags = Settings {
            seed: Some(1),
            ..Settings::default()
        };
        let file = Settings {
            seed: Some(2),
            rotation: Some(true),
            ..Settings::default()
        };

        let both = flags.or(file);

        assert_eq!((both.seed, both.rotation, both.tls), (Some(1), Some(true), None));
    }

    #[test]
    fn a_time_has_a_unit_and_some_length() {
        for (text, time) in [
            ("250ms", Some(Duration::from_millis(250))),
            ("2m", Some(Duration::from_mins(2))),
            ("15", None),
            ("0s", None),
            ("-1s", None),
        ] {
            assert_eq!(text.parse().ok(), time.map(Span), "{text}");
        }
    }
}
