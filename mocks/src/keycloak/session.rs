//! Login sessions, codes and login pages: what is alive and what a client holds of it. Decides, and never waits.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::{
    keycloak::{Refusal, rotation::Used},
    realm::{RealmSettings, seconds},
    seen::Who,
    shelf::Shelf,
};

/// A session is kept for so long beyond its idle time, in seconds; its refresh tokens are not (MOCKS K10).
const IDLE_GRACE: i64 = 120;

/// All login sessions of the realm, with what leads to them.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) pages: Shelf<Page>,
    pub(crate) codes: Shelf<Code>,
    logins: Shelf<Login>,
    /// Access tokens that were revoked one by one.
    pub(crate) revoked: Shelf<()>,
    /// Log-outs that a person was asked about.
    pub(crate) leaving: Shelf<Leaving>,
}

/// A log-out that a person was asked about.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    pub(crate) sid: Option<String>,
    pub(crate) target: Option<String>,
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
    pub(crate) answered: Answered,
    pub(crate) challenge: Option<Challenge>,
}

/// How an authorization request is answered (`response_mode`).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Answered {
    /// Behind `?`.
    #[default]
    Query,
    /// Behind `#`.
    Fragment,
    /// By a form that the browser posts.
    Form,
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
    pub(crate) used: Timestamp,
    is_over: bool,
    /// What each client holds of it.
    pub(crate) clients: BTreeMap<String, ClientSession>,
}

/// A client's part of a session.
#[derive(Clone, Debug)]
pub(crate) struct ClientSession {
    /// Whether the user was already signed in when it began; none when no page was involved.
    pub(crate) is_sso: Option<bool>,
    pub(crate) started: Timestamp,
    used: Timestamp,
    /// Whether the client may go on when the session is over.
    is_offline: bool,
    /// The newest refresh token used, by family.
    pub(super) families: BTreeMap<String, Used>,
}

impl Sessions {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            pages: Shelf::new(limit),
            codes: Shelf::new(limit),
            logins: Shelf::new(limit),
            revoked: Shelf::new(limit),
            leaving: Shelf::new(limit),
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

    /// The session that a code leads to.
    pub(crate) fn sid_by_code(&self, code: &str) -> Option<String> {
        self.codes.get(code).map(|code| code.sid.clone())
    }

    /// A session, if it is alive.
    pub(crate) fn live(&self, sid: &str, (settings, now): (&RealmSettings, Timestamp)) -> Option<&Login> {
        self.logins.get(sid).filter(|login| login.is_live(settings, now))
    }

    /// All sessions that are alive, oldest first.
    pub(crate) fn all_live(
        &self,
        (settings, now): (&RealmSettings, Timestamp),
    ) -> impl Iterator<Item = (&String, &Login)> {
        self.logins
            .iter()
            .filter(move |(_, login)| login.is_live(settings, now))
    }

    /// A client takes part in a session. One that did already goes on with what it has.
    pub(crate) fn attach(&mut self, sid: &str, client: &str, (is_sso, now): (Option<bool>, Timestamp)) {
        if let Some(login) = self.logins.get_mut(sid) {
            let part = login.clients.entry(client.to_owned()).or_insert(ClientSession {
                is_sso,
                started: now,
                used: now,
                is_offline: false,
                families: BTreeMap::new(),
            });
            part.is_sso = is_sso;
        }
    }

    /// A client may go on with a session when it is over.
    pub(crate) fn keep_offline(&mut self, sid: &str, client: &str) {
        if let Some(part) = self.part_mut(sid, client) {
            part.is_offline = true;
        }
    }

    /// A client's part of a session.
    pub(super) fn part(&self, sid: &str, client: &str) -> Option<&ClientSession> {
        self.logins.get(sid)?.clients.get(client)
    }

    /// The same, to be changed.
    pub(super) fn part_mut(&mut self, sid: &str, client: &str) -> Option<&mut ClientSession> {
        self.logins.get_mut(sid)?.clients.get_mut(client)
    }

    /// A client has no part in a session any more; its refresh tokens are dead.
    pub(crate) fn detach(&mut self, sid: &str, client: &str) {
        if let Some(login) = self.logins.get_mut(sid) {
            login.clients.remove(client);
        }
    }

    /// The idle time of a session, and of a client's part of it, begins anew.
    pub(crate) fn touch(&mut self, sid: &str, client: &str, now: Timestamp) {
        if let Some(login) = self.logins.get_mut(sid) {
            login.used = now;
            if let Some(part) = login.clients.get_mut(client) {
                part.used = now;
            }
        }
    }

    /// Ends a session; gives it, unless it was over.
    pub(crate) fn end(&mut self, sid: &str) -> Option<&Login> {
        let login = self.logins.get_mut(sid).filter(|login| !login.is_over)?;
        login.is_over = true;
        Some(login)
    }

    /// The newest session of this person in this browser that is alive.
    pub(crate) fn newest(&self, who: &Who, times: (&RealmSettings, Timestamp)) -> Option<String> {
        let live = self.all_live(times).filter(|(_, login)| login.who == *who);
        live.last().map(|(sid, _)| sid.clone())
    }
}

impl Login {
    /// Neither ended, nor idle for too long, nor too old. An idle one has a grace; its refresh tokens have not.
    fn is_live(&self, settings: &RealmSettings, now: Timestamp) -> bool {
        let idle = i64::from(settings.sso_session_idle_timeout) + IDLE_GRACE;
        !self.is_over
            && now < after(self.used, SignedDuration::from_secs(idle))
            && now < after(self.started, signed(settings.sso_session_max_lifespan))
    }

    /// Whether a client has a part in the session that is not over before the session.
    pub(crate) fn has_client(&self, client: &str, (settings, now): (&RealmSettings, Timestamp)) -> bool {
        let idle = settings.client_session_idle_timeout;
        let most = settings.client_session_max_lifespan;
        self.clients.get(client).is_some_and(|part| {
            (idle == 0 || now < after(part.used, signed(idle)))
                && (most == 0 || now < after(part.started, signed(most)))
        })
    }

    /// Whether a client may go on although the session is over.
    pub(crate) fn is_kept_offline(&self, client: &str, (settings, now): (&RealmSettings, Timestamp)) -> bool {
        let idle = signed(settings.offline_session_idle_timeout);
        let part = self.clients.get(client).filter(|part| part.is_offline);
        part.is_some_and(|part| now < after(part.used, idle))
    }
}

fn signed(count: u32) -> SignedDuration {
    SignedDuration::try_from(seconds(count)).unwrap_or(SignedDuration::MAX)
}

/// A time so much later, or the end of time.
pub(crate) fn after(time: Timestamp, life: SignedDuration) -> Timestamp {
    time.saturating_add(life).unwrap_or(Timestamp::MAX)
}

impl AuthRequest {
    /// Whether whoever brings the code is who asked for it (RFC 7636).
    pub(crate) fn is_proven(&self, verifier: Option<&str>) -> Result<(), Refusal> {
        match (&self.challenge, verifier) {
            (None, None) => Ok(()),
            (Some(_), None) => Err(Refusal::grant("PKCE code verifier not specified")),
            (Some(challenge), Some(verifier)) if challenge.is_met(verifier) => Ok(()),
            (Some(_), Some(_)) => Err(Refusal::grant("PKCE verification failed: Code mismatch")),
            (None, Some(_)) => Err(Refusal::grant(
                "PKCE code verifier specified but challenge not present in authorization",
            )),
        }
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
        sessions.attach("s", "renku-ui", (Some(false), at(0)));
        sessions
    }

    #[test]
    fn a_session_lives_until_idle_too_old_or_ended() {
        let settings = RealmSettings::default();
        let mut sessions = sessions();
        let live = |sessions: &Sessions, second| sessions.live("s", (&settings, at(second))).is_some();

        assert!(live(&sessions, 1919));
        assert!(!live(&sessions, 1920));
        sessions.touch("s", "renku-ui", at(35_000));
        assert!(live(&sessions, 35_999));
        assert!(!live(&sessions, 36_000));
        assert!(sessions.end("s").is_some());
        assert!(sessions.end("s").is_none());
        assert!(!live(&sessions, 35_001));
        assert_eq!(sessions.who("s"), Some(who("desk")));
    }

    #[test]
    fn the_newest_live_session_of_a_browser_is_found() {
        let settings = RealmSettings::default();
        let mut sessions = sessions();
        sessions.begin("t".into(), who("desk"), at(1));
        sessions.begin("u".into(), who("phone"), at(2));

        let newest = |sessions: &Sessions| sessions.newest(&who("desk"), (&settings, at(3)));

        assert_eq!(newest(&sessions).as_deref(), Some("t"));
        sessions.end("t");
        assert_eq!(newest(&sessions).as_deref(), Some("s"));
    }

    #[test]
    fn a_clients_part_may_end_before_the_session_or_outlive_it() {
        let settings = RealmSettings {
            client_session_idle_timeout: 60,
            client_session_max_lifespan: 100,
            ..RealmSettings::default()
        };
        let mut sessions = sessions();
        sessions.keep_offline("s", "renku-ui");
        let has = |sessions: &Sessions, second| {
            let login = sessions.get("s").unwrap();
            let times = (&settings, at(second));
            (
                login.has_client("renku-ui", times),
                login.is_kept_offline("renku-ui", times),
            )
        };

        assert_eq!(has(&sessions, 59), (true, true));
        assert_eq!(has(&sessions, 60), (false, true));
        sessions.touch("s", "renku-ui", at(59));
        assert_eq!(has(&sessions, 99), (true, true));
        assert_eq!(has(&sessions, 100), (false, true));
        assert_eq!(has(&sessions, 59 + 2_592_000), (false, false));
    }
}
