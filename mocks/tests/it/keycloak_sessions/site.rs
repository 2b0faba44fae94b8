//! The mock as browsers, clients and an administrator reach it.

use std::collections::BTreeMap;

use axum::{Router, body::Body};
use http::{Request, header};
use polytab_mocks::{
    Mocks,
    config::MocksConfig,
    order::UserSpec,
    realm::{ClientConfig, RealmSettings},
};
use serde_json::{Value, json};
use url::Url;

use super::model::{ACCESS, IDLE, Kind, MAX};
use crate::support::{Answer, OIDC, REDIRECT, SECRET, get, post_form, seams, send, send_json, text};

pub(crate) const CLIENTS: [&str; 2] = ["renku-ui", "portal"];
const ADMIN: &str = "/auth/admin/realms/Renku";

/// What one login or refresh gave.
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) id: String,
    pub(crate) sid: String,
    /// The code of the login that it all began with.
    pub(crate) code: String,
}

impl Tokens {
    fn read(answer: &Value, code: &str) -> Self {
        let text = |name| text(answer, name).to_owned();
        Self {
            access: text("access_token"),
            refresh: text("refresh_token"),
            id: text("id_token"),
            sid: text("session_state"),
            code: code.to_owned(),
        }
    }

    fn one(&self, kind: Kind) -> &str {
        match kind {
            Kind::Access => &self.access,
            Kind::Refresh => &self.refresh,
        }
    }
}

pub(crate) struct Site {
    mocks: Mocks,
    keycloak: Router,
    pub(crate) given: Vec<Tokens>,
    jars: BTreeMap<&'static str, BTreeMap<String, String>>,
}

impl Site {
    pub(crate) fn new(users: &[&str]) -> Self {
        let seconds = |seconds: i64| u32::try_from(seconds).unwrap();
        let config = MocksConfig {
            settings: RealmSettings {
                access_token_lifespan: seconds(ACCESS),
                sso_session_idle_timeout: seconds(IDLE),
                sso_session_max_lifespan: seconds(MAX),
                ..RealmSettings::default()
            },
            other_clients: vec![ClientConfig {
                client_id: CLIENTS[1].to_owned(),
                secret: Some(SECRET.to_owned()),
                redirect_uris: vec![REDIRECT.to_owned()],
                ..ClientConfig::default()
            }],
            ..MocksConfig::default()
        };
        let mocks = Mocks::new(config, seams());
        for user in users {
            let spec = UserSpec {
                password: "p".to_owned(),
                ..UserSpec::default()
            };
            mocks.put_user(user, spec).unwrap();
        }
        Self {
            keycloak: mocks.keycloak(),
            mocks,
            given: Vec::new(),
            jars: BTreeMap::new(),
        }
    }

    /// A form sent by a client.
    async fn call(&self, endpoint: &str, client: &str, form: &[(&str, &str)]) -> Answer {
        let own = [("client_id", client), ("client_secret", SECRET)];
        let path = format!("{OIDC}/{endpoint}");
        post_form(self.keycloak.clone(), &path, &[form, &own].concat()).await
    }

    /// A request of a browser, which keeps the cookies that it gets.
    async fn browse(&mut self, browser: &'static str, method: &str, (path, form): (&str, &str)) -> Answer {
        let jar = self.jars.entry(browser).or_default();
        let cookies: Vec<_> = jar
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::USER_AGENT, browser)
            .header(header::COOKIE, cookies.join("; "))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form.to_owned()))
            .unwrap();
        let answer = send(self.keycloak.clone(), request).await;
        let set = answer.cookies();
        let set = set.split("; ").filter_map(|cookie| cookie.split_once('='));
        jar.extend(set.map(|(name, value)| (name.to_owned(), value.to_owned())));
        answer
    }

    /// Goes through a login; says whether there was a page, and whether there are tokens now.
    pub(crate) async fn log_in(&mut self, browser: &'static str, user: &str, client: &str) -> (bool, bool) {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("client_id", client), ("redirect_uri", REDIRECT)])
            .extend_pairs([("response_type", "code"), ("scope", "openid")])
            .finish();
        let mut answer = self
            .browse(browser, "GET", (&format!("{OIDC}/auth?{query}"), ""))
            .await;
        let is_page = answer.status == 200;
        if is_page {
            let action = answer.text.split("action=\"").nth(1).unwrap();
            let action = action.split('"').next().unwrap().replace("&amp;", "&");
            let action = Url::parse(&action).unwrap();
            let path = format!("{}?{}", action.path(), action.query().unwrap());
            let typed = format!("username={user}&password=p");
            answer = self.browse(browser, "POST", (&path, &typed)).await;
        }
        if answer.status != 302 {
            return (is_page, false);
        }
        let back = answer.location();
        let code = back.query_pairs().find(|(name, _)| name == "code").unwrap().1;
        let tokens = self.trade_code(&code, client).await;
        let is_given = tokens.status == 200;
        if is_given {
            self.given.push(Tokens::read(&tokens.json(), &code));
        }
        (is_page, is_given)
    }

    async fn trade_code(&self, code: &str, client: &str) -> Answer {
        let form = [("code", code), ("redirect_uri", REDIRECT)];
        let grant = [("grant_type", "authorization_code")];
        self.call("token", client, &[&grant[..], &form].concat()).await
    }

    pub(crate) async fn replay_code(&self, nth: usize, client: &str) -> Answer {
        self.trade_code(&self.given[nth].code, client).await
    }

    pub(crate) async fn refresh(&mut self, nth: usize, by: &str) -> Answer {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", &self.given[nth].refresh),
        ];
        let answer = self.call("token", by, &form).await;
        if answer.status == 200 {
            let code = self.given[nth].code.clone();
            self.given.push(Tokens::read(&answer.json(), &code));
        }
        answer
    }

    /// Introspection or revocation of a token.
    pub(crate) async fn about(&self, endpoint: &str, (kind, nth): (Kind, usize), by: &str) -> Answer {
        self.call(endpoint, by, &[("token", self.given[nth].one(kind))])
            .await
    }

    pub(crate) async fn userinfo(&self, nth: usize) -> Answer {
        let path = format!("{OIDC}/userinfo");
        get(self.keycloak.clone(), &path, Some(&self.given[nth].access)).await
    }

    pub(crate) async fn log_out(&self, nth: usize, by: &str) -> Answer {
        let form = [("refresh_token", self.given[nth].refresh.as_str())];
        self.call("logout", by, &form).await
    }

    /// A browser visits the logout page.
    pub(crate) async fn leave(&mut self, browser: &'static str, hint: Option<usize>) -> Answer {
        let query = hint.map_or_else(String::new, |nth| {
            let to = "post_logout_redirect_uri=http://server/auth/callback";
            format!("?{to}&id_token_hint={}", self.given[nth].id)
        });
        self.browse(browser, "GET", (&format!("{OIDC}/logout{query}"), ""))
            .await
    }

    /// An order over the control API.
    pub(crate) async fn order(&self, method: &str, path: &str, body: &Value) {
        let path = format!("/realms/Renku{path}");
        let answer = send_json(self.mocks.control(), (method, &path), None, body).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text);
    }

    /// A request of the administrator.
    pub(crate) async fn administer(&self, method: &str, path: &str) -> Answer {
        let form = [
            ("grant_type", "password"),
            ("client_id", "admin-cli"),
            ("username", "admin"),
            ("password", "password-of-admin"),
        ];
        let path_of_token = "/auth/realms/master/protocol/openid-connect/token";
        let token = post_form(self.keycloak.clone(), path_of_token, &form)
            .await
            .json();
        let path = format!("{ADMIN}{path}");
        let bearer = Some(text(&token, "access_token"));
        send_json(self.keycloak.clone(), (method, &path), bearer, &json!({})).await
    }

    pub(crate) fn subject(&self, user: &str) -> String {
        self.mocks.subject(user).unwrap().0
    }
}
