//! The token endpoint: what is traded for tokens, and why it is not (MOCKS K5, K8, K9).

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    NOT_STORED, Refusal, client,
    issue::{Issue, signed},
    session::{RefreshId, no_client},
};
use crate::{
    Shared,
    call::Call,
    config::ClientConfig,
    order,
    world::{Who, World},
};

/// How long a client's own token is good, in seconds (Keycloak's `accessTokenLifespan`).
const CLIENT_TOKEN_LIFE: i64 = 300;

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
    let sid = world.begin_login(who);
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
        "exp": now.as_second() + CLIENT_TOKEN_LIFE,
        "iat": now.as_second(),
        "jti": format!("trrtcc:{}", random.uuid("keycloak/jti")),
        "iss": config.issuer(),
        "aud": config.audience,
        "sub": name,
        "typ": "Bearer",
        "azp": client.client_id,
        "acr": "1",
        "scope": "profile email",
        "preferred_username": name,
    }));
    world.secrets.keep("access_token", &access);
    json!({
        "access_token": access,
        "expires_in": CLIENT_TOKEN_LIFE,
        "refresh_expires_in": 0,
        "token_type": "Bearer",
        "not-before-policy": 0,
        "scope": "profile email",
    })
}
