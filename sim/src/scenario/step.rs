//! The steps of a scenario, and the settings of those that act on tabs or on other steps.

use std::{fmt, sync::Arc};

use polytab_mocks::{
    backend::plan::{LaunchOrder, PlanOrder},
    clocks::ClockOrder,
    control::keycloak::Rotation,
    realm::SomeSettings,
    shape::Either,
};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use serde_json::Value;

use super::{
    claim::{Calls, Expect, Wait},
    located::Located,
    order::{BackendSession, Emit, Expire, Fault, Hold, Login, Logout, RouteRef, Set},
    source::Source,
    window::{Span, Window},
};

/// One name or several.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum Names {
    /// `A`
    One(String),
    /// `[A, B]`
    Many(Vec<String>),
}

impl Names {
    /// All of them, in order.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name, or a list of names")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Names, E> {
        Ok(Names::One(name.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Names, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(names)).map(Names::Many)
    }
}

/// Tabs, bare or with settings: `open: A`, `open: [A, B]`, `open: { tabs: A, async: true }`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(from = "Either<Names, TabsSettings>")]
pub enum TabsStep {
    /// Only the tabs.
    Tabs(Names),
    /// With settings.
    Full(TabsSettings),
}

impl From<Either<Names, TabsSettings>> for TabsStep {
    fn from(either: Either<Names, TabsSettings>) -> Self {
        match either {
            Either::Short(tabs) => Self::Tabs(tabs),
            Either::Full(settings) => Self::Full(settings),
        }
    }
}

impl TabsStep {
    /// The tabs.
    pub fn names(&self) -> &[String] {
        match self {
            Self::Tabs(tabs) => tabs.as_slice(),
            Self::Full(settings) => settings.tabs.as_slice(),
        }
    }

    /// With settings, given or not.
    pub fn settings(&self) -> TabsSettings {
        match self {
            Self::Tabs(tabs) => TabsSettings {
                tabs: tabs.clone(),
                is_async: false,
                gap: None,
                code: None,
            },
            Self::Full(settings) => settings.clone(),
        }
    }
}

/// Tabs with settings.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TabsSettings {
    /// The tabs.
    pub tabs: Names,
    /// Do not wait for the effect.
    #[serde(default, rename = "async")]
    pub is_async: bool,
    /// Time between going and coming back (`reload`), or between one tab and the next (`open`).
    #[serde(default)]
    pub gap: Option<Span>,
    /// Close code (`close`).
    #[serde(default)]
    pub code: Option<u16>,
}

/// One step: a map with a single key.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The tabs connect.
    Open(TabsStep),
    /// The tabs close their WebSocket in order.
    Close(TabsStep),
    /// The tabs vanish without a close frame: the connection is reset.
    Drop(TabsStep),
    /// The tabs go and come back at once, as on a page reload.
    Reload(TabsStep),
    /// A second tab like the first opens, in the same browser.
    Duplicate(Duplicate),
    /// The tabs are hidden; their timers slow down.
    Background(TabsStep),
    /// The tabs are looked at again.
    Foreground(TabsStep),
    /// The tabs stop: no reading, no timers; the connection stays.
    Freeze(TabsStep),
    /// Frozen tabs go on.
    Resume(TabsStep),
    /// The machine with these tabs sleeps, then wakes.
    SleepMachine(SleepMachine),
    /// The tabs lose their network: bytes wait, new connections fail.
    Offline(TabsStep),
    /// The network is back.
    Online(TabsStep),
    /// The tabs send a message; `timestamp` is added when absent.
    Send(Send),
    /// The tabs send something that is no message.
    SendRaw(SendRaw),
    /// What the tabs must have seen.
    Expect(Box<Expect>),
    /// What must have arrived at the services.
    Calls(Calls),
    /// The transcript so far equals the accepted one of this name.
    Snapshot(String),
    /// The world changes.
    Set(Set),
    /// A service pushes an event.
    Emit(Emit),
    /// A backend session is launched, which then goes its own way.
    Launch(LaunchOrder),
    /// Backend sessions that have something in common are launched.
    Plan(PlanOrder),
    /// Something happens to a backend session.
    BackendSession(BackendSession),
    /// A service's clock shows another time.
    Clock(ClockOrder),
    /// Settings of the identity provider change; those that are not named stay.
    Realm(SomeSettings),
    /// The identity provider signs with the next key.
    RotateKeys(Rotation),
    /// A route misbehaves.
    Fault(Fault),
    /// A route behaves again.
    Heal(RouteRef),
    /// A person signs in, in a browser.
    Login(Login),
    /// A person signs out.
    Logout(Logout),
    /// A token or session ends before its time, silently.
    Expire(Expire),
    /// Time passes.
    Advance(Window),
    /// Until something has been seen.
    Wait(Wait),
    /// Answers of a route are held back.
    Hold(Hold),
    /// Held answers go out.
    Release(RouteRef),
    /// Gives this moment a name.
    Mark(String),
    /// The same steps several times.
    Repeat(Repeat),
    /// Several lists of steps at once.
    Parallel(Vec<Vec<Located<Step>>>),
    /// The steps of another file.
    Include(Include),
    /// For the reader.
    Note(String),
    /// The server stops without ceremony and starts anew.
    Restart(Restart),
}

/// `duplicate: { tab: A, as: B }`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Duplicate {
    /// The tab to copy.
    pub tab: String,
    /// The new tab, declared under `tabs`.
    #[serde(rename = "as")]
    pub copy: String,
}

/// `sleep_machine: { tabs: [A, B], for: 8h }`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SleepMachine {
    /// The tabs on that machine.
    pub tabs: Names,
    /// How long it sleeps.
    #[serde(rename = "for")]
    pub duration: Span,
}

/// `send: { tab: A, json: { type: ping, data: {} } }`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = super::schema::tab_or_tabs)]
pub struct Send {
    /// The tab or tabs.
    #[serde(alias = "tabs")]
    pub tab: Names,
    /// The message.
    pub json: Value,
    /// Do not wait until the server has read it. A tab that was closed meanwhile sends nothing.
    #[serde(default, rename = "async")]
    pub is_async: bool,
}

/// `send_raw: { tab: A, text: "nonsense" }`; exactly one of the payloads.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = super::schema::tab_or_tabs)]
pub struct SendRaw {
    /// The tab or tabs.
    #[serde(alias = "tabs")]
    pub tab: Names,
    /// A text frame with this text.
    #[serde(default)]
    pub text: Option<String>,
    /// A binary frame with these bytes, in hexadecimal.
    #[serde(default)]
    pub binary: Option<String>,
    /// A text frame that is not UTF-8.
    #[serde(default)]
    pub bad_utf8: Option<bool>,
    /// A text frame of this many bytes.
    #[serde(default)]
    pub oversized: Option<usize>,
    /// A JSON message whose `data` nests this deep.
    #[serde(default)]
    pub nested: Option<usize>,
    /// Cuts `text` into this many fragments.
    #[serde(default)]
    pub fragments: Option<usize>,
}

/// `repeat: { times: 10, steps: [...] }`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// How often.
    pub times: u32,
    /// What.
    pub steps: Vec<Located<Step>>,
}

/// `include: sign-in.steps.yaml`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(from = "Located<String>")]
pub struct Include {
    /// The other file, from the folder of this one.
    pub file: Located<String>,
    /// That file; the places of its steps are in it. Empty until loaded.
    #[schemars(skip)]
    pub source: Arc<Source>,
    /// Its steps.
    #[schemars(skip)]
    pub steps: Vec<Located<Step>>,
}

impl From<Located<String>> for Include {
    fn from(file: Located<String>) -> Self {
        Self {
            file,
            source: Arc::default(),
            steps: Vec::new(),
        }
    }
}

/// `restart: { down: 2s, version: "abc1234" }`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Restart {
    /// How long it is away; new connections are refused meanwhile.
    pub down: Option<Span>,
    /// Its version afterwards.
    pub version: Option<String>,
    /// It drains in order first, instead of crashing.
    pub graceful: bool,
}
