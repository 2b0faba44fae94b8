//! What is kept outside of the server, sealed. Login sessions, which instances share, with a key that only the
//! browser's own secret gives: whoever reads what the coordinator holds finds no token. Sign-ins under way, which
//! browsers keep, with one that only the client's secret gives.

use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use polytab_protocol::id::LoginSessionId;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::coordinator::{Coordinator, Lost, Sealed};

/// What a secret gives: a name to keep things under, and a key to seal them with. Neither leads back to the
/// secret, nor one to the other.
///
/// A plain hash is enough, for the secrets are random: 256 bits for a browser's, and what Keycloak draws for a
/// client's.
#[derive(Clone)]
pub(crate) struct Seal {
    pub(super) name: String,
    key: [u8; 32],
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

/// What is found under a name.
pub(super) enum Found<T> {
    /// This.
    Kept(T),
    /// It was ended.
    Over,
    /// Nothing, or nothing that this secret opens.
    Nothing,
}

impl Seal {
    /// That of a secret, for one kind of thing.
    pub(super) fn of(kind: &str, secret: &str) -> Self {
        let derive = |purpose: &str| {
            let mut hash = Sha256::new();
            for part in [kind, purpose, secret] {
                hash.update(part.as_bytes());
                hash.update([0]);
            }
            hash.finalize()
        };
        Self {
            name: format!("{kind}:{}", crate::hub::hex(&derive("name"))),
            key: derive("key").into(),
        }
    }

    /// The login session that this names.
    pub(super) fn session(&self) -> LoginSessionId {
        LoginSessionId(self.name.clone())
    }

    /// Keeps this version of a value for all instances, this long; finds what is there instead, if that is newer or
    /// over.
    pub(super) async fn keep<T: Serialize + DeserializeOwned>(
        &self,
        at: &dyn Coordinator,
        (version, value): (u64, &T),
        life: Duration,
    ) -> Result<Found<T>, Lost> {
        let bytes = self
            .close(value)
            .ok_or_else(|| Lost::Unreachable("a value cannot be sealed".to_owned()))?;
        let instead = at.keep(&self.name, Sealed { version, bytes }, life).await?;
        Ok(self.open(instead))
    }

    /// The value that is kept.
    pub(super) async fn find<T: DeserializeOwned>(&self, at: &dyn Coordinator) -> Result<Found<T>, Lost> {
        Ok(self.open(at.kept(&self.name).await?))
    }

    pub(super) fn close(&self, value: &impl Serialize) -> Option<Vec<u8>> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.key).ok()?;
        let mut text = serde_json::to_vec(value).ok()?;
        let nonce = key.seal_in_place_append_tag(Aad::empty(), &mut text).ok()?;
        let mut bytes = nonce.as_ref().to_vec();
        bytes.append(&mut text);
        Some(bytes)
    }

    fn open<T: DeserializeOwned>(&self, bytes: Option<Vec<u8>>) -> Found<T> {
        match bytes {
            None => Found::Nothing,
            Some(bytes) if bytes.is_empty() => Found::Over,
            Some(mut bytes) => self.unseal(&mut bytes).map_or(Found::Nothing, Found::Kept),
        }
    }

    pub(super) fn unseal<T: DeserializeOwned>(&self, bytes: &mut [u8]) -> Option<T> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.key).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = key.open_in_place(nonce, Aad::empty(), sealed).ok()?;
        serde_json::from_slice(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_opens_what_it_sealed() {
        let (own, other) = (Seal::of("session", "a"), Seal::of("session", "b"));
        let sealed = own.close(&"token").unwrap();

        assert!(!String::from_utf8_lossy(&sealed).contains("token"));
        assert!(matches!(own.open::<String>(Some(sealed.clone())), Found::Kept(text) if text == "token"));
        assert!(matches!(other.open::<String>(Some(sealed)), Found::Nothing));
        assert!(matches!(own.open::<String>(Some(vec![1, 2])), Found::Nothing));
        assert!(matches!(own.open::<String>(Some(Vec::new())), Found::Over));
    }

    #[test]
    fn a_name_tells_neither_the_secret_nor_the_key() {
        let seal = Seal::of("session", "secret");

        assert!(!seal.name.contains("secret"));
        assert!(!seal.name.contains(&crate::hub::hex(&seal.key)));
        assert_ne!(seal.name, Seal::of("sign-in", "secret").name);
    }
}
