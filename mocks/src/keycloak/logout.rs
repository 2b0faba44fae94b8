//! Ways out: a client's order, the browser's visit, and telling the clients (MOCKS K11).

use std::sync::Arc;

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
        NOT_STORED, Refusal, client, error_page,
        login::{IDENTITY, cookie},
    },
    observation::Observation,
    world::{Who, World},
};

type Asked = (State<Arc<Shared>>, Extension<Arc<Call>>);

/// How long a logout token is good, in seconds.
const LOGOUT_TOKEN_LIFE: i64 = 120;
/// What is read of an answer to a logout: nobody looks at it.
const ANSWER_BYTES: usize = 64 * 1024;

/// A client that is to be told that a session is over.
#[derive(Debug)]
pub(crate) struct Notice {
    who: Who,
    url: Url,
    token: String,
}

/// `POST …/logout`: a client ends the whole session behind its refresh token, of whatever age.
pub(super) async fn by_client((State(shared), Extension(call)): Asked) -> Response {
    let client = match client::authenticate(&shared, &call) {
        Ok(client) => client,
        Err(refusal) => return refusal.into_response(),
    };
    let Some(token) = call.form("refresh_token") else {
        return Refusal::request("No refresh token").into_response();
    };
    let claims = shared.keys.verify_own(token);
    let Some(claims) = claims.filter(|claims| claims.text("azp") == client.client_id) else {
        return Refusal::grant("Invalid refresh token").into_response();
    };
    let notices = shared.world().end_login(&shared, claims.text("sid"));
    deliver(&shared, notices).await;
    StatusCode::NO_CONTENT.into_response()
}

/// `GET …/logout`: a browser comes to sign out.
pub(super) async fn by_browser((State(shared), Extension(call)): Asked) -> Response {
    let sid = match may_leave(&shared, &call) {
        Ok(sid) => sid,
        Err(response) => return *response,
    };
    let notices = sid.map_or_else(Vec::new, |sid| shared.world().end_login(&shared, &sid));
    deliver(&shared, notices).await;
    let gone = [IDENTITY, "KEYCLOAK_SESSION"].map(|name| (header::SET_COOKIE, cookie(&shared, name, "")));
    let gone = AppendHeaders(gone);
    let target = call
        .query("post_logout_redirect_uri")
        .and_then(|uri| Url::parse(uri).ok());
    let Some(mut target) = target else {
        return (gone, Html("<!DOCTYPE html>\n<p>You are logged out</p>\n")).into_response();
    };
    if let Some(state) = call.query("state") {
        target.query_pairs_mut().append_pair("state", state);
    }
    (
        StatusCode::FOUND,
        gone,
        [(header::LOCATION, String::from(target))],
    )
        .into_response()
}

/// The session to end, if the visit is in order and nobody has to be asked.
fn may_leave(shared: &Shared, call: &Call) -> Result<Option<String>, Box<Response>> {
    let bad = |text| Box::new(error_page(StatusCode::BAD_REQUEST, text));
    if call.query("redirect_uri").is_some() {
        return Err(bad("Invalid redirect uri"));
    }
    let hint = match call.query("id_token_hint") {
        Some(token) => {
            let claims = shared
                .keys
                .verify(token)
                .filter(|claims| claims.text("typ") == "ID");
            Some(claims.ok_or_else(|| bad("Invalid parameter: id_token_hint"))?)
        }
        None => None,
    };
    let by_hint = hint.as_ref().map(|claims| claims.text("azp"));
    let client = by_hint.or_else(|| call.query("client_id"));
    if let Some(uri) = call.query("post_logout_redirect_uri") {
        let client = client.and_then(|id| shared.config.client(id));
        let client = client.ok_or_else(|| bad("Missing parameters: id_token_hint"))?;
        if !client.may_lead_to(uri) {
            return Err(bad("Invalid redirect uri"));
        }
    }
    let of_browser = call
        .cookie(IDENTITY)
        .and_then(|cookie| shared.keys.verify_own(cookie));
    let of_browser = of_browser.map(|claims| claims.text("sid").to_owned());
    let Some(hint) = hint else {
        // Without a hint anybody's link could sign people out: Keycloak asks them.
        return Err(Box::new(confirmation()));
    };
    let of_hint = hint.text("sid").to_owned();
    if of_browser.is_some_and(|sid| sid != of_hint) {
        return Err(Box::new(confirmation()));
    }
    Ok(Some(of_hint))
}

fn confirmation() -> Response {
    let page = "<!DOCTYPE html>\n<html><body><p id=\"kc-logout-confirm\">Do you want to log out?</p></body></html>\n";
    (NOT_STORED, Html(page)).into_response()
}

impl World {
    /// Ends a session; gives whom to tell.
    pub(crate) fn end_login(&mut self, shared: &Shared, sid: &str) -> Vec<Notice> {
        let now = self.now().as_second();
        let Some(login) = self.sessions.end(sid).cloned() else {
            return Vec::new();
        };
        let subject = self.users.get(&login.who.user).map_or("", |user| &user.subject);
        let mut notices = Vec::new();
        for client in login.clients.keys().filter_map(|id| shared.config.client(id)) {
            let Some(url) = client.backchannel_logout_url else {
                continue;
            };
            let claims: Value = json!({
                "iat": now,
                "exp": now + LOGOUT_TOKEN_LIFE,
                "jti": self.seams.random.uuid("keycloak/jti"),
                "iss": shared.config.issuer(),
                "aud": client.client_id,
                "sub": subject,
                "sid": sid,
                "typ": "Logout",
                "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
            });
            let token = shared.keys.sign(&claims);
            self.secrets.keep("logout_token", &token);
            let who = login.who.clone();
            notices.push(Notice { who, url, token });
        }
        notices
    }
}

/// Tells clients that sessions are over: once, whatever they answer.
pub(crate) async fn deliver(shared: &Shared, notices: Vec<Notice>) {
    let limits = Limits {
        answer: shared.config.scaled(shared.config.backchannel_timeout),
        body_bytes: ANSWER_BYTES,
        idle: std::time::Duration::ZERO,
        idle_per_host: 0,
    };
    let client = HttpClient::new(shared.world().seams.dial.clone(), limits);
    join_all(notices.into_iter().map(|notice| tell(shared, &client, notice))).await;
}

async fn tell(shared: &Shared, client: &HttpClient, notice: Notice) {
    let form = Serializer::new(String::new())
        .append_pair("logout_token", &notice.token)
        .finish();
    let request = Request::post(notice.url.as_str())
        .header(header::HOST, notice.url.authority())
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(form)));
    let status = match request {
        Ok(request) => client
            .send(request)
            .await
            .map_or(0, |answer| answer.status().as_u16()),
        Err(_) => 0,
    };
    shared.world().tell(&Observation::LogoutDelivered {
        user: notice.who.user,
        browser: notice.who.browser,
        status,
    });
}
