//! What is said of a token, and its revocation.

use axum::{
    Extension, Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{
    call::Call,
    keycloak::{Asked, NOT_STORED, Refusal, authority::Authority, keys::Claims, rotation::RefreshId},
};

/// `POST …/token/introspect` (RFC 7662): whatever is wrong with a token, it is only not active.
pub(super) async fn introspect((State(at), Extension(call)): Asked) -> Response {
    match at.decide(&call, |authority| authority.introspect(&call)) {
        Ok(answer) => (NOT_STORED, Json(answer)).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// `GET …/userinfo`, `POST …/userinfo`
pub(super) async fn userinfo((State(at), Extension(call)): Asked) -> Response {
    let refusal = match at.decide(&call, |authority| authority.userinfo(&call)) {
        Ok(answer) => return (NOT_STORED, Json(answer)).into_response(),
        Err(refusal) => refusal,
    };
    let challenge = format!(
        "Bearer realm=\"{}\", error=\"{}\", error_description=\"{}\"",
        at.realm, refusal.error, refusal.description
    );
    ([(header::WWW_AUTHENTICATE, challenge)], refusal).into_response()
}

/// `POST …/revoke` (RFC 7009)
pub(super) async fn revoke((State(at), Extension(call)): Asked) -> Response {
    match at.decide(&call, |authority| authority.revoke(&call)) {
        Ok(()) => (StatusCode::OK, NOT_STORED).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

impl Authority<'_> {
    fn introspect(&self, call: &Call) -> Result<Value, Refusal> {
        let refused = |_| Refusal::new(401, "invalid_request", "Authentication failed.");
        let client = self.client(call).map_err(refused)?;
        if client.secret.is_none() {
            return Err(Refusal::new(403, "invalid_request", "Client not allowed."));
        }
        let token = call
            .form("token")
            .ok_or_else(|| Refusal::request("Token not provided"))?;
        let Some(claims) = self.active(token) else {
            return Ok(json!({"active": false}));
        };
        let mut answer = claims.0;
        answer["active"] = true.into();
        answer["client_id"] = answer["azp"].clone();
        answer["token_type"] = answer["typ"].clone();
        let subject = answer["sub"].as_str().unwrap_or("");
        if let Some((_, user)) = self.user_by_subject(subject) {
            answer["username"] = user.account.username.clone().into();
        }
        Ok(answer)
    }

    fn userinfo(&self, call: &Call) -> Result<Value, Refusal> {
        let unauthorized = |text| Refusal::new(401, "invalid_token", text);
        let token = call.bearer().or_else(|| call.form("access_token"));
        let token = token.ok_or_else(|| unauthorized("Missing token"))?;
        let claims = self.good(token).filter(|claims| !self.is_revoked(claims));
        let claims = claims.ok_or_else(|| unauthorized("Token verification failed"))?;
        if !claims.has_scope("openid") {
            return Err(Refusal::new(403, "insufficient_scope", "Missing openid scope"));
        }
        let gone = || unauthorized("User session not found or doesn't have client attached on it");
        if !self.has_session(&claims) {
            return Err(gone());
        }
        let (_, user) = self.user_by_subject(claims.text("sub")).ok_or_else(gone)?;
        let mut answer = user.account.said(claims.text("scope"));
        answer["sub"] = claims.0["sub"].clone();
        Ok(answer)
    }

    fn revoke(&mut self, call: &Call) -> Result<(), Refusal> {
        let client = self.client(call)?;
        let token = call
            .form("token")
            .ok_or_else(|| Refusal::request("Token not provided"))?;
        let own = self
            .keys
            .verify_own(token)
            .filter(|claims| claims.text("iss") == self.realm.issuer);
        let any = own.clone().or_else(|| self.keys.verify(&self.realm.ring, token));
        // Keycloak says so with a body, although the status says all is well.
        let unknown = || Refusal::new(200, "invalid_token", "Invalid token");
        let claims = any.ok_or_else(unknown)?;
        if !["Refresh", "Offline", "Bearer"].contains(&claims.text("typ")) {
            return Err(Refusal::new(
                400,
                "unsupported_token_type",
                "Unsupported token type",
            ));
        }
        if !self.has_session(&claims) || claims.text("typ") == "Bearer" && claims.is_expired(self.now) {
            return Err(unknown());
        }
        if claims.text("azp") != client.client_id {
            return Err(Refusal::request("Unmatching clients"));
        }
        if own.is_none() {
            self.realm.sessions.revoked.put(claims.text("jti").to_owned(), ());
            return Ok(());
        }
        let sid = claims.text("sid");
        self.realm.sessions.detach(sid, &client.client_id);
        if self
            .realm
            .sessions
            .get(sid)
            .is_some_and(|login| login.clients.is_empty())
        {
            self.realm.sessions.end(sid);
        }
        Ok(())
    }

    /// The claims of an access token that signature, times and not-before let pass.
    pub(super) fn good(&self, token: &str) -> Option<Claims> {
        let claims = self.realm.access(self.keys, token)?;
        let is_good = !claims.is_expired(self.now)
            && claims.second("nbf") <= self.now.as_second()
            && !self.is_stale(&claims);
        is_good.then_some(claims)
    }

    /// The claims of a token that is good now, session and all.
    fn active(&self, token: &str) -> Option<Claims> {
        let own = || {
            let claims = self.keys.verify_own(token)?;
            let is_good = match claims.text("typ") {
                "Refresh" => !claims.is_expired(self.now),
                "Offline" => true,
                _ => false,
            };
            let is_ours = claims.text("iss") == self.realm.issuer && !self.is_stale(&claims);
            (is_good && is_ours && !self.is_worn(&claims)).then_some(claims)
        };
        let claims = self.good(token).or_else(own)?;
        (self.has_session(&claims) && !self.is_revoked(&claims)).then_some(claims)
    }

    /// Whether rotation would refuse the next use of a refresh token.
    fn is_worn(&self, claims: &Claims) -> bool {
        let sessions = &self.realm.sessions;
        self.realm.settings.revoke_refresh_token && sessions.is_worn(RefreshId::of(claims), self.reuse())
    }

    pub(super) fn is_revoked(&self, claims: &Claims) -> bool {
        self.realm.sessions.revoked.get(claims.text("jti")).is_some()
    }
}
