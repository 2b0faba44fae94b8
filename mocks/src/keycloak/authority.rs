//! A realm at work: all that its decisions need of the world, taken apart so that each part can be held by itself.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use polytab_seams::random::Random;

use crate::{
    Shared,
    clocks::Mock,
    config::MocksConfig,
    keycloak::{
        fault::KeycloakFault,
        keys::{Claims, Keys, Ring},
        session::{Login, Sessions},
    },
    realm::{ClientConfig, Quirks, RealmSettings},
    secret::Secrets,
    users::Users,
    world::{User, World},
};

/// The realm whose administrators may do everything.
pub(crate) const MASTER: &str = "master";
/// The client that administrators' programs sign in with.
const ADMIN_CLI: &str = "admin-cli";

/// A realm: its settings, clients, keys and login sessions.
#[derive(Debug)]
pub(crate) struct Realm {
    pub(crate) name: String,
    /// `{scheme}://{host}{base}/realms/{realm}`
    pub(crate) issuer: String,
    /// `{base}/realms/{realm}`
    pub(crate) path: String,
    pub(crate) settings: RealmSettings,
    pub(crate) clients: BTreeMap<String, ClientConfig>,
    pub(crate) ring: Ring,
    pub(crate) sessions: Sessions,
}

impl Realm {
    /// All realms at the start: the one of the configuration, and `master`.
    pub(crate) fn all(config: &MocksConfig, keys: &Keys) -> BTreeMap<String, Self> {
        let own = std::iter::once(&config.client).chain(&config.other_clients);
        let own = own.cloned().chain([config.gateway.client()]);
        let own = Self::new(config, (&config.realm, Ring::new(keys, 0)), own);
        let master = Self {
            settings: RealmSettings::default(),
            // Another first key, so that tokens of one realm are not good in the other.
            ..Self::new(config, (MASTER, Ring::new(keys, 1)), std::iter::empty())
        };
        [master, own].map(|realm| (realm.name.clone(), realm)).into()
    }

    fn new(
        config: &MocksConfig,
        (name, ring): (&str, Ring),
        clients: impl Iterator<Item = ClientConfig>,
    ) -> Self {
        let admin_cli = ClientConfig {
            client_id: ADMIN_CLI.to_owned(),
            ..ClientConfig::default()
        };
        let path = config.realm_path(name);
        let origin = config.keycloak_url.as_str().trim_end_matches('/');
        Self {
            name: name.to_owned(),
            issuer: format!("{origin}{path}"),
            path,
            settings: config.settings.clone(),
            clients: std::iter::once(admin_cli)
                .chain(clients)
                .map(|client| (client.client_id.clone(), client))
                .collect(),
            ring,
            sessions: Sessions::new(config.logins_kept),
        }
    }
}

/// A realm with what it needs to decide.
pub(crate) struct Authority<'a> {
    pub(crate) realm: &'a mut Realm,
    pub(crate) users: &'a mut Users,
    pub(crate) secrets: &'a mut Secrets,
    pub(crate) random: Random,
    pub(crate) keys: &'a Keys,
    pub(crate) quirks: &'a Quirks,
    pub(crate) main_realm: &'a str,
    pub(crate) sessions_per_user: usize,
    /// Keycloak's own time.
    pub(crate) now: Timestamp,
    /// What the call under way meets.
    pub(crate) fault: Option<KeycloakFault>,
}

impl World {
    /// The realm of that name. There are no others than those it was made with.
    pub(crate) fn authority<'a>(&'a mut self, shared: &'a Shared, realm: &str) -> Option<Authority<'a>> {
        let now = self.now_at(Mock::Keycloak);
        Some(Authority {
            realm: self.realms.get_mut(realm)?,
            users: &mut self.users,
            secrets: &mut self.secrets,
            random: self.seams.random.clone(),
            keys: &shared.keys,
            quirks: &self.quirks,
            main_realm: &shared.config.realm,
            sessions_per_user: self.sessions_per_user,
            now,
            fault: None,
        })
    }

    /// The claims of an access token of the main realm that its signature lets pass, and its times by this mock's
    /// clock. Sessions are not looked at.
    pub(crate) fn access(&self, shared: &Shared, token: &str, mock: Mock) -> Option<Claims> {
        let realm = self.realms.get(&self.main_realm)?;
        let claims = realm.access(&shared.keys, token)?;
        (!claims.is_expired(self.now_at(mock))).then_some(claims)
    }

    /// The user that a token is about.
    pub(crate) fn user_of(&self, claims: &Claims) -> Option<String> {
        let found = self.users.by_subject(claims.text("sub"));
        found.map(|(name, _)| name.clone())
    }
}

impl Realm {
    /// The claims of an access token of this realm, of whatever age.
    pub(crate) fn access(&self, keys: &Keys, token: &str) -> Option<Claims> {
        let claims = keys.verify(&self.ring, token)?;
        let is_ours = claims.text("typ") == "Bearer" && claims.text("iss") == self.issuer;
        is_ours.then_some(claims)
    }
}

impl Authority<'_> {
    /// Settings and time: what liveness depends on.
    pub(crate) fn times(&self) -> (&RealmSettings, Timestamp) {
        (&self.realm.settings, self.now)
    }

    /// A session, if it is alive.
    pub(crate) fn live(&self, sid: &str) -> Option<&Login> {
        self.realm.sessions.live(sid, self.times())
    }

    /// The user of this realm that signs in by this name.
    pub(crate) fn user(&self, username: &str) -> Option<(&String, &User)> {
        self.users.by_account(&self.realm.name, username)
    }

    /// The user with this subject, if it is of this realm.
    pub(crate) fn user_by_subject(&self, subject: &str) -> Option<(&String, &User)> {
        let found = self.users.by_subject(subject);
        found.filter(|(_, user)| user.account.realm == self.realm.name)
    }

    /// Whether the session behind a token is alive, its user is enabled, and it still has the token's client, which has
    /// not left and come back since. A client's own token has none.
    pub(crate) fn has_session(&self, claims: &Claims) -> bool {
        let (sid, client) = (claims.text("sid"), claims.text("azp"));
        if sid.is_empty() {
            return true;
        }
        let Some(login) = self.realm.sessions.get(sid) else {
            return false;
        };
        let is_enabled = self
            .users
            .get(&login.who.user)
            .is_some_and(|user| user.account.is_enabled);
        let is_live = match self.live(sid) {
            Some(live) => live.has_client(client, self.times()),
            None => false,
        };
        let part = login.clients.get(client);
        if part.is_some_and(|part| claims.second("iat") < part.started.as_second()) {
            return false;
        }
        is_enabled && (is_live || login.is_kept_offline(client, self.times()))
    }

    /// Whether a token was issued before the realm, its client or its user said that such are no good.
    pub(crate) fn is_stale(&self, claims: &Claims) -> bool {
        claims.second("iat") < self.not_before(claims.text("azp"), claims.text("sub"))
    }

    /// The newest not-before of realm, client and user.
    pub(crate) fn not_before(&self, client: &str, subject: &str) -> i64 {
        let client = self
            .realm
            .clients
            .get(client)
            .map_or(0, |client| client.not_before);
        let user = self
            .user_by_subject(subject)
            .map_or(0, |(_, user)| user.account.not_before);
        self.realm.settings.not_before.max(client).max(user)
    }

    /// The time so many seconds from now.
    pub(crate) fn later(&self, count: u32) -> Timestamp {
        super::session::after(self.now, SignedDuration::from_secs(count.into()))
    }
}
