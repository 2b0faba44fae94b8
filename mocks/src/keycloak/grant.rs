//! The token endpoint: what is traded for tokens, and what tokens say (MOCKS K5–K10).

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    Shared,
    call::Call,
    config::ClientConfig,
    keycloak::{
        NOT_STORED, Refusal, client,
        keys::Claims,
        session::{RefreshId, no_client},
    },
    order,
    world::{Who, World},
};

/// What a set of tokens is made for.
struct Issue<'a> {
    client: &'a ClientConfig,
    sid: &'a str,
    scope: &'a str,
    nonce: Option<&'a str>,
    /// Keycloak's letters for session, token and grant in a token's id (MOCKS K7).
    letters: &'static str,
    /// Refresh tokens that come of one another.
    family: Option<&'a str>,
}

/// `POST …/token`
pub(super) async fn token(
    State(shared): State<Arc<Shared>>,
    Extension(call): Extension<Arc<Call>>,
) -> Response {
    let mut world = shared.world();
    match grant(&mut world, &shared, &call) {
        Ok(tokens) => (NOT_STORED, Json(tokens)).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

fn grant(world: &mut World, shared: &Shared, call: &Call) -> Result<Value, Refusal> {
    let kind = call
        .form("grant_type")
        .ok_or_else(|| Refusal::request("Missing form parameter: grant_type"))?;
    let known = [
        "authorization_code",
        "refresh_token",
        "password",
        "client_credentials",
    ];
    if !known.contains(&kind) {
        return Err(Refusal::new(
            400,
            "unsupported_grant_type",
            "Unsupported grant_type",
        ));
    }
    let client = client::authenticate(shared, call)?;
    let mut seen = BTreeSet::new();
    if call.fields().iter().any(|(name, _)| !seen.insert(name)) {
        return Err(Refusal::request("duplicated parameter"));
    }
    match kind {
        "authorization_code" => by_code(world, shared, (&client, call)),
        "refresh_token" => by_refresh_token(world, shared, (&client, call)),
        "password" => by_password(world, shared, (&client, call)),
        _ => Ok(by_client(world, shared, &client)),
    }
}

fn by_code(
    world: &mut World,
    shared: &Shared,
    (client, call): (&ClientConfig, &Call),
) -> Result<Value, Refusal> {
    let text = call
        .form("code")
        .ok_or_else(|| Refusal::request("Missing parameter: code"))?;
    let invalid = || Refusal::grant("Code not valid");
    let now = world.now();
    let code = world.sessions.codes.get_mut(text).ok_or_else(invalid)?;
    if code.is_used {
        let sid = code.sid.clone();
        // Whoever sends a code again may have stolen it: what the first use gave is taken back.
        world.sessions.detach(&sid, &client.client_id);
        return Err(invalid());
    }
    code.is_used = true;
    let code = code.clone();
    if now.duration_since(code.given) > signed(shared.config.lifetimes.code) {
        return Err(Refusal::grant("Code is expired"));
    }
    if code.request.client_id != client.client_id {
        return Err(invalid());
    }
    if call.form("redirect_uri") != Some(&code.request.redirect_uri) {
        return Err(Refusal::grant("Incorrect redirect_uri"));
    }
    match (&code.request.challenge, call.form("code_verifier")) {
        (None, None) => {}
        (Some(_), None) => return Err(Refusal::grant("PKCE code verifier not specified")),
        (Some(challenge), Some(verifier)) if challenge.is_met(verifier) => {}
        (Some(_), Some(_)) => return Err(Refusal::grant("PKCE verification failed: Code mismatch")),
        (None, Some(_)) => {
            return Err(Refusal::grant(
                "PKCE code verifier specified but challenge not present in authorization",
            ));
        }
    }
    if world
        .sessions
        .live(&code.sid, (&shared.config.lifetimes, now))
        .is_none()
    {
        return Err(Refusal::grant("Session not active"));
    }
    world
        .sessions
        .attach(&code.sid, &client.client_id, Some(code.is_sso));
    let issue = Issue {
        client,
        sid: &code.sid,
        scope: &code.request.scope,
        nonce: code.request.nonce.as_deref(),
        letters: "onrtac",
        family: None,
    };
    Ok(world.issue(shared, &issue))
}

/// The checks of a refresh, in Keycloak's order.
fn by_refresh_token(
    world: &mut World,
    shared: &Shared,
    (client, call): (&ClientConfig, &Call),
) -> Result<Value, Refusal> {
    let token = call
        .form("refresh_token")
        .ok_or_else(|| Refusal::request("No refresh token"))?;
    let now = world.now();
    let claims = shared
        .keys
        .verify_own(token)
        .filter(|claims| claims.text("typ") == "Refresh")
        .ok_or_else(|| Refusal::grant("Invalid refresh token"))?;
    if claims.is_expired(now) {
        return Err(Refusal::grant("Token is not active"));
    }
    if claims.text("azp") != client.client_id {
        return Err(Refusal::grant(
            "Invalid refresh token. Token client and authorized client don't match",
        ));
    }
    let sid = claims.text("sid");
    let login = world
        .sessions
        .live(sid, (&shared.config.lifetimes, now))
        .ok_or_else(|| Refusal::grant("Session not active"))?;
    let is_attached = login.clients.contains_key(&client.client_id);
    let user = world
        .users
        .get(&login.who.user)
        .ok_or_else(|| Refusal::grant("User not found"))?;
    if user.spec.refresh == order::Refresh::Refused {
        return Err(Refusal::grant("Session not active"));
    }
    if !is_attached {
        return Err(no_client());
    }
    let scope = narrowed(claims.text("scope"), call.form("scope"))?;
    if shared.config.rotation {
        let token = RefreshId {
            jti: claims.text("jti"),
            family: claims.text("reuse_id"),
            issued: claims.second("iat"),
        };
        world.sessions.rotate(sid, &client.client_id, token)?;
    }
    world.sessions.touch(sid, now);
    let issue = Issue {
        client,
        sid,
        scope: &scope,
        nonce: claims.0["nonce"].as_str(),
        letters: "onrtrt",
        family: claims.0["reuse_id"].as_str(),
    };
    Ok(world.issue(shared, &issue))
}

/// The scope asked for, if it is no wider than the one granted.
fn narrowed(granted: &str, wanted: Option<&str>) -> Result<String, Refusal> {
    let Some(wanted) = wanted else {
        return Ok(granted.to_owned());
    };
    let granted: BTreeSet<_> = granted.split(' ').collect();
    if wanted.split(' ').all(|scope| granted.contains(scope)) {
        return Ok(wanted.to_owned());
    }
    Err(Refusal::new(
        400,
        "invalid_scope",
        &format!("Invalid scopes: {wanted}"),
    ))
}

fn by_password(
    world: &mut World,
    shared: &Shared,
    (client, call): (&ClientConfig, &Call),
) -> Result<Value, Refusal> {
    let name = call
        .form("username")
        .ok_or_else(|| Refusal::request("Missing parameter: username"))?;
    let is_right = world
        .users
        .get(name)
        .is_some_and(|user| call.form("password") == Some(user.spec.password.as_str()));
    if !is_right {
        return Err(Refusal::new(401, "invalid_grant", "Invalid user credentials"));
    }
    let who = Who {
        user: name.to_owned(),
        browser: call.agent().to_owned(),
    };
    let sid = world.begin_login(shared, who);
    world.sessions.attach(&sid, &client.client_id, None);
    let issue = Issue {
        client,
        sid: &sid,
        scope: call.form("scope").unwrap_or("profile email"),
        nonce: None,
        letters: "onrtro",
        family: None,
    };
    Ok(world.issue(shared, &issue))
}

/// A client for itself: no session, nothing to refresh.
fn by_client(world: &mut World, shared: &Shared, client: &ClientConfig) -> Value {
    let (config, now) = (&shared.config, world.now());
    let random = &world.seams.random;
    let name = format!("service-account-{}", client.client_id);
    let access = shared.keys.sign(&json!({
        "exp": now.as_second() + 300,
        "iat": now.as_second(),
        "jti": format!("trrtcc:{}", random.uuid("keycloak/jti")),
        "iss": config.issuer(),
        "aud": config.audience,
        "sub": uuid_of(&name),
        "typ": "Bearer",
        "azp": client.client_id,
        "acr": "1",
        "scope": "profile email",
        "preferred_username": name,
    }));
    world.secrets.keep("access_token", &access);
    json!({
        "access_token": access,
        "expires_in": 300,
        "refresh_expires_in": 0,
        "token_type": "Bearer",
        "not-before-policy": 0,
        "scope": "profile email",
    })
}

/// A service account is no user of ours; its subject follows from its name.
fn uuid_of(name: &str) -> String {
    let hash = Sha256::digest(name);
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-4{}-8{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..]
    )
}

impl World {
    /// Signs a user in; gives the session.
    pub(super) fn begin_login(&mut self, shared: &Shared, who: Who) -> String {
        let sid = self.seams.random.uuid(&format!("user/{}/sid", who.user));
        let now = self.now();
        self.sessions.begin(sid.clone(), who, now);
        let identity = shared.keys.sign_own(&json!({
            "iss": shared.config.issuer(), "sid": sid, "typ": "Serialized-ID", "iat": now.as_second(),
        }));
        self.secrets.keep("identity_cookie", &identity);
        sid
    }

    /// A set of tokens of a session that is alive.
    fn issue(&mut self, shared: &Shared, issue: &Issue<'_>) -> Value {
        let now = self.now();
        let Some((login, user)) = self
            .sessions
            .get(issue.sid)
            .and_then(|login| Some((login, self.users.get(&login.who.user)?)))
        else {
            // The callers have just looked: a session without a user cannot get here.
            return Value::Null;
        };
        let lifetimes = &shared.config.lifetimes;
        let end = after(login.started, lifetimes.session_max);
        let access_exp = after(now, user.spec.access_token).min(end);
        let refresh_exp = after(now, lifetimes.session_idle).min(end);
        let (name, subject) = (login.who.user.clone(), user.subject.clone());
        let is_sso = login
            .clients
            .get(&issue.client.client_id)
            .and_then(|part| part.is_sso);
        let auth_time = is_sso.map(|_| login.started.as_second());

        let random = self.seams.random.clone();
        let purpose = format!("user/{name}/jti");
        let jti = || random.uuid(&purpose);
        let base = json!({
            "iat": now.as_second(),
            "iss": shared.config.issuer(),
            "sub": subject,
            "azp": issue.client.client_id,
            "sid": issue.sid,
        });
        let said = said_of(&name, issue.scope);
        let mut access = merged(
            &base,
            &json!({
                "exp": access_exp.as_second(),
                "jti": format!("{}:{}", issue.letters, jti()),
                "aud": shared.config.audience,
                "typ": "Bearer",
                "acr": if is_sso == Some(true) { "0" } else { "1" },
                "allowed-origins": ["*"],
                "realm_access": {"roles": ["offline_access", "uma_authorization"]},
                "scope": issue.scope,
            }),
        );
        access = merged(&access, &said);
        let mut refresh = merged(
            &base,
            &json!({
                "exp": refresh_exp.as_second(),
                "jti": jti(),
                "aud": shared.config.issuer(),
                "typ": "Refresh",
                "scope": issue.scope,
            }),
        );
        if shared.config.rotation {
            refresh["reuse_id"] = issue.family.map_or_else(&jti, str::to_owned).into();
        }
        if let Some(time) = auth_time {
            access["auth_time"] = time.into();
        }
        if let Some(nonce) = issue.nonce {
            refresh["nonce"] = nonce.into();
        }
        let tokens = (shared.keys.sign(&access), shared.keys.sign_own(&refresh));
        self.secrets.keep("access_token", &tokens.0);
        self.secrets.keep("refresh_token", &tokens.1);
        let mut answer = json!({
            "access_token": tokens.0,
            "expires_in": access_exp.as_second() - now.as_second(),
            "refresh_expires_in": refresh_exp.as_second() - now.as_second(),
            "refresh_token": tokens.1,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "session_state": issue.sid,
            "scope": issue.scope,
        });
        if issue.scope.split(' ').any(|scope| scope == "openid") {
            let mut id = merged(
                &base,
                &json!({
                    "exp": access_exp.as_second(),
                    "jti": jti(),
                    "aud": issue.client.client_id,
                    "typ": "ID",
                    "at_hash": half_digest(&tokens.0),
                    "acr": access["acr"],
                }),
            );
            id = merged(&id, &said);
            if let Some(time) = auth_time {
                id["auth_time"] = time.into();
            }
            if let Some(nonce) = issue.nonce {
                id["nonce"] = nonce.into();
            }
            let id = shared.keys.sign(&id);
            self.secrets.keep("id_token", &id);
            answer["id_token"] = id.into();
        }
        answer
    }

    /// The claims of an access token that its signature and times let pass. Sessions are not looked at.
    pub(crate) fn access(&self, keys: &super::keys::Keys, token: &str) -> Option<Claims> {
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
    crate::json::lay_over(&mut whole, more);
    whole
}

/// The hash that PKCE and `at_hash` are made of.
pub(super) fn digest(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(bytes))
}

/// The left half of a token's hash (OpenID Connect Core §3.1.3.6).
fn half_digest(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(token)[..16])
}

fn signed(time: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

fn after(time: Timestamp, life: std::time::Duration) -> Timestamp {
    time.saturating_add(signed(life)).unwrap_or(Timestamp::MAX)
}
