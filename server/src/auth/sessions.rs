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

/// What the names of login sessions that are made of an access token alone begin with.
pub(super) const BEARER: &str = "bearer-";

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
    /// When it is over by itself; a browser's lasts as long as it can be refreshed.
    until: Option<Timestamp>,
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
            until: None,
            gate,
        }
    }

    /// One made of an access token alone. Anybody may have had it for a while: the provider is asked at once.
    pub(crate) fn of_token(user: UserId, sid: Option<String>, tokens: Tokens, now: Timestamp) -> Self {
        let until = Some(tokens.expires);
        Self {
            until,
            gate: Arc::default(),
            ..Self::new(user, sid, tokens, now)
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

    /// Ends it; says whether it was over before.
    pub(crate) fn end(&self) -> bool {
        self.over.swap(true, Ordering::AcqRel)
    }

    fn is_past(&self, life: SignedDuration, now: Timestamp) -> bool {
        now.duration_since(self.began) > life || self.until.is_some_and(|until| until <= now)
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

/// Login sessions by name: those of browsers, and those of tokens, which put out none of the former.
#[derive(Debug)]
pub(crate) struct Sessions {
    browsers: Store,
    tokens: Store,
    life: SignedDuration,
}

/// Oldest first.
#[derive(Debug)]
struct Store {
    all: Mutex<IndexMap<LoginSessionId, Arc<LoginSession>>>,
    limit: usize,
}

impl Sessions {
    /// At most so many of browsers and of tokens, each for so long.
    pub(crate) fn new((browsers, tokens): (usize, usize), life: Duration) -> Self {
        let store = |limit| Store {
            all: Mutex::default(),
            limit,
        };
        Self {
            browsers: store(browsers),
            tokens: store(tokens),
            life: SignedDuration::try_from(life).unwrap_or(SignedDuration::MAX),
        }
    }

    pub(crate) fn get(&self, id: &LoginSessionId, now: Timestamp) -> Option<Arc<LoginSession>> {
        let session = self.store(id).all().get(id).cloned()?;
        (!session.is_past(self.life, now)).then_some(session)
    }

    /// Adds a session, unless it is there; what is past, or too much, goes.
    pub(crate) fn put(&self, id: LoginSessionId, session: LoginSession, now: Timestamp) {
        let is_past = |session: &LoginSession| session.is_past(self.life, now);
        let store = self.store(&id);
        let mut all = store.all();
        if all.contains_key(&id) {
            return;
        }
        let old = all.values().take_while(|session| is_past(session)).count();
        all.drain(..old);
        if all.len() >= store.limit {
            // The oldest is not the first to expire.
            all.retain(|_, session| !is_past(session));
        }
        let surplus = (all.len() + 1).saturating_sub(store.limit).min(all.len());
        all.drain(..surplus);
        all.insert(id, Arc::new(session));
    }

    /// Ends a session; gives it, if it was not over before. That of a token stays until the token expires: who shows it
    /// again is to hear so.
    pub(crate) fn end(&self, id: &LoginSessionId) -> Option<Arc<LoginSession>> {
        if is_of_token(id) {
            let session = self.tokens.all().get(id).cloned()?;
            return (!session.end()).then_some(session);
        }
        let session = self.browsers.all().shift_remove(id)?;
        session.end();
        Some(session)
    }

    /// The login sessions of browsers, the newest first.
    pub(crate) fn newest_first(&self) -> Vec<Arc<LoginSession>> {
        self.browsers.all().values().rev().cloned().collect()
    }

    /// The session that the provider calls `sid`, or all of the user `sub`.
    pub(crate) fn matching(&self, sub: Option<&str>, sid: Option<&str>) -> Vec<LoginSessionId> {
        let is = |session: &LoginSession| match sid {
            Some(sid) => session.sid.as_deref() == Some(sid),
            None => sub == Some(session.user.0.as_str()),
        };
        let found = |store: &Store| -> Vec<_> {
            let all = store.all();
            let found = all.iter().filter(|(_, session)| is(session));
            found.map(|(id, _)| id.clone()).collect()
        };
        [found(&self.browsers), found(&self.tokens)].concat()
    }

    fn store(&self, id: &LoginSessionId) -> &Store {
        if is_of_token(id) {
            &self.tokens
        } else {
            &self.browsers
        }
    }
}

impl Store {
    fn all(&self) -> MutexGuard<'_, IndexMap<LoginSessionId, Arc<LoginSession>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this names a login session that is made of an access token alone.
pub(super) fn is_of_token(id: &LoginSessionId) -> bool {
    id.0.starts_with(BEARER)
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
        let sessions = Sessions::new((2, 2), Duration::from_secs(100));
        for (nth, name) in [(0, "a"), (1, "b"), (2, "c")] {
            sessions.put(id(name), session("u", name, nth), at(nth));
        }

        assert!(sessions.get(&id("a"), at(2)).is_none());
        assert!(sessions.get(&id("c"), at(2)).is_some());
        assert!(sessions.get(&id("c"), at(103)).is_none(), "too old");
    }

    #[test]
    fn sessions_of_tokens_put_out_no_other_and_go_when_the_token_expires() {
        let sessions = Sessions::new((1, 2), Duration::from_secs(1000));
        let put = |name: &str, lasts: i64, now: i64| {
            let tokens = Tokens {
                access: name.into(),
                refresh: None,
                id: None,
                expires: at(now + lasts),
                generation: 0,
            };
            let session = LoginSession::of_token(UserId("u".into()), None, tokens, at(now));
            sessions.put(id(name), session, at(now));
        };
        sessions.put(id("browser"), session("u", "b", 0), at(0));
        put("bearer-long", 90, 0);
        put("bearer-short", 10, 1);
        assert!(sessions.get(&id("bearer-short"), at(10)).is_some());
        assert!(sessions.get(&id("bearer-short"), at(11)).is_none(), "expired");

        put("bearer-next", 90, 11);
        assert!(
            sessions.get(&id("bearer-long"), at(11)).is_some(),
            "what is past goes first"
        );
        put("bearer-last", 90, 12);
        assert!(sessions.get(&id("bearer-long"), at(12)).is_none());
        assert!(sessions.get(&id("browser"), at(12)).is_some());
    }

    #[test]
    fn a_token_whose_session_was_ended_stays_known_as_such() {
        let sessions = Sessions::new((9, 9), Duration::from_secs(100));
        sessions.put(id("bearer-a"), session("u", "a", 0), at(0));

        assert!(sessions.end(&id("bearer-a")).is_some());
        sessions.put(id("bearer-a"), session("u", "a", 1), at(1));

        assert!(sessions.get(&id("bearer-a"), at(1)).unwrap().is_over());
        assert!(sessions.end(&id("bearer-a")).is_none(), "it was told once");
    }

    #[test]
    fn a_logout_names_one_session_or_all_of_a_user() {
        let sessions = Sessions::new((9, 9), Duration::from_secs(100));
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
