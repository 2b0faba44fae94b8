//! Who is who: identifiers that must never be mistaken for one another.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The identity provider's subject; key of a channel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(pub String);

/// The name of one browser's sign-in. A user may have several.
///
/// A hash of the session cookie's value: that is a secret (whoever holds it is signed in), and this is none. `Debug`
/// hides it all the same, for a log has no use for it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LoginSessionId(pub String);

/// One tab of one server process; never reused within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TabId(pub u64);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LoginSessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginSessionId(…)")
    }
}

impl fmt::Display for TabId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_session_never_prints_its_value() {
        let id = LoginSessionId("s3cret".into());

        assert!(!format!("{id:?}").contains("s3cret"));
    }
}
