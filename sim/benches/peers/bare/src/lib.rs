//! What the echo server and the bare client share: options, limits, WebSocket settings.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// Any failure; each ends the program.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Options of the form `--name value`.
#[derive(Debug)]
pub struct Options(BTreeMap<String, String>);

impl Options {
    /// Reads the arguments; each must be one of `known`, followed by its value.
    ///
    /// # Errors
    /// An unknown name, or a name without a value.
    pub fn read(arguments: impl Iterator<Item = String>, known: &[&str]) -> Result<Self, Failure> {
        let mut options = BTreeMap::new();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let name = argument
                .strip_prefix("--")
                .filter(|name| known.contains(name))
                .ok_or_else(|| format!("`{argument}` is none of the options --{}", known.join(", --")))?;
            let value = arguments
                .next()
                .ok_or_else(|| format!("--{name} needs a value"))?;
            options.insert(name.to_owned(), value);
        }
        Ok(Self(options))
    }

    /// A whole number, or `default` if the option is not given.
    ///
    /// # Errors
    /// A value that is not such a number.
    pub fn number<N: TryFrom<u64>>(&self, name: &str, default: N) -> Result<N, Failure> {
        let Some(value) = self.0.get(name) else {
            return Ok(default);
        };
        let number: u64 = value
            .parse()
            .map_err(|_| format!("--{name} {value} is not a whole number"))?;
        N::try_from(number).map_err(|_| format!("--{name} {value} is out of range").into())
    }

    /// A time in whole `s` or `ms`, such as `2s` or `200ms`.
    ///
    /// # Errors
    /// A value that is not such a time.
    pub fn time(&self, name: &str) -> Result<Option<Duration>, Failure> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        let time = if let Some(millis) = value.strip_suffix("ms") {
            millis.parse().map(Duration::from_millis)
        } else {
            value
                .strip_suffix('s')
                .unwrap_or(value)
                .parse()
                .map(Duration::from_secs)
        };
        time.map(Some)
            .map_err(|_| format!("--{name} {value} is not a time like 2s or 200ms").into())
    }

    /// The value as it was given.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Raises the soft limit of descriptors to the hard one.
///
/// # Errors
/// The limit cannot be read or set.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// Small buffers: the messages here have 64 bytes, and the idle connections are many.
#[must_use]
pub fn small_buffers() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(2 << 10)
        .write_buffer_size(0)
        .max_write_buffer_size(64 << 10)
        .max_message_size(Some(64 << 10))
        .max_frame_size(Some(64 << 10))
}

/// A runtime of one thread.
///
/// # Errors
/// The system gives no event queue.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
