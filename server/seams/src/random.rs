//! Randomness, split by purpose: one more draw in one place moves nothing elsewhere.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use rand::{Rng, SeedableRng, TryRng, rngs::SysRng};
use rand_chacha::ChaCha20Rng;
use sha2::{Digest, Sha256};

/// A source of random streams.
#[derive(Clone)]
pub struct Random(Source);

#[derive(Clone)]
enum Source {
    System,
    Seeded {
        seed: u64,
        streams: Arc<Mutex<BTreeMap<String, ChaCha20Rng>>>,
    },
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::System => f.write_str("Random::system"),
            Source::Seeded { seed, .. } => write!(f, "Random::seeded({seed})"),
        }
    }
}

impl Random {
    /// The operating system's entropy, fit for secrets.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// Streams that depend on nothing but `seed`, the purpose and how often it was asked for.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded {
            seed,
            streams: Arc::default(),
        })
    }

    /// What the streams depend on; none when they are the operating system's.
    pub fn seed(&self) -> Option<u64> {
        match &self.0 {
            Source::System => None,
            Source::Seeded { seed, .. } => Some(*seed),
        }
    }

    /// The same streams, from their beginning.
    #[must_use]
    pub fn anew(&self) -> Self {
        self.seed().map_or_else(Self::system, Self::seeded)
    }

    /// Fills `bytes` from the stream of this purpose (`user/ada/jitter`).
    ///
    /// Purposes are kept for the life of a seeded source; they must come from a scenario's names, not from input.
    ///
    /// # Panics
    ///
    /// When the operating system has no entropy to give.
    pub fn fill(&self, purpose: &str, bytes: &mut [u8]) {
        match &self.0 {
            Source::System => SysRng
                .try_fill_bytes(bytes)
                .expect("the operating system gives entropy"),
            Source::Seeded { seed, streams } => {
                let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
                let stream = streams
                    .entry(purpose.to_owned())
                    .or_insert_with(|| stream(*seed, purpose));
                stream.fill_bytes(bytes);
            }
        }
    }

    /// A number below `bound` from the stream of this purpose; 0 when `bound` is 0.
    ///
    /// # Panics
    ///
    /// Never: what is drawn is below the bound.
    pub fn below(&self, purpose: &str, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        self.fill(purpose, &mut bytes);
        // Multiply and shift: the bias is below 2⁻³² for any bound used here, and no draw is repeated.
        let scaled = (u128::from(u64::from_le_bytes(bytes)) * u128::from(bound)) >> 64;
        u64::try_from(scaled).expect("less than the bound")
    }

    /// A UUID (version 4) from the stream of this purpose.
    pub fn uuid(&self, purpose: &str) -> String {
        let mut bytes = [0; 16];
        self.fill(purpose, &mut bytes);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = hex(&bytes);
        format!(
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        )
    }

    /// A text of 256 random bits, safe in URLs and cookies, from the stream of this purpose.
    pub fn token(&self, purpose: &str) -> String {
        let mut bytes = [0; 32];
        self.fill(purpose, &mut bytes);
        hex(&bytes)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|nibble| char::from(b"0123456789abcdef"[usize::from(nibble)]))
        .collect()
}

fn stream(seed: u64, purpose: &str) -> ChaCha20Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(purpose.as_bytes());
    ChaCha20Rng::from_seed(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_draw_moves_nothing_elsewhere() {
        let (left, right) = (Random::seeded(7), Random::seeded(7));

        left.token("a");

        assert_eq!(left.token("b"), right.token("b"));
        assert_ne!(left.token("a"), right.token("a"));
    }

    #[test]
    fn seeds_and_purposes_give_different_streams() {
        let random = Random::seeded(7);

        assert_ne!(random.uuid("a"), random.uuid("b"));
        assert_ne!(Random::seeded(7).uuid("a"), Random::seeded(8).uuid("a"));
        assert_ne!(Random::system().uuid("a"), Random::system().uuid("a"));
    }

    #[test]
    fn streams_can_begin_anew() {
        let random = Random::seeded(7);
        let first = random.token("a");

        assert_eq!((random.anew().token("a"), random.seed()), (first, Some(7)));
        assert_eq!(Random::system().anew().seed(), None);
    }

    #[test]
    fn below_stays_below() {
        let random = Random::seeded(7);

        assert!((0..1000).all(|_| random.below("x", 3) < 3));
        assert_eq!(random.below("x", 0), 0);
    }
}
