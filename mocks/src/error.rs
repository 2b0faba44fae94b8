//! Why an order to the mocks cannot be carried out.

use thiserror::Error;

/// Why an order to the mocks cannot be carried out. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ControlError {
    /// No route has that name.
    #[error("no route is called `{name}`")]
    UnknownRoute {
        /// What was asked for.
        name: String,
        /// The known name most like it.
        nearest: Option<String>,
    },
    /// No user has that name.
    #[error("no user is called `{name}`")]
    UnknownUser {
        /// What was asked for.
        name: String,
        /// The known name most like it.
        nearest: Option<String>,
    },
    /// There is no such realm.
    #[error("no realm is called `{name}`")]
    UnknownRealm {
        /// What was asked for.
        name: String,
        /// The known name most like it.
        nearest: Option<String>,
    },
    /// The realm has no such client.
    #[error("no client is called `{name}`")]
    UnknownClient {
        /// What was asked for.
        name: String,
        /// The known name most like it.
        nearest: Option<String>,
    },
    /// A realm has no such setting.
    #[error("a realm has no setting `{name}`")]
    UnknownSetting {
        /// What was asked for.
        name: String,
        /// The known name most like it.
        nearest: Option<String>,
    },
    /// A setting that a realm cannot have.
    #[error("not a setting of a realm: {0}")]
    BadSetting(String),
    /// No live login session has that id.
    #[error("no live login session is called `{0}`")]
    UnknownLogin(String),
    /// Something is wrong at one place of a document.
    #[error("`{place}`: {error}")]
    Within {
        /// The place, as `users.ada`.
        place: String,
        /// What is wrong there.
        error: Box<ControlError>,
    },
    /// The user has no live login session in that browser.
    #[error("user `{user}` has no login session in browser `{browser}`")]
    NoLoginSession {
        /// The user.
        user: String,
        /// The browser.
        browser: String,
    },
    /// The user has no backend session of that name.
    #[error("user `{user}` has no backend session `{name}`")]
    NoBackendSession {
        /// The user.
        user: String,
        /// What was asked for.
        name: String,
    },
    /// A change that is about a user names none.
    #[error("`{0}` belongs to a user, and none is named")]
    UserMissing(&'static str),
    /// A value that the real service could never have.
    #[error("{what} cannot be `{value}`")]
    BadValue {
        /// What it is for.
        what: &'static str,
        /// The value.
        value: String,
        /// The allowed value most like it.
        nearest: Option<String>,
    },
    /// An order for no call at all.
    #[error("`times` is zero: the order would never be carried out")]
    ZeroTimes,
    /// No fault has that number.
    #[error("no fault has the number {0}")]
    UnknownFault(u64),
    /// No open event stream has that number.
    #[error("no open event stream has the number {0}")]
    UnknownStream(u64),
    /// Something that no stub can say.
    #[error("`{field}` of a stub cannot be `{value}`: {mend}")]
    BadStub {
        /// Which part of it, as `request.path`.
        field: &'static str,
        /// The value.
        value: String,
        /// How to mend it.
        mend: String,
    },
    /// A stub for a path that the service itself answers.
    #[error("a stub never answers for `{path}`: it belongs to the route `{route}`")]
    OwnedPath {
        /// The path.
        path: String,
        /// The route.
        route: &'static str,
    },
    /// One of several stubs cannot be; none of them was taken.
    #[error("stub {number}: {problem}")]
    OneOfStubs {
        /// Which, counted from 1.
        number: usize,
        /// What is wrong with it.
        problem: Box<ControlError>,
    },
    /// No stub has that number.
    #[error("no stub has the number {0}")]
    UnknownStub(u64),
    /// More stubs than are held.
    #[error("at most {0} stubs are held: take some away first")]
    TooManyStubs(usize),
    /// Back-channel logout was asked for and nobody is to be told.
    #[error("no back-channel logout URL is configured")]
    NoBackchannel,
}

impl ControlError {
    /// The value that cannot be, as it was written; empty when it is not about one.
    pub fn value(&self) -> &str {
        match self {
            Self::BadValue { value, .. } => value,
            _ => "",
        }
    }

    /// The same, with the place where it is.
    pub(crate) fn within(self, place: impl Into<String>) -> Self {
        Self::Within {
            place: place.into(),
            error: Box::new(self),
        }
    }

    /// What was probably meant.
    pub fn nearest(&self) -> Option<&str> {
        match self {
            Self::UnknownRoute { nearest, .. }
            | Self::UnknownUser { nearest, .. }
            | Self::UnknownRealm { nearest, .. }
            | Self::UnknownClient { nearest, .. }
            | Self::UnknownSetting { nearest, .. }
            | Self::BadValue { nearest, .. } => nearest.as_deref(),
            Self::Within { error, .. } => error.nearest(),
            Self::BadSetting(_)
            | Self::UnknownLogin(_)
            | Self::NoLoginSession { .. }
            | Self::NoBackendSession { .. }
            | Self::UserMissing(_)
            | Self::ZeroTimes
            | Self::UnknownFault(_)
            | Self::UnknownStream(_)
            | Self::BadStub { .. }
            | Self::OwnedPath { .. }
            | Self::OneOfStubs { .. }
            | Self::UnknownStub(_)
            | Self::TooManyStubs(_)
            | Self::NoBackchannel => None,
        }
    }
}
