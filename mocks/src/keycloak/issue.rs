//! Issuing tokens: what they say, how long they are good, and who they are about (MOCKS K6, K7, K10).

use base64::{
    Engine,
    engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD},
};
use jiff::Timestamp;
use polytab_seams::random::Random;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{authority::Authority, fault, session::Login};
use crate::{
    json::lay_over,
    realm::{ClientConfig, SidForm},
    seen::Who,
    world::{Account, User},
};

/// The scope whose refresh tokens outlive the session.
const OFFLINE: &str = "offline_access";

/// What a set of tokens is made for.
pub(super) struct Issue<'a> {
    pub(super) client: &'a ClientConfig,
    pub(super) sid: &'a str,
    pub(super) scope: &'a str,
    pub(super) nonce: Option<&'a str>,
    /// Keycloak's letters for session, token and grant in a token's id (MOCKS K7).
    pub(super) letters: &'static str,
    /// Refresh tokens that come of one another.
    pub(super) family: Option<&'a str>,
}

/// What all tokens of a set have in common.
struct Common {
    /// Claims of each of them.
    claims: Value,
    /// Claims about the user, as far as the scope goes.
    said: Value,
    auth_time: Option<i64>,
    acr: &'static str,
    access_exp: i64,
    /// 0 for one that has no end.
    refresh_exp: i64,
    roles: Value,
    not_before: i64,
    /// Whose, for what is drawn by chance.
    purpose: String,
}

impl Issue<'_> {
    fn has_scope(&self, wanted: &str) -> bool {
        self.scope.split(' ').any(|scope| scope == wanted)
    }

    /// The access token's claims.
    fn access(&self, common: &Common, jti: &str) -> Value {
        let audience = match self.client.audience.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            several => json!(several),
        };
        let mut claims = merged(
            &common.claims,
            &json!({
                "exp": common.access_exp,
                "jti": format!("{}:{jti}", self.letters),
                "aud": audience,
                "typ": "Bearer",
                "acr": common.acr,
                "allowed-origins": self.client.origins(),
                "realm_access": {"roles": common.roles},
                "resource_access": {"account": {"roles": ["manage-account", "manage-account-links", "view-profile"]}},
                "scope": self.scope,
            }),
        );
        common.tell_user(&mut claims);
        claims
    }

    /// The refresh token's claims.
    fn refresh(&self, issuer: &str, common: &Common, (jti, family): (String, Option<String>)) -> Value {
        merged(
            &common.claims,
            &json!({
                "exp": (common.refresh_exp > 0).then_some(common.refresh_exp),
                "jti": jti,
                "aud": issuer,
                "typ": if common.refresh_exp > 0 { "Refresh" } else { "Offline" },
                "scope": self.scope,
                "reuse_id": family,
                "nonce": self.nonce,
            }),
        )
    }

    /// The ID token's claims.
    fn id(&self, common: &Common, jti: &str, access: &str) -> Value {
        let mut claims = merged(
            &common.claims,
            &json!({
                "exp": common.access_exp,
                "jti": jti,
                "aud": self.client.client_id,
                "typ": "ID",
                "at_hash": half_digest(access),
                "acr": common.acr,
                "nonce": self.nonce,
            }),
        );
        common.tell_user(&mut claims);
        claims
    }
}

impl Common {
    fn tell_user(&self, claims: &mut Value) {
        lay_over(claims, &self.said);
        if let Some(time) = self.auth_time {
            claims["auth_time"] = time.into();
        }
    }
}

impl Authority<'_> {
    /// Signs a user in; gives the session.
    pub(super) fn begin_login(&mut self, who: Who) -> String {
        let purpose = format!("user/{}/sid", who.user);
        let sid = match self.quirks.sid {
            SidForm::Uuid => self.random.uuid(&purpose),
            SidForm::Short => {
                let mut bytes = [0; 18];
                self.random.fill(&purpose, &mut bytes);
                URL_SAFE.encode(bytes)
            }
        };
        self.realm.sessions.begin(sid.clone(), who, self.now);
        sid
    }

    /// A set of tokens of a session: the token endpoint's answer. None when session or user are gone.
    pub(super) fn issue(&mut self, issue: &Issue<'_>) -> Option<Value> {
        let login = self.realm.sessions.get(issue.sid)?;
        let user = self.users.get(&login.who.user)?;
        let common = self.common(issue, (login, user));
        let jti = || self.random.uuid(&common.purpose);
        let signed = |claims| fault::sign(self.keys, &self.realm.ring, claims, (self.fault, self.now));

        let access = signed(issue.access(&common, &jti()));
        let id = issue
            .has_scope("openid")
            .then(|| signed(issue.id(&common, &jti(), &access)));
        let family = self.realm.settings.revoke_refresh_token;
        let family = family.then(|| {
            issue
                .family
                .filter(|family| !family.is_empty())
                .map_or_else(jti, str::to_owned)
        });
        let refresh = issue.refresh(&self.realm.issuer, &common, (jti(), family));
        let refresh = self.keys.sign_own(&refresh);
        let mut answer = json!({
            "access_token": access,
            "expires_in": common.access_exp - self.now.as_second(),
            "refresh_expires_in": (common.refresh_exp - self.now.as_second()).max(0),
            "refresh_token": refresh,
            "token_type": token_type(issue.client),
            "not-before-policy": common.not_before,
            "session_state": issue.sid,
            "scope": issue.scope,
        });
        self.secrets.keep("access_token", &access);
        self.secrets.keep("refresh_token", &refresh);
        if let Some(id) = id {
            self.secrets.keep("id_token", &id);
            answer["id_token"] = id.into();
        }
        if issue.has_scope(OFFLINE) {
            self.realm
                .sessions
                .keep_offline(issue.sid, &issue.client.client_id);
        }
        Some(answer)
    }

    fn common(&self, issue: &Issue<'_>, (login, user): (&Login, &User)) -> Common {
        let settings = &self.realm.settings;
        let end = super::session::after(
            login.started,
            jiff::SignedDuration::from_secs(settings.sso_session_max_lifespan.into()),
        );
        let until = |life: Timestamp| life.min(end).as_second();
        let life = match (issue.client.access_token_lifespan, user.spec.access_token) {
            (Some(life), _) => self.later(life),
            (None, Some(life)) => super::session::after(self.now, super::signed(life)),
            (None, None) => self.later(settings.access_token_lifespan),
        };
        let part = login.clients.get(&issue.client.client_id);
        let is_sso = part.and_then(|part| part.is_sso);
        let idle = match settings.client_session_idle_timeout {
            0 => settings.sso_session_idle_timeout,
            client => client.min(settings.sso_session_idle_timeout),
        };
        let is_offline = issue.has_scope(OFFLINE);
        Common {
            claims: json!({
                "iat": self.now.as_second(),
                "iss": self.realm.issuer,
                "sub": user.subject,
                "azp": issue.client.client_id,
                "sid": issue.sid,
            }),
            said: user.account.said(issue.scope),
            auth_time: is_sso.map(|_| login.started.as_second()),
            acr: if is_sso == Some(true) { "0" } else { "1" },
            access_exp: if is_offline { life.as_second() } else { until(life) },
            refresh_exp: if is_offline { 0 } else { until(self.later(idle)) },
            roles: user.account.realm_roles(&self.realm.name),
            not_before: self.not_before(&issue.client.client_id, &user.subject),
            purpose: format!("user/{}/jti", login.who.user),
        }
    }

    /// A client's tokens for itself: no session, nothing to refresh.
    pub(super) fn issue_to_client(&mut self, client: &ClientConfig) -> Value {
        let life = client
            .access_token_lifespan
            .unwrap_or(self.realm.settings.access_token_lifespan);
        let name = format!("service-account-{}", client.client_id);
        let claims = json!({
            "exp": self.later(life).as_second(),
            "iat": self.now.as_second(),
            "jti": format!("trrtcc:{}", self.random.uuid("keycloak/jti")),
            "iss": self.realm.issuer,
            "aud": client.audience,
            "sub": fixed_id(&format!("service account of {}", client.client_id)),
            "typ": "Bearer",
            "azp": client.client_id,
            "acr": "1",
            "realm_access": {"roles": client.service_account_roles},
            "scope": "profile email",
            "preferred_username": name,
        });
        let access = fault::sign(self.keys, &self.realm.ring, claims, (self.fault, self.now));
        self.secrets.keep("access_token", &access);
        json!({
            "access_token": access,
            "expires_in": life,
            "refresh_expires_in": 0,
            "token_type": token_type(client),
            "not-before-policy": self.not_before(&client.client_id, ""),
            "scope": "profile email",
        })
    }
}

impl Account {
    /// What is said of a user to who asks with this scope.
    pub(super) fn said(&self, scope: &str) -> Value {
        let has = |wanted: &str| scope.split(' ').any(|scope| scope == wanted);
        let mut said = json!({});
        if has("profile") {
            said["name"] = format!("{} {}", self.first_name, self.last_name).trim().into();
            said["given_name"] = self.first_name.clone().into();
            said["family_name"] = self.last_name.clone().into();
            said["preferred_username"] = self.username.clone().into();
        }
        if has("email") {
            said["email"] = self.email.clone().into();
            said["email_verified"] = self.is_email_verified.into();
        }
        said
    }

    /// Its realm roles, those that everybody has among them.
    pub(super) fn realm_roles(&self, realm: &str) -> Value {
        let usual = [
            format!("default-roles-{}", realm.to_lowercase()),
            OFFLINE.to_owned(),
            "uma_authorization".to_owned(),
        ];
        usual.iter().chain(&self.roles).map(String::as_str).collect()
    }
}

fn token_type(client: &ClientConfig) -> &'static str {
    if client.use_lower_case_in_token_response {
        "bearer"
    } else {
        "Bearer"
    }
}

/// JSON laid over JSON; a claim that would say nothing is left out.
fn merged(base: &Value, more: &Value) -> Value {
    let mut whole = base.clone();
    lay_over(&mut whole, more);
    whole
}

/// An id that a thing of the configuration has in every run.
pub(super) fn fixed_id(what: &str) -> String {
    Random::seeded(0).uuid(what)
}

/// The hash that PKCE is made of.
pub(super) fn digest(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(bytes))
}

/// The left half of a token's hash (OpenID Connect Core §3.1.3.6).
fn half_digest(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(token)[..16])
}
