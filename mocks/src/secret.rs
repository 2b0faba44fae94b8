//! Secrets: remembered so that a runner can look for them, and never shown.

use std::{collections::VecDeque, fmt};

use sha2::{Digest, Sha256};

/// Names of fields, in forms and queries, whose values are never shown.
const FIELDS: &[&str] = &[
    "access_token",
    "client_secret",
    "code",
    "code_verifier",
    "id_token_hint",
    "logout_token",
    "nonce",
    "password",
    "private_token",
    "refresh_token",
    "session_code",
    "state",
    "token",
];

/// What is shown of a field's value.
pub(crate) fn shown(field: &str, value: &str) -> String {
    if FIELDS.contains(&field) {
        hashed(value)
    } else {
        value.to_owned()
    }
}

/// A short hash, the same for the same secret: enough to tell two apart.
pub(crate) fn hashed(value: &str) -> String {
    let hash = Sha256::digest(value);
    format!(
        "sha256:{:02x}{:02x}{:02x}{:02x}",
        hash[0], hash[1], hash[2], hash[3]
    )
}

/// The secrets given out or taken, newest last.
pub(crate) struct Secrets {
    kept: VecDeque<(&'static str, String)>,
    limit: usize,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.kept.len())
    }
}

impl Secrets {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            kept: VecDeque::new(),
            limit,
        }
    }

    /// Remembers one; the oldest goes when there is no room.
    pub(crate) fn keep(&mut self, kind: &'static str, secret: &str) {
        if self.kept.len() >= self.limit {
            self.kept.pop_front();
        }
        self.kept.push_back((kind, secret.to_owned()));
    }

    pub(crate) fn list(&self) -> Vec<(String, String)> {
        self.kept
            .iter()
            .map(|(kind, secret)| ((*kind).to_owned(), secret.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_secret_fields_are_hashed() {
        assert_eq!(shown("grant_type", "refresh_token"), "refresh_token");
        assert!(shown("refresh_token", "eyJ").starts_with("sha256:"));
        assert_eq!(hashed("a"), "sha256:ca978112");
    }

    #[test]
    fn the_oldest_secret_goes_first() {
        let mut secrets = Secrets::new(2);

        for secret in ["a", "b", "c"] {
            secrets.keep("code", secret);
        }

        let kept: Vec<_> = secrets.list().into_iter().map(|(_, secret)| secret).collect();
        assert_eq!(kept, ["b", "c"]);
    }
}
