//! What can be set of a Keycloak realm and its clients, in the words of Keycloak's own representations.

use std::{fmt, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::Url;

use crate::{error::ControlError, json::lay_over, route::nearest};

/// Settings of a realm; the defaults are Keycloak's. Times are whole seconds, as Keycloak's own fields are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RealmSettings {
    /// Whether anybody is let in at all.
    pub enabled: bool,
    /// Whether calls must come over TLS.
    pub ssl_required: SslRequired,
    /// Life of an access token.
    pub access_token_lifespan: u32,
    /// A session ends when it was not used for so long; refresh tokens live so long.
    pub sso_session_idle_timeout: u32,
    /// A session ends at this age.
    pub sso_session_max_lifespan: u32,
    /// A client's part of a session ends when not used for so long; 0 is as long as the session.
    pub client_session_idle_timeout: u32,
    /// A client's part of a session ends at this age; 0 is as long as the session.
    pub client_session_max_lifespan: u32,
    /// An offline token is good as long as it is used within this time.
    pub offline_session_idle_timeout: u32,
    /// Time to trade a code for tokens.
    pub access_code_lifespan: u32,
    /// Time to pass the login page.
    pub access_code_lifespan_login: u32,
    /// Rotation: whether a refresh token is good for one refresh only.
    pub revoke_refresh_token: bool,
    /// With rotation: how often more than once.
    pub refresh_token_max_reuse: u32,
    /// Tokens issued before this time (seconds since 1970) are no good.
    pub not_before: i64,
}

impl Default for RealmSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            ssl_required: SslRequired::External,
            access_token_lifespan: 300,
            sso_session_idle_timeout: 1_800,
            sso_session_max_lifespan: 36_000,
            client_session_idle_timeout: 0,
            client_session_max_lifespan: 0,
            offline_session_idle_timeout: 2_592_000,
            access_code_lifespan: 60,
            access_code_lifespan_login: 1_800,
            revoke_refresh_token: false,
            refresh_token_max_reuse: 0,
            not_before: 0,
        }
    }
}

/// Some of a realm's settings; the others stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SomeSettings(#[schemars(with = "RealmSettings")] Map<String, Value>);

impl fmt::Display for SomeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Value::from(self.0.clone()).to_string())
    }
}

impl SomeSettings {
    /// All settings, as a document has them.
    pub(crate) fn all(settings: &RealmSettings) -> Self {
        match json!(settings) {
            Value::Object(all) => Self(all),
            _ => Self::default(),
        }
    }

    /// Checks that every setting exists and has a possible value.
    ///
    /// # Errors
    ///
    /// The first setting that a realm does not have, or that has an impossible value.
    pub fn check(&self) -> Result<(), ControlError> {
        self.over(&RealmSettings::default()).map(drop)
    }

    /// These settings, laid over others.
    pub(crate) fn over(&self, settings: &RealmSettings) -> Result<RealmSettings, ControlError> {
        let mut whole = json!(settings);
        if let Some(unknown) = self.0.keys().find(|name| whole.get(name).is_none()) {
            let known = whole.as_object().into_iter().flatten();
            return Err(ControlError::UnknownSetting {
                nearest: nearest(unknown, known.map(|(name, _)| name.as_str())),
                name: unknown.clone(),
            });
        }
        lay_over(&mut whole, &Value::Object(self.0.clone()));
        serde_json::from_value(whole).map_err(|error| ControlError::BadSetting(error.to_string()))
    }
}

/// From where calls must come over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SslRequired {
    /// From everywhere.
    All,
    /// From outside; private addresses and this machine may do without. The mocks are on this machine.
    External,
    /// From nowhere.
    None,
}

/// Ways in which versions of Keycloak differ, and known defects of some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Quirks {
    /// By what uses of a refresh token are counted when rotation is on.
    pub reuse: ReuseCount,
    /// Form of `sid`.
    pub sid: SidForm,
    /// What clients are told when all of a user's sessions end at once.
    pub user_logout: UserLogout,
}

/// By what uses of a refresh token are counted when rotation is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReuseCount {
    /// By sign-in, so that two tabs do not disturb each other (26 and later).
    #[default]
    PerLogin,
    /// By client and session: two tabs that refresh cost each other the session (before 26).
    PerClient,
    /// Not reliably: refreshes of one token within a second of each other all succeed.
    Racy,
}

/// Form of `sid`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SidForm {
    /// A UUID (up to 26.4).
    #[default]
    Uuid,
    /// 24 characters of base64url (newer).
    Short,
}

/// What clients are told when all of a user's sessions end at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserLogout {
    /// One call each with the `sid` of one of the sessions, as Keycloak does.
    #[default]
    OneSid,
    /// One call each without `sid`: all sessions are meant.
    NoSid,
}

/// A client of a realm.
#[expect(clippy::struct_excessive_bools, reason = "they are Keycloak's own switches")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClientConfig {
    /// Its id.
    pub client_id: String,
    /// Whether it is known at all.
    pub enabled: bool,
    /// Its secret; a public client (a page in a browser) has none.
    #[serde(skip_serializing)]
    pub secret: Option<String>,
    /// Where its logins may lead; a trailing `*` stands for anything.
    pub redirect_uris: Vec<String>,
    /// Where its log-outs may lead; `+` stands for the redirect URIs.
    pub post_logout_redirect_uris: Vec<String>,
    /// Origins whose pages may call (CORS); `+` stands for those of the redirect URIs, `*` for all.
    pub web_origins: Vec<String>,
    /// `aud` of its access tokens: absent, one, or several.
    pub audience: Vec<String>,
    /// Whether it may trade a person's password for tokens.
    #[serde(rename = "directAccessGrantsEnabled")]
    pub password_grant: bool,
    /// Whether it may have tokens for itself.
    #[serde(rename = "serviceAccountsEnabled")]
    pub service_account: bool,
    /// Roles of its own account.
    pub service_account_roles: Vec<String>,
    /// Life of its access tokens in seconds, if not the realm's.
    pub access_token_lifespan: Option<u32>,
    /// `bearer` instead of `Bearer`.
    pub use_lower_case_in_token_response: bool,
    /// Tokens of it issued before this time (seconds since 1970) are no good.
    pub not_before: i64,
    /// Where it takes back-channel logouts.
    #[schemars(with = "Option<String>")]
    pub backchannel_logout_url: Option<Url>,
    /// Whether those name the session.
    pub backchannel_session_required: bool,
    /// Where it takes Keycloak's older administrative calls (`k_logout`, `k_push_not_before`).
    #[schemars(with = "Option<String>")]
    pub admin_url: Option<Url>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            client_id: String::new(),
            enabled: true,
            secret: None,
            redirect_uris: Vec::new(),
            post_logout_redirect_uris: vec!["+".to_owned()],
            web_origins: vec!["+".to_owned()],
            audience: vec!["account".to_owned()],
            password_grant: true,
            service_account: false,
            service_account_roles: Vec::new(),
            access_token_lifespan: None,
            use_lower_case_in_token_response: false,
            not_before: 0,
            backchannel_logout_url: None,
            backchannel_session_required: true,
            admin_url: None,
        }
    }
}

impl ClientConfig {
    /// Whether a login of this client may lead there.
    pub(crate) fn may_lead_to(&self, uri: &str) -> bool {
        is_among(&self.redirect_uris, uri)
    }

    /// Whether a log-out of this client may lead there.
    pub(crate) fn may_leave_to(&self, uri: &str) -> bool {
        let as_logins = self
            .post_logout_redirect_uris
            .iter()
            .any(|allowed| allowed == "+");
        is_among(&self.post_logout_redirect_uris, uri) || as_logins && self.may_lead_to(uri)
    }

    /// Whether pages from there may call.
    pub(crate) fn allows_origin(&self, origin: &str) -> bool {
        self.web_origins.iter().any(|allowed| match allowed.as_str() {
            "*" => true,
            "+" => self.redirect_uris.iter().any(|uri| is_origin_of(origin, uri)),
            exact => exact == origin,
        })
    }

    /// `allowed-origins` of its tokens.
    pub(crate) fn origins(&self) -> Vec<&str> {
        let named = self.web_origins.iter().map(String::as_str);
        named.filter(|origin| *origin != "+").collect()
    }
}

fn is_among(patterns: &[String], uri: &str) -> bool {
    patterns.iter().any(|allowed| match allowed.strip_suffix('*') {
        Some(start) => uri.starts_with(start),
        None => uri == allowed,
    })
}

/// Whether a redirect URI that may end in `*` lies at this origin.
fn is_origin_of(origin: &str, uri: &str) -> bool {
    match uri.strip_suffix('*') {
        // `http://localhost:*` stands for every port.
        Some(start) if !start.ends_with('/') => origin.starts_with(start),
        start => {
            let url = Url::parse(start.unwrap_or(uri));
            url.is_ok_and(|url| url.origin().ascii_serialization() == origin)
        }
    }
}

/// A time of the realm's settings.
pub(crate) fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_one_that_was_registered() {
        let client = ClientConfig {
            redirect_uris: vec!["http://a/back".into(), "http://localhost:*".into()],
            post_logout_redirect_uris: vec!["http://a/bye".into()],
            ..ClientConfig::default()
        };

        for (uri, may_lead, may_leave) in [
            ("http://a/back", true, false),
            ("http://a/back/more", false, false),
            ("http://localhost:80/x", true, false),
            ("http://a/bye", false, true),
        ] {
            assert_eq!(
                (client.may_lead_to(uri), client.may_leave_to(uri)),
                (may_lead, may_leave),
                "{uri}"
            );
        }
    }

    #[test]
    fn origins_are_named_or_those_of_the_redirects() {
        let client = ClientConfig {
            redirect_uris: vec!["http://a/back/*".into(), "http://localhost:*".into()],
            web_origins: vec!["+".into(), "https://b".into()],
            ..ClientConfig::default()
        };

        for (origin, is_allowed) in [
            ("http://a", true),
            ("http://localhost:8080", true),
            ("https://b", true),
            ("https://a", false),
            ("https://b.example", false),
        ] {
            assert_eq!(client.allows_origin(origin), is_allowed, "{origin}");
        }
    }
}
