//! The store of login sessions, in memory and bounded.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};
use polytab_protocol::id::{LoginSessionId, UserId};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::vault::Seal;

/// The tokens of one login session. `Debug` hides them.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) expires: Timestamp,
    /// How often they were refreshed since the sign-in: a refresh token may be good for one use, so the last are those
    /// that count, however long they live.
    pub(crate) generation: u64,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens(until {})", self.expires)
    }
}

/// One browser's sign-in.
#[derive(Debug)]
pub(crate) struct LoginSession {
    pub(crate) user: UserId,
    /// The provider's own name for it.
    sid: Option<String>,
    tokens: Mutex<Tokens>,
    over: AtomicBool,
    /// What seals it for other instances; a session made of a token alone is not shared.
    pub(super) seal: Option<Seal>,
    /// At which find of the coordinator it was last kept there; 0 if never.
    pub(super) kept: AtomicU64,
    began: Timestamp,
    /// Held while the provider is asked; remembers when it last said yes.
    pub(crate) gate: Arc<tokio::sync::Mutex<Option<Instant>>>,
}

impl LoginSession {
    pub(crate) fn new(user: UserId, sid: Option<String>, tokens: Tokens, now: Timestamp) -> Self {
        let tokens = Mutex::new(tokens);
        // Tokens that were just given need no second opinion.
        let gate = Arc::new(tokio::sync::Mutex::new(Some(Instant::now())));
        Self {
            user,
            sid,
            tokens,
            over: AtomicBool::new(false),
            seal: None,
            kept: AtomicU64::new(0),
            began: now,
            gate,
        }
    }

    /// To be shared with other instances under this seal.
    pub(super) fn sealed(self, seal: Seal) -> Self {
        Self {
            seal: Some(seal),
            ..self
        }
    }

    /// The access token, if it has not expired.
    pub(crate) fn token(&self, now: Timestamp) -> Option<String> {
        let tokens = self.tokens();
        (!self.is_over() && tokens.expires > now).then(|| tokens.access.clone())
    }

    pub(crate) fn expires_within(&self, leeway: Duration, now: Timestamp) -> bool {
        let leeway = SignedDuration::try_from(leeway).unwrap_or(SignedDuration::MAX);
        self.tokens().expires.duration_since(now) <= leeway
    }

    pub(crate) fn refresh_token(&self) -> Option<String> {
        self.tokens().refresh.clone()
    }

    pub(crate) fn id_token(&self) -> Option<String> {
        self.tokens().id.clone()
    }

    /// All there is to know of it.
    pub(super) fn stored(&self) -> Stored {
        Stored {
            user: self.user.clone(),
            sid: self.sid.clone(),
            began: self.began,
            tokens: self.tokens().clone(),
        }
    }

    /// One that another instance kept, and of which the provider was asked so long ago.
    pub(super) fn restored(stored: Stored, seal: Seal, asked: Duration) -> Self {
        let session = Self::new(stored.user, stored.sid, stored.tokens, stored.began);
        Self {
            seal: Some(seal),
            gate: Arc::new(tokio::sync::Mutex::new(Instant::now().checked_sub(asked))),
            ..session
        }
    }

    /// Takes tokens that another instance got, if they are newer.
    pub(super) fn adopt(&self, tokens: Tokens) {
        let mut kept = self.tokens();
        if tokens.generation > kept.generation {
            *kept = tokens;
        }
    }

    /// Takes new tokens; what the provider did not give anew stays.
    pub(crate) fn renew(&self, tokens: Tokens) {
        let mut kept = self.tokens();
        let refresh = tokens.refresh.clone().or_else(|| kept.refresh.clone());
        let id = tokens.id.clone().or_else(|| kept.id.clone());
        *kept = Tokens {
            refresh,
            id,
            generation: kept.generation + 1,
            ..tokens
        };
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A login session as instances share it.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    user: UserId,
    sid: Option<String>,
    began: Timestamp,
    pub(super) tokens: Tokens,
}

/// Login sessions by name, oldest first.
#[derive(Debug)]
pub(crate) struct Sessions {
    all: Mutex<IndexMap<LoginSessionId, Arc<LoginSession>>>,
    limit: usize,
    life: SignedDuration,
}

impl Sessions {
    pub(crate) fn new(limit: usize, life: Duration) -> Self {
        let life = SignedDuration::try_from(life).unwrap_or(SignedDuration::MAX);
        Self {
            all: Mutex::default(),
            limit,
            life,
        }
    }

    pub(crate) fn get(&self, id: &LoginSessionId, now: Timestamp) -> Option<Arc<LoginSession>> {
        let session = self.all().get(id).cloned()?;
        (now.duration_since(session.began) <= self.life).then_some(session)
    }

    /// Adds a session; what is too old, or too much, goes.
    pub(crate) fn put(&self, id: LoginSessionId, session: LoginSession, now: Timestamp) {
        let mut all = self.all();
        let old = all
            .values()
            .take_while(|session| now.duration_since(session.began) > self.life)
            .count();
        let surplus = (all.len() + 1).saturating_sub(self.limit);
        let gone = old.max(surplus).min(all.len());
        all.drain(..gone);
        all.insert(id, Arc::new(session));
    }

    pub(crate) fn remove(&self, id: &LoginSessionId) -> Option<Arc<LoginSession>> {
        self.all().shift_remove(id)
    }

    /// The session that the provider calls `sid`, or all of the user `sub`.
    pub(crate) fn matching(&self, sub: Option<&str>, sid: Option<&str>) -> Vec<LoginSessionId> {
        let is = |session: &LoginSession| match sid {
            Some(sid) => session.sid.as_deref() == Some(sid),
            None => sub == Some(session.user.0.as_str()),
        };
        self.all()
            .iter()
            .filter(|(_, session)| is(session))
            .map(|(id, _)| id.clone())
            .collect()
    }

    fn all(&self) -> MutexGuard<'_, IndexMap<LoginSessionId, Arc<LoginSession>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(user: &str, sid: &str, began: i64) -> LoginSession {
        let tokens = Tokens {
            access: "secret".into(),
            refresh: None,
            id: None,
            expires: at(began + 60),
            generation: 0,
        };
        LoginSession::new(UserId(user.into()), Some(sid.into()), tokens, at(began))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn id(name: &str) -> LoginSessionId {
        LoginSessionId(name.into())
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let sessions = Sessions::new(2, Duration::from_secs(100));
        for (nth, name) in [(0, "a"), (1, "b"), (2, "c")] {
            sessions.put(id(name), session("u", name, nth), at(nth));
        }

        assert!(sessions.get(&id("a"), at(2)).is_none());
        assert!(sessions.get(&id("c"), at(2)).is_some());
        assert!(sessions.get(&id("c"), at(103)).is_none(), "too old");
    }

    #[test]
    fn a_logout_names_one_session_or_all_of_a_user() {
        let sessions = Sessions::new(9, Duration::from_secs(100));
        for (user, name) in [("u", "a"), ("u", "b"), ("v", "c")] {
            sessions.put(id(name), session(user, name, 0), at(0));
        }

        assert_eq!(sessions.matching(Some("u"), Some("b")), [id("b")]);
        assert_eq!(sessions.matching(Some("u"), None), [id("a"), id("b")]);
    }

    #[test]
    fn an_expired_or_ended_token_is_not_given() {
        let session = session("u", "a", 0);

        assert!(session.token(at(59)).is_some());
        assert!(session.token(at(60)).is_none());
        assert!(session.expires_within(Duration::from_secs(10), at(50)));
        assert!(!session.expires_within(Duration::from_secs(10), at(49)));
        session.end();
        assert!(session.token(at(1)).is_none());
        assert!(!format!("{session:?}").contains("secret"));
    }
}
