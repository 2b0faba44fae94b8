//! The identity provider, as the server's OpenID Connect client sees it: discovery, keys, tokens, introspection.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use polytab_seams::{clock::Clock, http::HttpClient};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use tokio::time::{Duration, Instant};
use tracing::Instrument;
use url::{Url, form_urlencoded::Serializer};

use super::{
    AccessClaims,
    claims::{self, Expected, TokenUse},
    sessions::Tokens,
};
use crate::{config::Config, metrics::Metrics};

/// Between two fetches of the provider's keys for a key that it did not have.
const KEYS_AGAIN: Duration = Duration::from_secs(30);
/// After a fetch of the keys that failed.
const KEYS_RETRY: Duration = Duration::from_secs(2);
/// Age at which the keys are fetched again although none is missing: one may have been withdrawn.
const KEYS_MAX_AGE: Duration = Duration::from_mins(10);

/// What the provider says no to, and what it says nothing to.
#[derive(Debug, Error)]
pub(crate) enum ProviderError {
    /// It refuses, or what it gave does not hold.
    #[error("refused: {0}")]
    Refused(String),
    /// It does not answer, or answers with an error of its own.
    #[error("unavailable: {0}")]
    Unavailable(String),
}

/// The provider's endpoints (OpenID Connect Discovery §3).
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Metadata {
    issuer: String,
    pub(crate) authorization_endpoint: Url,
    token_endpoint: Url,
    introspection_endpoint: Option<Url>,
    end_session_endpoint: Option<Url>,
    jwks_uri: Url,
}

/// What the token endpoint gives.
#[derive(Clone, Deserialize)]
pub(crate) struct Grant {
    access_token: String,
    expires_in: i64,
    refresh_token: Option<String>,
    pub(crate) id_token: Option<String>,
}

impl Grant {
    /// The tokens, with the time at which the access token expires by our clock.
    pub(crate) fn tokens(self, now: Timestamp) -> Tokens {
        let expires = now
            .checked_add(SignedDuration::from_secs(self.expires_in))
            .unwrap_or(Timestamp::MAX);
        Tokens {
            access: self.access_token,
            refresh: self.refresh_token,
            id: self.id_token,
            expires,
            generation: 0,
        }
    }
}

/// The token endpoint's refusal (RFC 6749 §5.2).
#[derive(Debug, Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    error: String,
    #[serde(default)]
    error_description: String,
}

/// The provider's keys, as far as they were fetched.
#[derive(Debug, Default)]
struct Keys {
    set: Option<JwkSet>,
    /// When the fetch began that gave them.
    fetched: Option<Instant>,
    /// When they were last asked for, in vain or not.
    asked: Option<Instant>,
}

impl Keys {
    fn find(&self, kid: &str) -> Option<DecodingKey> {
        DecodingKey::from_jwk(self.set.as_ref()?.find(kid)?).ok()
    }

    /// The key, unless the keys are so old that it may have been withdrawn.
    fn find_fresh(&self, kid: &str) -> Option<DecodingKey> {
        let is_fresh = self.fetched.is_some_and(|at| at.elapsed() < KEYS_MAX_AGE);
        self.find(kid).filter(|_| is_fresh)
    }

    /// Whether they may be asked for: who shows tokens of made-up keys must not make the provider work.
    fn may_be_fetched(&self) -> bool {
        let wait = if self.asked == self.fetched {
            KEYS_AGAIN
        } else {
            KEYS_RETRY
        };
        self.asked.is_none_or(|at| at.elapsed() >= wait)
    }
}

/// Whether calls of one kind are answered, which is logged when it changes: there is one for each session and turn.
#[derive(Debug)]
struct Answers {
    call: &'static str,
    failing: AtomicBool,
}

impl Answers {
    fn of(call: &'static str) -> Self {
        Self {
            call,
            failing: AtomicBool::new(false),
        }
    }

    fn note<T>(&self, answer: Result<T, ProviderError>) -> Result<T, ProviderError> {
        let call = self.call;
        match &answer {
            Err(ProviderError::Unavailable(reason)) => {
                if !self.failing.swap(true, Ordering::AcqRel) {
                    tracing::warn!(call, reason, "the identity provider cannot be asked");
                }
            }
            Ok(_) | Err(ProviderError::Refused(_)) => {
                if self.failing.swap(false, Ordering::AcqRel) {
                    tracing::info!(call, "the identity provider can be asked again");
                }
            }
        }
        answer
    }
}

/// Talks to the provider.
#[derive(Debug)]
pub(crate) struct Provider {
    issuer: Url,
    client_id: String,
    client_secret: String,
    clock: Clock,
    client: HttpClient,
    metrics: Arc<Metrics>,
    metadata: Mutex<Option<Arc<Metadata>>>,
    keys: Mutex<Keys>,
    /// Held while keys are fetched.
    fetching: tokio::sync::Mutex<()>,
    refreshes: Answers,
    introspections: Answers,
}

impl Provider {
    pub(crate) fn new(config: &Config, clock: Clock, client: HttpClient, metrics: Arc<Metrics>) -> Self {
        Self {
            issuer: config.oidc_issuer.clone(),
            client_id: config.oidc_client_id.clone(),
            client_secret: config.oidc_client_secret.clone(),
            clock,
            client,
            metrics,
            metadata: Mutex::default(),
            keys: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
            refreshes: Answers::of("refresh"),
            introspections: Answers::of("introspection"),
        }
    }

    /// Whether the provider was found; it is looked for at the first need.
    pub(crate) fn is_known(&self) -> bool {
        self.metadata
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// The provider's endpoints, asked for once.
    pub(crate) async fn metadata(&self) -> Result<Arc<Metadata>, ProviderError> {
        let known = self
            .metadata
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(metadata) = known {
            return Ok(metadata);
        }
        let issuer = self.issuer.as_str().trim_end_matches('/');
        let metadata: Metadata = self
            .get_json("discovery", &format!("{issuer}/.well-known/openid-configuration"))
            .await?;
        if metadata.issuer.trim_end_matches('/') != issuer {
            return Err(ProviderError::Unavailable(format!(
                "its issuer is `{}`, not `{issuer}`",
                metadata.issuer
            )));
        }
        let metadata = Arc::new(metadata);
        *self.metadata.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&metadata));
        Ok(metadata)
    }

    /// Exchanges an authorization code.
    pub(crate) async fn exchange(
        &self,
        code: &str,
        redirect: &str,
        verifier: &str,
    ) -> Result<Grant, ProviderError> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect),
            ("code_verifier", verifier),
        ];
        self.grant(&form).await
    }

    /// Exchanges a refresh token.
    pub(crate) async fn refresh(&self, token: &str) -> Result<Grant, ProviderError> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.refreshes.note(self.grant(&form).await)
    }

    async fn grant(&self, form: &[(&str, &str)]) -> Result<Grant, ProviderError> {
        let endpoint = self.metadata().await?.token_endpoint.clone();
        let answer = self.post("token", &endpoint, form).await?;
        if answer.status() == StatusCode::OK {
            return serde_json::from_slice(answer.body())
                .map_err(|error| ProviderError::Unavailable(format!("its tokens cannot be read: {error}")));
        }
        let refusal: Refusal = serde_json::from_slice(answer.body()).unwrap_or_default();
        // Only this error speaks of the grant; all others speak of us, or of the provider (RFC 6749 §5.2).
        if refusal.error == "invalid_grant" {
            return Err(ProviderError::Refused(refusal.error_description));
        }
        Err(ProviderError::Unavailable(format!(
            "answered {} {}",
            answer.status(),
            refusal.error
        )))
    }

    /// Asks whether a token is active (RFC 7662). Without an endpoint for it every token is.
    pub(crate) async fn is_active(&self, token: &str) -> Result<bool, ProviderError> {
        self.introspections.note(self.introspect(token).await)
    }

    async fn introspect(&self, token: &str) -> Result<bool, ProviderError> {
        let Some(endpoint) = self.metadata().await?.introspection_endpoint.clone() else {
            return Ok(true);
        };
        let answer = self.post("introspection", &endpoint, &[("token", token)]).await?;
        let body: Option<Value> = serde_json::from_slice(answer.body()).ok();
        match body.as_ref().and_then(|body| body["active"].as_bool()) {
            Some(active) if answer.status() == StatusCode::OK => Ok(active),
            Some(_) | None => Err(ProviderError::Unavailable(format!(
                "introspection answered {}",
                answer.status()
            ))),
        }
    }

    /// Where a browser ends its session at the provider.
    pub(crate) async fn end_session_url(
        &self,
        hint: Option<&str>,
        back: &str,
    ) -> Result<String, ProviderError> {
        let Some(mut url) = self.metadata().await?.end_session_endpoint.clone() else {
            return Ok(back.to_owned());
        };
        url.query_pairs_mut()
            .append_pair("client_id", &self.client_id)
            .append_pair("post_logout_redirect_uri", back)
            .extend_pairs(hint.map(|hint| ("id_token_hint", hint)));
        Ok(url.into())
    }

    /// Who an access token is for.
    pub(crate) async fn access_claims(&self, token: &str) -> Result<AccessClaims, ProviderError> {
        let claims = self.claims(token, TokenUse::Access).await?;
        AccessClaims::read(&claims)
            .ok_or_else(|| ProviderError::Refused("a token without `sub` or `exp`".to_owned()))
    }

    /// The claims of an ID token, which must carry this nonce.
    pub(crate) async fn id_claims(&self, token: &str, nonce: &str) -> Result<Value, ProviderError> {
        self.claims(token, TokenUse::Id { nonce }).await
    }

    /// The claims of a logout token.
    pub(crate) async fn logout_claims(&self, token: &str) -> Result<Value, ProviderError> {
        self.claims(token, TokenUse::Logout).await
    }

    /// The claims of a token whose signature holds, and which is right for this use.
    async fn claims(&self, token: &str, token_use: TokenUse<'_>) -> Result<Value, ProviderError> {
        let refused = |error: jsonwebtoken::errors::Error| ProviderError::Refused(error.to_string());
        let header = claims::read_header(token).map_err(ProviderError::Refused)?;
        claims::check_header(&header, token_use).map_err(ProviderError::Refused)?;
        let kid = decode_header(token).map_err(refused)?.kid.unwrap_or_default();
        let key = self.key(&kid).await?;
        let mut validation = Validation::new(Algorithm::RS256);
        // The library checks the signature. Claims are checked here: it takes absent ones for right, and reads the
        // system's clock.
        validation.validate_aud = false;
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        let claims = decode::<Value>(token, &key, &validation).map_err(refused)?.claims;
        let expected = Expected {
            issuer: self.issuer.as_str().trim_end_matches('/'),
            client_id: &self.client_id,
            now_s: self.clock.wall().as_second(),
        };
        claims::check_claims(&claims, token_use, expected).map_err(ProviderError::Refused)?;
        Ok(claims)
    }

    /// The provider's signing key of this name. For a name that is not there all keys are fetched again, once for all
    /// who wait, but not often; who has a key that is there never waits.
    ///
    /// Only keys that were asked for after the token came say that there is none of this name: with older ones, the
    /// provider may have begun to sign with it after they were fetched.
    async fn key(&self, kid: &str) -> Result<DecodingKey, ProviderError> {
        let unknown = || ProviderError::Refused("a token signed with an unknown key".to_owned());
        if let Some(key) = self.keys().find_fresh(kid) {
            return Ok(key);
        }
        let came = Instant::now();
        let _alone = self.fetching.lock().await;
        {
            let mut keys = self.keys();
            if let Some(key) = keys.find_fresh(kid) {
                return Ok(key);
            }
            // Old keys are good while newer ones cannot be had.
            if let Some(key) = keys.find(kid).filter(|_| !keys.may_be_fetched()) {
                return Ok(key);
            }
            if keys.fetched.is_some_and(|began| began >= came) {
                return Err(unknown());
            }
            if !keys.may_be_fetched() {
                let text = "its keys were asked for a moment ago".to_owned();
                return Err(ProviderError::Unavailable(text));
            }
            keys.asked = Some(Instant::now());
        }
        let fetched = self.fetch_keys().await;
        match (fetched, self.keys().find(kid)) {
            (_, Some(key)) => Ok(key),
            (Ok(()), None) => Err(unknown()),
            (Err(error), None) => Err(error),
        }
    }

    async fn fetch_keys(&self) -> Result<(), ProviderError> {
        let began = Instant::now();
        let fetching = async {
            let uri = self.metadata().await?.jwks_uri.clone();
            self.get_json("keys", uri.as_str()).await
        };
        let fetched = fetching.await;
        let mut keys = self.keys();
        keys.asked = Some(Instant::now());
        keys.set = Some(fetched?);
        (keys.fetched, keys.asked) = (Some(began), Some(began));
        Ok(())
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As when the keys have reached their greatest age.
    #[cfg(test)]
    pub(super) fn age_keys(&self) {
        let mut keys = self.keys();
        keys.fetched = Instant::now().checked_sub(KEYS_MAX_AGE);
        keys.asked = keys.fetched;
    }

    /// As after a while.
    #[cfg(test)]
    pub(super) fn may_fetch_keys_again(&self) {
        self.keys().asked = None;
    }

    async fn get_json<T: serde::de::DeserializeOwned>(
        &self,
        route: &'static str,
        url: &str,
    ) -> Result<T, ProviderError> {
        let request = Request::get(url).body(Full::default());
        let answer = self.send(route, request).await?;
        if answer.status() != StatusCode::OK {
            return Err(ProviderError::Unavailable(format!(
                "answered {}",
                answer.status()
            )));
        }
        serde_json::from_slice(answer.body()).map_err(|error| ProviderError::Unavailable(error.to_string()))
    }

    async fn post(
        &self,
        route: &'static str,
        url: &Url,
        form: &[(&str, &str)],
    ) -> Result<Response<Bytes>, ProviderError> {
        let body = Serializer::new(String::new())
            .extend_pairs(form)
            .append_pair("client_id", &self.client_id)
            .append_pair("client_secret", &self.client_secret)
            .finish();
        let request = Request::post(url.as_str())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(body));
        self.send(route, request).await
    }

    async fn send(
        &self,
        route: &'static str,
        request: http::Result<Request<Full<Bytes>>>,
    ) -> Result<Response<Bytes>, ProviderError> {
        let request = request.map_err(|error| ProviderError::Unavailable(error.to_string()))?;
        let since = Instant::now();
        let call = tracing::debug_span!("call", route);
        let answer = self.client.send(request).instrument(call).await;
        let result = match answer.as_ref().map(Response::status) {
            Ok(StatusCode::OK) => "ok",
            Ok(status) if status.is_client_error() => "refused",
            Ok(_) => "unusable",
            Err(_) => "failed",
        };
        self.metrics.called(route, result, since);
        answer.map_err(|error| ProviderError::Unavailable(error.to_string()))
    }
}
