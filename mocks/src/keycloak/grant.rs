//! The token endpoint: what is traded for tokens, and why it is not (MOCKS K5, K8, K9).

use std::collections::BTreeSet;

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use jiff::SignedDuration;
use serde_json::Value;

use super::{
    InRealm, NOT_STORED, Refusal,
    authority::Authority,
    fault::KeycloakFault,
    issue::Issue,
    rotation::{RefreshId, Reuse, no_client},
};
use crate::{
    call::Call,
    order,
    realm::{ClientConfig, ReuseCount, SslRequired},
    seen::Who,
};

/// `POST …/token`
pub(super) async fn token(
    State(at): State<InRealm>,
    Extension(call): Extension<std::sync::Arc<Call>>,
) -> Response {
    match at.decide(&call, |authority| authority.grant(&call)) {
        Ok(tokens) => (NOT_STORED, Json(tokens)).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// Who calls, and with what.
type Asker<'a> = (&'a ClientConfig, &'a Call);

/// What a grant needs and the call lacks.
fn missing(field: &str) -> Refusal {
    Refusal::request(&format!("Missing parameter: {field}"))
}

impl Authority<'_> {
    /// The checks that all grants share, in Keycloak's order (MOCKS K5).
    fn grant(&mut self, call: &Call) -> Result<Value, Refusal> {
        if self.realm.settings.ssl_required == SslRequired::All && !self.realm.issuer.starts_with("https:") {
            return Err(Refusal::new(403, "invalid_request", "HTTPS required"));
        }
        if !self.realm.settings.enabled {
            return Err(Refusal::new(403, "access_denied", "Realm not enabled"));
        }
        let kind = call
            .form("grant_type")
            .ok_or_else(|| Refusal::request("Missing form parameter: grant_type"))?;
        let grant: fn(&mut Self, Asker<'_>) -> Result<Value, Refusal> = match kind {
            "authorization_code" => Self::by_code,
            "refresh_token" => Self::by_refresh_token,
            "password" => Self::by_password,
            "client_credentials" => Self::by_client,
            _ => {
                return Err(Refusal::new(
                    400,
                    "unsupported_grant_type",
                    "Unsupported grant_type",
                ));
            }
        };
        let client = self.client(call)?;
        let mut seen = BTreeSet::new();
        if call.fields().iter().any(|(name, _)| !seen.insert(name)) {
            return Err(Refusal::request("duplicated parameter"));
        }
        grant(self, (&client, call))
    }

    fn by_code(&mut self, (client, call): Asker<'_>) -> Result<Value, Refusal> {
        let text = call.form("code").ok_or_else(|| missing("code"))?;
        let invalid = || Refusal::grant("Code not valid");
        let code = self.realm.sessions.codes.get_mut(text).ok_or_else(invalid)?;
        if code.is_used {
            let sid = code.sid.clone();
            // Whoever sends a code again may have stolen it: what the first use gave is taken back.
            self.realm.sessions.detach(&sid, &client.client_id);
            return Err(invalid());
        }
        code.is_used = true;
        let code = code.clone();
        let life = SignedDuration::from_secs(self.realm.settings.access_code_lifespan.into());
        if self.now.duration_since(code.given) > life {
            return Err(Refusal::grant("Code is expired"));
        }
        if code.request.client_id != client.client_id {
            return Err(invalid());
        }
        if call.form("redirect_uri") != Some(&code.request.redirect_uri) {
            return Err(Refusal::grant("Incorrect redirect_uri"));
        }
        code.request.is_proven(call.form("code_verifier"))?;
        let login = self
            .live(&code.sid)
            .ok_or_else(|| Refusal::grant("Session not active"))?;
        if !self.is_enabled(&login.who) {
            return Err(Refusal::grant("User disabled"));
        }
        let begun = (Some(code.is_sso), self.now);
        self.realm.sessions.attach(&code.sid, &client.client_id, begun);
        self.issue(&Issue {
            client,
            sid: &code.sid,
            scope: &code.request.scope,
            nonce: code.request.nonce.as_deref(),
            letters: "onrtac",
            family: None,
        })
        .ok_or_else(|| Refusal::grant("User not found"))
    }

    fn is_enabled(&self, who: &Who) -> bool {
        self.users
            .get(&who.user)
            .is_some_and(|user| user.account.is_enabled)
    }

    /// The checks of a refresh, in Keycloak's order (MOCKS K8).
    fn by_refresh_token(&mut self, (client, call): Asker<'_>) -> Result<Value, Refusal> {
        let token = call
            .form("refresh_token")
            .ok_or_else(|| Refusal::request("No refresh token"))?;
        let claims = self.keys.verify_own(token);
        let claims = claims.filter(|claims| ["Refresh", "Offline"].contains(&claims.text("typ")));
        let claims = claims.ok_or_else(|| Refusal::grant("Invalid refresh token"))?;
        let is_offline = claims.text("typ") == "Offline";
        if claims.text("iss") != self.realm.issuer {
            let text = format!("Invalid token issuer. Expected '{}'", self.realm.issuer);
            return Err(Refusal::grant(&text));
        }
        if claims.second("iat") < self.realm.settings.not_before {
            return Err(Refusal::grant("Stale token"));
        }
        if !is_offline && claims.is_expired(self.now) {
            return Err(Refusal::grant("Token is not active"));
        }
        if claims.text("azp") != client.client_id {
            return Err(Refusal::grant(
                "Invalid refresh token. Token client and authorized client don't match",
            ));
        }
        let sid = claims.text("sid").to_owned();
        self.may_go_on(&sid, (client, claims.second("iat"), is_offline))?;
        if self.is_stale(&claims) {
            return Err(Refusal::grant("Stale token"));
        }
        let scope = narrowed(claims.text("scope"), call.form("scope"))?;
        if self.realm.settings.revoke_refresh_token {
            let reuse = self.reuse();
            self.realm.sessions.rotate(RefreshId::of(&claims), reuse)?;
        }
        self.realm.sessions.touch(&sid, &client.client_id, self.now);
        self.issue(&Issue {
            client,
            sid: &sid,
            scope: &scope,
            nonce: claims.0["nonce"].as_str(),
            letters: "onrtrt",
            family: claims.0["reuse_id"].as_str(),
        })
        .ok_or_else(|| Refusal::grant("User not found"))
    }

    /// Whether the session, its user and the client's part of it let the client go on with a token of this age.
    fn may_go_on(
        &self,
        sid: &str,
        (client, issued, is_offline): (&ClientConfig, i64, bool),
    ) -> Result<(), Refusal> {
        let over = || Refusal::grant("Session not active");
        let login = self.realm.sessions.get(sid).ok_or_else(over)?;
        let is_kept = is_offline && login.is_kept_offline(&client.client_id, self.times());
        if !is_kept && self.live(sid).is_none() {
            return Err(over());
        }
        let user = self.users.get(&login.who.user);
        let user = user.ok_or_else(|| Refusal::grant("User not found"))?;
        if user.spec.refresh == order::Refresh::Refused {
            return Err(over());
        }
        if !user.account.is_enabled {
            return Err(Refusal::grant("User disabled"));
        }
        if issued < login.started.as_second() {
            return Err(Refusal::grant(
                "Refresh toked issued before the user session started",
            ));
        }
        if !is_kept && !login.has_client(&client.client_id, self.times()) {
            return Err(no_client());
        }
        let part = login.clients.get(&client.client_id);
        if part.is_some_and(|part| issued < part.started.as_second()) {
            return Err(Refusal::grant(
                "Refresh toked issued before the client session started",
            ));
        }
        Ok(())
    }

    /// How often a refresh token may be used now.
    pub(super) fn reuse(&self) -> Reuse {
        let is_racy = self.fault == Some(KeycloakFault::RacyRotation);
        Reuse {
            most: self.realm.settings.refresh_token_max_reuse,
            counted: if is_racy {
                ReuseCount::Racy
            } else {
                self.quirks.reuse
            },
            now: self.now,
        }
    }

    fn by_password(&mut self, (client, call): Asker<'_>) -> Result<Value, Refusal> {
        if !client.password_grant {
            return Err(Refusal::new(
                400,
                "unauthorized_client",
                "Client not allowed for direct access grants",
            ));
        }
        let name = call.form("username").ok_or_else(|| missing("username"))?;
        let wrong = || Refusal::new(401, "invalid_grant", "Invalid user credentials");
        let (key, user) = self.user(name).ok_or_else(wrong)?;
        if call.form("password") != Some(user.spec.password.as_str()) {
            return Err(wrong());
        }
        if !user.account.is_enabled {
            return Err(Refusal::grant("Account disabled"));
        }
        let who = Who {
            user: key.clone(),
            browser: call.agent().to_owned(),
        };
        let sid = self.begin_login(who);
        self.realm
            .sessions
            .attach(&sid, &client.client_id, (None, self.now));
        self.issue(&Issue {
            client,
            sid: &sid,
            scope: &with_defaults(call.form("scope")),
            nonce: None,
            letters: "onrtro",
            family: None,
        })
        .ok_or_else(wrong)
    }

    /// Tokens for a person who passed no page. None when there is no such client.
    pub(crate) fn sign_in_without_page(
        &mut self,
        client: &str,
        (who, scope): (Who, Option<&str>),
    ) -> Option<Value> {
        let client = self.realm.clients.get(client)?.clone();
        let sid = self.begin_login(who);
        self.realm
            .sessions
            .attach(&sid, &client.client_id, (None, self.now));
        self.issue(&Issue {
            client: &client,
            sid: &sid,
            scope: &with_defaults(scope.or(Some("openid"))),
            nonce: None,
            letters: "onrtna",
            family: None,
        })
    }

    fn by_client(&mut self, (client, _): Asker<'_>) -> Result<Value, Refusal> {
        let refused = |text| Refusal::new(401, "unauthorized_client", text);
        if client.secret.is_none() {
            return Err(refused("Public client not allowed to retrieve service account"));
        }
        if !client.service_account {
            return Err(refused("Client not enabled to retrieve service account"));
        }
        Ok(self.issue_to_client(client))
    }
}

/// The scope asked for, with what every client gets by default.
pub(super) fn with_defaults(wanted: Option<&str>) -> String {
    let wanted: Vec<_> = wanted.unwrap_or("").split_whitespace().collect();
    let defaults = ["profile", "email"]
        .into_iter()
        .filter(|scope| !wanted.contains(scope));
    wanted
        .iter()
        .copied()
        .chain(defaults)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The scope asked for, if it is no wider than the one granted.
fn narrowed(granted: &str, wanted: Option<&str>) -> Result<String, Refusal> {
    let Some(wanted) = wanted else {
        return Ok(granted.to_owned());
    };
    let granted: BTreeSet<_> = granted.split(' ').collect();
    if wanted.split_whitespace().all(|scope| granted.contains(scope)) {
        return Ok(wanted.to_owned());
    }
    Err(Refusal::new(
        400,
        "invalid_scope",
        &format!("Invalid scopes: {wanted}"),
    ))
}
