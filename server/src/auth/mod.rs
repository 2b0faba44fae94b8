//! Who a tab is: login sessions, their tokens, and whether they still stand.

mod claims;
#[cfg(test)]
mod outage_tests;
mod provider;
mod replay;
mod sessions;
mod shared;
pub(crate) mod sign_in;
#[cfg(test)]
mod tests;
mod vault;

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use polytab_protocol::id::{LoginSessionId, UserId};
use polytab_seams::Seams;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::{sync::OwnedMutexGuard, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

pub(crate) use self::provider::Provider;
use self::{
    provider::{Grant, ProviderError},
    sessions::{BEARER, LoginSession, Sessions, Tokens},
    vault::Seal,
};
use crate::{
    channel::event::Validity,
    config::Config,
    coordinator::{Coordinator, Reach},
};

/// What a tab shows to say who it is.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    /// The value of the session cookie.
    Cookie(String),
    /// An access token.
    Bearer(String),
    /// Nothing.
    None,
}

/// Why a tab is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It shows nothing that names a login session.
    Missing,
    /// Its login session is over.
    Expired,
    /// Nobody can say now.
    Unavailable,
}

/// Knows the login sessions.
#[derive(Debug)]
pub(crate) struct Auth {
    pub(crate) provider: Provider,
    sessions: Sessions,
    used: sign_in::Used,
    logout_tokens: replay::SeenTokens,
    seams: Seams,
    config: Config,
    coordinator: Arc<dyn Coordinator>,
    reach: Arc<Reach>,
    tasks: TaskTracker,
    killed: CancellationToken,
}

/// What it shares with the rest of the server.
pub(crate) struct Surroundings {
    pub(crate) coordinator: Arc<dyn Coordinator>,
    pub(crate) reach: Arc<Reach>,
    /// Where its tasks are counted.
    pub(crate) tasks: TaskTracker,
    /// What ends them at once.
    pub(crate) killed: CancellationToken,
}

impl Auth {
    pub(crate) fn new(config: &Config, seams: &Seams, provider: Provider, around: Surroundings) -> Self {
        Self {
            provider,
            sessions: Sessions::new(
                (config.login_sessions, config.bearer_sessions),
                config.login_session_life.0,
            ),
            used: sign_in::Used::default(),
            logout_tokens: replay::SeenTokens::default(),
            seams: seams.clone(),
            config: config.clone(),
            coordinator: around.coordinator,
            reach: around.reach,
            tasks: around.tasks,
            killed: around.killed,
        }
    }

    /// Says who shows this credential.
    pub(crate) async fn identify(
        self: &Arc<Self>,
        credential: &Credential,
    ) -> Result<(UserId, LoginSessionId), Refusal> {
        let id = match credential {
            Credential::None => return Err(Refusal::Missing),
            Credential::Cookie(value) => {
                let known = self.recall(value).await.map_err(|_| Refusal::Unavailable)?;
                known.ok_or(Refusal::Missing)?
            }
            Credential::Bearer(token) => self.bearer(token).await?,
        };
        let session = self
            .sessions
            .get(&id, self.seams.clock.wall())
            .ok_or(Refusal::Missing)?;
        match self.check(&id).await {
            Validity::Valid => Ok((session.user.clone(), id)),
            Validity::Over => Err(Refusal::Expired),
            Validity::Unknown => Err(Refusal::Unavailable),
        }
    }

    /// A login session made of an access token alone: it cannot be refreshed.
    async fn bearer(&self, token: &str) -> Result<LoginSessionId, Refusal> {
        let id = LoginSessionId(format!(
            "{BEARER}{}",
            URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_bytes()))
        ));
        let now = self.seams.clock.wall();
        if self.sessions.get(&id, now).is_some() {
            return Ok(id);
        }
        let claims = self
            .provider
            .access_claims(token)
            .await
            .map_err(|error| match error {
                ProviderError::Refused(_) => Refusal::Expired,
                ProviderError::Unavailable(_) => Refusal::Unavailable,
            })?;
        if claims.expires <= now {
            return Err(Refusal::Expired);
        }
        let tokens = Tokens {
            access: token.to_owned(),
            refresh: None,
            id: None,
            expires: claims.expires,
            generation: 0,
        };
        self.sessions.put(
            id.clone(),
            LoginSession::of_token(claims.user, claims.sid, tokens, now),
            now,
        );
        Ok(id)
    }

    /// Begins a login session with tokens that the provider just gave; gives its name, and the value of its cookie.
    pub(crate) async fn begin(
        &self,
        grant: Grant,
        user: UserId,
        sid: Option<String>,
    ) -> (LoginSessionId, String) {
        let now = self.seams.clock.wall();
        let cookie = self.seams.random.token("server/login-session");
        let seal = Seal::of(shared::SESSION, &cookie);
        let id = seal.session();
        let session = LoginSession::new(user, sid, grant.tokens(now), now).sealed(seal);
        self.sessions.put(id.clone(), session, now);
        if let Some(session) = self.sessions.get(&id, now) {
            self.share(&session).await;
        }
        (id, cookie)
    }

    /// The access token of a login session, if it has not expired.
    pub(crate) fn token(&self, id: &LoginSessionId) -> Option<String> {
        let now = self.seams.clock.wall();
        self.sessions.get(id, now)?.token(now)
    }

    /// Whether a login session still stands: refreshes its token when that is due, asks the provider when it has not
    /// been asked for a while. Single flight: who comes second waits for the first one's answer.
    ///
    /// Cancel safe: what was begun goes on as a task of its own. A refresh token may be good for one use, and what
    /// comes for it must not be lost because the user's last tab left.
    pub(crate) async fn check(self: &Arc<Self>, id: &LoginSessionId) -> Validity {
        let Some(session) = self.sessions.get(id, self.seams.clock.wall()) else {
            return Validity::Over;
        };
        let asked = Arc::clone(&session.gate).lock_owned().await;
        if session.is_over() {
            return Validity::Over;
        }
        if !self.is_unshared(&session) && !self.is_refresh_due(&session) && !self.is_question_due(*asked) {
            return Validity::Valid;
        }
        let asking = Arc::clone(self).ask(id.clone(), session, asked);
        let task = self.killed.clone().run_until_cancelled_owned(asking);
        let answer = self.tasks.spawn(task.in_current_span()).await;
        // A server that is killed knows nothing any more.
        answer.ok().flatten().unwrap_or(Validity::Unknown)
    }

    fn is_refresh_due(&self, session: &LoginSession) -> bool {
        // What cannot be refreshed is used to its end.
        let can_be = session.refresh_token().is_some();
        let leeway = if can_be {
            self.config.token_leeway.0
        } else {
            Duration::ZERO
        };
        session.expires_within(leeway, self.seams.clock.wall())
    }

    fn is_question_due(&self, asked: Option<Instant>) -> bool {
        asked.is_none_or(|at| at.elapsed() >= self.config.introspection_interval.0)
    }

    /// Does what is due for a login session; its gate is held meanwhile.
    async fn ask(
        self: Arc<Self>,
        id: LoginSessionId,
        session: Arc<LoginSession>,
        mut asked: OwnedMutexGuard<Option<Instant>>,
    ) -> Validity {
        self.share(&session).await;
        let validity = if session.is_over() {
            Validity::Over
        } else if self.is_refresh_due(&session) {
            self.refresh_once(&session).await
        } else if self.is_question_due(*asked) {
            self.introspect(&session, asked.is_some()).await
        } else {
            return Validity::Valid;
        };
        // It may have been ended while others were asked about it.
        let validity = if session.is_over() {
            Validity::Over
        } else {
            validity
        };
        match validity {
            Validity::Valid => *asked = Some(Instant::now()),
            Validity::Over => {
                self.forget(&id);
                self.end_elsewhere(&session.user, &id).await;
            }
            Validity::Unknown => {}
        }
        validity
    }

    async fn refresh(&self, session: &Arc<LoginSession>) -> Validity {
        let now = self.seams.clock.wall();
        let Some(refresh) = session.refresh_token() else {
            return if session.token(now).is_some() {
                Validity::Valid
            } else {
                Validity::Over
            };
        };
        match self.provider.refresh(&refresh).await {
            Ok(grant) => {
                let now = self.seams.clock.wall();
                session.renew(grant.tokens(now));
                Validity::Valid
            }
            Err(ProviderError::Refused(reason)) => {
                tracing::info!(reason, "a login session is over");
                Validity::Over
            }
            // The provider's absence is no expiry: while the token lasts it is used.
            Err(ProviderError::Unavailable(_)) => {
                if session.token(self.seams.clock.wall()).is_some() {
                    Validity::Valid
                } else {
                    Validity::Unknown
                }
            }
        }
    }

    /// Asks the provider about a session, of which it may have said before that it stands.
    async fn introspect(&self, session: &Arc<LoginSession>, was_confirmed: bool) -> Validity {
        let Some(token) = session.token(self.seams.clock.wall()) else {
            return Validity::Unknown;
        };
        match self.provider.is_active(&token).await {
            Ok(false) => Validity::Over,
            Ok(true) => Validity::Valid,
            // A session that was confirmed goes on without an answer; one that never was lets nobody in.
            Err(_) if was_confirmed => Validity::Valid,
            Err(_) => Validity::Unknown,
        }
    }

    /// Ends what a logout token names: one session, or all of a user's. Gives who and which.
    ///
    /// # Errors
    ///
    /// When it is no logout token of our provider for us.
    pub(crate) async fn backchannel_logout(
        &self,
        token: &str,
    ) -> Result<Vec<(UserId, LoginSessionId)>, ProviderError> {
        let claims = self.provider.logout_claims(token).await?;
        let text = |name: &str| claims[name].as_str();
        let expires_s = claims["exp"].as_i64().unwrap_or(i64::MAX);
        let now_s = self.seams.clock.wall().as_second();
        if !self
            .logout_tokens
            .note(text("jti").unwrap_or_default(), expires_s, now_s)
        {
            return Err(ProviderError::Refused(
                "a logout token that came before".to_owned(),
            ));
        }
        let (sub, sid) = (text("sub"), text("sid"));
        let ended = self.forget_matching(sub, sid);
        for (user, id) in &ended {
            self.end_elsewhere(user, id).await;
        }
        self.log_out_elsewhere(sub, sid).await;
        Ok(ended)
    }

    /// Where a browser is sent to end its session at the provider too.
    pub(crate) async fn end_session_url(&self, session: Option<&LoginSession>) -> Option<String> {
        let hint = session.and_then(LoginSession::id_token);
        self.provider
            .end_session_url(hint.as_deref(), self.config.public_url.as_str())
            .await
            .ok()
    }
}

/// Claims of an access token that say who it is for.
#[derive(Clone, Debug)]
pub(crate) struct AccessClaims {
    pub(crate) user: UserId,
    pub(crate) sid: Option<String>,
    pub(crate) expires: jiff::Timestamp,
}

impl AccessClaims {
    /// Reads them; `None` without `sub` or `exp`.
    pub(crate) fn read(claims: &Value) -> Option<Self> {
        Some(Self {
            user: UserId(claims["sub"].as_str()?.to_owned()),
            sid: claims["sid"].as_str().map(str::to_owned),
            expires: jiff::Timestamp::from_second(claims["exp"].as_i64()?).ok()?,
        })
    }
}
