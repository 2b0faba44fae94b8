//! Who makes a call, and which calls an order is about.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    call::Call,
    error::ControlError,
    keycloak::{keys, login::IDENTITY},
    route::Selector,
    world::{GATEWAY_COOKIE, World},
};

/// On whose behalf something is done, in scenario names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Who {
    /// The user.
    pub user: String,
    /// The browser in which that user signed in.
    pub browser: String,
}

/// Who makes a call, by what it carries: known also when that is over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Party {
    /// On whose behalf.
    #[serde(flatten)]
    pub who: Option<Who>,
    /// The login session at Keycloak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The client: the one that authenticates itself, or the one that the token was issued to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

impl Party {
    /// The user's name.
    pub(crate) fn user(&self) -> Option<&str> {
        self.who.as_ref().map(|who| who.user.as_str())
    }

    /// The browser in which that user signed in.
    pub(crate) fn browser(&self) -> Option<&str> {
        self.who.as_ref().map(|who| who.browser.as_str())
    }
}

/// A call as orders and the journal know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Seen {
    /// Name of the route.
    pub route: &'static str,
    /// Verb.
    pub method: String,
    /// Path and query as seen, secrets hashed.
    pub path: String,
    /// Who makes it.
    #[serde(flatten)]
    pub party: Party,
}

/// Which calls are meant; an absent field means any.
///
/// ```json
/// { "route": "keycloak.token", "method": "POST", "user": "ada", "client": "renku-ui" }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CallMatch {
    /// The route's name, a service for all of its routes (`keycloak`), or `all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The verb, in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// On behalf of this user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// In this browser of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub browser: Option<String>,
    /// The client (`client_id`): the one that authenticates itself, or the one that the token was issued to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The login session at Keycloak (`sid`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Path and query exactly as the journal shows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl CallMatch {
    /// All calls of these routes.
    pub fn of(route: &str) -> Self {
        Self {
            route: Some(route.to_owned()),
            ..Self::default()
        }
    }

    /// Only those on behalf of this user.
    #[must_use]
    pub fn by(self, user: Option<String>) -> Self {
        Self { user, ..self }
    }

    /// The routes that are meant.
    pub(crate) fn selector(&self) -> Result<Selector, ControlError> {
        Selector::parse(self.route.as_deref().unwrap_or("all"))
    }

    /// Whether a call is one of those on any of their routes.
    pub(crate) fn takes(&self, seen: &Seen) -> bool {
        let is =
            |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
        let method = self.method.as_ref();
        method.is_none_or(|method| method.eq_ignore_ascii_case(&seen.method))
            && is(&self.user, seen.party.user())
            && is(&self.browser, seen.party.browser())
            && is(&self.client, seen.party.client.as_deref())
            && is(&self.session, seen.party.session.as_deref())
            && is(&self.path, Some(&seen.path))
    }
}

impl World {
    /// Who makes a call.
    pub(crate) fn party(&self, call: &Call) -> Party {
        let token = call.tokens().find(|token| keys::sid(token).is_some());
        let sid = token.and_then(keys::sid);
        let realms = || self.realms.values();
        let session = sid
            .or_else(|| {
                let code = call.form("code")?;
                realms().find_map(|realm| realm.sessions.sid_by_code(code))
            })
            .or_else(|| keys::sid(call.cookie(IDENTITY)?));
        let by_session = session
            .as_deref()
            .and_then(|sid| realms().find_map(|realm| realm.sessions.who(sid)));
        let who = by_session
            .or_else(|| {
                let user = call
                    .form("username")
                    .filter(|name| self.users.contains_key(name))?;
                Some(Who {
                    user: user.to_owned(),
                    browser: call.agent().to_owned(),
                })
            })
            .or_else(|| self.cookies.get(call.cookie(GATEWAY_COOKIE)?).cloned())
            .or_else(|| self.gateway.who(call.cookie(GATEWAY_COOKIE)?));
        let named = call.form("client_id").or_else(|| call.query("client_id"));
        let client = named
            .map(str::to_owned)
            .or_else(|| call.basic().map(|(client, _)| client))
            .or_else(|| keys::claim(token?, "azp"));
        Party { who, session, client }
    }
}
