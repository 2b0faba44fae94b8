//! What a scenario file says, as types: the parser fills them, the runner and the judge read them, and the JSON
//! Schema is generated from them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use serde_json::Value;

use super::{
    located::Located,
    shape::Either,
    source::Source,
    window::{Span, Window},
};
use crate::judge::{pattern::Pattern, rule::Rule};

/// One scenario file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Version of the format; 1.
    pub format: Located<u32>,
    /// What must hold, in one line.
    pub name: Located<String>,
    /// Words to select scenarios by (`--tag`).
    #[serde(default)]
    pub tags: Vec<String>,
    /// Why this scenario exists.
    #[serde(default)]
    pub note: Option<String>,
    /// What the target must be able to do; without it the scenario is skipped.
    #[serde(default)]
    pub requires: Vec<Capability>,
    /// Names for values, used as `${name}`.
    #[serde(default)]
    pub vars: BTreeMap<String, Value>,
    /// Values per name; the scenario runs once for each combination.
    #[serde(default)]
    pub matrix: IndexMap<String, Vec<Value>>,
    /// The people, by name.
    pub users: IndexMap<String, Located<User>>,
    /// The tabs, by name.
    #[serde(default)]
    pub tabs: IndexMap<String, Located<Tab>>,
    /// How every tab behaves by itself.
    #[serde(default)]
    pub client: Client,
    /// Messages that no `expect` and no snapshot looks at.
    #[serde(default)]
    pub ignore: Vec<Located<Pattern>>,
    /// Standing rules that this scenario breaks on purpose, each with the reason.
    #[serde(default)]
    #[schemars(schema_with = "super::schema::waive")]
    pub waive: BTreeMap<Rule, String>,
    /// Settings of the reference server for this scenario, as in its configuration file.
    #[serde(default)]
    pub server: BTreeMap<String, Value>,
    /// What happens, in order.
    pub steps: Vec<Located<Step>>,
}

/// Something that not every target can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// `subscribe` and `unsubscribe` to project topics.
    Subscribe,
    /// `resume` after a gap.
    Resume,
    /// `pullKgActivationStatus`.
    Activation,
    /// `pullSessionStatus` (V1).
    SessionsV1,
    /// `pullSessionStatusV2`.
    SessionsV2,
    /// One channel per user, also over several browsers.
    UserChannel,
    /// Refuses tabs of foreign origins.
    OriginCheck,
    /// Ends tabs on back-channel logout.
    BackchannelLogout,
    /// Asks the identity provider whether a login session still stands.
    Introspection,
    /// Limits on message size, nesting, commands and outbox.
    Limits,
    /// Ends tabs that do not answer pings.
    KeepAlive,
    /// The runner may change its settings (`server`).
    Settings,
    /// The runner may stop and start it (`restart`).
    Restart,
}

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

/// What a tab does by itself, in a word.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ClientWord {
    /// What the deployed page does: pulls on open, answers `init`, pings, comes back (PROTOCOL B7).
    Page,
    /// Only what the steps say.
    Bare,
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
    /// Do not wait until the server has read it.
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

/// What tabs must have seen.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// How long to look, from now.
    #[serde(default)]
    pub within: Option<Window>,
    /// Look from this mark on, not from where the last `expect` ended.
    #[serde(default)]
    pub since: Option<String>,
    /// The same message reaches the tabs of a clause within this time.
    #[serde(default)]
    pub skew: Option<Span>,
    /// What every open tab that no clause names must see.
    #[serde(default)]
    pub others: Option<Others>,
    /// Several clauses over one window.
    #[serde(default)]
    pub all: Option<Vec<Located<Clause>>>,
    /// The tabs; every open one unless told.
    #[serde(default)]
    pub tabs: Option<Names>,
    /// These messages and no other.
    #[serde(default)]
    pub exactly: Option<Vec<Located<Pattern>>>,
    /// These messages, others between them allowed.
    #[serde(default)]
    pub contains: Option<Vec<Located<Pattern>>>,
    /// No message.
    #[serde(default)]
    pub nothing: Option<bool>,
    /// The order does not matter.
    #[serde(default)]
    pub any_order: Option<bool>,
    /// The server closed the tab.
    #[serde(default)]
    pub closed: Option<Closed>,
    /// The tab is open at the end of the window.
    #[serde(default)]
    pub stays_open: Option<bool>,
}

/// One clause of an `expect`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Clause {
    /// The tabs; every open one unless told.
    pub tabs: Option<Names>,
    /// These messages and no other.
    pub exactly: Option<Vec<Located<Pattern>>>,
    /// These messages, others between them allowed.
    pub contains: Option<Vec<Located<Pattern>>>,
    /// No message.
    pub nothing: Option<bool>,
    /// The order does not matter.
    pub any_order: Option<bool>,
    /// The server closed the tab.
    pub closed: Option<Closed>,
    /// The tab is open at the end of the window.
    pub stays_open: Option<bool>,
}

/// What the tabs that no clause names must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Others {
    /// No message since the last step that did something.
    Nothing,
}

/// How a tab was closed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(from = "Either<u16, ClosedSettings>")]
pub enum Closed {
    /// `closed: 4001`
    Code(u16),
    /// `closed: { code: 1012, reason: "retry_ms=<int>" }`
    Full(ClosedSettings),
}

impl From<Either<u16, ClosedSettings>> for Closed {
    fn from(either: Either<u16, ClosedSettings>) -> Self {
        match either {
            Either::Short(code) => Self::Code(code),
            Either::Full(settings) => Self::Full(settings),
        }
    }
}

impl Closed {
    /// The close code; 1006 for a connection that broke.
    pub fn code(&self) -> u16 {
        match self {
            Self::Code(code) => *code,
            Self::Full(settings) => settings.code,
        }
    }
}

/// A close, in full.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClosedSettings {
    /// The close code; 1006 for a connection that broke.
    pub code: u16,
    /// The reason's text.
    #[serde(default)]
    pub reason: Option<Pattern>,
}

/// What must have arrived at the services.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// Count from this mark on, not from the start.
    #[serde(default)]
    pub since: Option<String>,
    /// Wait this long for the counts to be reached; else judged at once.
    #[serde(default)]
    pub within: Option<Window>,
    /// The counts.
    pub check: Vec<Located<Check>>,
}

/// One count of calls.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The route's name, as `backend.sessions`.
    pub route: Located<String>,
    /// The path of the call.
    #[serde(default)]
    pub path: Option<Pattern>,
    /// On whose behalf.
    #[serde(default)]
    pub user: Option<String>,
    /// Fields of a form body.
    #[serde(default)]
    pub form: Option<Pattern>,
    /// A JSON body.
    #[serde(default)]
    pub json: Option<Pattern>,
    /// How many; at least one unless told.
    #[serde(default)]
    pub count: Option<Count>,
    /// How many of them are open event streams now.
    #[serde(default)]
    pub open_streams: Option<u64>,
}

/// A number of calls.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(from = "Either<u64, Bounds>")]
pub enum Count {
    /// `count: 6`
    Exactly(u64),
    /// `count: { min: 5, max: 7 }`
    Between(Bounds),
}

impl From<Either<u64, Bounds>> for Count {
    fn from(either: Either<u64, Bounds>) -> Self {
        match either {
            Either::Short(count) => Self::Exactly(count),
            Either::Full(bounds) => Self::Between(bounds),
        }
    }
}

/// Bounds of a count, both included.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// At least.
    #[serde(default)]
    pub min: u64,
    /// At most.
    #[serde(default = "most")]
    pub max: u64,
}

fn most() -> u64 {
    u64::MAX
}

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

/// An event that a service pushes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Emit {
    /// Which service.
    pub service: Service,
    /// The topic, as `/project/42/issue`.
    pub topic: String,
    /// The payload.
    pub json: Value,
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
    /// What happens instead.
    #[serde(rename = "do")]
    pub action: FaultAction,
    /// How many calls meet it; all, until healed, unless told.
    #[serde(default)]
    pub times: Option<u32>,
    /// For how long.
    #[serde(default, rename = "for")]
    pub duration: Option<Window>,
}

/// What happens instead of an answer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FaultAction {
    /// An answer of this status.
    Status(u16),
    /// The answer comes late.
    Delay(Window),
    /// No answer, ever.
    Hang,
    /// The connection is reset.
    Reset,
    /// The body breaks off half-way.
    Truncate,
    /// A body that is not what it says it is.
    Malformed,
    /// An empty body.
    Empty,
    /// The list, in another order.
    Reorder,
    /// Open event streams are cut, at once.
    DropStreams,
}

/// A route, or all: `heal: backend.sessions`, `heal: all`, `heal: { route: backend.sessions }`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(from = "Located<Either<String, RouteSettings>>")]
pub struct RouteRef {
    /// The route's name, a service, or `all`.
    pub route: Located<String>,
}

/// A route under its key.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RouteSettings {
    /// The route's name, a service, or `all`.
    route: Located<String>,
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

/// A fact to wait for. Exactly one of `poll`, `call`, `tab`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// The user whose sessions are polled.
    #[serde(default)]
    pub poll: Option<String>,
    /// A call of this route.
    #[serde(default)]
    pub call: Option<Located<String>>,
    /// On whose behalf the call is.
    #[serde(default)]
    pub user: Option<String>,
    /// A tab that sees something.
    #[serde(default)]
    pub tab: Option<String>,
    /// What that tab sees.
    #[serde(default)]
    pub got: Option<Pattern>,
    /// The tab was closed by the server or the network.
    #[serde(default)]
    pub closed: Option<bool>,
    /// The tab is open (again).
    #[serde(default)]
    pub open: Option<bool>,
    /// The how-manieth; 1 unless told.
    #[serde(default)]
    pub n: Option<u64>,
    /// Count from this mark on, not from the start.
    #[serde(default)]
    pub since: Option<String>,
    /// How long at most; two long loops unless told.
    #[serde(default)]
    pub within: Option<Window>,
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

/// One scenario ready to run: variables and matrix values put in, includes resolved, names checked.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where it stands; shared by all rows of a matrix.
    pub source: Arc<Source>,
    /// Its row of the matrix, as `event=issue`; empty without one.
    pub row: String,
    /// What the file says.
    pub file: File,
}

impl Scenario {
    /// `reload/reload-storm`, with `[event=issue]` for a row of a matrix.
    pub fn id(&self) -> String {
        if self.row.is_empty() {
            self.source.id.clone()
        } else {
            format!("{}[{}]", self.source.id, self.row)
        }
    }

    /// What the target must be able to do: what the file says, and what its steps cannot do without.
    pub fn needs(&self) -> BTreeSet<Capability> {
        let mut needs: BTreeSet<_> = self.file.requires.iter().copied().collect();
        if !self.file.server.is_empty() {
            needs.insert(Capability::Settings);
        }
        needs_of(&self.file.steps, &mut needs);
        needs
    }

    /// How the tab named so behaves by itself.
    pub fn client_of<'a>(&'a self, tab: &'a Tab) -> &'a Client {
        tab.client.as_ref().unwrap_or(&self.file.client)
    }
}

fn needs_of(steps: &[Located<Step>], needs: &mut BTreeSet<Capability>) {
    for step in steps {
        match &step.value {
            Step::Restart(_) => drop(needs.insert(Capability::Restart)),
            Step::Emit(_) => drop(needs.insert(Capability::Subscribe)),
            Step::Logout(Logout {
                via: LogoutVia::Backchannel,
                ..
            }) => drop(needs.insert(Capability::BackchannelLogout)),
            Step::Repeat(repeat) => needs_of(&repeat.steps, needs),
            Step::Include(include) => needs_of(&include.steps, needs),
            Step::Parallel(lists) => lists.iter().for_each(|steps| needs_of(steps, needs)),
            _ => {}
        }
    }
}
