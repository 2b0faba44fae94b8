//! From a world to its document and back.

use std::collections::BTreeSet;

use polytab_seams::{Seams, random::Random};

use super::{RateLimitState, RealmState, State, UserState};
use crate::{
    Shared,
    backend::items::Items,
    clocks::Mock,
    config::MocksConfig,
    error::ControlError,
    gitlab::rate::Limiter,
    keycloak::{authority::Realm, keys::Keys},
    order::{HoldOrder, UserSpec},
    realm::{ClientConfig, SomeSettings},
    route::nearest,
    world::{Account, User, World},
};

impl State {
    /// Whether mocks of this configuration could load it.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and where.
    pub fn check(&self, config: &MocksConfig) -> Result<(), ControlError> {
        World::new(config, &Keys::new(), Seams::system()).load(self, None)
    }
}

impl World {
    /// A world as this document has it. Secrets that it does not tell are those of `old`, or the configuration's.
    pub(crate) fn loaded(
        shared: (&MocksConfig, &Keys),
        seams: Seams,
        (state, old): (&State, Option<&Self>),
    ) -> Result<Self, ControlError> {
        let mut world = Self::new(shared.0, shared.1, seams);
        world.load(state, old)?;
        Ok(world)
    }

    fn load(&mut self, state: &State, old: Option<&Self>) -> Result<(), ControlError> {
        if let Some(seed) = state.seed {
            self.seams.random = Random::seeded(seed);
        }
        let real = self.now();
        for (mock, clock) in &state.clock {
            let placed = |error: ControlError| error.within(format!("clock.{mock:?}").to_lowercase());
            self.clocks.put(*mock, *clock, real).map_err(placed)?;
        }
        for (name, realm) in &state.realms {
            let placed = |error: ControlError| error.within(format!("realms.{name}"));
            self.load_realm(name, realm, old).map_err(placed)?;
        }
        let mut subjects = BTreeSet::new();
        for (name, user) in &state.users {
            let placed = |error: ControlError| error.within(format!("users.{name}"));
            let subject = self.load_user(name, user, old).map_err(placed)?;
            if !subjects.insert(subject.clone()) {
                let what = "the subject of a second user";
                return Err(placed(bad(what, subject)));
            }
        }
        let placed = |error: ControlError| error.within("graph");
        self.graphs.set(state.graph.clone()).map_err(placed)?;
        if let Some(quirks) = &state.quirks {
            self.quirks.clone_from(quirks);
        }
        if let Some(RateLimitState(limit)) = state.rate_limit {
            self.gitlab.limiter = Limiter::new(limit);
        }
        for (index, fault) in state.faults.iter().enumerate() {
            let placed = |error: ControlError| error.within(format!("faults[{index}]"));
            self.arm(fault.clone()).map_err(placed)?;
        }
        for (index, hold) in state.holds.iter().enumerate() {
            let placed = |error: ControlError| error.within(format!("holds[{index}]"));
            self.hold(hold.clone()).map_err(placed)?;
        }
        Ok(())
    }

    fn load_realm(
        &mut self,
        name: &str,
        wanted: &RealmState,
        old: Option<&Self>,
    ) -> Result<(), ControlError> {
        let known: Vec<_> = self.realms.keys().cloned().collect();
        let realm = self
            .realms
            .get_mut(name)
            .ok_or_else(|| ControlError::UnknownRealm {
                nearest: nearest(name, known.iter().map(String::as_str)),
                name: name.to_owned(),
            })?;
        realm.settings = wanted.settings.over(&realm.settings)?;
        for (id, client) in &wanted.clients {
            let before = old.and_then(|old| old.realms.get(name)?.clients.get(id));
            let before = before.or(realm.clients.get(id));
            let client = ClientConfig {
                client_id: id.clone(),
                secret: client
                    .secret
                    .clone()
                    .or_else(|| before.and_then(|client| client.secret.clone())),
                ..client.clone()
            };
            if let Some(secret) = &client.secret {
                self.secrets.keep("client_secret", secret);
            }
            realm.clients.insert(id.clone(), client);
        }
        Ok(())
    }

    /// Gives the user's subject.
    fn load_user(
        &mut self,
        name: &str,
        wanted: &UserState,
        old: Option<&Self>,
    ) -> Result<String, ControlError> {
        let now = self.now_at(Mock::Backend);
        let before = old.and_then(|old| old.users.get(name));
        let there = self.users.get(name);
        let password = before.or(there).map(|user| user.spec.password.clone());
        let spec = UserSpec {
            access_token: wanted.access_token,
            refresh: wanted.refresh,
            projects: wanted.projects.clone(),
            sessions: wanted.sessions.clone(),
            ..UserSpec::default()
        };
        let spec = UserSpec {
            password: wanted.password.clone().or(password).unwrap_or(spec.password),
            ..spec
        };
        let owner = format!("user/{name}");
        let mut items = Items::new(&owner, self.sessions_per_user);
        items.set(&wanted.sessions, (&self.seams.random, now))?;
        if let Some(servers) = &wanted.servers {
            items.set_servers(servers, now);
            self.has_servers = true;
        }
        items.quota = wanted.quota;
        let account = there.map_or_else(|| self.new_account(name), |user| user.account.clone());
        let subject = match (&wanted.subject, there) {
            (Some(subject), _) => subject.clone(),
            (None, Some(user)) => user.subject.clone(),
            (None, None) => self.seams.random.uuid(&owner),
        };
        self.secrets.keep("password", &spec.password);
        let user = User::new(items, spec, (subject.clone(), wanted.account(account)));
        self.users.insert(name.to_owned(), user);
        Ok(subject)
    }

    /// The account of a user of whom no more is known than the name.
    fn new_account(&self, name: &str) -> Account {
        let now = self.now_at(Mock::Keycloak);
        match name.split_once('/') {
            Some((realm, username)) if self.realms.contains_key(realm) => Account::new(realm, username, now),
            _ => Account::new(&self.main_realm, name, now),
        }
    }

    /// The document of this world.
    pub(crate) fn state(&self, shared: &Shared) -> State {
        let users = self.users.iter();
        let realms = self.realms.iter();
        State {
            users: users
                .map(|(name, user)| (name.clone(), self.shown(user)))
                .collect(),
            realms: realms
                .map(|(name, realm)| (name.clone(), RealmState::of(realm)))
                .collect(),
            quirks: Some(self.quirks.clone()),
            graph: self.graphs.all(),
            rate_limit: Some(RateLimitState(self.gitlab.limiter.limit())),
            faults: self.orders.armed().into_iter().map(|fault| fault.order).collect(),
            holds: self.orders.holding(),
            clock: self.clocks.turned(),
            seed: self.seams.random.seed(),
            live: Some(self.live(shared)),
        }
    }

    fn shown(&self, user: &User) -> UserState {
        let account = user.account.clone();
        UserState {
            password: None,
            subject: Some(user.subject.clone()),
            enabled: Some(account.is_enabled),
            first_name: Some(account.first_name),
            last_name: Some(account.last_name),
            email: Some(account.email),
            email_verified: Some(account.is_email_verified),
            not_before: Some(account.not_before),
            roles: Some(account.roles),
            attributes: Some(account.attributes),
            access_token: user.spec.access_token,
            refresh: user.spec.refresh,
            projects: user.spec.projects.clone(),
            sessions: user.items.told(self.now_at(Mock::Backend)),
            servers: self.has_servers.then(|| user.items.told_servers()),
            quota: user.items.quota,
        }
    }

    /// Holds answers back.
    pub(crate) fn hold(&mut self, order: HoldOrder) -> Result<(), ControlError> {
        if let Some(user) = &order.user {
            self.user(user)?;
        }
        self.orders.hold(order)
    }
}

impl RealmState {
    fn of(realm: &Realm) -> Self {
        Self {
            settings: SomeSettings::all(&realm.settings),
            clients: realm.clients.clone(),
        }
    }
}

impl UserState {
    /// This account, as far as nothing else is said of it.
    fn account(&self, account: Account) -> Account {
        let text = |said: &Option<String>, usual: String| said.clone().unwrap_or(usual);
        Account {
            first_name: text(&self.first_name, account.first_name),
            last_name: text(&self.last_name, account.last_name),
            email: text(&self.email, account.email),
            is_email_verified: self.email_verified.unwrap_or(account.is_email_verified),
            is_enabled: self.enabled.unwrap_or(account.is_enabled),
            not_before: self.not_before.unwrap_or(account.not_before),
            roles: self.roles.clone().unwrap_or(account.roles),
            attributes: self.attributes.clone().unwrap_or(account.attributes),
            ..account
        }
    }
}

fn bad(what: &'static str, value: String) -> ControlError {
    ControlError::BadValue {
        what,
        value,
        nearest: None,
    }
}
