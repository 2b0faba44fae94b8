//! The authorization endpoint and the login page: as scripts and browsers know them (MOCKS K4).

use axum::{
    Extension,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{AppendHeaders, Html, IntoResponse, Response},
};
use cookie::{Cookie, SameSite};
use jiff::SignedDuration;
use serde_json::json;
use url::{Url, form_urlencoded::Serializer};

use crate::{
    call::Call,
    keycloak::{
        Asked, NOT_STORED,
        authority::Authority,
        error_page, escaped,
        grant::with_defaults,
        keys::Claims,
        session::{Answered, AuthRequest, Challenge, Code, Page},
    },
    realm::ClientConfig,
    seen::Who,
};

/// The cookie that says who is signed in.
pub(crate) const IDENTITY: &str = "KEYCLOAK_IDENTITY";
/// The cookie that pages may read: whose session it is.
pub(super) const SESSION: &str = "KEYCLOAK_SESSION";
/// The cookie that ties a login page to a browser.
const AUTH_SESSION: &str = "AUTH_SESSION_ID";
/// The id of the one step that a login has.
const EXECUTION: &str = "5a3f3c9e-65a4-4c4a-9d0a-6b1f0a1d2c3e";
/// A parameter that no real Keycloak has: signs this user in without a page.
const SHORTCUT: &str = "sign_in_as";

/// `GET …/auth`, `POST …/auth`: back to the client if the browser is signed in, else the login page.
pub(super) async fn authorize((State(at), Extension(call)): Asked) -> Response {
    at.decide(&call, |authority| authority.authorize(&call))
}

/// `POST …/login-actions/authenticate`: what was typed into the page.
pub(super) async fn authenticate((State(at), Extension(call)): Asked) -> Response {
    at.decide(&call, |authority| authority.authenticate(&call))
}

/// `GET …/login-actions/authenticate`: somebody reloads the page.
pub(super) async fn again((State(at), Extension(call)): Asked) -> Response {
    at.decide(&call, |authority| match authority.shown_page(&call) {
        Ok(page) => authority.page(page, None),
        Err(refusal) => *refusal,
    })
}

impl Authority<'_> {
    fn authorize(&mut self, call: &Call) -> Response {
        let client = match self.may_ask(call) {
            Ok(client) => client.clone(),
            Err(text) => return error_page(StatusCode::BAD_REQUEST, text),
        };
        let (request, problem) = read(&client, call);
        if let Some((error, description)) = problem {
            let fields = [("error", error), ("error_description", description)];
            return self.back(&request, &fields);
        }
        if let Some(user) = call.field(SHORTCUT) {
            let Some((key, _)) = self.user(user) else {
                return error_page(StatusCode::BAD_REQUEST, "Invalid parameter: sign_in_as");
            };
            return self.sign_in(request, (key.clone(), call.agent()));
        }
        let prompt = call.field("prompt").unwrap_or("");
        match self.signed_in(call) {
            Some(sid) if !prompt.split(' ').any(|word| word == "login") => {
                self.realm.sessions.touch(&sid, &request.client_id, self.now);
                self.answer(request, (sid, true))
            }
            _ if prompt == "none" => self.back(&request, &[("error", "login_required")]),
            _ => self.login_page(request, call.cookie(AUTH_SESSION)),
        }
    }

    /// The live session of the browser, if its cookie and user are still good and it is young enough for the client.
    fn signed_in(&self, call: &Call) -> Option<String> {
        let claims = self.identity(call)?;
        let sid = claims.text("sid");
        let login = self.live(sid)?;
        let account = &self.users.get(&login.who.user)?.account;
        let not_before = account.not_before.max(self.realm.settings.not_before);
        if !account.is_enabled || claims.second("iat") < not_before {
            return None;
        }
        let max_age = call.field("max_age").and_then(|age| age.parse().ok());
        let age = self.now.duration_since(login.started);
        let is_young = max_age.is_none_or(|most| age <= SignedDuration::from_secs(most));
        is_young.then(|| sid.to_owned())
    }

    /// The session that the browser's cookie names, alive or not.
    pub(super) fn browser(&self, call: &Call) -> Option<String> {
        self.identity(call).map(|claims| claims.text("sid").to_owned())
    }

    /// What the browser's cookie says, if it is ours.
    fn identity(&self, call: &Call) -> Option<Claims> {
        let claims = self.keys.verify_own(call.cookie(IDENTITY)?)?;
        (claims.text("iss") == self.realm.issuer).then_some(claims)
    }

    /// The client that asks, if it is known and may be answered at all.
    fn may_ask(&self, call: &Call) -> Result<&ClientConfig, &'static str> {
        if !self.realm.settings.enabled {
            return Err("Realm not enabled");
        }
        let id = call.field("client_id").ok_or("Missing parameters: client_id")?;
        let client = self.realm.clients.get(id).ok_or("Client not found.")?;
        if !client.enabled {
            return Err("Client disabled.");
        }
        let uri = call.field("redirect_uri").unwrap_or("");
        if Url::parse(uri).is_err() || !client.may_lead_to(uri) {
            return Err("Invalid parameter: redirect_uri");
        }
        Ok(client)
    }
}

/// What is asked, and what is wrong with it.
fn read(client: &ClientConfig, call: &Call) -> (AuthRequest, Option<(&'static str, &'static str)>) {
    let text = |name: &str| call.field(name).map(str::to_owned);
    let mut request = AuthRequest {
        client_id: client.client_id.clone(),
        redirect_uri: text("redirect_uri").unwrap_or_default(),
        scope: with_defaults(call.field("scope")),
        state: text("state"),
        nonce: text("nonce"),
        answered: match call.field("response_mode") {
            Some("fragment") => Answered::Fragment,
            Some("form_post") => Answered::Form,
            _ => Answered::Query,
        },
        challenge: None,
    };
    let problem = match call.field("response_type") {
        None => Some(("invalid_request", "Missing parameter: response_type")),
        Some("code") => None,
        Some(_) => Some(("unsupported_response_type", "Unsupported response_type")),
    };
    let challenge = match (text("code_challenge"), call.field("code_challenge_method")) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(("invalid_request", "Missing parameter: code_challenge")),
        (Some(challenge), Some("S256")) => Ok(Some(Challenge::S256(challenge))),
        (Some(challenge), None | Some("plain")) => Ok(Some(Challenge::Plain(challenge))),
        (Some(_), Some(_)) => Err(("invalid_request", "Invalid parameter: code_challenge_method")),
    };
    match challenge {
        Ok(challenge) => {
            request.challenge = challenge;
            (request, problem)
        }
        Err(wrong) => (request, problem.or(Some(wrong))),
    }
}

impl Authority<'_> {
    /// The page that a browser was shown, if it was and the browser is that one. It is taken: a page is good once.
    fn shown_page(&mut self, call: &Call) -> Result<Page, Box<Response>> {
        let bad = |text| Err(Box::new(error_page(StatusCode::BAD_REQUEST, text)));
        let tab = call.query("tab_id");
        let Some(page) = tab.and_then(|tab| self.realm.sessions.pages.take(tab)) else {
            return bad("This page was used already, or was never shown.");
        };
        if call.cookie(AUTH_SESSION) != Some(page.browser.as_str()) {
            return bad("Cookie not found.");
        }
        let life = SignedDuration::from_secs(self.realm.settings.access_code_lifespan_login.into());
        let is_old = self.now.duration_since(page.shown) > life;
        if call.query("session_code") != Some(page.session_code.as_str()) || is_old {
            return bad("This page has expired.");
        }
        Ok(page)
    }

    fn authenticate(&mut self, call: &Call) -> Response {
        let page = match self.shown_page(call) {
            Ok(page) => page,
            Err(refusal) => return *refusal,
        };
        let typed = self.user(call.form("username").unwrap_or(""));
        let typed = typed.filter(|(_, user)| call.form("password") == Some(user.spec.password.as_str()));
        match typed {
            None => self.page(page, Some("Invalid username or password.")),
            Some((_, user)) if !user.account.is_enabled => {
                self.page(page, Some("Account is disabled, contact your administrator."))
            }
            Some((key, _)) => {
                let key = key.clone();
                self.sign_in(page.request, (key, call.agent()))
            }
        }
    }

    fn sign_in(&mut self, request: AuthRequest, (user, browser): (String, &str)) -> Response {
        let browser = browser.to_owned();
        let sid = self.begin_login(Who { user, browser });
        self.answer(request, (sid, false))
    }

    fn login_page(&mut self, request: AuthRequest, browser: Option<&str>) -> Response {
        let page = Page {
            request,
            shown: self.now,
            browser: browser.map_or_else(|| self.random.uuid("keycloak/browser"), str::to_owned),
            session_code: self.random.token("keycloak/session_code"),
        };
        self.page(page, None)
    }

    /// Shows a page, with what was wrong with what was typed into it before.
    fn page(&mut self, page: Page, error: Option<&str>) -> Response {
        let tab = self.random.token("keycloak/tab_id")[..11].to_owned();
        let query = Serializer::new(String::new())
            .append_pair("session_code", &page.session_code)
            .append_pair("execution", EXECUTION)
            .append_pair("client_id", &page.request.client_id)
            .append_pair("tab_id", &tab)
            .append_pair("client_data", "")
            .finish();
        let action = format!("{}/login-actions/authenticate?{query}", self.realm.issuer);
        let at = self.cookies();
        let cookies = [
            cookie(at, AUTH_SESSION, &page.browser),
            cookie(at, "KC_RESTART", &page.session_code),
        ];
        self.secrets.keep("session_code", &page.session_code);
        self.realm.sessions.pages.put(tab, page);
        let error = error.map_or_else(String::new, |text| {
            format!(
                "<span id=\"input-error\" aria-live=\"polite\">{}</span>\n",
                escaped(text)
            )
        });
        let html = format!(
            "<!DOCTYPE html>\n<html><head><title>Sign in</title></head>\n<body>\n<h1>Sign in</h1>\n\
             <form id=\"kc-form-login\" action=\"{}\" method=\"post\">\n\
             <label for=\"username\">Username</label>\n\
             <input id=\"username\" name=\"username\" type=\"text\" autocomplete=\"username\" autofocus>\n\
             <label for=\"password\">Password</label>\n\
             <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\">\n\
             {error}<input type=\"hidden\" id=\"id-hidden-input\" name=\"credentialId\">\n\
             <input name=\"login\" id=\"kc-login\" type=\"submit\" value=\"Sign In\">\n</form>\n</body></html>\n",
            escaped(&action)
        );
        let cookies = AppendHeaders(cookies.map(|cookie| (header::SET_COOKIE, cookie)));
        (NOT_STORED, cookies, Html(html)).into_response()
    }

    /// Back to the client with a code for this session.
    fn answer(&mut self, request: AuthRequest, (sid, is_sso): (String, bool)) -> Response {
        let code = format!(
            "{}.{sid}.{}",
            self.random.uuid("keycloak/code"),
            self.random.uuid("keycloak/client")
        );
        let identity = self.keys.sign_own(&json!({
            "iss": self.realm.issuer, "sid": sid, "typ": "Serialized-ID", "iat": self.now.as_second(),
        }));
        self.secrets.keep("code", &code);
        self.secrets.keep("identity_cookie", &identity);
        let who = self
            .realm
            .sessions
            .who(&sid)
            .and_then(|who| self.users.get(&who.user));
        let subject = who.map_or("", |user| &user.subject);
        let session = format!("{}/{subject}/{sid}", self.realm.name);
        let at = self.cookies();
        let cookies = [cookie(at, IDENTITY, &identity), cookie(at, SESSION, &session)];
        let cookies = AppendHeaders(cookies.map(|cookie| (header::SET_COOKIE, cookie)));
        let fields = [("session_state", sid.as_str()), ("code", code.as_str())];
        let response = (cookies, self.back(&request, &fields)).into_response();
        let code_of = Code {
            sid,
            request,
            given: self.now,
            is_used: false,
            is_sso,
        };
        self.realm.sessions.codes.put(code, code_of);
        response
    }

    /// Back to where the client wants its answers.
    fn back(&self, request: &AuthRequest, fields: &[(&str, &str)]) -> Response {
        let Ok(mut url) = Url::parse(&request.redirect_uri) else {
            return error_page(StatusCode::BAD_REQUEST, "Invalid parameter: redirect_uri");
        };
        let state = request.state.as_deref().map(|state| ("state", state));
        let issuer = [("iss", self.realm.issuer.as_str())];
        let pairs = state.into_iter().chain(issuer).chain(fields.iter().copied());
        match request.answered {
            Answered::Query => {
                url.query_pairs_mut().extend_pairs(pairs);
            }
            Answered::Fragment => {
                let fragment = Serializer::new(String::new()).extend_pairs(pairs).finish();
                url.set_fragment(Some(&fragment));
            }
            Answered::Form => return posted(&url, pairs),
        }
        let location = [(header::LOCATION, String::from(url))];
        (StatusCode::FOUND, NOT_STORED, location).into_response()
    }

    /// Where the realm's cookies go, and whether only over TLS.
    pub(super) fn cookies(&self) -> (&str, bool) {
        (&self.realm.path, self.realm.issuer.starts_with("https:"))
    }
}

/// A page that posts these fields by itself.
fn posted<'a>(url: &Url, fields: impl Iterator<Item = (&'a str, &'a str)>) -> Response {
    let input = |(name, value)| {
        let (name, value) = (escaped(name), escaped(value));
        format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">\n")
    };
    let inputs: String = fields.map(input).collect();
    let page = format!(
        "<!DOCTYPE html>\n<html><body onload=\"document.forms[0].submit()\">\n<form method=\"post\" \
         action=\"{}\">\n{inputs}</form></body></html>\n",
        escaped(url.as_str())
    );
    (NOT_STORED, Html(page)).into_response()
}

/// A cookie of the realm at this path. Over plain HTTP no browser would send a `Secure` one back.
pub(super) fn cookie((path, is_secure): (&str, bool), name: &str, value: &str) -> HeaderValue {
    let text = Cookie::build((name, value))
        .path(format!("{path}/"))
        .http_only(name != SESSION)
        .same_site(if is_secure { SameSite::None } else { SameSite::Lax })
        .secure(is_secure)
        .build()
        .to_string();
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}
