//! Names and ids as the data service forms them.

use polytab_seams::random::Random;
use sha2::{Digest, Sha256};

/// The alphabet of a ULID (Crockford's base 32).
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of a ULID.
const ULID: usize = 26;

/// A new ULID from the stream of this purpose.
pub(crate) fn ulid(random: &Random, purpose: &str) -> String {
    (0..ULID)
        .map(|place| {
            // 26 characters of five bits hold two bits more than an id has.
            let drawn = random.below(purpose, if place == 0 { 8 } else { 32 });
            usize::try_from(drawn).map_or('0', |drawn| char::from(CROCKFORD[drawn]))
        })
        .collect()
}

/// Whether this could be a ULID.
pub(crate) fn is_ulid(text: &str) -> bool {
    text.len() == ULID && text.as_bytes()[0] <= b'7' && text.bytes().all(|byte| CROCKFORD.contains(&byte))
}

/// Whether a backend session could be called so.
pub(crate) fn is_session_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (5..=50).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| is_plain(byte) || byte == b'-')
        && !text.ends_with('-')
}

/// The name of an owner's session from this launcher: always the same, so that a second order finds the first one's.
pub(crate) fn session_name(owner: &str, launcher: &str) -> String {
    let slug: String = owner
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(16)
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    let hash = Sha256::digest(format!("{owner}/{launcher}"));
    let hash = hash[..4]
        .iter()
        .fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
    // An owner may begin with a digit, a name may not.
    format!("s-{slug}-{hash:08x}").replace("--", "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_name_has_its_form() {
        for (name, is_one) in [
            ("ada-1", true),
            ("a1234", true),
            ("a123", false),
            ("1abcd", false),
            ("abcd-", false),
            ("Abcde", false),
            ("ab_cd", false),
            (&"a".repeat(50), true),
            (&"a".repeat(51), false),
        ] {
            assert_eq!(is_session_name(name), is_one, "{name}");
        }
    }

    #[test]
    fn a_ulid_has_its_form() {
        for (text, is_one) in [
            ("01HZZZZZZZZZZZZZZZZZZZZZZZ", true),
            ("81HZZZZZZZZZZZZZZZZZZZZZZZ", false),
            ("01HZZZZZZZZZZZZZZZZZZZZZZI", false),
            ("01HZZZZZZZZZZZZZZZZZZZZZZ", false),
            ("01hzzzzzzzzzzzzzzzzzzzzzzz", false),
            ("", false),
        ] {
            assert_eq!(is_ulid(text), is_one, "{text}");
        }
        assert!(is_ulid(&ulid(&Random::seeded(1), "test")));
    }

    #[test]
    fn what_a_launcher_gives_is_always_called_the_same_and_may_be_called_so() {
        for owner in ["ada", "7", "Ünï", "anon-01HZZZZZZZZZZZZZZZZZZZZZZZ"] {
            let name = session_name(owner, "01HZZZZZZZZZZZZZZZZZZZZZZZ");

            assert_eq!(name, session_name(owner, "01HZZZZZZZZZZZZZZZZZZZZZZZ"));
            assert!(is_session_name(&name), "{name}");
        }
    }
}
