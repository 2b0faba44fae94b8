//! Logout tokens that were taken: each is good once (OpenID Connect Back-Channel Logout 1.0 §2.6, 9).

use std::sync::{Mutex, PoisonError};

use indexmap::IndexMap;

/// Tokens remembered; the oldest go first. A provider sends one per login session that ends, and each expires within
/// minutes.
const KEPT: usize = 10_000;
/// The longest identifier remembered whole, in bytes.
const IDENTIFIER_BYTES: usize = 256;

/// Identifiers (`jti`) of tokens, with the seconds at which they expire.
#[derive(Debug, Default)]
pub(super) struct SeenTokens(Mutex<IndexMap<String, i64>>);

impl SeenTokens {
    /// Notes a token; returns `false` if it was noted before, or cannot be remembered.
    pub(super) fn note(&self, identifier: &str, expires_s: i64, now_s: i64) -> bool {
        if identifier.len() > IDENTIFIER_BYTES {
            return false;
        }
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains_key(identifier) {
            return false;
        }
        if seen.len() >= KEPT {
            // A token is taken for a minute after it expired, as clocks differ.
            seen.retain(|_, expires_s| expires_s.saturating_add(60) >= now_s);
            let surplus = (seen.len() + 1).saturating_sub(KEPT);
            seen.drain(..surplus);
        }
        seen.insert(identifier.to_owned(), expires_s);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_once_and_memory_is_bounded() {
        let seen = SeenTokens::default();

        assert!(seen.note("first", 10, 0));
        assert!(!seen.note("first", 10, 0));
        for number in 0..2 * KEPT {
            assert!(seen.note(&number.to_string(), 10, 0));
        }
        assert!(seen.0.lock().unwrap().len() <= KEPT);
        assert!(!seen.note(&"x".repeat(IDENTIFIER_BYTES + 1), 10, 0));
    }
}
