//! Login sessions, codes and login pages: what is alive and what a client holds of it. Decides, and never waits.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::{config::Lifetimes, keycloak::Refusal, shelf::Shelf, world::Who};

/// All login sessions of the realm, with what leads to them.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) pages: Shelf<Page>,
    pub(crate) codes: Shelf<Code>,
    logins: Shelf<Login>,
    /// Access tokens that were revoked one by one.
    pub(crate) revoked: Shelf<()>,
}

/// A login page that was shown.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) request: AuthRequest,
    pub(crate) shown: Timestamp,
    /// The cookie of the browser that it was shown to.
    pub(crate) browser: String,
    pub(crate) session_code: String,
}

/// What a client asks of the authorization endpoint.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuthRequest {
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    pub(crate) scope: String,
    pub(crate) state: Option<String>,
    pub(crate) nonce: Option<String>,
    /// Whether the answer goes behind `#`.
    pub(crate) in_fragment: bool,
    pub(crate) challenge: Option<Challenge>,
}

/// Proof key of a code (RFC 7636).
#[derive(Clone, Debug)]
pub(crate) enum Challenge {
    Plain(String),
    S256(String),
}

/// A code that can be, or was, traded for tokens.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub(crate) sid: String,
    pub(crate) request: AuthRequest,
    pub(crate) given: Timestamp,
    pub(crate) is_used: bool,
    /// Whether the user was already signed in.
    pub(crate) is_sso: bool,
}

/// One person's session in one browser.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) who: Who,
    pub(crate) started: Timestamp,
    used: Timestamp,
    is_over: bool,
    /// What each client holds of it.
    pub(crate) clients: BTreeMap<String, ClientSession>,
}

/// A client's part of a session.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientSession {
    /// Whether the user was already signed in when it began; none when no page was involved.
    pub(crate) is_sso: Option<bool>,
    /// The newest refresh token used, by family: id, time of issue, how often.
    families: BTreeMap<String, Used>,
}

#[derive(Clone, Debug)]
struct Used {
    jti: String,
    at: i64,
}

/// A refresh token as rotation sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RefreshId<'a> {
    pub(crate) jti: &'a str,
    pub(crate) family: &'a str,
    pub(crate) issued: i64,
}

impl Sessions {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            pages: Shelf::new(limit),
            codes: Shelf::new(limit),
            logins: Shelf::new(limit),
            revoked: Shelf::new(limit),
        }
    }

    /// A new session.
    pub(crate) fn begin(&mut self, sid: String, who: Who, now: Timestamp) {
        let login = Login {
            who,
            started: now,
            used: now,
            is_over: false,
            clients: BTreeMap::new(),
        };
        self.logins.put(sid, login);
    }

    /// A session, alive or not.
    pub(crate) fn get(&self, sid: &str) -> Option<&Login> {
        self.logins.get(sid)
    }

    /// Whose session it is or was.
    pub(crate) fn who(&self, sid: &str) -> Option<Who> {
        self.logins.get(sid).map(|login| login.who.clone())
    }

    /// Whose session a code leads to.
    pub(crate) fn who_by_code(&self, code: &str) -> Option<Who> {
        self.who(&self.codes.get(code)?.sid)
    }

    /// A session, if it is alive.
    pub(crate) fn live(&self, sid: &str, (lifetimes, now): (&Lifetimes, Timestamp)) -> Option<&Login> {
        self.logins.get(sid).filter(|login| login.is_live(lifetimes, now))
    }

    /// A client takes part in a session.
    pub(crate) fn attach(&mut self, sid: &str, client: &str, is_sso: Option<bool>) {
        if let Some(login) = self.logins.get_mut(sid) {
            let part = login.clients.entry(client.to_owned()).or_default();
            part.is_sso = is_sso;
        }
    }

    /// A client has no part in a session any more; its refresh tokens are dead.
    pub(crate) fn detach(&mut self, sid: &str, client: &str) {
        if let Some(login) = self.logins.get_mut(sid) {
            login.clients.remove(client);
        }
    }

    /// The idle time of a session begins anew.
    pub(crate) fn touch(&mut self, sid: &str, now: Timestamp) {
        if let Some(login) = self.logins.get_mut(sid) {
            login.used = now;
        }
    }

    /// Ends a session; gives it, unless it was over.
    pub(crate) fn end(&mut self, sid: &str) -> Option<&Login> {
        let login = self.logins.get_mut(sid).filter(|login| !login.is_over)?;
        login.is_over = true;
        Some(login)
    }

    /// The newest session of this person in this browser that is alive.
    pub(crate) fn newest(&self, who: &Who, times: (&Lifetimes, Timestamp)) -> Option<String> {
        let live = self
            .logins
            .iter()
            .filter(|(_, login)| login.who == *who && login.is_live(times.0, times.1));
        live.last().map(|(sid, _)| sid.clone())
    }

    /// Uses a refresh token up (MOCKS K9): each once, and a second use costs the client its part of the session.
    pub(crate) fn rotate(&mut self, sid: &str, client: &str, token: RefreshId<'_>) -> Result<(), Refusal> {
        let part = self
            .logins
            .get_mut(sid)
            .and_then(|login| login.clients.get_mut(client));
        let Some(part) = part else {
            return Err(no_client());
        };
        let used = part.families.get(token.family);
        if used.is_some_and(|used| used.jti == token.jti) {
            self.detach(sid, client);
            return Err(Refusal::grant("Maximum allowed refresh token reuse exceeded"));
        }
        if used.is_some_and(|used| token.issued < used.at) {
            return Err(Refusal::grant("Stale token"));
        }
        let used = Used {
            jti: token.jti.to_owned(),
            at: token.issued,
        };
        part.families.insert(token.family.to_owned(), used);
        Ok(())
    }
}

/// What a client hears that has no part in the session.
pub(crate) fn no_client() -> Refusal {
    Refusal::grant("Session doesn't have required client")
}

impl Login {
    /// Neither ended, nor idle for too long, nor too old. An idle one has a grace; its refresh tokens have not.
    fn is_live(&self, lifetimes: &Lifetimes, now: Timestamp) -> bool {
        let after = |since: Timestamp, life| {
            let life = SignedDuration::try_from(life).unwrap_or(SignedDuration::MAX);
            since.saturating_add(life).unwrap_or(Timestamp::MAX)
        };
        !self.is_over
            && now < after(self.used, lifetimes.session_idle + lifetimes.idle_grace)
            && now < after(self.started, lifetimes.session_max)
    }
}

impl Challenge {
    /// Whether this verifier is the one that was promised.
    pub(crate) fn is_met(&self, verifier: &str) -> bool {
        match self {
            Self::Plain(challenge) => challenge == verifier,
            Self::S256(challenge) => *challenge == super::issue::digest(verifier.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn who(browser: &str) -> Who {
        Who {
            user: "ada".into(),
            browser: browser.into(),
        }
    }

    fn sessions() -> Sessions {
        let mut sessions = Sessions::new(10);
        sessions.begin("s".into(), who("desk"), at(0));
        sessions.attach("s", "renku-ui", Some(false));
        sessions
    }

    fn token(jti: &str, issued: i64) -> RefreshId<'_> {
        RefreshId {
            jti,
            family: "f",
            issued,
        }
    }

    #[test]
    fn a_session_lives_until_idle_too_old_or_ended() {
        let lifetimes = Lifetimes::default();
        let mut sessions = sessions();
        let live = |sessions: &Sessions, second| sessions.live("s", (&lifetimes, at(second))).is_some();

        assert!(live(&sessions, 1919));
        assert!(!live(&sessions, 1920));
        sessions.touch("s", at(35_000));
        assert!(live(&sessions, 35_999));
        assert!(!live(&sessions, 36_000));
        assert!(sessions.end("s").is_some());
        assert!(sessions.end("s").is_none());
        assert!(!live(&sessions, 35_001));
        assert_eq!(sessions.who("s"), Some(who("desk")));
    }

    #[test]
    fn the_newest_live_session_of_a_browser_is_found() {
        let lifetimes = Lifetimes::default();
        let mut sessions = sessions();
        sessions.begin("t".into(), who("desk"), at(1));
        sessions.begin("u".into(), who("phone"), at(2));

        let newest = |sessions: &Sessions| sessions.newest(&who("desk"), (&lifetimes, at(3)));

        assert_eq!(newest(&sessions).as_deref(), Some("t"));
        sessions.end("t");
        assert_eq!(newest(&sessions).as_deref(), Some("s"));
    }

    #[test]
    fn a_token_used_twice_costs_the_client_its_part() {
        let mut sessions = sessions();

        assert_eq!(sessions.rotate("s", "renku-ui", token("a", 1)), Ok(()));
        assert_eq!(sessions.rotate("s", "renku-ui", token("b", 2)), Ok(()));
        let stale = sessions.rotate("s", "renku-ui", token("a", 1)).unwrap_err();
        let reused = sessions.rotate("s", "renku-ui", token("b", 2)).unwrap_err();
        let after = sessions.rotate("s", "renku-ui", token("c", 3)).unwrap_err();

        assert_eq!(stale.description, "Stale token");
        assert_eq!(reused.description, "Maximum allowed refresh token reuse exceeded");
        assert_eq!(after.description, "Session doesn't have required client");
    }
}
