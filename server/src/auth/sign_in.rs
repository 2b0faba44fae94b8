//! Sign-in by OpenID Connect's authorization-code flow with PKCE, and sign-out.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};
use polytab_protocol::id::UserId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Auth,
    provider::ProviderError,
    vault::{Found, Seal},
};

/// What a sign-in is kept as.
const SIGN_IN: &str = "sign-in";

/// One sign-in under way, by its `state`.
#[derive(Clone, Serialize, Deserialize)]
struct Flow {
    nonce: String,
    verifier: String,
    began: Timestamp,
}

/// Sign-ins under way, bounded; the oldest go first.
pub(crate) struct Flows {
    all: Mutex<IndexMap<String, Flow>>,
    limit: usize,
    life: SignedDuration,
}

impl std::fmt::Debug for Flows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Flows")
    }
}

impl Flows {
    pub(crate) fn new(limit: usize, life: Duration) -> Self {
        let life = SignedDuration::try_from(life).unwrap_or(SignedDuration::MAX);
        Self {
            all: Mutex::default(),
            limit,
            life,
        }
    }

    fn put(&self, state: String, flow: Flow) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let old = all
            .values()
            .take_while(|other| flow.began.duration_since(other.began) > self.life)
            .count();
        let surplus = (all.len() + 1).saturating_sub(self.limit);
        let gone = old.max(surplus).min(all.len());
        all.drain(..gone);
        all.insert(state, flow);
    }

    fn take(&self, state: &str, now: Timestamp) -> Option<Flow> {
        let flow = self
            .all
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .shift_remove(state)?;
        (now.duration_since(flow.began) <= self.life).then_some(flow)
    }
}

/// What the browser is told to begin with.
pub(crate) struct Begun {
    /// Where to go.
    pub(crate) url: String,
    /// What to bring back, in a cookie of its own: another browser must not finish this sign-in.
    pub(crate) state: String,
}

impl Auth {
    fn redirect_uri(&self) -> String {
        format!(
            "{}/auth/callback",
            self.config.public_url.as_str().trim_end_matches('/')
        )
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
        if self.coordinator.is_shared() {
            let life = self.config.sign_in_life.0;
            let kept = Seal::of(SIGN_IN, &state)
                .keep(&*self.coordinator, (0, &flow), life)
                .await;
            // Else it can be finished only here.
            self.reach.note(kept).ok();
        }
        self.flows.put(state.clone(), flow);
        Ok(Begun {
            url: url.into(),
            state,
        })
    }

    /// Finishes a sign-in with the code that the browser brought back; gives the value of the session cookie.
    pub(crate) async fn finish_sign_in(&self, state: &str, code: &str) -> Result<String, ProviderError> {
        let refused = |text: &str| ProviderError::Refused(text.to_owned());
        let flow = self.take_flow(state).await;
        let flow = flow.ok_or_else(|| refused("this sign-in was not begun here, or too long ago"))?;
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

    /// The sign-in of this `state`, wherever it was begun; it is finished once.
    async fn take_flow(&self, state: &str) -> Option<Flow> {
        let own = self.flows.take(state, self.seams.clock.wall());
        if own.is_some() || !self.coordinator.is_shared() {
            return own;
        }
        let seal = Seal::of(SIGN_IN, state);
        match self.reach.note(seal.take(&*self.coordinator).await) {
            Ok(Found::Kept(flow)) => Some(flow),
            Ok(Found::Over | Found::Nothing) | Err(_) => None,
        }
    }
}
