//! The one world behind the three services: users, what they own, what was ordered, and what was seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::Timestamp;
use polytab_seams::{Seams, random::Random};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use crate::{
    backend::{alerts::Alerts, caller::Strangers, graph::Graphs, items::Items},
    clocks::{Clocks, Mock},
    config::MocksConfig,
    error::ControlError,
    fault::orders::Orders,
    gateway::store::Gateway,
    gitlab::{Kept, hub::Hub},
    journal::Journal,
    keycloak::{
        authority::{MASTER, Realm},
        keys::Keys,
    },
    observation::{Observation, Observer},
    order::{Change, UnmatchedCall, UserSpec},
    realm::Quirks,
    route::{Selector, nearest},
    secret::Secrets,
    seen::Who,
    state::Part,
    stub::list::Stubs,
    users::Users,
};

/// The cookie of Renku's gateway.
pub(crate) const GATEWAY_COOKIE: &str = "_renku_session";

/// A person.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) spec: UserSpec,
    pub(crate) subject: String,
    pub(crate) items: Items,
    pub(crate) account: Account,
}

/// A person's account at Keycloak.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) realm: String,
    pub(crate) username: String,
    pub(crate) first_name: String,
    pub(crate) last_name: String,
    pub(crate) email: String,
    pub(crate) is_email_verified: bool,
    pub(crate) is_enabled: bool,
    /// Tokens issued before this time (seconds since 1970) are no good.
    pub(crate) not_before: i64,
    pub(crate) created: Timestamp,
    /// Roles beside those that everybody has.
    pub(crate) roles: BTreeSet<String>,
    pub(crate) attributes: Map<String, Value>,
}

impl User {
    /// A person with an account.
    pub(crate) fn new(items: Items, spec: UserSpec, (subject, account): (String, Account)) -> Self {
        Self {
            spec,
            subject,
            items,
            account,
        }
    }
}

impl Account {
    /// An account as the tests have it.
    pub(crate) fn new(realm: &str, username: &str, created: Timestamp) -> Self {
        Self {
            realm: realm.to_owned(),
            username: username.to_owned(),
            first_name: username.to_owned(),
            last_name: "of the tests".to_owned(),
            email: format!("{username}@example.org"),
            is_email_verified: true,
            is_enabled: true,
            not_before: 0,
            created,
            roles: BTreeSet::new(),
            attributes: Map::new(),
        }
    }

    /// The name by which the world knows the person: those of the main realm by their own.
    pub(crate) fn key(&self, main_realm: &str) -> String {
        if self.realm == main_realm {
            self.username.clone()
        } else {
            format!("{}/{}", self.realm, self.username)
        }
    }
}

/// A call that waits for an order.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) route: &'static str,
    pub(crate) kind: Wait,
    pub(crate) wake: oneshot::Sender<()>,
}

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Its answer is held back until released.
    Held,
    /// It hangs until its route is healed.
    Hung,
}

/// Everything that a reset takes away.
pub(crate) struct World {
    /// Counts resets: a call from before one must not touch what came after.
    pub(crate) generation: u64,
    pub(crate) seams: Seams,
    /// What randomness goes back to at a reset, whatever was ordered meanwhile.
    pub(crate) base: Random,
    pub(crate) started: Timestamp,
    pub(crate) users: Users,
    pub(crate) cookies: BTreeMap<String, Who>,
    pub(crate) main_realm: String,
    pub(crate) realms: BTreeMap<String, Realm>,
    pub(crate) quirks: Quirks,
    pub(crate) clocks: Clocks,
    pub(crate) graphs: Graphs,
    /// Whether the V1 route of the backend still exists.
    pub(crate) has_servers: bool,
    /// Owners without a name.
    pub(crate) strangers: Strangers,
    pub(crate) sessions_per_user: usize,
    pub(crate) alerts: Alerts,
    pub(crate) gateway: Gateway,
    pub(crate) hub: Hub,
    pub(crate) gitlab: Kept,
    pub(crate) orders: Orders,
    pub(crate) stubs: Stubs,
    pub(crate) waiting: BTreeMap<u64, Waiting>,
    pub(crate) calls: u64,
    pub(crate) journal: Journal,
    pub(crate) unmatched: Vec<UnmatchedCall>,
    pub(crate) secrets: Secrets,
    observer: Option<Observer>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

impl World {
    pub(crate) fn new(config: &MocksConfig, keys: &Keys, seams: Seams) -> Self {
        let mut secrets = Secrets::new(config.secrets_kept);
        for client in std::iter::once(&config.client).chain(&config.other_clients) {
            if let Some(secret) = &client.secret {
                secrets.keep("client_secret", secret);
            }
        }
        let started = seams.clock.wall();
        let mut world = Self {
            generation: 0,
            base: seams.random.clone(),
            started,
            users: Users::default(),
            cookies: BTreeMap::new(),
            main_realm: config.realm.clone(),
            realms: Realm::all(config, keys),
            quirks: config.quirks.clone(),
            clocks: Clocks::default(),
            graphs: Graphs::default(),
            has_servers: false,
            strangers: Strangers::new(config.logins_kept),
            sessions_per_user: config.sessions_per_user,
            alerts: Alerts::new(config.alerts_kept),
            gateway: Gateway::new(config),
            hub: Hub::new(config, started.as_second()),
            gitlab: Kept::new(config),
            orders: Orders::default(),
            stubs: Stubs::new(config.stubs_kept),
            waiting: BTreeMap::new(),
            calls: 0,
            journal: Journal::new(config.journal_entries),
            unmatched: Vec::new(),
            secrets,
            observer: None,
            seams,
        };
        world.add_admin(&config.admin);
        world
    }

    /// The administrator, who is known to the realm `master` and to no service.
    fn add_admin(&mut self, (name, password): &(String, String)) {
        let mut account = Account::new(MASTER, name, self.started);
        account.roles.insert("admin".to_owned());
        let key = account.key(&self.main_realm);
        let spec = UserSpec {
            password: password.clone(),
            ..UserSpec::default()
        };
        self.secrets.keep("password", password);
        let owner = format!("user/{key}");
        let items = Items::new(&owner, self.sessions_per_user);
        let subject = self.seams.random.uuid(&owner);
        self.users.insert(key, User::new(items, spec, (subject, account)));
    }

    /// Starts over as this one, but for the parts that are kept. Open streams and waiting calls end; the observer stays.
    pub(crate) fn start_over(&mut self, fresh: Self, kept: &BTreeSet<Part>) {
        let closed = self.hub.close_all("reset");
        self.streams_closed(closed);
        let epoch = self.hub.store.epoch;
        let mut old = std::mem::replace(self, fresh);
        self.generation = old.generation + 1;
        self.observer = old.observer.take();
        self.stubs.after(&old.stubs);
        // Event ids from before the reset must not be taken for new ones, also when a second has not passed.
        self.hub.store.epoch = self.hub.store.epoch.max(epoch + 1);
        if kept.contains(&Part::Users) || kept.contains(&Part::Realms) {
            // Ids that begin anew would be those of what is kept.
            self.seams.random = old.seams.random.clone();
            std::mem::swap(&mut self.secrets, &mut old.secrets);
        }
        for part in kept {
            self.take_over(*part, &mut old);
        }
    }

    fn take_over(&mut self, part: Part, old: &mut Self) {
        use std::mem::swap;
        match part {
            Part::Users => {
                swap(&mut self.users, &mut old.users);
                swap(&mut self.cookies, &mut old.cookies);
                self.has_servers = old.has_servers;
            }
            Part::Realms => {
                swap(&mut self.realms, &mut old.realms);
                swap(&mut self.gateway, &mut old.gateway);
                swap(&mut self.quirks, &mut old.quirks);
            }
            Part::Faults => swap(&mut self.orders, &mut old.orders),
            Part::Journal => {
                swap(&mut self.journal, &mut old.journal);
                swap(&mut self.unmatched, &mut old.unmatched);
                // Numbers and times of calls go on.
                (self.calls, self.started) = (old.calls, old.started);
            }
            Part::Clock => swap(&mut self.clocks, &mut old.clocks),
            Part::Stubs => {
                swap(&mut self.stubs, &mut old.stubs);
                self.stubs.after(&old.stubs);
            }
        }
    }

    pub(crate) fn observe(&mut self, observer: Observer) {
        self.observer = Some(observer);
    }

    /// Tells whoever watches.
    pub(crate) fn tell(&self, observation: &Observation) {
        if let Some(observer) = &self.observer {
            observer(observation);
        }
    }

    /// The time that really is: that of faults and of the journal.
    pub(crate) fn now(&self) -> Timestamp {
        self.seams.clock.wall()
    }

    /// What this mock's clock shows.
    pub(crate) fn now_at(&self, mock: Mock) -> Timestamp {
        self.clocks.now(mock, self.now())
    }

    /// Scenario time since the last reset, in milliseconds.
    pub(crate) fn elapsed_ms(&self) -> i64 {
        self.now().as_millisecond() - self.started.as_millisecond()
    }

    pub(crate) fn user(&self, name: &str) -> Result<&User, ControlError> {
        self.users.get(name).ok_or_else(|| self.unknown_user(name))
    }

    pub(crate) fn user_mut(&mut self, name: &str) -> Result<&mut User, ControlError> {
        if !self.users.contains_key(name) {
            return Err(self.unknown_user(name));
        }
        Ok(self.users.get_mut(name).expect("there is one of that name"))
    }

    fn unknown_user(&self, name: &str) -> ControlError {
        ControlError::UnknownUser {
            name: name.to_owned(),
            nearest: nearest(name, self.users.keys().map(String::as_str)),
        }
    }

    /// Seams as they were at the start, with randomness from its beginning.
    pub(crate) fn base_seams(&self) -> Seams {
        Seams {
            random: self.base.anew(),
            ..self.seams.clone()
        }
    }

    /// Adds a user or replaces one; a replaced one keeps its subject.
    pub(crate) fn put_user(&mut self, name: &str, spec: UserSpec) -> Result<(), ControlError> {
        let (random, now) = (self.seams.random.clone(), self.now_at(Mock::Backend));
        let mut user = if let Some(old) = self.users.remove(name) {
            User { spec, ..old }
        } else {
            let (owner, account) = (
                format!("user/{name}"),
                Account::new(&self.main_realm, name, self.now_at(Mock::Keycloak)),
            );
            let items = Items::new(&owner, self.sessions_per_user);
            User::new(items, spec, (random.uuid(&owner), account))
        };
        let listed = user.items.set(&user.spec.sessions, (&random, now));
        self.secrets.keep("password", &user.spec.password);
        self.users.insert(name.to_owned(), user);
        listed
    }

    /// Changes the world, or nothing.
    pub(crate) fn change(&mut self, change: Change) -> Result<(), ControlError> {
        if let Some(graph) = &change.graph {
            Graphs::check(graph)?;
        }
        self.change_user(&change)?;
        if let Some(graph) = change.graph {
            self.graphs.set(graph)?;
        }
        if let (Some(user), Some(projects)) = (&change.user, &change.projects) {
            let closed = self.hub.close_hidden(user, projects);
            self.streams_closed(closed);
        }
        Ok(())
    }

    fn change_user(&mut self, change: &Change) -> Result<(), ControlError> {
        let (random, now) = (self.seams.random.clone(), self.now_at(Mock::Backend));
        let Some(name) = &change.user else {
            let owned = [
                ("sessions", change.sessions.is_some()),
                ("servers", change.servers.is_some()),
                ("projects", change.projects.is_some()),
                ("refresh", change.refresh.is_some()),
                ("access_token", change.access_token.is_some()),
            ];
            let orphan = owned.into_iter().find(|(_, is_set)| *is_set);
            return orphan.map_or(Ok(()), |(field, _)| Err(ControlError::UserMissing(field)));
        };
        let user = self.user_mut(name)?;
        if let Some(sessions) = &change.sessions {
            user.items.set(sessions, (&random, now))?;
        }
        if let Some(servers) = &change.servers {
            user.items.set_servers(servers, now);
        }
        if let Some(projects) = &change.projects {
            user.spec.projects.clone_from(projects);
        }
        user.spec.refresh = change.refresh.unwrap_or(user.spec.refresh);
        user.spec.access_token = change.access_token.or(user.spec.access_token);
        self.has_servers |= change.servers.is_some();
        Ok(())
    }

    /// Wakes the calls that wait for this on these routes; gives how many.
    pub(crate) fn wake(&mut self, selector: &Selector, kind: Wait) -> usize {
        let woken = self.waiting.extract_if(.., |_, waiting| {
            waiting.kind == kind && selector.matches(waiting.route)
        });
        // A caller that has left meanwhile is none that was waiting.
        woken
            .filter_map(|(_, waiting)| waiting.wake.send(()).ok())
            .count()
    }
}
