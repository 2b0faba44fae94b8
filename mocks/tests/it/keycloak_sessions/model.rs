//! What Keycloak keeps of sessions and tokens, small: written from MOCKS K8 to K11 and K4, not from the mock.

use std::collections::BTreeMap;

/// Life of an access token, in seconds. Longer than the idle time: it is then heard of in the time of grace.
pub(crate) const ACCESS: i64 = 900;
/// A session ends when it was not used for so long, in seconds; refresh tokens live so long.
pub(crate) const IDLE: i64 = 600;
/// A session ends at this age, in seconds.
pub(crate) const MAX: i64 = 3_600;
/// What the session has beyond its idle time, and its refresh tokens have not (K10), in seconds.
const GRACE: i64 = 120;

const TOO_OFTEN: &str = "Maximum allowed refresh token reuse exceeded";

/// Status, `error`, `error_description`.
pub(crate) type Refusal = (u16, &'static str, &'static str);

/// Which of the tokens that were given together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Access,
    Refresh,
}

/// Access, refresh and ID token that were given together.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) session: usize,
    pub(crate) client: &'static str,
    issued: i64,
    access_expires: i64,
    refresh_expires: i64,
    /// The sign-in or refresh from which on each token is good for one refresh; none while rotation is off.
    family: Option<usize>,
    is_revoked: bool,
}

#[derive(Debug)]
struct Session {
    user: &'static str,
    started: i64,
    used: i64,
    is_over: bool,
    parts: BTreeMap<&'static str, Part>,
}

/// A client's part of a session.
#[derive(Debug)]
struct Part {
    started: i64,
    /// By family, the newest token that was used for a refresh, and how often.
    used: BTreeMap<Option<usize>, (usize, u32)>,
}

#[derive(Debug)]
struct Account {
    is_enabled: bool,
    not_before: i64,
}

/// The cookie that signs a browser in.
#[derive(Clone, Copy, Debug)]
struct Cookie {
    session: usize,
    issued: i64,
}

/// The realm.
#[derive(Debug)]
pub(crate) struct Model {
    now: i64,
    pub(crate) given: Vec<Given>,
    sessions: Vec<Session>,
    accounts: BTreeMap<&'static str, Account>,
    cookies: BTreeMap<&'static str, Cookie>,
    client_not_before: BTreeMap<&'static str, i64>,
    realm_not_before: i64,
    /// How often more than once a refresh token is good; without it as often as one likes.
    rotation: Option<u32>,
}

impl Model {
    pub(crate) fn new(users: &[&'static str], now: i64) -> Self {
        let account = |user: &&'static str| {
            let account = Account {
                is_enabled: true,
                not_before: 0,
            };
            (*user, account)
        };
        Self {
            now,
            given: Vec::new(),
            sessions: Vec::new(),
            accounts: users.iter().map(account).collect(),
            cookies: BTreeMap::new(),
            client_not_before: BTreeMap::new(),
            realm_not_before: 0,
            rotation: None,
        }
    }

    pub(crate) fn now(&self) -> i64 {
        self.now
    }

    pub(crate) fn pass(&mut self, seconds: i64) {
        self.now += seconds;
    }

    pub(crate) fn rotate(&mut self, rotation: Option<u32>) {
        self.rotation = rotation;
    }

    pub(crate) fn enable(&mut self, user: &str, is_enabled: bool) {
        self.account(user).is_enabled = is_enabled;
    }

    pub(crate) fn user_not_before(&mut self, user: &str) {
        self.account(user).not_before = self.now;
    }

    pub(crate) fn client_not_before(&mut self, client: &'static str) {
        self.client_not_before.insert(client, self.now);
    }

    pub(crate) fn realm_not_before(&mut self) {
        self.realm_not_before = self.now;
    }

    fn account(&mut self, user: &str) -> &mut Account {
        self.accounts.get_mut(user).expect("the accounts are fixed")
    }

    /// Whether a browser need not show the login page (K4).
    pub(crate) fn is_signed_in(&self, browser: &str) -> bool {
        self.cookies.get(browser).is_some_and(|cookie| {
            let account = &self.accounts[self.sessions[cookie.session].user];
            self.is_alive(cookie.session)
                && account.is_enabled
                && cookie.issued >= account.not_before.max(self.realm_not_before)
        })
    }

    /// A browser goes through the login of a client and gets tokens, unless the user is off.
    pub(crate) fn log_in(
        &mut self,
        browser: &'static str,
        user: &'static str,
        client: &'static str,
    ) -> Option<usize> {
        let session = if self.is_signed_in(browser) {
            self.cookies[browser].session
        } else if self.accounts[user].is_enabled {
            self.sessions.push(Session {
                user,
                started: self.now,
                used: self.now,
                is_over: false,
                parts: BTreeMap::new(),
            });
            self.sessions.len() - 1
        } else {
            return None;
        };
        let cookie = Cookie {
            session,
            issued: self.now,
        };
        self.cookies.insert(browser, cookie);
        let part = Part {
            started: self.now,
            used: BTreeMap::new(),
        };
        self.sessions[session].used = self.now;
        self.sessions[session].parts.entry(client).or_insert(part);
        Some(self.give(session, client, None))
    }

    fn give(&mut self, session: usize, client: &'static str, family: Option<usize>) -> usize {
        let end = self.sessions[session].started + MAX;
        self.given.push(Given {
            session,
            client,
            issued: self.now,
            access_expires: end.min(self.now + ACCESS),
            refresh_expires: end.min(self.now + IDLE),
            family: self.rotation.map(|_| family.unwrap_or(self.given.len())),
            is_revoked: false,
        });
        self.given.len() - 1
    }

    /// A refresh by a client; gives the new tokens. The checks are in the order of K8.
    pub(crate) fn refresh(&mut self, nth: usize, by: &'static str) -> Result<usize, Refusal> {
        let refused = |text| Err((400, "invalid_grant", text));
        let token = self.given[nth].clone();
        let session = &self.sessions[token.session];
        if token.issued < self.realm_not_before {
            return refused("Stale token");
        }
        if token.refresh_expires <= self.now {
            return refused("Token is not active");
        }
        if token.client != by {
            return refused("Invalid refresh token. Token client and authorized client don't match");
        }
        if !self.is_alive(token.session) {
            return refused("Session not active");
        }
        if !self.accounts[session.user].is_enabled {
            return refused("User disabled");
        }
        let Some(part) = session.parts.get(by) else {
            return refused("Session doesn't have required client");
        };
        if token.issued < part.started {
            return refused("Refresh toked issued before the client session started");
        }
        if token.issued < self.not_before(&token) {
            return refused("Stale token");
        }
        if let Err(text) = self.use_up(nth) {
            return refused(text);
        }
        self.sessions[token.session].used = self.now;
        Ok(self.give(token.session, by, token.family))
    }

    /// Rotation (K9): each token is good for so many refreshes; one too many costs the client its part.
    fn use_up(&mut self, nth: usize) -> Result<(), &'static str> {
        let refusal = self.reuse(nth);
        let token = self.given[nth].clone();
        let parts = &mut self.sessions[token.session].parts;
        if refusal == Some(TOO_OFTEN) {
            parts.remove(token.client);
        }
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        if let (Some(_), Some(part)) = (self.rotation, parts.get_mut(token.client)) {
            let used = part.used.entry(token.family).or_default();
            *used = (nth, if used.0 == nth { used.1 + 1 } else { 1 });
        }
        Ok(())
    }

    /// Why rotation refuses the next use of a refresh token, if it does.
    fn reuse(&self, nth: usize) -> Option<&'static str> {
        let (most, token) = (self.rotation?, &self.given[nth]);
        let part = self.sessions[token.session].parts.get(token.client)?;
        let (newest, count) = *part.used.get(&token.family)?;
        if newest == nth {
            return (count > most).then_some(TOO_OFTEN);
        }
        (token.issued < self.given[newest].issued).then_some("Stale token")
    }

    /// Whether introspection says that a token is active.
    pub(crate) fn is_active(&self, kind: Kind, nth: usize) -> bool {
        let token = &self.given[nth];
        match kind {
            Kind::Access => self.is_good(nth) && self.has_part(token),
            Kind::Refresh => {
                self.now < token.refresh_expires
                    && token.issued >= self.not_before(token)
                    && self.has_part(token)
                    && self.reuse(nth).is_none()
            }
        }
    }

    /// What userinfo says to an access token.
    pub(crate) fn userinfo(&self, nth: usize) -> Result<(), Refusal> {
        if !self.is_good(nth) {
            return Err((401, "invalid_token", "Token verification failed"));
        }
        if !self.has_part(&self.given[nth]) {
            let text = "User session not found or doesn't have client attached on it";
            return Err((401, "invalid_token", text));
        }
        Ok(())
    }

    /// Whether an access token is good by itself, whatever became of its session.
    fn is_good(&self, nth: usize) -> bool {
        let token = &self.given[nth];
        self.now < token.access_expires && token.issued >= self.not_before(token) && !token.is_revoked
    }

    /// Whether the session of a token, and its client's part of it, still stand.
    fn has_part(&self, token: &Given) -> bool {
        let session = &self.sessions[token.session];
        let part = session.parts.get(token.client);
        self.is_alive(token.session)
            && self.accounts[session.user].is_enabled
            && part.is_some_and(|part| token.issued >= part.started)
    }

    /// The newest not-before of realm, client and user.
    fn not_before(&self, token: &Given) -> i64 {
        let user = self.accounts[self.sessions[token.session].user].not_before;
        let client = self.client_not_before.get(token.client).copied().unwrap_or(0);
        self.realm_not_before.max(client).max(user)
    }

    pub(crate) fn is_alive(&self, session: usize) -> bool {
        let session = &self.sessions[session];
        !session.is_over && self.now < session.used + IDLE + GRACE && self.now < session.started + MAX
    }

    /// A client takes a token back (RFC 7009).
    pub(crate) fn revoke(&mut self, kind: Kind, nth: usize, by: &'static str) -> Result<(), Refusal> {
        let token = self.given[nth].clone();
        let is_old = kind == Kind::Access && token.access_expires <= self.now;
        if is_old || !self.has_part(&token) {
            return Err((200, "invalid_token", "Invalid token"));
        }
        if token.client != by {
            return Err((400, "invalid_request", "Unmatching clients"));
        }
        match kind {
            Kind::Access => self.given[nth].is_revoked = true,
            Kind::Refresh => {
                let session = &mut self.sessions[token.session];
                session.parts.remove(by);
                session.is_over |= session.parts.is_empty();
            }
        }
        Ok(())
    }

    /// Somebody sends a code a second time: the client loses what the first use gave (K4).
    pub(crate) fn replay_code(&mut self, nth: usize) {
        let token = &self.given[nth];
        self.sessions[token.session].parts.remove(token.client);
    }

    /// A client logs the session behind its refresh token out, of whatever age (K11); says whether it may.
    pub(crate) fn log_out(&mut self, nth: usize, by: &str) -> bool {
        let is_own = self.given[nth].client == by;
        if is_own {
            self.end(self.given[nth].session);
        }
        is_own
    }

    /// A browser visits the logout page with this token's ID token; says whether it is signed out without a question.
    pub(crate) fn leave(&mut self, browser: &str, hint: Option<usize>) -> bool {
        let Some(nth) = hint else { return false };
        let session = self.given[nth].session;
        let is_own = self
            .cookies
            .get(browser)
            .is_none_or(|cookie| cookie.session == session);
        if is_own {
            self.cookies.remove(browser);
            self.end(session);
        }
        is_own
    }

    pub(crate) fn end(&mut self, session: usize) {
        self.sessions[session].is_over = true;
    }

    /// All clients lose their part of a session.
    pub(crate) fn detach(&mut self, session: usize) {
        self.sessions[session].parts.clear();
    }

    /// An administrator logs a user out: the one way that also makes older tokens stale (K12).
    pub(crate) fn log_out_user(&mut self, user: &str) {
        self.user_not_before(user);
        for session in self.sessions.iter_mut().filter(|session| session.user == user) {
            session.is_over = true;
        }
    }
}
