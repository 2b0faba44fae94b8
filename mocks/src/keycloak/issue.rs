//! Issuing tokens: what they say, how long they are good, and who they are about (MOCKS K6, K7, K10).

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::keys::{Claims, Keys};
use crate::{
    Shared,
    config::ClientConfig,
    json::lay_over,
    world::{Who, World},
};

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
    refresh_exp: i64,
}

impl Issue<'_> {
    /// The access token's claims.
    fn access(&self, shared: &Shared, common: &Common, jti: &str) -> Value {
        let mut claims = merged(
            &common.claims,
            &json!({
                "exp": common.access_exp,
                "jti": format!("{}:{jti}", self.letters),
                "aud": shared.config.audience,
                "typ": "Bearer",
                "acr": common.acr,
                "allowed-origins": ["*"],
                "realm_access": {"roles": ["offline_access", "uma_authorization"]},
                "scope": self.scope,
            }),
        );
        common.tell_user(&mut claims);
        claims
    }

    /// The refresh token's claims.
    fn refresh(&self, shared: &Shared, common: &Common, jti: &dyn Fn() -> String) -> Value {
        let mut claims = merged(
            &common.claims,
            &json!({
                "exp": common.refresh_exp,
                "jti": jti(),
                "aud": shared.config.issuer(),
                "typ": "Refresh",
                "scope": self.scope,
            }),
        );
        if shared.config.rotation {
            claims["reuse_id"] = self.family.map_or_else(jti, str::to_owned).into();
        }
        if let Some(nonce) = self.nonce {
            claims["nonce"] = nonce.into();
        }
        claims
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
            }),
        );
        common.tell_user(&mut claims);
        if let Some(nonce) = self.nonce {
            claims["nonce"] = nonce.into();
        }
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

impl World {
    /// Signs a user in; gives the session.
    pub(super) fn begin_login(&mut self, who: Who) -> String {
        let sid = self.seams.random.uuid(&format!("user/{}/sid", who.user));
        let now = self.now();
        self.sessions.begin(sid.clone(), who, now);
        sid
    }

    /// A set of tokens of a session that is alive: the token endpoint's answer.
    pub(super) fn issue(&mut self, shared: &Shared, issue: &Issue<'_>) -> Value {
        let now = self.now();
        let Some((user, common)) = self.common(shared, issue, now) else {
            // The callers have just looked: a session without a user cannot get here.
            return Value::Null;
        };
        let random = self.seams.random.clone();
        let purpose = format!("user/{user}/jti");
        let jti = || random.uuid(&purpose);

        let access = shared.keys.sign(&issue.access(shared, &common, &jti()));
        let refresh = shared.keys.sign_own(&issue.refresh(shared, &common, &jti));
        self.secrets.keep("access_token", &access);
        self.secrets.keep("refresh_token", &refresh);
        let mut answer = json!({
            "access_token": access,
            "expires_in": common.access_exp - now.as_second(),
            "refresh_expires_in": common.refresh_exp - now.as_second(),
            "refresh_token": refresh,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "session_state": issue.sid,
            "scope": issue.scope,
        });
        if issue.scope.split(' ').any(|scope| scope == "openid") {
            let id = shared.keys.sign(&issue.id(&common, &jti(), &access));
            self.secrets.keep("id_token", &id);
            answer["id_token"] = id.into();
        }
        answer
    }

    fn common(&self, shared: &Shared, issue: &Issue<'_>, now: Timestamp) -> Option<(String, Common)> {
        let login = self.sessions.get(issue.sid)?;
        let name = &login.who.user;
        let user = self.users.get(name)?;
        let lifetimes = &shared.config.lifetimes;
        let end = after(login.started, lifetimes.session_max);
        let until = |life| after(now, life).min(end).as_second();
        let part = login.clients.get(&issue.client.client_id);
        let is_sso = part.and_then(|part| part.is_sso);
        let common = Common {
            claims: json!({
                "iat": now.as_second(),
                "iss": shared.config.issuer(),
                "sub": user.subject,
                "azp": issue.client.client_id,
                "sid": issue.sid,
            }),
            said: said_of(name, issue.scope),
            auth_time: is_sso.map(|_| login.started.as_second()),
            acr: if is_sso == Some(true) { "0" } else { "1" },
            access_exp: until(user.spec.access_token),
            refresh_exp: until(lifetimes.session_idle),
        };
        Some((name.clone(), common))
    }

    /// The claims of an access token that its signature and times let pass. Sessions are not looked at.
    pub(crate) fn access(&self, keys: &Keys, token: &str) -> Option<Claims> {
        let claims = keys.verify(token)?;
        let is_good = claims.text("typ") == "Bearer" && !claims.is_expired(self.now());
        is_good.then_some(claims)
    }

    /// The user that a token is about.
    pub(crate) fn user_of(&self, claims: &Claims) -> Option<String> {
        let subject = claims.text("sub");
        let found = self.users.iter().find(|(_, user)| user.subject == subject);
        found.map(|(name, _)| name.clone())
    }
}

/// What is said of a user to who asks with this scope.
pub(super) fn said_of(name: &str, scope: &str) -> Value {
    let has = |wanted: &str| scope.split(' ').any(|scope| scope == wanted);
    let mut said = json!({});
    if has("profile") {
        said["name"] = format!("{name} of the tests").into();
        said["given_name"] = name.into();
        said["family_name"] = "of the tests".into();
        said["preferred_username"] = name.into();
    }
    if has("email") {
        said["email"] = format!("{name}@example.org").into();
        said["email_verified"] = true.into();
    }
    said
}

fn merged(base: &Value, more: &Value) -> Value {
    let mut whole = base.clone();
    lay_over(&mut whole, more);
    whole
}

/// The hash that PKCE is made of.
pub(super) fn digest(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(bytes))
}

/// The left half of a token's hash (OpenID Connect Core §3.1.3.6).
fn half_digest(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(token)[..16])
}

/// A duration that can be added to a time.
pub(super) fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

fn after(time: Timestamp, life: Duration) -> Timestamp {
    time.saturating_add(signed(life)).unwrap_or(Timestamp::MAX)
}
