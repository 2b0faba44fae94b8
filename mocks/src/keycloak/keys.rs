//! Keys and tokens: what is signed, and whether a token is one of ours. Knows nothing of sessions.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde_json::Value;

/// What `certs` answers.
pub(crate) const JWKS: &str = include_str!("../../keys/jwks.json");
/// Id of the signing key in [`JWKS`].
const KID: &str = "anScQWJJ7d2IwfAR_ZyNQsaRtJ9TbvCzHxJmx1ytKuY";
/// Signs what only Keycloak itself reads: refresh tokens and cookies. Public, as the others.
const OWN_SECRET: &[u8] =
    b"polytab mock keycloak: refresh tokens, for tests only, trust nothing signed with this";

/// The realm's keys.
pub(crate) struct Keys {
    issuer: String,
    signing: (EncodingKey, DecodingKey),
    own: (EncodingKey, DecodingKey),
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
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
}

impl Keys {
    pub(crate) fn new(issuer: String) -> Self {
        let pem = include_bytes!("../../keys/sig.pem");
        let signing = EncodingKey::from_rsa_pem(pem).expect("the key in the repository is one");
        let jwks: Value = serde_json::from_str(JWKS).expect("the key set in the repository is one");
        let of = |name: &str| jwks["keys"][0][name].as_str().unwrap_or("").to_owned();
        let public = DecodingKey::from_rsa_components(&of("n"), &of("e")).expect("its public half is one");
        Self {
            issuer,
            signing: (signing, public),
            own: (
                EncodingKey::from_secret(OWN_SECRET),
                DecodingKey::from_secret(OWN_SECRET),
            ),
        }
    }

    /// Signs a token that everybody can verify.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(KID.to_owned());
        encode(&header, claims, &self.signing.0).expect("an RSA key signs any JSON")
    }

    /// Signs a token that only we can verify.
    pub(crate) fn sign_own(&self, claims: &Value) -> String {
        encode(&Header::new(Algorithm::HS512), claims, &self.own.0).expect("a secret signs any JSON")
    }

    /// The claims of a token that everybody can verify, if its signature and issuer are ours; of whatever age.
    pub(crate) fn verify(&self, token: &str) -> Option<Claims> {
        self.read(token, Algorithm::RS256, &self.signing.1)
    }

    /// The claims of a token that only we can verify; of whatever age.
    pub(crate) fn verify_own(&self, token: &str) -> Option<Claims> {
        self.read(token, Algorithm::HS512, &self.own.1)
    }

    fn read(&self, token: &str, algorithm: Algorithm, key: &DecodingKey) -> Option<Claims> {
        let mut validation = Validation::new(algorithm);
        // Times are looked at by our own clock, audiences by whom they concern.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.set_issuer(&[&self.issuer]);
        let token = decode::<Value>(token, key, &validation).ok()?;
        Some(Claims(token.claims))
    }
}

/// The login session that a token says it is of, whoever signed it.
pub(crate) fn sid(token: &str) -> Option<String> {
    let body = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&body).ok()?;
    claims["sid"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_is_ours_or_it_is_none() {
        let keys = Keys::new("http://keycloak/realms/a".into());
        let other = Keys::new("http://keycloak/realms/b".into());
        let claims = json!({"iss": "http://keycloak/realms/a", "sid": "s", "aud": ["x", "y"], "exp": 10});

        let (open, own) = (keys.sign(&claims), keys.sign_own(&claims));

        assert_eq!(keys.verify(&open), Some(Claims(claims.clone())));
        assert_eq!(keys.verify_own(&own), Some(Claims(claims)));
        assert_eq!(keys.verify(&own), None);
        assert_eq!(keys.verify_own(&open), None);
        assert_eq!(other.verify(&open), None);
        assert_eq!(keys.verify(&format!("{open}x")), None);
        assert_eq!(sid(&own).as_deref(), Some("s"));
        assert_eq!(sid("made up"), None);
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
