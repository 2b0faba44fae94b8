//! The realm as administrators see it: settings, clients, keys, roles, and the end of sessions.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{Denial, order, page, segment, users::read};
use crate::{
    json::lay_over,
    keycloak::{Asked, authority::Authority, issue::fixed_id, logout},
    realm::{ClientConfig, RealmSettings},
};

/// `GET /admin/realms/{realm}`
pub(super) async fn show(asked: Asked) -> Response {
    order(&asked, |authority, _| Ok(Json(shown(authority)).into_response()))
}

/// `PUT /admin/realms/{realm}`: fields that it knows are taken, the others are let be, as the real one does.
pub(super) async fn change(asked: Asked) -> Response {
    order(&asked, |authority, call| {
        let wanted: Value = read(call)?;
        let mut whole = shown(authority);
        lay_over(&mut whole, &wanted);
        let settings: Result<RealmSettings, _> = serde_json::from_value(whole);
        authority.realm.settings =
            settings.map_err(|error| Denial::Wrong(StatusCode::BAD_REQUEST, error.to_string()))?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
}

fn shown(authority: &Authority<'_>) -> Value {
    let mut shown = json!(authority.realm.settings);
    let name = &authority.realm.name;
    let more =
        json!({"id": fixed_id(name), "realm": name, "displayName": name, "registrationAllowed": false});
    lay_over(&mut shown, &more);
    shown
}

/// `DELETE sessions/{sid}`: ends one session; tokens of others are left alone.
pub(super) async fn end_session(asked: Asked) -> Response {
    let mut notices = Vec::new();
    let response = order(&asked, |authority, call| {
        let sid = segment(call, 0);
        if authority.live(sid).is_none() {
            return Err(Denial::NotFound("Session not found"));
        }
        notices = authority.end_login(sid);
        Ok(StatusCode::NO_CONTENT.into_response())
    });
    logout::deliver(&asked.0.shared, notices).await;
    response
}

/// `POST logout-all`: ends all sessions, and no token issued before now is good any more.
pub(super) async fn logout_all(asked: Asked) -> Response {
    push(&asked, |authority| {
        authority.realm.settings.not_before = authority.now.as_second();
        let live = authority.realm.sessions.all_live(authority.times());
        let sids: Vec<_> = live.map(|(sid, _)| sid.clone()).collect();
        sids.iter().flat_map(|sid| authority.end_login(sid)).collect()
    })
    .await
}

/// `POST push-revocation`: tells adapters of the realm's not-before.
pub(super) async fn push_revocation(asked: Asked) -> Response {
    push(&asked, |authority| {
        let not_before = authority.realm.settings.not_before;
        let clients: Vec<ClientConfig> = authority.realm.clients.values().cloned().collect();
        let action = ("PUSH_NOT_BEFORE", "k_push_not_before");
        let orders = clients.iter().filter_map(|client| {
            authority.adapter_order((client, None), action, &json!({"notBefore": not_before}))
        });
        orders.collect()
    })
    .await
}

/// An order of which clients are told; says how many were.
async fn push(asked: &Asked, carry_out: impl FnOnce(&mut Authority<'_>) -> Vec<logout::Notice>) -> Response {
    let mut notices = None;
    let denied = order(asked, |authority, _| {
        notices = Some(carry_out(authority));
        Ok(StatusCode::OK.into_response())
    });
    let Some(notices) = notices else {
        return denied;
    };
    let all = notices.len();
    let told = logout::deliver(&asked.0.shared, notices).await;
    let mut answer = json!({});
    if all > 0 {
        answer = json!({"successRequests": told, "failedRequests": all - told});
    }
    Json(answer).into_response()
}

/// `GET clients`
pub(super) async fn clients(asked: Asked) -> Response {
    order(&asked, |authority, call| {
        let wanted = call.query("clientId");
        let found = authority.realm.clients.values();
        let found = found.filter(|client| wanted.is_none_or(|id| id == client.client_id));
        Ok(Json(page(call, found.map(shown_client))).into_response())
    })
}

fn shown_client(client: &ClientConfig) -> Value {
    let mut shown = json!(client);
    let more = json!({
        "id": fixed_id(&client.client_id),
        "publicClient": client.secret.is_none(),
        "bearerOnly": false,
        "protocol": "openid-connect",
        "standardFlowEnabled": true,
        "implicitFlowEnabled": false,
    });
    lay_over(&mut shown, &more);
    shown
}

/// `GET keys`
pub(super) async fn keys(asked: Asked) -> Response {
    order(&asked, |authority, _| {
        let ring = &authority.realm.ring;
        let sign = ring.published().map(|(kid, is_active)| {
            let status = if is_active { "ACTIVE" } else { "PASSIVE" };
            json!({"kid": kid, "algorithm": "RS256", "use": "SIG", "type": "RSA", "status": status})
        });
        let encryption = authority.keys.encryption_kid();
        let encrypt = json!({
            "kid": encryption, "algorithm": "RSA-OAEP", "use": "ENC", "type": "RSA", "status": "ACTIVE",
        });
        let keys: Vec<_> = sign.chain([encrypt]).collect();
        let active = json!({"RS256": ring.active(), "RSA-OAEP": encryption});
        Ok(Json(json!({"active": active, "keys": keys})).into_response())
    })
}

/// `GET roles`
pub(super) async fn roles(asked: Asked) -> Response {
    order(&asked, |authority, _| {
        let names = authority.role_names();
        let shown: Vec<_> = names.iter().map(|name| shown_role(authority, name)).collect();
        Ok(Json(shown).into_response())
    })
}

/// `GET roles/{name}`
pub(super) async fn role(asked: Asked) -> Response {
    order(&asked, |authority, call| {
        let name = segment(call, 0);
        if !authority.role_names().iter().any(|found| found == name) {
            return Err(Denial::NotFound("Could not find role"));
        }
        Ok(Json(shown_role(authority, name)).into_response())
    })
}

impl Authority<'_> {
    /// Roles that there are: the usual ones, the administrators', and what anybody has.
    fn role_names(&self) -> std::collections::BTreeSet<String> {
        let theirs = self
            .users
            .values()
            .filter(|user| user.account.realm == self.realm.name);
        let theirs = theirs.flat_map(|user| user.account.roles.iter().cloned());
        let usual = [
            super::ADMIN_ROLE,
            super::REALM_ADMIN,
            "offline_access",
            "uma_authorization",
        ];
        usual.map(str::to_owned).into_iter().chain(theirs).collect()
    }
}

pub(super) fn shown_role(authority: &Authority<'_>, name: &str) -> Value {
    let realm = &authority.realm.name;
    json!({
        "id": fixed_id(&format!("{realm}/role/{name}")),
        "name": name,
        "composite": false,
        "clientRole": false,
        "containerId": fixed_id(realm),
    })
}
