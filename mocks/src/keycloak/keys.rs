//! Keys and tokens: what is signed with which key, and whether a token is one of ours. Knows nothing of sessions.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use rsa::{
    BigUint, RsaPrivateKey,
    pkcs1v15::SigningKey,
    sha2::Sha256 as SignedSha256,
    signature::{SignatureEncoding, Signer},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The public halves, in order, and behind them the encryption key.
const JWKS: &str = include_str!("../../keys/jwks.json");
/// The private halves, a prime in each line, each with its public half as the realm's document shows it.
const PAIRS: [(&str, &str); 4] = [
    (
        include_str!("../../keys/sig-1.txt"),
        include_str!("../../keys/spki-1.txt"),
    ),
    (
        include_str!("../../keys/sig-2.txt"),
        include_str!("../../keys/spki-2.txt"),
    ),
    (
        include_str!("../../keys/sig-3.txt"),
        include_str!("../../keys/spki-3.txt"),
    ),
    (
        include_str!("../../keys/sig-4.txt"),
        include_str!("../../keys/spki-4.txt"),
    ),
];
/// Their public exponent, as everybody has it.
const EXPONENT: u32 = 65_537;
/// Signs what only Keycloak itself reads: refresh tokens and cookies. Public, as the others.
const OWN_SECRET: &[u8] =
    b"polytab mock keycloak: refresh tokens, for tests only, trust nothing signed with this";
/// Keys that are published at once; older ones are dropped, as a realm's keys are a handful.
const PUBLISHED: usize = 8;

/// What there is to sign with. The same for all realms, and never changed.
pub(crate) struct Keys {
    pairs: Vec<Pair>,
    encryption: Value,
    own: (EncodingKey, DecodingKey),
}

struct Pair {
    /// Of the `rsa` crate, as that takes keys of many primes. It is read once; `jsonwebtoken` would read and check a key
    /// anew for each signature, which costs as much as the signature itself.
    private: SigningKey<SignedSha256>,
    public: DecodingKey,
    jwk: Value,
    spki: &'static str,
}

/// The keys of one realm: which are published, and which one signs.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    /// Newest last; it signs.
    keys: Vec<RingKey>,
    made: usize,
}

#[derive(Clone, Debug)]
struct RingKey {
    kid: String,
    pair: usize,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// The claims of a token of ours.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claims(pub(crate) Value);

impl Claims {
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or("")
    }

    /// A time in whole seconds; absent ones are long ago.
    pub(crate) fn second(&self, name: &str) -> i64 {
        self.0[name].as_i64().unwrap_or(0)
    }

    /// Whether `name` is the audience or one of several.
    pub(crate) fn is_for(&self, name: &str) -> bool {
        match &self.0["aud"] {
            Value::Array(names) => names.iter().any(|found| found == name),
            one => one == name,
        }
    }

    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.second("exp") <= now.as_second()
    }

    /// Whether the scope has this word.
    pub(crate) fn has_scope(&self, wanted: &str) -> bool {
        self.text("scope").split(' ').any(|scope| scope == wanted)
    }
}

impl Ring {
    /// A realm's first key. `first` sets realms apart.
    pub(crate) fn new(keys: &Keys, first: usize) -> Self {
        let mut ring = Self {
            keys: Vec::new(),
            made: first,
        };
        ring.rotate(keys, false);
        ring
    }

    /// Signs with a new key from now on. The old ones stay published, unless they are to be dropped at once.
    pub(crate) fn rotate(&mut self, keys: &Keys, drop: bool) -> &str {
        if drop {
            self.keys.clear();
        }
        let pair = self.made % keys.pairs.len();
        let kid = match keys.pairs[pair].jwk["kid"].as_str().unwrap_or_default() {
            kid if self.made < keys.pairs.len() => kid.to_owned(),
            // There are only so many pairs of keys: one that comes round again gets a new name.
            kid => URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{kid}/{}", self.made))),
        };
        self.made += 1;
        if self.keys.len() == PUBLISHED {
            self.keys.remove(0);
        }
        self.keys.push(RingKey { kid, pair });
        self.active()
    }

    /// The id of the key that signs.
    pub(crate) fn active(&self) -> &str {
        self.keys.last().map_or("", |key| &key.kid)
    }

    fn signer(&self) -> &RingKey {
        self.keys
            .last()
            .expect("a ring is made with a key and keeps the newest")
    }

    /// Ids of the published keys, newest first, with whether each signs.
    pub(crate) fn published(&self) -> impl Iterator<Item = (&str, bool)> {
        let keys = self.keys.iter().rev().map(|key| key.kid.as_str());
        keys.enumerate().map(|(index, kid)| (kid, index == 0))
    }
}

impl Keys {
    pub(crate) fn new() -> Self {
        let jwks: Value = serde_json::from_str(JWKS).expect("the key set in the repository is one");
        let pair = |(index, (primes, spki)): (usize, &(&str, &'static str))| {
            let jwk = jwks["keys"][index].clone();
            let of = |name: &str| jwk[name].as_str().unwrap_or("").to_owned();
            let public = DecodingKey::from_rsa_components(&of("n"), &of("e"));
            Pair {
                private: signing_key(primes).expect("the key in the repository is one"),
                public: public.expect("its public half is one"),
                spki,
                jwk,
            }
        };
        Self {
            pairs: PAIRS.iter().enumerate().map(pair).collect(),
            encryption: jwks["keys"][PAIRS.len()].clone(),
            own: (
                EncodingKey::from_secret(OWN_SECRET),
                DecodingKey::from_secret(OWN_SECRET),
            ),
        }
    }

    /// The key set of a realm as `certs` answers it: signing keys, newest first, and the encryption key.
    pub(crate) fn jwks(&self, ring: &Ring) -> Value {
        let sign = ring.keys.iter().rev().map(|key| {
            let mut jwk = self.pairs[key.pair].jwk.clone();
            jwk["kid"] = key.kid.clone().into();
            jwk
        });
        let keys: Vec<Value> = sign.chain([self.encryption.clone()]).collect();
        json!({ "keys": keys })
    }

    /// The encryption key's id.
    pub(crate) fn encryption_kid(&self) -> &str {
        self.encryption["kid"].as_str().unwrap_or_default()
    }

    /// The public half of the key that signs, as SPKI in base64.
    pub(crate) fn public_key(&self, ring: &Ring) -> &'static str {
        self.pairs[ring.signer().pair].spki
    }

    /// Signs a token that everybody can verify.
    pub(crate) fn sign(&self, ring: &Ring, claims: &Value) -> String {
        self.sign_as(ring, ring.active(), claims)
    }

    /// The same, under a key id that may be none of ours.
    pub(crate) fn sign_as(&self, ring: &Ring, kid: &str, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(kid.to_owned());
        let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let header = serde_json::to_value(header).expect("a header is JSON");
        let signed = format!("{}.{}", encoded(&header), encoded(claims));
        let private = &self.pairs[ring.signer().pair].private;
        let signature = private.sign(signed.as_bytes()).to_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Signs a token that only we can verify.
    pub(crate) fn sign_own(&self, claims: &Value) -> String {
        encode(&Header::new(Algorithm::HS512), claims, &self.own.0).expect("a secret signs any JSON")
    }

    /// The claims of a token that everybody can verify, if a published key signed it; of whatever age and issuer.
    pub(crate) fn verify(&self, ring: &Ring, token: &str) -> Option<Claims> {
        let kid = decode_header(token).ok()?.kid?;
        let key = ring.keys.iter().find(|key| key.kid == kid)?;
        read(token, Algorithm::RS256, &self.pairs[key.pair].public)
    }

    /// The claims of a token that only we can verify; of whatever age and issuer.
    pub(crate) fn verify_own(&self, token: &str) -> Option<Claims> {
        read(token, Algorithm::HS512, &self.own.1)
    }
}

/// The key with these primes. More of them than two make it quick to sign with and easy to factor, which is good enough
/// for keys that are public in any case; who verifies sees no difference.
fn signing_key(primes: &str) -> Result<SigningKey<SignedSha256>, rsa::Error> {
    let prime = |line: &str| BigUint::parse_bytes(line.as_bytes(), 16);
    let primes = primes.lines().filter_map(prime).collect();
    RsaPrivateKey::from_primes(primes, BigUint::from(EXPONENT)).map(SigningKey::new)
}

fn read(token: &str, algorithm: Algorithm, key: &DecodingKey) -> Option<Claims> {
    let mut validation = Validation::new(algorithm);
    // Times are looked at by our own clock; issuers and audiences by whom they concern.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let token = decode::<Value>(token, key, &validation).ok()?;
    Some(Claims(token.claims))
}

/// A token with another signature: no key verifies it.
pub(crate) fn forged(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap_or((token, ""));
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
    let turned: Vec<u8> = bytes.iter().map(|byte| byte ^ 0x55).collect();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(turned))
}

/// The login session that a token says it is of, whoever signed it.
pub(crate) fn sid(token: &str) -> Option<String> {
    claim(token, "sid")
}

/// What a token says, whoever signed it.
pub(crate) fn claim(token: &str, name: &str) -> Option<String> {
    let body = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&body).ok()?;
    claims[name].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_ours_or_it_is_none() {
        let keys = Keys::new();
        let (ring, other) = (Ring::new(&keys, 0), Ring::new(&keys, 1));
        let claims = json!({"iss": "http://keycloak/realms/a", "sid": "s", "aud": ["x", "y"], "exp": 10});

        let (open, own) = (keys.sign(&ring, &claims), keys.sign_own(&claims));

        assert_eq!(keys.verify(&ring, &open), Some(Claims(claims.clone())));
        assert_eq!(keys.verify_own(&own), Some(Claims(claims)));
        assert_eq!(keys.verify(&ring, &own), None);
        assert_eq!(keys.verify_own(&open), None);
        assert_eq!(keys.verify(&other, &open), None);
        assert_eq!(keys.verify(&ring, &format!("{open}x")), None);
        assert_eq!(keys.verify(&ring, &forged(&open)), None);
        assert_eq!(sid(&own).as_deref(), Some("s"));
        assert_eq!(sid("made up"), None);
    }

    #[test]
    fn an_old_key_verifies_until_it_is_dropped() {
        let keys = Keys::new();
        let mut ring = Ring::new(&keys, 0);
        let token = keys.sign(&ring, &json!({}));

        ring.rotate(&keys, false);
        let after_rotation = keys.verify(&ring, &token);
        let published = ring.published().count();
        ring.rotate(&keys, true);

        assert!(after_rotation.is_some());
        assert_eq!(published, 2);
        assert_eq!(ring.published().count(), 1);
        assert_eq!(keys.verify(&ring, &token), None);
    }

    #[test]
    fn no_two_published_keys_have_one_name_and_there_are_never_too_many() {
        let keys = Keys::new();
        let mut ring = Ring::new(&keys, 0);

        for _ in 0..20 {
            ring.rotate(&keys, false);
        }

        let mut kids: Vec<_> = ring.published().map(|(kid, _)| kid.to_owned()).collect();
        kids.dedup();
        assert_eq!(kids.len(), PUBLISHED);
        assert!(kids.iter().all(|kid| kid.len() == 43));
    }

    #[test]
    fn an_audience_is_one_or_several() {
        for (audience, is_for) in [
            (json!("renku"), true),
            (json!(["a", "renku"]), true),
            (json!(null), false),
        ] {
            assert_eq!(Claims(json!({ "aud": audience })).is_for("renku"), is_for);
        }
    }
}
