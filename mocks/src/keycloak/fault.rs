//! Faults that only an identity provider has: tokens, keys and documents that are wrong in one respect.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::keycloak::{
    keys::{Keys, Ring, forged},
    session::after,
};

/// What is wrong with what Keycloak answers. The first seven are about tokens, on the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeycloakFault {
    /// Access and ID token ended a minute ago.
    Expired,
    /// They are good from the next minute on (`nbf`).
    NotYet,
    /// No key verifies them.
    BadSignature,
    /// They name a key that was never published.
    UnknownKid,
    /// They name another issuer.
    WrongIss,
    /// They are for somebody else.
    WrongAud,
    /// They lack a claim.
    DropClaim(Claim),
    /// Refreshes of one token within a second all succeed, although rotation is on.
    RacyRotation,
    /// The key set is empty.
    JwksEmpty,
    /// The key set lacks the key that signs.
    JwksStale,
    /// The discovery document names another issuer.
    DiscoveryIssuerMismatch,
}

/// A claim that a token may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are the names of claims (MOCKS K7)")]
pub enum Claim {
    Acr,
    Aud,
    AuthTime,
    Azp,
    Email,
    Exp,
    Iat,
    Iss,
    Jti,
    Nonce,
    PreferredUsername,
    RealmAccess,
    Scope,
    Sid,
    Sub,
    Typ,
}

/// A thing's name as serde writes it.
fn word<T: Serialize>(thing: T) -> String {
    match serde_json::to_value(thing) {
        Ok(Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

impl fmt::Display for KeycloakFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DropClaim(claim) => write!(f, "drop_claim {}", word(claim)),
            other => f.write_str(&word(other)),
        }
    }
}

/// Signs a token that everybody can verify, unless the call's fault makes something else of it.
pub(super) fn sign(
    keys: &Keys,
    ring: &Ring,
    mut claims: Value,
    call: (Option<KeycloakFault>, Timestamp),
) -> String {
    let (Some(fault), now) = call else {
        return keys.sign(ring, &claims);
    };
    let shifted = |seconds| after(now, SignedDuration::from_secs(seconds)).as_second();
    match fault {
        KeycloakFault::Expired => claims["exp"] = shifted(-60).into(),
        KeycloakFault::NotYet => claims["nbf"] = shifted(60).into(),
        KeycloakFault::WrongIss => {
            claims["iss"] = format!("{}-of-somebody-else", claims["iss"].as_str().unwrap_or("")).into();
        }
        KeycloakFault::WrongAud => claims["aud"] = json!(["somebody-else"]),
        KeycloakFault::DropClaim(claim) => {
            if let Value::Object(claims) = &mut claims {
                claims.remove(&word(claim));
            }
        }
        KeycloakFault::BadSignature => return forged(&keys.sign(ring, &claims)),
        KeycloakFault::UnknownKid => {
            return keys.sign_as(ring, "a-key-that-was-never-published-by-this-realm", &claims);
        }
        KeycloakFault::RacyRotation
        | KeycloakFault::JwksEmpty
        | KeycloakFault::JwksStale
        | KeycloakFault::DiscoveryIssuerMismatch => {}
    }
    keys.sign(ring, &claims)
}
