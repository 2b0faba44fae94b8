//! Ways out: a client's order, the browser's visit, and telling the clients (MOCKS K11).

use axum::{
    Extension,
    extract::State,
    http::{Request, StatusCode, header},
    response::{AppendHeaders, Html, IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::Full;
use polytab_seams::http::{HttpClient, Limits};
use serde_json::{Value, json};
use url::{Url, form_urlencoded::Serializer};

use crate::{
    Shared,
    call::Call,
    keycloak::{
        Asked, NOT_STORED, Refusal,
        authority::Authority,
        error_page, escaped,
        keys::Claims,
        login::{IDENTITY, SESSION, cookie},
        session::Leaving,
    },
    observation::Observation,
    realm::{ClientConfig, UserLogout},
    seen::Who,
};

/// How long a logout token is good, in seconds.
const LOGOUT_TOKEN_LIFE: i64 = 120;
/// How long an order to an adapter is good, in seconds.
const ADAPTER_LIFE: i64 = 30;
/// What is read of an answer to a logout: nobody looks at it.
const ANSWER_BYTES: usize = 64 * 1024;

/// A client that is to be told something.
#[derive(Debug)]
pub(crate) struct Notice {
    /// Whose session ended; none when it is not about a session.
    who: Option<Who>,
    url: Url,
    kind: &'static str,
    body: String,
}

/// `POST …/logout`: a client ends the whole session behind its refresh token, of whatever age; or a browser comes to
/// sign out.
pub(super) async fn by_post((State(at), Extension(call)): Asked) -> Response {
    if call.form("refresh_token").is_none() && call.form("client_secret").is_none() && call.basic().is_none()
    {
        return by_browser((State(at), Extension(call))).await;
    }
    match at.decide(&call, |authority| authority.logout(&call)) {
        Ok(notices) => {
            deliver(&at.shared, notices).await;
            StatusCode::NO_CONTENT.into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// `GET …/logout`: a browser comes to sign out.
pub(super) async fn by_browser((State(at), Extension(call)): Asked) -> Response {
    match at.decide(&call, |authority| authority.leave(&call)) {
        Ok((notices, response)) => {
            deliver(&at.shared, notices).await;
            response
        }
        Err(response) => *response,
    }
}

/// `POST …/logout/logout-confirm`: the person said yes.
pub(super) async fn confirmed((State(at), Extension(call)): Asked) -> Response {
    let (notices, response) = at.decide(&call, |authority| authority.confirmed(&call));
    deliver(&at.shared, notices).await;
    response
}

impl Authority<'_> {
    fn logout(&mut self, call: &Call) -> Result<Vec<Notice>, Refusal> {
        let client = self.client(call)?;
        let token = call
            .form("refresh_token")
            .ok_or_else(|| Refusal::request("No refresh token"))?;
        let claims = self.keys.verify_own(token);
        let is_ours = |claims: &Claims| {
            claims.text("azp") == client.client_id && claims.text("iss") == self.realm.issuer
        };
        let claims = claims
            .filter(is_ours)
            .ok_or_else(|| Refusal::grant("Invalid refresh token"))?;
        Ok(self.end_login(claims.text("sid")))
    }

    /// Ends the browser's session, if the visit is in order and nobody has to be asked.
    fn leave(&mut self, call: &Call) -> Result<(Vec<Notice>, Response), Box<Response>> {
        let bad = |text| Box::new(error_page(StatusCode::BAD_REQUEST, text));
        if call.field("redirect_uri").is_some() {
            return Err(bad("Invalid redirect uri"));
        }
        let hint = match call.field("id_token_hint") {
            Some(token) => {
                let claims = self.keys.verify(&self.realm.ring, token);
                let claims = claims
                    .filter(|claims| claims.text("typ") == "ID" && claims.text("iss") == self.realm.issuer);
                Some(claims.ok_or_else(|| bad("Invalid parameter: id_token_hint"))?)
            }
            None => None,
        };
        let by_hint = hint.as_ref().map(|claims| claims.text("azp"));
        let client = by_hint.or_else(|| call.field("client_id"));
        if let Some(uri) = call.field("post_logout_redirect_uri") {
            let client = client.and_then(|id| self.realm.clients.get(id));
            let client = client.ok_or_else(|| bad("Missing parameters: id_token_hint"))?;
            if !client.may_leave_to(uri) {
                return Err(bad("Invalid redirect uri"));
            }
        }
        let target = target(call);
        let of_browser = self.browser(call);
        match hint.map(|hint| hint.text("sid").to_owned()) {
            Some(sid) if of_browser.as_ref().is_none_or(|browser| *browser == sid) => {
                let notices = self.end_login(&sid);
                Ok((notices, self.gone(target)))
            }
            // Without a hint anybody's link could sign people out: Keycloak asks them.
            _ => Err(Box::new(self.asked(Leaving {
                sid: of_browser,
                target,
            }))),
        }
    }

    fn asked(&mut self, leaving: Leaving) -> Response {
        let code = self.random.token("keycloak/session_code");
        let action = format!(
            "{}/protocol/openid-connect/logout/logout-confirm",
            self.realm.issuer
        );
        let page = format!(
            "<!DOCTYPE html>\n<html><head><title>Logging out</title></head><body><div id=\"kc-logout-confirm\">\n\
             <p class=\"instruction\">Do you want to log out?</p>\n<form class=\"form-actions\" action=\"{}\" \
             method=\"post\">\n<input type=\"hidden\" name=\"session_code\" value=\"{code}\">\n<input \
             name=\"confirmLogout\" id=\"kc-logout\" type=\"submit\" value=\"Logout\">\n</form></div></body></html>\n",
            escaped(&action)
        );
        self.secrets.keep("session_code", &code);
        self.realm.sessions.leaving.put(code, leaving);
        (NOT_STORED, Html(page)).into_response()
    }

    fn confirmed(&mut self, call: &Call) -> (Vec<Notice>, Response) {
        let code = call.form("session_code");
        let Some(leaving) = code.and_then(|code| self.realm.sessions.leaving.take(code)) else {
            let text = "This page was used already, or was never shown.";
            return (Vec::new(), error_page(StatusCode::BAD_REQUEST, text));
        };
        let notices = leaving.sid.map_or_else(Vec::new, |sid| self.end_login(&sid));
        (notices, self.gone(leaving.target))
    }

    fn gone(&self, target: Option<String>) -> Response {
        let at = self.cookies();
        let gone = [IDENTITY, SESSION].map(|name| {
            let mut cookie = cookie(at, name, "").as_bytes().to_owned();
            cookie.extend_from_slice(b"; Max-Age=0");
            let cookie = header::HeaderValue::from_bytes(&cookie);
            (
                header::SET_COOKIE,
                cookie.unwrap_or(header::HeaderValue::from_static("")),
            )
        });
        let gone = AppendHeaders(gone);
        if let Some(target) = target {
            return (StatusCode::FOUND, gone, [(header::LOCATION, target)]).into_response();
        }
        let page = Html("<!DOCTYPE html>\n<p class=\"instruction\">You are logged out</p>\n");
        (gone, page).into_response()
    }

    /// Ends a session; gives whom to tell.
    pub(crate) fn end_login(&mut self, sid: &str) -> Vec<Notice> {
        let Some(login) = self.realm.sessions.end(sid).cloned() else {
            return Vec::new();
        };
        let clients: Vec<_> = login
            .clients
            .keys()
            .filter_map(|id| self.realm.clients.get(id))
            .cloned()
            .collect();
        let mut notices = Vec::new();
        for client in &clients {
            notices.extend(self.notices(client, (&login.who, Some(sid))));
        }
        notices
    }

    /// Ends all sessions of a user; gives whom to tell. Each client is told once, whatever it had a part in.
    pub(crate) fn end_logins_of(&mut self, user: &str) -> Vec<Notice> {
        let live = self.realm.sessions.all_live(self.times());
        let theirs: Vec<_> = live
            .filter(|(_, login)| login.who.user == user)
            .map(|(sid, login)| (sid.clone(), login.clone()))
            .collect();
        let mut told = std::collections::BTreeSet::new();
        let mut notices = Vec::new();
        for (sid, login) in &theirs {
            self.realm.sessions.end(sid);
            for id in login.clients.keys() {
                let client = self
                    .realm
                    .clients
                    .get(id)
                    .filter(|_| told.insert(id.clone()))
                    .cloned();
                let named = match self.quirks.user_logout {
                    UserLogout::OneSid => Some(sid.as_str()),
                    UserLogout::NoSid => None,
                };
                if let Some(client) = client {
                    notices.extend(self.notices(&client, (&login.who, named)));
                }
            }
        }
        notices
    }

    /// What a client is told of the end of a session: by back-channel logout and, the older way, as an adapter.
    fn notices(&mut self, client: &ClientConfig, (who, sid): (&Who, Option<&str>)) -> Vec<Notice> {
        let mut notices = Vec::new();
        if let Some(url) = client.backchannel_logout_url.clone() {
            let body = self.logout_token(client, (who, sid));
            let body = Serializer::new(String::new())
                .append_pair("logout_token", &body)
                .finish();
            notices.push(Notice {
                who: Some(who.clone()),
                url,
                kind: "application/x-www-form-urlencoded",
                body,
            });
        }
        let sessions: Vec<_> = sid.into_iter().collect();
        let more = json!({"keycloakSessionIds": sessions, "notBefore": 0});
        notices.extend(self.adapter_order((client, Some(who)), ("LOGOUT", "k_logout"), &more));
        notices
    }

    fn logout_token(&mut self, client: &ClientConfig, (who, sid): (&Who, Option<&str>)) -> String {
        let now = self.now.as_second();
        let mut claims: Value = json!({
            "iat": now,
            "exp": now + LOGOUT_TOKEN_LIFE,
            "jti": self.random.uuid("keycloak/jti"),
            "iss": self.realm.issuer,
            "aud": client.client_id,
            "sub": self.users.get(&who.user).map_or("", |user| &user.subject),
            "typ": "Logout",
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        });
        if let Some(sid) = sid.filter(|_| client.backchannel_session_required) {
            claims["sid"] = sid.into();
        }
        let token = self.keys.sign(&self.realm.ring, &claims);
        self.secrets.keep("logout_token", &token);
        token
    }

    /// An order to a client's adapter: a signed token as plain text.
    pub(super) fn adapter_order(
        &mut self,
        (client, who): (&ClientConfig, Option<&Who>),
        (action, path): (&str, &str),
        more: &Value,
    ) -> Option<Notice> {
        let mut url = client.admin_url.clone()?;
        url.path_segments_mut().ok()?.pop_if_empty().push(path);
        let mut claims = json!({
            "id": self.random.uuid("keycloak/jti"),
            "expiration": self.now.as_second() + ADAPTER_LIFE,
            "resource": client.client_id,
            "action": action,
        });
        crate::json::lay_over(&mut claims, more);
        let body = self.keys.sign(&self.realm.ring, &claims);
        Some(Notice {
            who: who.cloned(),
            url,
            kind: "text/plain",
            body,
        })
    }
}

/// Where a browser goes when it has signed out.
fn target(call: &Call) -> Option<String> {
    let mut target = Url::parse(call.field("post_logout_redirect_uri")?).ok()?;
    if let Some(state) = call.field("state") {
        target.query_pairs_mut().append_pair("state", state);
    }
    Some(String::from(target))
}

/// Tells clients: once each, whatever they answer; gives how many took it.
pub(crate) async fn deliver(shared: &Shared, notices: Vec<Notice>) -> usize {
    if notices.is_empty() {
        return 0;
    }
    let limits = Limits {
        answer: shared.config.scaled(shared.config.backchannel_timeout),
        body_bytes: ANSWER_BYTES,
        idle: std::time::Duration::ZERO,
        idle_per_host: 0,
    };
    let client = HttpClient::new(shared.world().seams.dial.clone(), limits);
    let told = join_all(notices.into_iter().map(|notice| tell(shared, &client, notice))).await;
    told.into_iter()
        .filter(|status| [200, 204].contains(status))
        .count()
}

async fn tell(shared: &Shared, client: &HttpClient, notice: Notice) -> u16 {
    let request = Request::post(notice.url.as_str())
        .header(header::HOST, notice.url.authority())
        .header(header::CONTENT_TYPE, notice.kind)
        .body(Full::new(Bytes::from(notice.body)));
    let status = match request {
        Ok(request) => client
            .send(request)
            .await
            .map_or(0, |answer| answer.status().as_u16()),
        Err(_) => 0,
    };
    if let Some(who) = notice.who {
        shared.world().tell(&Observation::LogoutDelivered {
            user: who.user,
            browser: who.browser,
            status,
        });
    }
    status
}
