//! The authorization endpoint and the login page: as scripts and browsers know them (MOCKS K4).

use std::sync::Arc;

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
    Shared,
    call::Call,
    config::ClientConfig,
    keycloak::{
        NOT_STORED, error_page, escaped,
        session::{AuthRequest, Challenge, Code, Page},
    },
    world::{Who, World},
};

/// The cookie that says who is signed in.
pub(crate) const IDENTITY: &str = "KEYCLOAK_IDENTITY";
/// The cookie that ties a login page to a browser.
const AUTH_SESSION: &str = "AUTH_SESSION_ID";
/// The id of the one step that a login has.
const EXECUTION: &str = "5a3f3c9e-65a4-4c4a-9d0a-6b1f0a1d2c3e";

type Asked = (State<Arc<Shared>>, Extension<Arc<Call>>);

/// `GET …/auth`, `POST …/auth`: back to the client if the browser is signed in, else the login page.
pub(super) async fn authorize((State(shared), Extension(call)): Asked) -> Response {
    let client = match may_ask(&shared, &call) {
        Ok(client) => client,
        Err(text) => return error_page(StatusCode::BAD_REQUEST, text),
    };
    let (request, problem) = read(&client, &call);
    if let Some((error, description)) = problem {
        return back(
            &shared,
            &request,
            &[("error", error), ("error_description", description)],
        );
    }
    let mut world = shared.world();
    let (now, prompt) = (world.now(), call.field("prompt").unwrap_or(""));
    let max_age = call
        .field("max_age")
        .and_then(|age| age.parse().ok())
        .map(SignedDuration::from_secs);
    let signed_in = call
        .cookie(IDENTITY)
        .and_then(|cookie| shared.keys.verify_own(cookie))
        .map(|claims| claims.text("sid").to_owned())
        .filter(|sid| {
            let login = world.sessions.live(sid, (&shared.config.lifetimes, now));
            login.is_some_and(|login| max_age.is_none_or(|age| now.duration_since(login.started) <= age))
        });
    match signed_in {
        Some(sid) if !prompt.split(' ').any(|word| word == "login") => {
            world.sessions.touch(&sid, now);
            world.answer(&shared, request, (sid, true))
        }
        _ if prompt == "none" => back(&shared, &request, &[("error", "login_required")]),
        _ => world.login_page(&shared, (request, call.cookie(AUTH_SESSION))),
    }
}

/// The client that asks, if it is known and may be answered at all.
fn may_ask(shared: &Shared, call: &Call) -> Result<ClientConfig, &'static str> {
    let id = call.field("client_id").ok_or("Missing parameters: client_id")?;
    let client = shared.config.client(id).ok_or("Client not found.")?;
    let uri = call.field("redirect_uri").unwrap_or("");
    let is_url = Url::parse(uri).is_ok();
    if !is_url || !client.may_lead_to(uri) {
        return Err("Invalid parameter: redirect_uri");
    }
    Ok(client)
}

/// What is asked, and what is wrong with it.
fn read(client: &ClientConfig, call: &Call) -> (AuthRequest, Option<(&'static str, &'static str)>) {
    let text = |name: &str| call.field(name).map(str::to_owned);
    let mut request = AuthRequest {
        client_id: client.client_id.clone(),
        redirect_uri: text("redirect_uri").unwrap_or_default(),
        scope: text("scope").unwrap_or_default(),
        state: text("state"),
        nonce: text("nonce"),
        in_fragment: call.field("response_mode") == Some("fragment"),
        challenge: None,
    };
    // What every client gets by default.
    let defaults = ["profile", "email"]
        .into_iter()
        .filter(|scope| !request.scope.split(' ').any(|found| found == *scope));
    let scopes: Vec<_> = request.scope.split_whitespace().chain(defaults).collect();
    request.scope = scopes.join(" ");
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

/// `POST …/login-actions/authenticate`: what was typed into the page.
pub(super) async fn authenticate((State(shared), Extension(call)): Asked) -> Response {
    let mut world = shared.world();
    let now = world.now();
    let page = call
        .query("tab_id")
        .and_then(|tab| world.sessions.pages.take(tab));
    let Some(page) = page else {
        return error_page(
            StatusCode::BAD_REQUEST,
            "This page was used already, or was never shown.",
        );
    };
    if call.cookie(AUTH_SESSION) != Some(page.browser.as_str()) {
        return error_page(StatusCode::BAD_REQUEST, "Cookie not found.");
    }
    let life = SignedDuration::try_from(shared.config.lifetimes.login).unwrap_or(SignedDuration::MAX);
    if call.query("session_code") != Some(page.session_code.as_str()) || now.duration_since(page.shown) > life
    {
        return error_page(StatusCode::BAD_REQUEST, "This page has expired.");
    }
    let name = call.form("username").unwrap_or("");
    let is_right = world
        .users
        .get(name)
        .is_some_and(|user| call.form("password") == Some(user.spec.password.as_str()));
    if !is_right {
        return world.page(&shared, page, Some("Invalid username or password."));
    }
    let who = Who {
        user: name.to_owned(),
        browser: call.agent().to_owned(),
    };
    let sid = world.begin_login(who);
    world.answer(&shared, page.request, (sid, false))
}

impl World {
    fn login_page(&mut self, shared: &Shared, (request, browser): (AuthRequest, Option<&str>)) -> Response {
        let random = self.seams.random.clone();
        let page = Page {
            request,
            shown: self.now(),
            browser: browser.map_or_else(|| random.uuid("keycloak/browser"), str::to_owned),
            session_code: random.token("keycloak/session_code"),
        };
        self.page(shared, page, None)
    }

    /// Shows a page, with what was wrong with what was typed into it before.
    fn page(&mut self, shared: &Shared, page: Page, error: Option<&str>) -> Response {
        let random = &self.seams.random;
        let tab = random.token("keycloak/tab_id")[..11].to_owned();
        let query = Serializer::new(String::new())
            .append_pair("session_code", &page.session_code)
            .append_pair("execution", EXECUTION)
            .append_pair("client_id", &page.request.client_id)
            .append_pair("tab_id", &tab)
            .append_pair("client_data", "")
            .finish();
        let action = format!("{}/login-actions/authenticate?{query}", shared.config.issuer());
        let cookies = [
            cookie(shared, AUTH_SESSION, &page.browser),
            cookie(shared, "KC_RESTART", &page.session_code),
        ];
        self.secrets.keep("session_code", &page.session_code);
        self.sessions.pages.put(tab, page);
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
    fn answer(&mut self, shared: &Shared, request: AuthRequest, (sid, is_sso): (String, bool)) -> Response {
        let random = &self.seams.random;
        let code = format!(
            "{}.{sid}.{}",
            random.uuid("keycloak/code"),
            random.uuid("keycloak/client")
        );
        let identity = shared.keys.sign_own(&json!({
            "iss": shared.config.issuer(), "sid": sid, "typ": "Serialized-ID", "iat": self.now().as_second(),
        }));
        self.secrets.keep("code", &code);
        self.secrets.keep("identity_cookie", &identity);
        let fields = [("session_state", sid.as_str()), ("code", code.as_str())];
        let cookies = AppendHeaders(
            [
                cookie(shared, IDENTITY, &identity),
                cookie(shared, "KEYCLOAK_SESSION", &sid),
            ]
            .map(|cookie| (header::SET_COOKIE, cookie)),
        );
        let response = (cookies, back(shared, &request, &fields)).into_response();
        let given = self.now();
        self.sessions.codes.put(
            code.clone(),
            Code {
                sid,
                request,
                given,
                is_used: false,
                is_sso,
            },
        );
        response
    }
}

/// Back to where the client wants its answers.
fn back(shared: &Shared, request: &AuthRequest, fields: &[(&str, &str)]) -> Response {
    let Ok(mut url) = Url::parse(&request.redirect_uri) else {
        return error_page(StatusCode::BAD_REQUEST, "Invalid parameter: redirect_uri");
    };
    let issuer = shared.config.issuer();
    let state = request.state.as_deref().map(|state| ("state", state));
    let pairs = state
        .into_iter()
        .chain([("iss", issuer.as_str())])
        .chain(fields.iter().copied());
    if request.in_fragment {
        let fragment = Serializer::new(String::new()).extend_pairs(pairs).finish();
        url.set_fragment(Some(&fragment));
    } else {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    (
        StatusCode::FOUND,
        NOT_STORED,
        [(header::LOCATION, String::from(url))],
    )
        .into_response()
}

/// A cookie of the realm. Over plain HTTP no browser would send a `Secure` one back.
pub(super) fn cookie(shared: &Shared, name: &str, value: &str) -> HeaderValue {
    let is_secure = shared.config.keycloak_url.scheme() == "https";
    let text = Cookie::build((name, value))
        .path(format!("{}/", shared.config.realm_path()))
        .http_only(true)
        .same_site(if is_secure { SameSite::None } else { SameSite::Lax })
        .secure(is_secure)
        .build()
        .to_string();
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}
