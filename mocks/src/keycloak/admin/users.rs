//! Users as administrators see them.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Denial, order, page, segment};
use crate::{
    call::Call,
    keycloak::{Asked, authority::Authority, issue::fixed_id, logout},
    order::UserSpec,
    world::{Account, User},
};

/// What is told of a user, or ordered of one. Absent fields stay as they are.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Representation {
    username: Option<String>,
    enabled: Option<bool>,
    first_name: Option<String>,
    last_name: Option<String>,
    email: Option<String>,
    email_verified: Option<bool>,
    attributes: Option<Map<String, Value>>,
    credentials: Vec<Credential>,
}

/// A password.
#[derive(Deserialize)]
struct Credential {
    #[serde(default)]
    value: String,
}

/// `GET users`
pub(super) async fn list(asked: Asked) -> Response {
    order(&asked, |authority, call| {
        let found = authority.found(call).map(|(_, user)| shown(user));
        Ok(Json(page(call, found)).into_response())
    })
}

/// `GET users/count`
pub(super) async fn count(asked: Asked) -> Response {
    order(&asked, |authority, call| {
        Ok(Json(authority.found(call).count()).into_response())
    })
}

/// `POST users`
pub(super) async fn create(asked: Asked) -> Response {
    order(&asked, |authority, call| {
        let wanted: Representation = read(call)?;
        let name = wanted.username.clone().filter(|name| !name.is_empty());
        let name =
            name.ok_or_else(|| Denial::Wrong(StatusCode::BAD_REQUEST, "User name is missing".to_owned()))?;
        let taken = |what| Denial::Wrong(StatusCode::CONFLICT, format!("User exists with same {what}"));
        if authority.user(&name).is_some() {
            return Err(taken("username"));
        }
        if wanted.email.is_some() && authority.has_email(wanted.email.as_deref()) {
            return Err(taken("email"));
        }
        let subject = authority.random.uuid("keycloak/user");
        let mut account = Account::new(&authority.realm.name, &name.to_lowercase(), authority.now);
        // What an administrator does not say stays empty, but for people of the tests.
        (account.first_name, account.last_name, account.email) = Default::default();
        let spec = UserSpec {
            password: String::new(),
            ..UserSpec::default()
        };
        let key = account.key(authority.main_realm);
        let mut user = User::new(&key, spec, (subject.clone(), account));
        apply(&mut user, wanted);
        authority.users.insert(key, user);
        let place = format!("{}/{subject}", call.uri.path().trim_end_matches('/'));
        Ok((
            StatusCode::CREATED,
            [(header::LOCATION, authority.absolute(&place))],
        )
            .into_response())
    })
}

/// `GET users/{id}`
pub(super) async fn show(asked: Asked) -> Response {
    order(&asked, |authority, call| {
        let (_, user) = authority.meant(segment(call, 0))?;
        Ok(Json(shown(user)).into_response())
    })
}

/// `PUT users/{id}`
pub(super) async fn change(asked: Asked) -> Response {
    order(&asked, |authority, call| {
        let wanted: Representation = read(call)?;
        apply(authority.meant_mut(segment(call, 0))?, wanted);
        Ok(StatusCode::NO_CONTENT.into_response())
    })
}

/// `DELETE users/{id}`
pub(super) async fn delete(asked: Asked) -> Response {
    end_logins(&asked, |authority, call| {
        let key = authority.meant(segment(call, 0))?.0.clone();
        let notices = authority.end_logins_of(&key);
        authority.users.remove(&key);
        Ok(notices)
    })
    .await
}

/// `PUT users/{id}/reset-password`
pub(super) async fn reset_password(asked: Asked) -> Response {
    order(&asked, |authority, call| {
        let wanted: Credential = read(call)?;
        authority.secrets.keep("password", &wanted.value);
        authority.meant_mut(segment(call, 1))?.spec.password = wanted.value;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
}

/// `POST users/{id}/logout`: ends all sessions, and no token issued before now is good any more.
pub(super) async fn logout(asked: Asked) -> Response {
    end_logins(&asked, |authority, call| {
        let now = authority.now.as_second();
        authority.meant_mut(segment(call, 1))?.account.not_before = now;
        let key = authority.meant(segment(call, 1))?.0.clone();
        Ok(authority.end_logins_of(&key))
    })
    .await
}

/// An order that ends sessions, of which clients are told.
async fn end_logins(
    asked: &Asked,
    carry_out: impl FnOnce(&mut Authority<'_>, &Call) -> Result<Vec<logout::Notice>, Denial>,
) -> Response {
    let mut notices = Vec::new();
    let response = order(asked, |authority, call| {
        notices = carry_out(authority, call)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    });
    logout::deliver(&asked.0.shared, notices).await;
    response
}

/// `GET users/{id}/sessions`
pub(super) async fn sessions(asked: Asked) -> Response {
    order(&asked, |authority, call| {
        let (key, user) = authority.meant(segment(call, 1))?;
        let live = authority.realm.sessions.all_live(authority.times());
        let shown = live
            .filter(|(_, login)| login.who.user == *key)
            .map(|(sid, login)| {
                let clients = login.clients.keys().map(|id| (fixed_id(id), id.clone()));
                json!({
                    "id": sid,
                    "username": user.account.username,
                    "userId": user.subject,
                    "ipAddress": "127.0.0.1",
                    "start": login.started.as_millisecond(),
                    "lastAccess": login.used.as_millisecond(),
                    "rememberMe": false,
                    "clients": clients.collect::<std::collections::BTreeMap<_, _>>(),
                    "transientUser": false,
                })
            });
        Ok(Json(shown.collect::<Vec<_>>()).into_response())
    })
}

/// `GET users/{id}/role-mappings/realm`
pub(super) async fn roles(asked: Asked) -> Response {
    order(&asked, |authority, call| {
        let (_, user) = authority.meant(segment(call, 2))?;
        let roles = user.account.realm_roles(&authority.realm.name);
        let names = roles.as_array().into_iter().flatten().filter_map(Value::as_str);
        let shown: Vec<_> = names
            .map(|name| super::realm::shown_role(authority, name))
            .collect();
        Ok(Json(shown).into_response())
    })
}

/// A role, of which only the name counts.
#[derive(Deserialize)]
struct Role {
    name: String,
}

/// `POST users/{id}/role-mappings/realm`
pub(super) async fn grant_roles(asked: Asked) -> Response {
    change_roles(&asked, |account, role| {
        account.roles.insert(role);
    })
}

/// `DELETE users/{id}/role-mappings/realm`
pub(super) async fn take_roles(asked: Asked) -> Response {
    change_roles(&asked, |account, role| {
        account.roles.remove(&role);
    })
}

fn change_roles(asked: &Asked, change: impl Fn(&mut Account, String)) -> Response {
    order(asked, |authority, call| {
        let roles: Vec<Role> = read(call)?;
        let account = &mut authority.meant_mut(segment(call, 2))?.account;
        for role in roles {
            change(account, role.name);
        }
        Ok(StatusCode::NO_CONTENT.into_response())
    })
}

impl Authority<'_> {
    /// Users that a list's query means.
    fn found<'a>(&'a self, call: &'a Call) -> impl Iterator<Item = (&'a String, &'a User)> {
        let is_exact = call.query("exact") == Some("true");
        let fits = move |found: &str, wanted: Option<&str>| {
            wanted.is_none_or(|wanted| {
                let (found, wanted) = (found.to_lowercase(), wanted.to_lowercase());
                if is_exact {
                    found == wanted
                } else {
                    found.contains(&wanted)
                }
            })
        };
        self.users.iter().filter(move |(_, user)| {
            let account = &user.account;
            let search = call.query("search");
            let anywhere = [
                &account.username,
                &account.email,
                &account.first_name,
                &account.last_name,
            ];
            account.realm == self.realm.name
                && fits(&account.username, call.query("username"))
                && fits(&account.email, call.query("email"))
                && (search.is_none() || anywhere.iter().any(|text| fits(text, search)))
        })
    }

    fn has_email(&self, email: Option<&str>) -> bool {
        self.users
            .values()
            .any(|user| user.account.realm == self.realm.name && Some(user.account.email.as_str()) == email)
    }

    fn meant(&self, id: &str) -> Result<(&String, &User), Denial> {
        self.user_by_subject(id).ok_or(Denial::NotFound("User not found"))
    }

    fn meant_mut(&mut self, id: &str) -> Result<&mut User, Denial> {
        let key = self.meant(id)?.0.clone();
        self.users.get_mut(&key).ok_or(Denial::NotFound("User not found"))
    }

    /// An address of this Keycloak's.
    fn absolute(&self, path: &str) -> String {
        let origin = self.realm.issuer.strip_suffix(&self.realm.path);
        format!("{}{path}", origin.unwrap_or(""))
    }
}

fn apply(user: &mut User, wanted: Representation) {
    let account = &mut user.account;
    account.is_enabled = wanted.enabled.unwrap_or(account.is_enabled);
    account.first_name = wanted.first_name.unwrap_or_else(|| account.first_name.clone());
    account.last_name = wanted.last_name.unwrap_or_else(|| account.last_name.clone());
    account.email = wanted.email.unwrap_or_else(|| account.email.clone());
    account.is_email_verified = wanted.email_verified.unwrap_or(account.is_email_verified);
    if let Some(attributes) = wanted.attributes {
        account.attributes = attributes;
    }
    if let Some(credential) = wanted.credentials.into_iter().next() {
        user.spec.password = credential.value;
    }
}

fn shown(user: &User) -> Value {
    let account = &user.account;
    let mut shown = json!({
        "id": user.subject,
        "username": account.username,
        "firstName": account.first_name,
        "lastName": account.last_name,
        "email": account.email,
        "emailVerified": account.is_email_verified,
        "createdTimestamp": account.created.as_millisecond(),
        "enabled": account.is_enabled,
        "totp": false,
        "disableableCredentialTypes": [],
        "requiredActions": [],
        "notBefore": account.not_before,
        "access": {"manage": true},
    });
    if !account.attributes.is_empty() {
        shown["attributes"] = account.attributes.clone().into();
    }
    shown
}

pub(super) fn read<T: for<'de> Deserialize<'de>>(call: &Call) -> Result<T, Denial> {
    let wrong = |text: String| Denial::Wrong(StatusCode::BAD_REQUEST, text);
    serde_json::from_slice(&call.body).map_err(|error| wrong(format!("unable to read contents: {error}")))
}
