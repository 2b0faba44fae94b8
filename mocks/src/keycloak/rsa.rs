//! RSA with a modulus of many small primes: RS256 signatures that everybody can verify, made in machine words.
//!
//! A signature with two primes of 1,024 bits takes most of the time of a token refresh. With 32 primes of 64 bits it
//! takes a tenth of that. Such a modulus is soon factored; these keys are public anyway (`keys/README.md`).

use std::fmt;

use sha2::{Digest, Sha256};

const PRIMES: usize = 32;
/// The modulus in words of 64 bits.
const WORDS: usize = 32;
const BYTES: usize = 256;
/// The public exponent of every key.
const EXPONENT: u64 = 65_537;
/// What SHA-256 is called before its value (RFC 8017 §9.2, note 1).
const SHA256: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];

/// A number of the modulus's size, least word first.
type Number = [u64; WORDS];

/// A private key.
pub(super) struct SigningKey {
    modulus: Number,
    factors: Vec<Factor>,
}

/// One prime of a key, and what a signature needs of it.
struct Factor {
    prime: u64,
    /// Undoes the public exponent modulo this prime.
    exponent: u64,
    /// The modulus without this prime.
    rest: Number,
    /// Undoes `rest` modulo this prime.
    share: u64,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A key from its primes, one hexadecimal number a line. None when they make no key of 2,048 bits.
    pub(super) fn from_primes(text: &str) -> Option<Self> {
        let primes: Vec<u64> = text
            .lines()
            .map(|line| u64::from_str_radix(line, 16).ok())
            .collect::<Option<_>>()?;
        if primes.len() != PRIMES || primes.iter().any(|prime| *prime < 3) {
            return None;
        }
        let mut modulus = [0; WORDS];
        modulus[0] = 1;
        for prime in &primes {
            if multiply(&mut modulus, *prime) != 0 {
                return None;
            }
        }
        let factor = |prime: u64| {
            let rest = divided(&modulus, prime);
            Some(Factor {
                prime,
                exponent: inverse(EXPONENT, prime - 1)?,
                share: inverse(remainder(&rest, prime), prime)?,
                rest,
            })
        };
        let factors = primes.iter().map(|prime| factor(*prime)).collect::<Option<_>>()?;
        (modulus[WORDS - 1] >> 63 == 1).then_some(Self { modulus, factors })
    }

    /// The RS256 signature of a message (RFC 8017 §8.2.1), by the Chinese remainder theorem.
    pub(super) fn sign(&self, message: &[u8]) -> [u8; BYTES] {
        let padded = padded(message);
        let mut sum = [0; WORDS];
        let mut over = 0;
        for factor in &self.factors {
            let root = power(remainder(&padded, factor.prime), factor.exponent, factor.prime);
            let share = product(root, factor.share, factor.prime);
            over += add_product(&mut sum, &factor.rest, share);
        }
        // The sum has one summand below the modulus for each prime.
        while over > 0 || !is_less(&sum, &self.modulus) {
            over -= subtract(&mut sum, &self.modulus);
        }
        let mut signature = [0; BYTES];
        for (bytes, word) in signature.chunks_exact_mut(8).zip(sum.iter().rev()) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        signature
    }
}

/// What is signed of a message: its hash, padded to the modulus's size (RFC 8017 §9.2).
fn padded(message: &[u8]) -> Number {
    let mut bytes = [0xff; BYTES];
    let hash_at = BYTES - 32;
    let info_at = hash_at - SHA256.len();
    (bytes[0], bytes[1], bytes[info_at - 1]) = (0, 1, 0);
    bytes[info_at..hash_at].copy_from_slice(&SHA256);
    bytes[hash_at..].copy_from_slice(&Sha256::digest(message));
    let mut number = [0; WORDS];
    for (word, bytes) in number.iter_mut().rev().zip(bytes.chunks_exact(8)) {
        *word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    number
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the two halves are what is wanted"
)]
fn halves(wide: u128) -> (u64, u64) {
    (wide as u64, (wide >> 64) as u64)
}

/// Multiplies a number by a word; gives what did not fit.
fn multiply(number: &mut Number, by: u64) -> u64 {
    number.iter_mut().fold(0, |carry, word| {
        let (low, high) = halves(u128::from(*word) * u128::from(by) + u128::from(carry));
        *word = low;
        high
    })
}

/// Adds `number` times `by` to a sum; gives what did not fit.
fn add_product(sum: &mut Number, number: &Number, by: u64) -> u64 {
    sum.iter_mut().zip(number).fold(0, |carry, (word, factor)| {
        let wide = u128::from(*factor) * u128::from(by) + u128::from(*word) + u128::from(carry);
        let (low, high) = halves(wide);
        *word = low;
        high
    })
}

/// Takes one number from another; gives what it had to borrow.
fn subtract(from: &mut Number, number: &Number) -> u64 {
    let borrowed = from.iter_mut().zip(number).fold(false, |borrow, (word, taken)| {
        let (less, first) = word.overflowing_sub(*taken);
        let (less, second) = less.overflowing_sub(u64::from(borrow));
        *word = less;
        first || second
    });
    u64::from(borrowed)
}

fn is_less(left: &Number, right: &Number) -> bool {
    left.iter().rev().lt(right.iter().rev())
}

fn remainder(number: &Number, by: u64) -> u64 {
    number.iter().rev().fold(0, |rest, word| {
        halves((u128::from(rest) << 64 | u128::from(*word)) % u128::from(by)).0
    })
}

fn divided(number: &Number, by: u64) -> Number {
    let (mut quotient, mut rest) = ([0; WORDS], 0);
    for (word, part) in quotient.iter_mut().zip(number).rev() {
        let wide = u128::from(rest) << 64 | u128::from(*part);
        *word = halves(wide / u128::from(by)).0;
        rest = halves(wide % u128::from(by)).0;
    }
    quotient
}

fn product(left: u64, right: u64, modulus: u64) -> u64 {
    halves(u128::from(left) * u128::from(right) % u128::from(modulus)).0
}

fn power(base: u64, exponent: u64, modulus: u64) -> u64 {
    let (mut result, mut square) = (1, base);
    let mut left = exponent;
    while left > 0 {
        if left & 1 == 1 {
            result = product(result, square, modulus);
        }
        square = product(square, square, modulus);
        left >>= 1;
    }
    result
}

/// What gives 1 with `value`, modulo `modulus`, by Euclid's algorithm. None when they have a divisor in common.
fn inverse(value: u64, modulus: u64) -> Option<u64> {
    let whole = i128::from(modulus);
    let (mut rest, mut next) = (whole, i128::from(value) % whole);
    let (mut factor, mut next_factor) = (0, 1);
    while next != 0 {
        let quotient = rest / next;
        (rest, next) = (next, rest - quotient * next);
        (factor, next_factor) = (next_factor, factor - quotient * next_factor);
    }
    let found = u64::try_from(factor.rem_euclid(whole)).ok()?;
    (rest == 1).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = include_str!("../../keys/sig-1.txt");

    #[test]
    fn a_signature_raised_to_the_public_exponent_is_the_padded_hash() {
        let key = SigningKey::from_primes(KEY).unwrap();

        for message in ["", "a", "a longer one"] {
            let signature = key.sign(message.as_bytes());

            let mut number = [0; WORDS];
            for (word, bytes) in number.iter_mut().rev().zip(signature.chunks_exact(8)) {
                *word = u64::from_be_bytes(bytes.try_into().unwrap());
            }
            assert!(is_less(&number, &key.modulus));
            // Equal modulo each prime is equal modulo their product.
            for factor in &key.factors {
                let back = power(remainder(&number, factor.prime), EXPONENT, factor.prime);
                assert_eq!(back, remainder(&padded(message.as_bytes()), factor.prime));
            }
        }
    }

    #[test]
    fn what_makes_no_key_is_none() {
        let one_short = KEY.split_once('\n').unwrap().1;
        let doubled = format!("{}\n{one_short}", one_short.lines().next().unwrap());

        for text in ["", "x", one_short, &doubled] {
            assert!(SigningKey::from_primes(text).is_none());
        }
    }

    #[test]
    fn an_inverse_gives_one() {
        for (value, modulus, found) in [(3, 7, Some(5)), (10, 7, Some(5)), (4, 8, None), (0, 7, None)] {
            assert_eq!(inverse(value, modulus), found, "{value} modulo {modulus}");
        }
    }
}
