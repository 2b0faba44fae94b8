//! What a scenario orders of the services: state, events, faults, sign-ins and sign-outs.

use std::collections::BTreeMap;

use polytab_mocks::{
    fault::{action::FaultAction, when::When},
    order::Verb,
    shape::Either,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{
    located::Located,
    people::Refresh,
    window::{Span, Window},
};

/// A change of the world.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Set {
    /// Whose state changes.
    pub user: Option<String>,
    /// The user's backend sessions (V2), all of them, in the order the backend lists them.
    pub sessions: Option<Vec<Value>>,
    /// The user's backend sessions (V1), by name.
    pub servers: Option<BTreeMap<String, Value>>,
    /// Knowledge-graph status by project.
    pub graph: Option<BTreeMap<String, Value>>,
    /// The projects the user may see.
    pub projects: Option<Vec<u64>>,
    /// What the identity provider says to the user's next refreshes.
    pub refresh: Option<Refresh>,
}

/// `backend_session: { name: my-session, do: hibernate }`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendSession {
    /// What it is called.
    pub name: String,
    /// What happens to it.
    #[serde(rename = "do")]
    pub verb: Verb,
    /// Whose it is; need not be told while only one user has one of that name.
    #[serde(default)]
    pub user: Option<String>,
    /// Why it fails.
    #[serde(default)]
    pub message: Option<String>,
}

/// An event that a service pushes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Emit {
    /// Which service.
    pub service: Service,
    /// The topic, as `/project/42/issue`.
    pub topic: String,
    /// The payload, as it is; a full one, as GitLab makes it, unless told.
    #[serde(default)]
    pub json: Option<Value>,
}

/// A service that pushes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// GitLab.
    Gitlab,
}

/// A misbehaviour of one route.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The route's name, or a service for all of its routes (`keycloak`).
    pub route: Located<String>,
    /// Only for calls on behalf of this user.
    #[serde(default)]
    pub user: Option<String>,
    /// Only for calls in this browser of the user.
    #[serde(default)]
    pub browser: Option<String>,
    /// Only for calls of this client (`client_id`): the one that authenticates itself, or the one that the token was
    /// issued to.
    #[serde(default)]
    pub client: Option<String>,
    /// Only for calls with this verb.
    #[serde(default)]
    pub method: Option<String>,
    /// Only for calls of this path, with its query.
    #[serde(default)]
    pub path: Option<String>,
    /// Which of those calls; all unless told.
    #[serde(default)]
    pub when: Option<When>,
    /// What happens.
    #[serde(rename = "do")]
    pub action: FaultAction<Window>,
    /// How many calls meet it; all, until healed, unless told.
    #[serde(default)]
    pub times: Option<u32>,
    /// For how long.
    #[serde(default, rename = "for")]
    pub duration: Option<Window>,
}

/// A route, or all: `heal: backend.sessions`, `heal: all`, `heal: { route: backend.sessions }`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(from = "Located<Either<String, RouteSettings>>")]
pub struct RouteRef {
    /// The route's name, a service, or `all`.
    pub route: Located<String>,
}

impl From<Located<Either<String, RouteSettings>>> for RouteRef {
    fn from(Located { at, value }: Located<Either<String, RouteSettings>>) -> Self {
        match value {
            Either::Short(value) => Self {
                route: Located { at, value },
            },
            Either::Full(settings) => Self {
                route: settings.route,
            },
        }
    }
}

/// A route under its key.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RouteSettings {
    /// The route's name, a service, or `all`.
    route: Located<String>,
}

/// `hold: { route: backend.sessions, user: ada, times: 1 }`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// The route's name.
    pub route: Located<String>,
    /// Only for calls on behalf of this user.
    #[serde(default)]
    pub user: Option<String>,
    /// How many answers; all, until released, unless told.
    #[serde(default)]
    pub times: Option<u32>,
}

/// A sign-in.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Who.
    pub user: String,
    /// In which browser.
    #[serde(default)]
    pub browser: Option<String>,
    /// Life of an access token from now on.
    #[serde(default)]
    pub access_token: Option<Span>,
    /// What the identity provider says to a refresh from now on.
    #[serde(default)]
    pub refresh: Option<Refresh>,
}

/// A sign-out.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logout {
    /// Who.
    pub user: String,
    /// In which browser.
    #[serde(default)]
    pub browser: Option<String>,
    /// How the server learns of it.
    #[serde(default)]
    pub via: LogoutVia,
}

/// How a server learns of a sign-out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogoutVia {
    /// The identity provider calls it (back-channel logout).
    #[default]
    Backchannel,
    /// The browser visits its logout page.
    Browser,
    /// It is not told: the session is simply over at the identity provider.
    Silent,
}

/// A token or session that ends before its time.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expire {
    /// Whose.
    pub user: String,
    /// In which browser.
    #[serde(default)]
    pub browser: Option<String>,
}
