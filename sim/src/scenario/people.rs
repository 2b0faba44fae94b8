//! The people of a scenario and their tabs: what is declared before anything happens.

use polytab_mocks::shape::Either;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::window::Span;

/// The browser of a tab that names none.
pub(crate) const DEFAULT_BROWSER: &str = "default";

/// One person.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct User {
    /// Life of an access token; 5 min unless told (Keycloak's default).
    pub access_token: Option<Span>,
    /// What the identity provider says to a refresh.
    pub refresh: Refresh,
    /// Projects the person may see.
    pub projects: Vec<u64>,
    /// Backend sessions running at the start; each is laid over a complete default one.
    pub sessions: Vec<Value>,
}

/// What the identity provider says to a refresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Refresh {
    /// New tokens.
    #[default]
    Granted,
    /// The session is over.
    Refused,
}

/// One tab.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tab {
    /// Whose it is.
    pub user: String,
    /// Which of the user's browsers it is in; each browser has a login session of its own.
    #[serde(default)]
    pub browser: Option<String>,
    /// Visible or not when it opens.
    #[serde(default)]
    pub state: TabState,
    /// How it behaves by itself, if otherwise than the rest.
    #[serde(default)]
    pub client: Option<Client>,
    /// What it shows as its cookie.
    #[serde(default)]
    pub cookie: Cookie,
    /// The `Origin` it sends, if not the target's own.
    #[serde(default)]
    pub origin: Option<String>,
}

/// Whether a tab is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TabState {
    /// Its timers run on time.
    #[default]
    Foreground,
    /// Its timers are throttled, as browsers do with hidden tabs.
    Background,
}

/// What a tab shows as its cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cookie {
    /// That of its browser's login session.
    #[default]
    Own,
    /// None.
    None,
    /// One that names no login session.
    Unknown,
}

/// What a tab does by itself.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(from = "Either<ClientWord, ClientSettings>")]
pub enum Client {
    /// What the deployed page does: pulls on open, answers `init`, pings, comes back (PROTOCOL B7).
    #[default]
    Page,
    /// Only what the steps say.
    Bare,
    /// The page with other settings.
    Custom(ClientSettings),
}

impl From<Either<ClientWord, ClientSettings>> for Client {
    fn from(either: Either<ClientWord, ClientSettings>) -> Self {
        match either {
            Either::Short(ClientWord::Page) => Self::Page,
            Either::Short(ClientWord::Bare) => Self::Bare,
            Either::Full(settings) => Self::Custom(settings),
        }
    }
}

/// What a tab does by itself, in a word.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ClientWord {
    /// What the deployed page does: pulls on open, answers `init`, pings, comes back (PROTOCOL B7).
    Page,
    /// Only what the steps say.
    Bare,
}

/// Settings of a tab's own behaviour; each absent one is the page's.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientSettings {
    /// Commands sent when the tab opens.
    pub on_open: Option<Vec<Value>>,
    /// Commands sent when `init` arrives.
    pub on_init: Option<Vec<Value>>,
    /// Time between the page's own `ping` commands; `0s` for none.
    pub ping: Option<Span>,
    /// Close codes after which it comes back.
    pub reconnect_on: Option<Vec<u16>>,
    /// First delay before it comes back; grows by half each time.
    pub reconnect_after: Option<Span>,
    /// Sends `resume` with its last position when it comes back.
    pub resume: Option<bool>,
}
