//! Sign-in by OpenID Connect's authorization-code flow with PKCE.
//!
//! The browser itself keeps a sign-in under way, sealed: there is nothing here that others could fill or evict, and any
//! instance can finish it, also one that was started meanwhile.

use std::sync::{Mutex, PoisonError};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use indexmap::IndexSet;
use jiff::{SignedDuration, Timestamp};
use polytab_protocol::id::UserId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Auth, provider::ProviderError, vault::Seal};

/// What a sign-in is sealed as.
const SIGN_IN: &str = "sign-in";
/// Sign-ins that are remembered as used. Only those that a browser proved to have begun count.
const USED: usize = 1024;

/// One sign-in under way.
#[derive(Serialize, Deserialize)]
pub(crate) struct Flow {
    nonce: String,
    verifier: String,
    began: Timestamp,
}

/// The last sign-ins that were used, so that a callback that comes twice does not send its code twice: the provider
/// would take that for theft, and end the user's session.
#[derive(Debug, Default)]
pub(super) struct Used(Mutex<IndexSet<String>>);

impl Used {
    /// Whether this is the first use.
    fn note(&self, name: String) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = all.insert(name);
        let surplus = all.len().saturating_sub(USED);
        all.drain(..surplus);
        is_new
    }
}

/// What the browser is told to begin with.
pub(crate) struct Begun {
    /// Where to go.
    pub(crate) url: String,
    /// What the provider sends it back with.
    pub(crate) state: String,
    /// The sign-in itself, to bring back in a cookie: another browser must not finish it.
    pub(crate) sealed: String,
}

impl Auth {
    fn redirect_uri(&self) -> String {
        format!(
            "{}/auth/callback",
            self.config.public_url.as_str().trim_end_matches('/')
        )
    }

    /// What seals the sign-in of this state: all instances have the client's secret, and nobody else does.
    fn seal(&self, state: &str) -> Seal {
        Seal::of(SIGN_IN, &format!("{}\0{state}", self.config.oidc_client_secret))
    }

    /// Begins a sign-in.
    pub(crate) async fn begin_sign_in(&self) -> Result<Begun, ProviderError> {
        let metadata = self.provider.metadata().await?;
        let random = &self.seams.random;
        let flow = Flow {
            nonce: random.token("server/nonce"),
            verifier: random.token("server/pkce"),
            began: self.seams.clock.wall(),
        };
        let state = random.token("server/state");
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(flow.verifier.as_bytes()));
        let mut url = metadata.authorization_endpoint.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.oidc_client_id)
            .append_pair("redirect_uri", &self.redirect_uri())
            .append_pair("scope", "openid profile email")
            .append_pair("state", &state)
            .append_pair("nonce", &flow.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        let sealed = self.seal(&state).close(&flow);
        let sealed =
            sealed.ok_or_else(|| ProviderError::Unavailable("a sign-in cannot be sealed".to_owned()))?;
        Ok(Begun {
            url: url.into(),
            state,
            sealed: URL_SAFE_NO_PAD.encode(sealed),
        })
    }

    /// The sign-in that a browser brought back; `None` if it is that of another state, too old, or was used.
    pub(crate) fn take_sign_in(&self, state: &str, sealed: &str) -> Option<Flow> {
        let seal = self.seal(state);
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let flow: Flow = seal.unseal(&mut bytes)?;
        let age = self.seams.clock.wall().duration_since(flow.began);
        let life = SignedDuration::try_from(self.config.sign_in_life.0).unwrap_or(SignedDuration::MAX);
        (age <= life && self.used.note(seal.name)).then_some(flow)
    }

    /// Finishes a sign-in with the code that the browser brought back; gives the value of the session cookie.
    pub(crate) async fn finish_sign_in(&self, flow: Flow, code: &str) -> Result<String, ProviderError> {
        let refused = |text: &str| ProviderError::Refused(text.to_owned());
        let grant = self
            .provider
            .exchange(code, &self.redirect_uri(), &flow.verifier)
            .await?;
        let id_token = grant
            .id_token
            .clone()
            .ok_or_else(|| refused("no ID token came"))?;
        let claims = self.provider.id_claims(&id_token, &flow.nonce).await?;
        let user = claims["sub"]
            .as_str()
            .ok_or_else(|| refused("an ID token without `sub`"))?;
        let sid = claims["sid"].as_str().map(str::to_owned);
        let (_, cookie) = self.begin(grant, UserId(user.to_owned()), sid).await;
        Ok(cookie)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_is_remembered_within_bounds() {
        let used = Used::default();

        assert!(used.note("a".into()));
        assert!(!used.note("a".into()));
        assert!((0..2 * USED).all(|nth| used.note(nth.to_string())));
        assert!(!used.note((2 * USED - 1).to_string()));
        assert_eq!(used.0.lock().unwrap().len(), USED);
    }
}
