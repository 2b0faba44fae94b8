//! Requests to the mocks without a network, and the way through the login page.

pub(crate) mod gitlab;
pub(crate) mod receiver;
pub(crate) mod schema;
pub(crate) mod stage;

use axum::{Router, body::Body};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use polytab_mocks::{Mocks, config::MocksConfig, order::UserSpec};
use polytab_seams::{Seams, clock::Clock, net::TcpDial, random::Random};
use serde_json::Value;
use tower::ServiceExt;
use url::Url;

pub(crate) const OIDC: &str = "/auth/realms/Renku/protocol/openid-connect";
pub(crate) const SECRET: &str = "client-secret-for-tests-only";
pub(crate) const REDIRECT: &str = "http://server/auth/callback";

pub(crate) fn seams() -> Seams {
    Seams {
        clock: Clock::derived("2026-01-01T00:00:00Z".parse().unwrap(), 1),
        random: Random::seeded(1),
        dial: std::sync::Arc::new(TcpDial),
    }
}

/// Mocks that know ada, who owns project 42 and one session.
pub(crate) fn mocks_with(config: MocksConfig) -> Mocks {
    mocks_on(seams(), config)
}

/// The same with other seams.
pub(crate) fn mocks_on(seams: Seams, config: MocksConfig) -> Mocks {
    let mocks = Mocks::new(config, seams);
    let ada = UserSpec {
        password: "password-of-ada".into(),
        projects: vec![42],
        sessions: vec![serde_json::json!({"name": "s1"})],
        ..UserSpec::default()
    };
    mocks.put_user("ada", ada).unwrap();
    mocks
}

pub(crate) fn mocks() -> Mocks {
    mocks_with(MocksConfig::default())
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// Status, `error` and `error_description`, as tables list them.
    pub(crate) fn refusal(&self) -> (u16, String, String) {
        let json = self.json();
        let text = |name: &str| json[name].as_str().unwrap_or("").to_owned();
        (self.status.as_u16(), text("error"), text("error_description"))
    }

    pub(crate) fn location(&self) -> Url {
        Url::parse(self.headers[header::LOCATION].to_str().unwrap()).unwrap()
    }

    pub(crate) fn cookies(&self) -> String {
        let cookies = self.headers.get_all(header::SET_COOKIE).iter();
        let pairs: Vec<_> = cookies
            .map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap())
            .collect();
        pairs.join("; ")
    }
}

pub(crate) async fn send(router: Router, request: Request<Body>) -> Answer {
    let (head, body) = router.oneshot(request).await.unwrap().into_parts();
    let bytes = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    Answer {
        status: head.status,
        headers: head.headers,
        text: String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

pub(crate) async fn get(router: Router, path: &str, bearer: Option<&str>) -> Answer {
    let mut request = Request::get(path);
    if let Some(token) = bearer {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    send(router, request.body(Body::empty()).unwrap()).await
}

/// A call with a JSON body.
pub(crate) async fn send_json(
    router: Router,
    (method, path): (&str, &str),
    bearer: Option<&str>,
    body: &Value,
) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(token) = bearer {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    send(router, request.body(Body::from(body.to_string())).unwrap()).await
}

pub(crate) async fn post_form(router: Router, path: &str, form: &[(&str, &str)]) -> Answer {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let request = Request::post(path)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::USER_AGENT, "desk")
        .body(Body::from(body))
        .unwrap();
    send(router, request).await
}

/// A call of the token endpoint by the server's client.
pub(crate) async fn token(mocks: &Mocks, form: &[(&str, &str)]) -> Answer {
    let own = [("client_id", "renku-ui"), ("client_secret", SECRET)];
    post_form(mocks.keycloak(), &format!("{OIDC}/token"), &[form, &own].concat()).await
}

/// The address of the authorization endpoint with these fields more.
pub(crate) fn auth_path(more: &[(&str, &str)]) -> String {
    let usual = [
        ("client_id", "renku-ui"),
        ("redirect_uri", REDIRECT),
        ("response_type", "code"),
        ("scope", "openid"),
        ("state", "the-state"),
        ("nonce", "the-nonce"),
    ];
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(usual)
        .extend_pairs(more)
        .finish();
    format!("{OIDC}/auth?{query}")
}

/// What a browser is left with after the login page: the answer that leads back, and its cookies.
pub(crate) async fn sign_in(mocks: &Mocks, password: &str, more: &[(&str, &str)]) -> Answer {
    pass_page(mocks, &auth_path(more), password).await
}

/// Where a browser is led back to from this address.
pub(crate) async fn sign_in_at(mocks: &Mocks, address: &Url, password: &str) -> Url {
    let path = format!("{}?{}", address.path(), address.query().unwrap_or(""));
    pass_page(mocks, &path, password).await.location()
}

async fn pass_page(mocks: &Mocks, path: &str, password: &str) -> Answer {
    let page = get(mocks.keycloak(), path, None).await;
    let action = page
        .text
        .split("action=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let action = Url::parse(&action.replace("&amp;", "&")).unwrap();
    let path = format!("{}?{}", action.path(), action.query().unwrap());
    let request = Request::post(path)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::USER_AGENT, "desk")
        .header(header::COOKIE, page.cookies())
        .body(Body::from(format!("username=ada&password={password}")))
        .unwrap();
    send(mocks.keycloak(), request).await
}

/// A code for ada.
pub(crate) async fn code(mocks: &Mocks, more: &[(&str, &str)]) -> String {
    let back = sign_in(mocks, "password-of-ada", more).await;
    let pairs: Vec<_> = back.location().query_pairs().into_owned().collect();
    pairs.into_iter().find(|(name, _)| name == "code").unwrap().1
}

/// The token endpoint's answer to a fresh sign-in of ada.
pub(crate) async fn tokens(mocks: &Mocks) -> Value {
    let code = code(mocks, &[]).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", REDIRECT),
    ];
    token(mocks, &form).await.json()
}

pub(crate) fn text<'a>(json: &'a Value, name: &str) -> &'a str {
    json[name].as_str().unwrap()
}

/// An access token of a user with this password, without a page.
pub(crate) async fn access_of(mocks: &Mocks, user: &str, password: &str) -> String {
    let form = [
        ("grant_type", "password"),
        ("username", user),
        ("password", password),
        ("scope", "openid"),
    ];
    text(&token(mocks, &form).await.json(), "access_token").to_owned()
}
