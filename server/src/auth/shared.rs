//! Login sessions of several instances: begun at one, used at any, refreshed once, ended everywhere.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use polytab_protocol::id::{LoginSessionId, UserId};
use tokio::time::{Instant, sleep};

use super::{
    Auth,
    sessions::{LoginSession, Stored, is_of_token},
    vault::{Found, Seal},
};
use crate::{
    channel::event::Validity,
    coordinator::{Lost, Record},
};

/// What a login session is kept as.
pub(super) const SESSION: &str = "session";
/// Between two looks whether another instance has refreshed a token: Keycloak takes some ten milliseconds.
const REFRESH_POLL: Duration = Duration::from_millis(100);

impl Auth {
    /// The login session that a cookie names, wherever it was begun; `None` if there is none.
    pub(super) async fn recall(&self, cookie: &str) -> Result<Option<LoginSessionId>, Lost> {
        let seal = Seal::of(SESSION, cookie);
        let id = seal.session();
        let now = self.seams.clock.wall();
        let own = self.sessions.get(&id, now);
        if !self.coordinator.is_shared() {
            return Ok(own.map(|_| id));
        }
        match self.reach.note(seal.find::<Stored>(&*self.coordinator).await) {
            Ok(Found::Kept(stored)) => {
                if let Some(own) = own {
                    own.adopt(stored.tokens);
                } else {
                    let session = LoginSession::restored(stored, seal, self.asked_about());
                    session.kept.store(self.reach.finds(), Ordering::Release);
                    self.sessions.put(id.clone(), session, now);
                }
                Ok(Some(id))
            }
            Ok(Found::Over) => {
                self.forget(&id);
                Ok(None)
            }
            // A coordinator that was started anew has lost everything.
            Ok(Found::Nothing) | Err(_) if own.is_some() => Ok(Some(id)),
            Ok(Found::Nothing) => self.ensure_complete().await.map(|()| None),
            Err(lost) => Err(lost),
        }
    }

    /// Fails while the coordinator may lack a login session that another instance knows: it takes no writes, or it
    /// could not be used until a moment ago, and the others are sharing again.
    async fn ensure_complete(&self) -> Result<(), Lost> {
        self.reach.note_write(self.coordinator.probe_write().await)?;
        if self.reach.is_settled(self.config.lease.0) {
            Ok(())
        } else {
            Err(Lost::Unreachable("it was lost until a moment ago".to_owned()))
        }
    }

    /// Shares all login sessions that the other instances may not know, the newest first; stops when the coordinator
    /// is lost again.
    pub(crate) async fn share_all(self: Arc<Self>) {
        for session in self.sessions.newest_first() {
            self.share(&session).await;
            if self.reach.loss().is_some() {
                return;
            }
        }
    }

    /// When the provider was asked about a session of another instance is not known, but for that it was within the
    /// interval. Drawn, so that a herd that comes from an instance that was lost does not go on to the provider.
    fn asked_about(&self) -> Duration {
        let interval = self.config.introspection_interval.0.as_millis();
        let interval = u64::try_from(interval).unwrap_or(u64::MAX).max(1);
        Duration::from_millis(self.seams.random.below("server/introspection", interval))
    }

    /// Whether a login session is to be kept for the other instances.
    pub(super) fn is_unshared(&self, session: &LoginSession) -> bool {
        session.seal.is_some()
            && self.coordinator.is_shared()
            && session.kept.load(Ordering::Acquire) != self.reach.finds()
    }

    /// Keeps a login session for the other instances, once per find of the coordinator, unless they know better: then
    /// this instance takes their tokens, or ends the session as they did.
    pub(super) async fn share(&self, session: &LoginSession) {
        let Some(seal) = session.seal.as_ref().filter(|_| self.is_unshared(session)) else {
            return;
        };
        let finds = self.reach.finds();
        let life = self.config.login_session_life.0;
        let stored = session.stored();
        let own = (stored.tokens.generation, &stored);
        match self.reach.note(seal.keep(&*self.coordinator, own, life).await) {
            Ok(Found::Over) => {
                session.end();
            }
            Ok(Found::Kept(newer)) => session.adopt(newer.tokens),
            Ok(Found::Nothing) => {}
            Err(_) => return,
        }
        session.kept.store(finds, Ordering::Release);
    }

    /// Refreshes the tokens of a login session, unless another instance does: a refresh token may be good for one use.
    pub(super) async fn refresh_once(&self, session: &Arc<LoginSession>) -> Validity {
        let Some(seal) = session.seal.as_ref().filter(|_| self.coordinator.is_shared()) else {
            return self.refresh(session).await;
        };
        let patience = self.config.upstream_timeout.0;
        let deadline = Instant::now() + patience;
        loop {
            match self.reach.note(self.coordinator.lock(&seal.name, patience).await) {
                Ok(true) => break,
                Ok(false) if Instant::now() < deadline => {}
                Ok(false) => return Validity::Unknown,
                Err(_) => return self.refresh_unsure(session).await,
            }
            sleep(REFRESH_POLL).await;
        }
        let validity = match self.reach.note(seal.find::<Stored>(&*self.coordinator).await) {
            Ok(Found::Over) => Validity::Over,
            Ok(Found::Kept(stored)) => {
                session.adopt(stored.tokens);
                if self.is_refresh_due(session) {
                    self.refresh_unsure(session).await
                } else {
                    Validity::Valid
                }
            }
            Ok(Found::Nothing) | Err(_) => self.refresh_unsure(session).await,
        };
        // Who signed out meanwhile stays signed out.
        if validity == Validity::Valid && !session.is_over() {
            session.kept.store(0, Ordering::Release);
            self.share(session).await;
        }
        // It ends by itself if this does not arrive.
        self.reach.note(self.coordinator.unlock(&seal.name).await).ok();
        validity
    }

    /// Refreshes; while the other instances cannot be heard, a refusal may only mean that one of them was first.
    async fn refresh_unsure(&self, session: &Arc<LoginSession>) -> Validity {
        let before = self.reach.is_settled(self.config.lease.0);
        match self.refresh(session).await {
            Validity::Over if !(before && self.reach.is_settled(self.config.lease.0)) => Validity::Unknown,
            validity => validity,
        }
    }

    /// Ends what a cookie names; gives whose it was.
    pub(crate) async fn sign_out(&self, cookie: &str) -> Option<(LoginSessionId, Arc<LoginSession>)> {
        let id = self.recall(cookie).await.ok()??;
        let session = self.forget(&id)?;
        self.end_elsewhere(&session.user, &id).await;
        Some((id, session))
    }

    /// Tells the other instances that a login session is over.
    pub(super) async fn end_elsewhere(&self, user: &UserId, id: &LoginSessionId) {
        if !self.coordinator.is_shared() {
            return;
        }
        let life = self.config.login_session_life.0;
        let noted = if is_of_token(id) {
            // Every instance asks about a token itself.
            Ok(())
        } else {
            self.coordinator.note_over(&id.0, life).await
        };
        let posted = self
            .coordinator
            .post(user, &Record::SessionOver(id.clone()))
            .await;
        if self.reach.note(noted.and(posted)).is_err() {
            tracing::warn!(
                "other instances learn only from the identity provider that a login session is over"
            );
        }
    }

    /// Tells the other instances what the identity provider ended.
    pub(super) async fn log_out_elsewhere(&self, sub: Option<&str>, sid: Option<&str>) {
        let Some(user) = sub.filter(|_| self.coordinator.is_shared()) else {
            return;
        };
        let record = Record::LoggedOut {
            sub: Some(user.to_owned()),
            sid: sid.map(str::to_owned),
        };
        self.reach
            .note(self.coordinator.post(&UserId(user.to_owned()), &record).await)
            .ok();
    }

    /// Ends a login session here; gives whose it was, if it was not over before.
    pub(crate) fn forget(&self, id: &LoginSessionId) -> Option<Arc<LoginSession>> {
        self.sessions.end(id)
    }

    /// Ends here what the identity provider calls `sid`, or all of the user `sub`. Gives who and which.
    pub(crate) fn forget_matching(
        &self,
        sub: Option<&str>,
        sid: Option<&str>,
    ) -> Vec<(UserId, LoginSessionId)> {
        let ended = self.sessions.matching(sub, sid);
        ended
            .into_iter()
            .filter_map(|id| Some((self.forget(&id)?.user.clone(), id)))
            .collect()
    }
}
