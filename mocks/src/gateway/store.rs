//! What the gateway keeps: whose cookie is whose, and tokens by user. Decides, and never waits.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use polytab_seams::random::Random;

use crate::{
    backend::name::ulid,
    config::{GatewayConfig, MocksConfig},
    order::Expiry,
    seen::Who,
    shelf::Shelf,
};

/// Sessions and tokens.
#[derive(Debug)]
pub(crate) struct Gateway {
    /// By the value of the cookie.
    sessions: Shelf<Session>,
    /// Logins under way, by their `state`.
    logins: Shelf<Login>,
    /// By user, not by session: whoever signs in last overwrites what another browser was given.
    tokens: BTreeMap<String, Tokens>,
    idle: Duration,
    longest: Duration,
}

/// One browser's session; a stranger has one too.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) who: Option<Who>,
    started: Timestamp,
    used: Timestamp,
}

/// A login that Keycloak is to answer.
#[derive(Clone, Debug)]
pub(super) struct Login {
    /// The browser's cookie.
    pub(super) cookie: String,
    /// Where the browser goes in the end.
    pub(super) redirect_url: String,
}

/// What Keycloak gave.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    pub(super) access: String,
    pub(super) refresh: String,
    pub(super) id: Option<String>,
    pub(super) expires: Timestamp,
}

impl Gateway {
    pub(crate) fn new(config: &MocksConfig) -> Self {
        let GatewayConfig {
            session_idle,
            session_max,
            ..
        } = config.gateway;
        Self {
            sessions: Shelf::new(config.logins_kept),
            logins: Shelf::new(config.logins_kept),
            tokens: BTreeMap::new(),
            idle: session_idle,
            longest: session_max,
        }
    }

    /// A new session of nobody; gives the value of its cookie.
    pub(super) fn begin(&mut self, random: &Random, now: Timestamp) -> (String, Session) {
        let session = Session {
            id: ulid(random, "gateway/session"),
            who: None,
            started: now,
            used: now,
        };
        // The id is sealed: nobody can make one up, and none but the gateway reads it.
        let seal = random.token("gateway/seal");
        let cookie = URL_SAFE_NO_PAD.encode(format!("{}|{seal}", session.id));
        self.sessions.put(cookie.clone(), session.clone());
        (cookie, session)
    }

    /// The session of this cookie, if it is alive; it is used by this.
    pub(super) fn touch(&mut self, cookie: &str, now: Timestamp) -> Option<Session> {
        let (idle, longest) = (signed(self.idle), signed(self.longest));
        let session = self.sessions.get_mut(cookie)?;
        let is_live =
            now.duration_since(session.used) < idle && now.duration_since(session.started) < longest;
        if !is_live {
            self.sessions.take(cookie);
            return None;
        }
        session.used = now;
        Some(session.clone())
    }

    /// Whose cookie it is, as far as that is known.
    pub(crate) fn who(&self, cookie: &str) -> Option<Who> {
        self.sessions.get(cookie)?.who.clone()
    }

    /// All signed-in sessions: id and whose.
    pub(crate) fn signed_in(&self) -> impl Iterator<Item = (&str, &Who)> {
        self.sessions
            .iter()
            .filter_map(|(_, session)| Some((session.id.as_str(), session.who.as_ref()?)))
    }

    pub(super) fn end(&mut self, cookie: &str) -> Option<Session> {
        self.sessions.take(cookie)
    }

    /// A login begins.
    pub(super) fn await_login(&mut self, state: String, login: Login) {
        self.logins.put(state, login);
    }

    /// The login that this answer of Keycloak's is for; once.
    pub(super) fn awaited(&mut self, state: &str) -> Option<Login> {
        self.logins.take(state)
    }

    /// This person is signed in, in the browser with this cookie.
    pub(super) fn sign_in(&mut self, cookie: &str, who: Who, tokens: Tokens) {
        self.tokens.insert(who.user.clone(), tokens);
        if let Some(session) = self.sessions.get_mut(cookie) {
            session.who = Some(who);
        }
    }

    pub(super) fn tokens(&self, user: &str) -> Option<&Tokens> {
        self.tokens.get(user)
    }

    pub(super) fn put_tokens(&mut self, user: &str, tokens: Tokens) {
        self.tokens.insert(user.to_owned(), tokens);
    }

    /// Something of a user's is over.
    pub(crate) fn expire(&mut self, user: &str, what: Expiry, now: Timestamp) {
        match what {
            Expiry::Access => {
                if let Some(tokens) = self.tokens.get_mut(user) {
                    tokens.expires = now;
                }
            }
            Expiry::Tokens => drop(self.tokens.remove(user)),
            Expiry::Sessions => {
                let is_theirs = |session: &Session| session.who.as_ref().is_some_and(|who| who.user == user);
                let theirs: Vec<_> = self
                    .sessions
                    .iter()
                    .filter(|(_, session)| is_theirs(session))
                    .map(|(cookie, _)| cookie.clone())
                    .collect();
                for cookie in theirs {
                    self.sessions.take(&cookie);
                }
            }
        }
    }
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_session_lives_while_it_is_used_and_not_too_old() {
        let mut gateway = Gateway::new(&MocksConfig::default());
        let random = Random::seeded(1);
        let (idle, _) = gateway.begin(&random, at(0));
        let (old, _) = gateway.begin(&random, at(0));

        assert!(gateway.touch(&idle, at(14_399)).is_some());
        assert!(gateway.touch(&idle, at(14_399 + 14_400)).is_none());
        for hour in 1..24 {
            assert!(gateway.touch(&old, at(hour * 3600)).is_some(), "{hour}");
        }
        assert!(gateway.touch(&old, at(86_400)).is_none());
        assert!(gateway.touch("made-up", at(0)).is_none());
    }
}
