//! What a fault does: the list of all misbehaviour that can be ordered.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    delay::{Delay, Dist},
    limit::RateLimit,
    status::Status,
};
use crate::{
    backend::fault::PollFault, error::ControlError, gitlab::fault::GitlabFault,
    keycloak::fault::KeycloakFault, time::Time,
};

/// What a fault does. `T` is how its times are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "FaultAction")]
pub enum FaultAction<T = Time> {
    /// An answer of this status; the service does nothing.
    Status(Status),
    /// The service does its work at once, and its answer comes late.
    Delay(Delay<T>),
    /// No answer until the route is healed; then the connection is reset.
    Hang,
    /// The head of the answer and nothing after it until the route is healed; then the connection is reset.
    Stall,
    /// The connection is reset; the service does nothing.
    Reset,
    /// The connection is reset after so many bytes of the body.
    ResetAfterBytes(u64),
    /// The connection is closed after so many bytes of the body.
    CloseAfterBytes(u64),
    /// The body breaks off half-way.
    Truncate,
    /// A page of HTML, whatever the head says.
    Malformed,
    /// Bytes that mean nothing, as many as the body had.
    Garbage,
    /// No body.
    Empty,
    /// The body under a head that calls it something else: `text/html`.
    ContentType(String),
    /// A list, the other way round.
    Reorder,
    /// Calls beyond a rate are answered 429; it counts as met by those only.
    RateLimit(RateLimit<T>),
    /// Open event streams are cut, at once.
    DropStreams,
    /// Keycloak answers with something wrong.
    Keycloak(KeycloakFault),
    /// An event stream misbehaves as only event streams can; it counts events, not calls.
    Gitlab(GitlabFault),
    /// A misbehaviour of the backend's own.
    Backend(PollFault),
}

impl<T> FaultAction<T> {
    /// An answer of this status.
    pub fn status(code: u16) -> Self {
        Self::Status(code.into())
    }

    /// The same with its times written otherwise.
    pub fn map<U>(self, time: impl Fn(T) -> U) -> FaultAction<U> {
        match self {
            Self::Delay(delay) => FaultAction::Delay(delay.map(time)),
            Self::RateLimit(RateLimit { burst, per }) => FaultAction::RateLimit(RateLimit {
                burst,
                per: time(per),
            }),
            Self::Status(status) => FaultAction::Status(status),
            Self::Hang => FaultAction::Hang,
            Self::Stall => FaultAction::Stall,
            Self::Reset => FaultAction::Reset,
            Self::ResetAfterBytes(bytes) => FaultAction::ResetAfterBytes(bytes),
            Self::CloseAfterBytes(bytes) => FaultAction::CloseAfterBytes(bytes),
            Self::Truncate => FaultAction::Truncate,
            Self::Malformed => FaultAction::Malformed,
            Self::Garbage => FaultAction::Garbage,
            Self::Empty => FaultAction::Empty,
            Self::ContentType(kind) => FaultAction::ContentType(kind),
            Self::Reorder => FaultAction::Reorder,
            Self::DropStreams => FaultAction::DropStreams,
            Self::Keycloak(fault) => FaultAction::Keycloak(fault),
            Self::Gitlab(fault) => FaultAction::Gitlab(fault),
            Self::Backend(fault) => FaultAction::Backend(fault),
        }
    }

    /// # Errors
    ///
    /// When it can never be done, whatever its times are.
    pub fn check(&self) -> Result<(), ControlError> {
        match self {
            Self::Status(status) => status.check(),
            Self::RateLimit(limit) => limit.check(),
            Self::ContentType(kind) if http::HeaderValue::try_from(kind).is_err() => {
                Err(ControlError::BadValue {
                    what: "a content type",
                    value: kind.clone(),
                    nearest: None,
                })
            }
            _ => Ok(()),
        }
    }
}

impl FaultAction {
    /// # Errors
    ///
    /// When it can never be done.
    pub(super) fn check_all(&self) -> Result<(), ControlError> {
        self.check()?;
        match self {
            Self::Delay(delay) => delay.dist.check(),
            _ => Ok(()),
        }
    }

    /// Whether it is a matter of event streams, and of no call.
    pub(super) fn is_of_streams(&self) -> bool {
        matches!(self, Self::DropStreams | Self::Gitlab(_))
    }
}

impl fmt::Display for FaultAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {}", status.code),
            Self::Delay(delay) => match delay.dist {
                Dist::Fixed(time) => write!(f, "delay {time}"),
                Dist::Uniform { min, max } => write!(f, "delay {min} to {max}"),
                Dist::Exponential { mean } => write!(f, "delay about {mean}"),
            },
            Self::Hang => f.write_str("hang"),
            Self::Stall => f.write_str("stall"),
            Self::Reset => f.write_str("reset"),
            Self::ResetAfterBytes(bytes) => write!(f, "reset after {bytes} bytes"),
            Self::CloseAfterBytes(bytes) => write!(f, "close after {bytes} bytes"),
            Self::Truncate => f.write_str("truncate"),
            Self::Malformed => f.write_str("malformed"),
            Self::Garbage => f.write_str("garbage"),
            Self::Empty => f.write_str("empty"),
            Self::ContentType(kind) => write!(f, "content_type {kind}"),
            Self::Reorder => f.write_str("reorder"),
            Self::RateLimit(limit) => write!(f, "rate_limit {} per {}", limit.burst, limit.per),
            Self::DropStreams => f.write_str("drop_streams"),
            Self::Keycloak(fault) => fault.fmt(f),
            Self::Gitlab(fault) => fault.fmt(f),
            Self::Backend(fault) => fault.fmt(f),
        }
    }
}
