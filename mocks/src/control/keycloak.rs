//! Orders to Keycloak: its realms, clients, keys, login sessions and accounts.

use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Answer,
    openapi::Routes,
    wire::{At, Done, Order},
};
use crate::{
    Mocks,
    error::ControlError,
    keycloak::{authority::Authority, logout},
    realm::{ClientConfig, Quirks, RealmSettings, SomeSettings},
    route::nearest,
    state::live::LiveLogin,
};

/// A realm as it is now. Secrets are not shown.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RealmShown {
    /// The issuer of its tokens.
    pub issuer: String,
    /// Its settings.
    pub settings: RealmSettings,
    /// Its clients.
    pub clients: Vec<ClientConfig>,
    /// The published keys, newest first.
    pub keys: Vec<KeyShown>,
    /// Login sessions that are alive, oldest first.
    pub sessions: Vec<LiveLogin>,
}

/// A published key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KeyShown {
    /// Its id.
    pub kid: String,
    /// Whether it is the one that signs.
    pub active: bool,
}

/// How the keys are rotated.
///
/// ```json
/// { "drop": true }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rotation {
    /// The old keys are published no longer: tokens signed with them are no good at once.
    pub drop: bool,
}

/// The key that signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KeyId {
    /// Its id.
    pub kid: String,
}

/// What happens to a login session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoginVerb {
    /// It is over as if its time had come: nobody is told.
    Expire,
    /// It ends, and clients are told.
    Logout,
    /// Clients lose their part of it; it goes on.
    Detach,
}

/// What happens to a user's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountVerb {
    /// All sessions end, and clients are told.
    Logout,
    /// The account is off.
    Disable,
    /// The account is on again.
    Enable,
    /// Tokens issued before now are no good.
    NotBefore,
}

impl Mocks {
    /// Has a realm's authority carry out an order.
    pub(super) fn at_realm<T>(
        &self,
        realm: &str,
        carry_out: impl FnOnce(&mut Authority<'_>) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        let mut world = self.0.world();
        let known: Vec<_> = world.realms.keys().cloned().collect();
        let mut authority = world
            .authority(&self.0, realm)
            .ok_or_else(|| ControlError::UnknownRealm {
                nearest: nearest(realm, known.iter().map(String::as_str)),
                name: realm.to_owned(),
            })?;
        carry_out(&mut authority)
    }

    /// A realm as it is now.
    ///
    /// # Errors
    ///
    /// When there is no such realm.
    pub fn realm(&self, realm: &str) -> Result<RealmShown, ControlError> {
        let (issuer, settings, clients, keys) = self.at_realm(realm, |authority| {
            let realm = &authority.realm;
            let keys = realm.ring.published().map(|(kid, active)| KeyShown {
                kid: kid.to_owned(),
                active,
            });
            let clients = realm.clients.values().cloned().collect();
            Ok((
                realm.issuer.clone(),
                realm.settings.clone(),
                clients,
                keys.collect(),
            ))
        })?;
        Ok(RealmShown {
            issuer,
            settings,
            clients,
            keys,
            sessions: self.0.world().live_logins(realm),
        })
    }

    /// Changes some settings of a realm.
    ///
    /// # Errors
    ///
    /// When there is no such realm or setting, or a value is none that it could have. Nothing is changed then.
    pub fn set_realm(&self, realm: &str, some: &SomeSettings) -> Result<(), ControlError> {
        self.at_realm(realm, |authority| {
            authority.realm.settings = some.over(&authority.realm.settings)?;
            Ok(())
        })
    }

    /// Adds a client to a realm, or replaces one.
    ///
    /// # Errors
    ///
    /// When there is no such realm.
    pub fn put_client(&self, realm: &str, id: &str, client: ClientConfig) -> Result<(), ControlError> {
        self.at_realm(realm, |authority| {
            if let Some(secret) = &client.secret {
                authority.secrets.keep("client_secret", secret);
            }
            let client = ClientConfig {
                client_id: id.to_owned(),
                ..client
            };
            authority.realm.clients.insert(id.to_owned(), client);
            Ok(())
        })
    }

    /// Signs with a new key from now on; gives it.
    ///
    /// # Errors
    ///
    /// When there is no such realm.
    pub fn rotate_keys(&self, realm: &str, rotation: Rotation) -> Result<KeyId, ControlError> {
        self.at_realm(realm, |authority| {
            let ring = &mut authority.realm.ring;
            let kid = ring.rotate(authority.keys, rotation.drop).to_owned();
            Ok(KeyId { kid })
        })
    }

    /// Something happens to a login session.
    ///
    /// # Errors
    ///
    /// When there is no such realm, or no such session that is alive.
    pub async fn order_login(&self, realm: &str, sid: &str, verb: LoginVerb) -> Result<(), ControlError> {
        let notices = self.at_realm(realm, |authority| {
            let live = authority.live(sid);
            let clients = live.map(|login| login.clients.keys().cloned().collect::<Vec<_>>());
            let clients = clients.ok_or_else(|| ControlError::UnknownLogin(sid.to_owned()))?;
            if verb == LoginVerb::Detach {
                for client in clients {
                    authority.realm.sessions.detach(sid, &client);
                }
                return Ok(Vec::new());
            }
            let mut notices = authority.end_login(sid);
            notices.retain(|_| verb == LoginVerb::Logout);
            Ok(notices)
        })?;
        logout::deliver(&self.0, notices).await;
        Ok(())
    }

    /// Something happens to a user's account.
    ///
    /// # Errors
    ///
    /// When there is no such realm or user.
    pub async fn order_account(
        &self,
        realm: &str,
        user: &str,
        verb: AccountVerb,
    ) -> Result<(), ControlError> {
        let notices = self.at_realm(realm, |authority| {
            let key = authority.key_of(user)?;
            let now = authority.now.as_second();
            let account = authority.users.get_mut(&key).map(|user| &mut user.account);
            match (verb, account) {
                (AccountVerb::Disable, Some(account)) => account.is_enabled = false,
                (AccountVerb::Enable, Some(account)) => account.is_enabled = true,
                (AccountVerb::NotBefore, Some(account)) => account.not_before = now,
                (AccountVerb::Logout, _) => return Ok(authority.end_logins_of(&key)),
                (_, None) => {}
            }
            Ok(Vec::new())
        })?;
        logout::deliver(&self.0, notices).await;
        Ok(())
    }

    /// From now on Keycloak differs in these ways.
    pub fn set_quirks(&self, quirks: Quirks) {
        self.0.world().quirks = quirks;
    }
}

impl Authority<'_> {
    /// The name by which the world knows the user of this realm who signs in by that one.
    pub(super) fn key_of(&self, username: &str) -> Result<String, ControlError> {
        let found = self.user(username).map(|(key, _)| key.clone());
        let own = self.users.values().map(|user| &user.account);
        let own = own.filter(|account| account.realm == self.realm.name);
        found.ok_or_else(|| ControlError::UnknownUser {
            nearest: nearest(username, own.map(|account| account.username.as_str())),
            name: username.to_owned(),
        })
    }
}

pub(super) fn routes() -> Routes {
    Routes::about("Keycloak")
        .get(
            "/realms/{realm}",
            (
                "readRealm",
                "A realm as it is now: settings, clients, keys, live login sessions.",
            ),
            show,
        )
        .put(
            "/realms/{realm}",
            (
                "setRealm",
                "Changes some settings of a realm. Absent ones stay as they are.",
            ),
            settings,
        )
        .put(
            "/realms/{realm}/clients/{client}",
            ("putClient", "Adds a client to a realm or replaces one."),
            put_client,
        )
        .post(
            "/realms/{realm}/keys/rotate",
            (
                "rotateKeys",
                "Signs with a new key from now on. The old ones stay published, unless they are dropped.",
            ),
            rotate,
        )
        .post(
            "/realms/{realm}/sessions/{sid}/{verb}",
            ("orderLogin", "Something happens to a login session."),
            login,
        )
        .post(
            "/realms/{realm}/users/{user}/{verb}",
            ("orderAccount", "Something happens to a user's account."),
            account,
        )
        .put(
            "/quirks",
            ("setQuirks", "Sets the ways in which versions of Keycloak differ."),
            quirks,
        )
}

/// A realm.
#[derive(Deserialize, JsonSchema)]
struct OfRealm {
    /// The realm's name: `Renku` or `master`, unless configured otherwise.
    realm: String,
}

/// A client of a realm.
#[derive(Deserialize, JsonSchema)]
struct OfClient {
    /// The realm's name.
    realm: String,
    /// The client's id.
    client: String,
}

/// Something that happens to a login session.
#[derive(Deserialize, JsonSchema)]
struct OfLogin {
    /// The realm's name.
    realm: String,
    /// The session's id.
    sid: String,
    /// What happens.
    verb: LoginVerb,
}

/// Something that happens to an account.
#[derive(Deserialize, JsonSchema)]
struct OfAccount {
    /// The realm's name.
    realm: String,
    /// The name by which the user signs in.
    user: String,
    /// What happens.
    verb: AccountVerb,
}

async fn show(State(mocks): State<Mocks>, At(at): At<OfRealm>) -> Answer<Json<RealmShown>> {
    Ok(Json(mocks.realm(&at.realm)?))
}

async fn settings(
    State(mocks): State<Mocks>,
    At(at): At<OfRealm>,
    Order(some): Order<SomeSettings>,
) -> Answer<Done> {
    mocks.set_realm(&at.realm, &some)?;
    Ok(Done)
}

async fn put_client(
    State(mocks): State<Mocks>,
    At(at): At<OfClient>,
    Order(client): Order<ClientConfig>,
) -> Answer<Done> {
    mocks.put_client(&at.realm, &at.client, client)?;
    Ok(Done)
}

async fn rotate(
    State(mocks): State<Mocks>,
    At(at): At<OfRealm>,
    Order(rotation): Order<Rotation>,
) -> Answer<Json<KeyId>> {
    Ok(Json(mocks.rotate_keys(&at.realm, rotation)?))
}

async fn login(State(mocks): State<Mocks>, At(at): At<OfLogin>) -> Answer<Done> {
    mocks.order_login(&at.realm, &at.sid, at.verb).await?;
    Ok(Done)
}

async fn account(State(mocks): State<Mocks>, At(at): At<OfAccount>) -> Answer<Done> {
    mocks.order_account(&at.realm, &at.user, at.verb).await?;
    Ok(Done)
}

async fn quirks(State(mocks): State<Mocks>, Order(quirks): Order<Quirks>) -> Answer<Done> {
    mocks.set_quirks(quirks);
    Ok(Done)
}
