//! Values of settings that are more than a number or a text.

use std::{fmt, time::Duration};

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use url::Url;

/// Stands for what must not be shown.
pub(super) const MASK: &str = "********";

/// The parameter that is a password, in the address of a socket of the machine itself.
const PASSWORD: &str = "pass";
/// Longer is a mistake, and an instant after some of these is still one.
const LONGEST: Duration = Duration::from_hours(365 * 24);

/// A duration that is written with its unit: `250ms`, `5s`, `2m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0.as_millis())
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || {
            D::Error::custom(format!(
                "`{text}` is not a duration with its unit, as `250ms` or `5s`"
            ))
        };
        let signed: SignedDuration = text.parse().map_err(|_| wrong())?;
        let span = Duration::try_from(signed).map_err(|_| wrong())?;
        if span > LONGEST {
            return Err(D::Error::custom(format!("`{text}` is longer than a year")));
        }
        Ok(Self(span))
    }
}

/// The address of a Redis server: `redis://host:6379`, or `rediss://` over TLS.
#[derive(Clone)]
pub struct RedisUrl(String);

impl RedisUrl {
    pub(crate) fn client(&self) -> redis::Client {
        redis::Client::open(self.0.as_str()).expect("it was opened when it was read")
    }

    /// The same without its password, which stands before the host, or in the query of a socket's path.
    pub(super) fn masked(&self) -> Self {
        let Ok(mut url) = Url::parse(&self.0) else {
            return self.clone();
        };
        if url.password().is_some() && url.set_password(Some(MASK)).is_err() {
            return Self(MASK.to_owned());
        }
        if url.query_pairs().any(|(key, _)| key == PASSWORD) {
            let pairs: Vec<_> = url.query_pairs().into_owned().collect();
            let shown = pairs.iter().map(|(key, value)| match key.as_str() {
                PASSWORD => (key.as_str(), MASK),
                _ => (key.as_str(), value.as_str()),
            });
            url.query_pairs_mut().clear().extend_pairs(shown);
        }
        Self(url.into())
    }
}

// It may hold a password.
impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisUrl")
    }
}

impl Serialize for RedisUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RedisUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match redis::Client::open(text.as_str()) {
            Ok(_) => Ok(Self(text)),
            Err(_) => Err(D::Error::custom(
                "is the address of a Redis server, as `redis://127.0.0.1:6379`",
            )),
        }
    }
}
