//! What is said of a token, and its revocation.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{
    Shared,
    call::Call,
    keycloak::{NOT_STORED, Refusal, client, issue::said_of, keys::Claims},
    world::World,
};

type Asked = (State<Arc<Shared>>, Extension<Arc<Call>>);

/// `POST …/token/introspect` (RFC 7662): whatever is wrong with a token, it is only not active.
pub(super) async fn introspect((State(shared), Extension(call)): Asked) -> Response {
    if client::authenticate(&shared, &call).is_err() {
        return Refusal::new(401, "invalid_request", "Authentication failed.").into_response();
    }
    let Some(token) = call.form("token") else {
        return Refusal::request("Token not provided").into_response();
    };
    let world = shared.world();
    let Some(claims) = world.active(&shared, token) else {
        return (NOT_STORED, Json(json!({"active": false}))).into_response();
    };
    let mut answer = claims.0;
    answer["active"] = true.into();
    answer["client_id"] = answer["azp"].clone();
    answer["token_type"] = answer["typ"].clone();
    if let Some(login) = answer["sid"].as_str().and_then(|sid| world.sessions.get(sid)) {
        answer["username"] = login.who.user.clone().into();
    }
    (NOT_STORED, Json(answer)).into_response()
}

/// `GET …/userinfo`, `POST …/userinfo`
pub(super) async fn userinfo((State(shared), Extension(call)): Asked) -> Response {
    let Some(token) = call.bearer().or_else(|| call.form("access_token")) else {
        return unauthorized(&shared, "Missing token");
    };
    let world = shared.world();
    let Some(claims) = world
        .access(&shared.keys, token)
        .filter(|claims| !world.is_revoked(claims))
    else {
        return unauthorized(&shared, "Token verification failed");
    };
    if !claims.text("scope").split(' ').any(|scope| scope == "openid") {
        return Refusal::new(403, "insufficient_scope", "Missing openid scope").into_response();
    }
    if !world.has_session(&shared, &claims) {
        return unauthorized(
            &shared,
            "User session not found or doesn't have client attached on it",
        );
    }
    let name = world.user_of(&claims).unwrap_or_default();
    let mut answer = said_of(&name, claims.text("scope"));
    answer["sub"] = claims.0["sub"].clone();
    (NOT_STORED, Json(answer)).into_response()
}

fn unauthorized(shared: &Shared, description: &str) -> Response {
    let challenge = format!(
        "Bearer realm=\"{}\", error=\"invalid_token\", error_description=\"{description}\"",
        shared.config.realm
    );
    let refusal = Refusal::new(401, "invalid_token", description);
    ([(header::WWW_AUTHENTICATE, challenge)], refusal).into_response()
}

/// `POST …/revoke` (RFC 7009)
pub(super) async fn revoke((State(shared), Extension(call)): Asked) -> Response {
    let client = match client::authenticate(&shared, &call) {
        Ok(client) => client,
        Err(refusal) => return refusal.into_response(),
    };
    let Some(token) = call.form("token") else {
        return Refusal::request("Token not provided").into_response();
    };
    let mut world = shared.world();
    let (refresh, access) = (shared.keys.verify_own(token), world.access(&shared.keys, token));
    let Some(claims) = refresh
        .clone()
        .or(access)
        .filter(|claims| world.has_session(&shared, claims))
    else {
        // Keycloak says so with a body, although the status says all is well.
        return Refusal::new(200, "invalid_token", "Invalid token").into_response();
    };
    if !["Refresh", "Bearer"].contains(&claims.text("typ")) {
        return Refusal::new(400, "unsupported_token_type", "Unsupported token type").into_response();
    }
    if claims.text("azp") != client.client_id {
        return Refusal::request("Unmatching clients").into_response();
    }
    if refresh.is_some() {
        let sid = claims.text("sid");
        world.sessions.detach(sid, &client.client_id);
        let is_unused = world
            .sessions
            .get(sid)
            .is_some_and(|login| login.clients.is_empty());
        if is_unused {
            world.sessions.end(sid);
        }
    } else {
        world.sessions.revoked.put(claims.text("jti").to_owned(), ());
    }
    (StatusCode::OK, NOT_STORED).into_response()
}

impl World {
    /// The claims of a token that is good now, session and all.
    fn active(&self, shared: &Shared, token: &str) -> Option<Claims> {
        let own = || {
            let claims = shared.keys.verify_own(token)?;
            (claims.text("typ") == "Refresh" && !claims.is_expired(self.now())).then_some(claims)
        };
        let claims = self.access(&shared.keys, token).or_else(own)?;
        (self.has_session(shared, &claims) && !self.is_revoked(&claims)).then_some(claims)
    }

    /// Whether the session behind a token is alive and still has the token's client. A client's own token has none.
    fn has_session(&self, shared: &Shared, claims: &Claims) -> bool {
        let sid = claims.text("sid");
        let live = self.sessions.live(sid, (&shared.config.lifetimes, self.now()));
        sid.is_empty() || live.is_some_and(|login| login.clients.contains_key(claims.text("azp")))
    }

    fn is_revoked(&self, claims: &Claims) -> bool {
        self.sessions.revoked.get(claims.text("jti")).is_some()
    }
}
