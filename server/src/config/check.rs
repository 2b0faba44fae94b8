//! What settings may say. Each refusal shows the value and how to mend it.

use serde_json::Value;
use url::Url;

use super::{Config, ConfigError};

/// The most of anything, in bytes or in number: more is a mistake, and sums of a few still fit into any machine's words.
const MOST: u64 = 1 << 30;
/// hyper reads into a buffer that is never smaller.
const LEAST_HEADER_BYTES: usize = 8192;
/// A map of header fields holds no more.
const MOST_HEADER_FIELDS: usize = 1 << 15;
/// What a frame has around an event at most: an id and a topic, each character of six bytes.
const FRAME_BYTES: usize = 4096;

/// Names of cookies that browsers take over https only (RFC 6265bis §4.1.3); in any case of letters.
const SECURE_PREFIXES: [&str; 2] = ["__Host-", "__Secure-"];
/// What a cookie's name cannot contain (RFC 9110 §5.6.2).
const COOKIE_SEPARATORS: &[u8] = b"()<>@,;:\\\"/[]?={}";
/// What the path of the WebSocket may contain but letters and digits: no pattern, and nothing that ends a path.
const PATH_SIGNS: &[u8] = b"/-._~%";

/// The setting and what is wrong with it.
type Checked = Result<(), (&'static str, String)>;

impl Config {
    /// Refuses what no server can work with.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.check_most()?;
        [
            Self::check_least,
            Self::check_sizes,
            Self::check_close_code,
            Self::check_path,
            Self::check_urls,
            Self::check_origins,
            Self::check_https,
            Self::check_cookie,
        ]
        .iter()
        .try_for_each(|check| check(self))
        .map_err(|(key, problem)| ConfigError::value(key, problem))
    }

    fn check_most(&self) -> Result<(), ConfigError> {
        let Ok(Value::Object(all)) = serde_json::to_value(self) else {
            return Ok(());
        };
        let over = all
            .into_iter()
            .find(|(_, value)| value.as_u64().is_some_and(|count| count > MOST));
        over.map_or(Ok(()), |(key, value)| {
            Err(ConfigError::value(
                key,
                format!("`{value}` must be at most {MOST}"),
            ))
        })
    }

    fn check_least(&self) -> Checked {
        let spans = [
            ("short_loop", self.short_loop),
            ("long_loop", self.long_loop),
            ("ping_interval", self.ping_interval),
            ("upstream_timeout", self.upstream_timeout),
            ("stream_silence", self.stream_silence),
            ("stream_retry", self.stream_retry),
            ("activation_patience", self.activation_patience),
            ("login_session_life", self.login_session_life),
            ("sign_in_life", self.sign_in_life),
            ("write_timeout", self.write_timeout),
            ("header_timeout", self.header_timeout),
        ];
        if let Some((key, span)) = spans.into_iter().find(|(_, span)| span.0.is_zero()) {
            return Err((key, format!("`{span}` must be more than 0")));
        }
        let counts = [
            ("upstream_body_bytes", self.upstream_body_bytes),
            ("event_bytes", self.event_bytes),
            ("activation_calls", self.activation_calls),
            ("login_sessions", self.login_sessions),
            ("message_bytes", self.message_bytes),
            ("commands_burst", self.commands_burst as usize),
            ("commands_per_second", self.commands_per_second as usize),
            ("tabs_per_user", self.tabs_per_user),
            ("outbox_messages", self.outbox_messages),
            ("mailbox", self.mailbox),
            ("connections", self.connections),
            ("handshakes", self.handshakes),
            ("header_fields", self.header_fields),
            ("letters", self.letters),
            ("pings_unanswered", self.pings_unanswered as usize),
        ];
        match counts.into_iter().find(|(_, count)| *count == 0) {
            Some((key, _)) => Err((key, "`0` must be at least 1".to_owned())),
            None => Ok(()),
        }
    }

    fn check_sizes(&self) -> Checked {
        let (lease, short_loop) = (self.lease, self.short_loop);
        if lease <= short_loop {
            let problem =
                format!("`{lease}` must be longer than `short_loop`, `{short_loop}`, whose turns renew it");
            return Err(("lease", problem));
        }
        let (event, outbox) = (self.event_bytes, self.outbox_bytes);
        if event + FRAME_BYTES > outbox {
            let problem =
                format!("`{event}` must be at least {FRAME_BYTES} below `outbox_bytes`, `{outbox}`");
            return Err(("event_bytes", problem));
        }
        let bytes = self.header_bytes;
        if bytes < LEAST_HEADER_BYTES {
            return Err((
                "header_bytes",
                format!("`{bytes}` must be at least {LEAST_HEADER_BYTES}"),
            ));
        }
        let fields = self.header_fields;
        if fields > MOST_HEADER_FIELDS {
            return Err((
                "header_fields",
                format!("`{fields}` must be at most {MOST_HEADER_FIELDS}"),
            ));
        }
        Ok(())
    }

    /// What a close frame may say (RFC 6455 §7.4, and the codes that were registered since).
    fn check_close_code(&self) -> Checked {
        match self.reconnect_close_code {
            None | Some(1000..=1003 | 1007..=1014 | 3000..=4999) => Ok(()),
            Some(code) => Err((
                "reconnect_close_code",
                format!("`{code}` cannot be sent; 1000 to 1003, 1007 to 1014 and 3000 to 4999 can"),
            )),
        }
    }

    fn check_path(&self) -> Checked {
        let path = self.path.as_str();
        let problem = if !path.starts_with('/') {
            format!("`{path}` must begin with `/`")
        } else if !path
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || PATH_SIGNS.contains(&byte))
        {
            format!("`{path}` is no plain path: letters, digits and `/-._~%` are, patterns are not")
        } else if crate::http::is_own(path) {
            format!("`{path}` is a page of the server's own; take another one, as `/ui-server/ws`")
        } else {
            return Ok(());
        };
        Err(("path", problem))
    }

    fn check_urls(&self) -> Checked {
        let urls = [
            ("public_url", &self.public_url),
            ("oidc_issuer", &self.oidc_issuer),
            ("backend_url", &self.backend_url),
            ("gitlab_url", &self.gitlab_url),
        ];
        match urls.into_iter().find(|(_, url)| !is_http(url)) {
            Some((key, url)) => Err((
                key,
                format!("`{url}` is no `http` or `https` URL, as `https://ui.example`"),
            )),
            None => Ok(()),
        }
    }

    fn check_origins(&self) -> Checked {
        let is_origin =
            |url: &&Url| is_http(url) && format!("{}/", url.origin().ascii_serialization()) == url.as_str();
        let Some(other) = self.allowed_origins.iter().find(|url| !is_origin(url)) else {
            return Ok(());
        };
        let mend = if is_http(other) {
            other.origin().ascii_serialization()
        } else {
            "https://ui.example".to_owned()
        };
        let problem = format!("`{other}` is no origin: a scheme, a host and perhaps a port are, as `{mend}`");
        Err(("allowed_origins", problem))
    }

    /// What must go together for the server to speak https itself.
    fn check_https(&self) -> Checked {
        match (&self.tls_certificate, &self.tls_key) {
            (Some(_), None) => Err(("tls_key", "is needed with `tls_certificate`".to_owned())),
            (None, Some(_)) => Err(("tls_certificate", "is needed with `tls_key`".to_owned())),
            (Some(_), Some(_)) if !self.is_https() => {
                let problem = format!(
                    "`{}` begins with `https://` when `tls_certificate` is set",
                    self.public_url
                );
                Err(("public_url", problem))
            }
            (Some(_), Some(_)) | (None, None) => Ok(()),
        }
    }

    fn check_cookie(&self) -> Checked {
        let name = self.session_cookie.as_str();
        let is_token = |byte: u8| byte.is_ascii_graphic() && !COOKIE_SEPARATORS.contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            let problem = format!("`{name}` is no name of a cookie: letters, digits, `-` and `_` are");
            return Err(("session_cookie", problem));
        }
        let has = |prefix: &&str| {
            name.get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        match SECURE_PREFIXES.into_iter().find(has) {
            Some(prefix) if !self.is_https() => Err((
                "session_cookie",
                format!(
                    "browsers take a cookie `{prefix}…` over https only, and `public_url` is `{}`; change one of the two",
                    self.public_url
                ),
            )),
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether something can be asked there; `localhost:8080` is a URL too, of a scheme `localhost`.
fn is_http(url: &Url) -> bool {
    ["http", "https"].contains(&url.scheme())
}
