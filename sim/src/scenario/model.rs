//! A scenario file as types: the parser fills them, the runner and the judge read them, and the JSON Schema is
//! generated from them. The parts have files of their own: `people`, `step`, `order`, `claim`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{
    located::Located,
    order::{Logout, LogoutVia},
    people::{Client, Tab, User},
    source::Source,
    step::Step,
    stubs::StubItem,
};
use crate::{judge::rule::Rule, pattern::Pattern};

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
    /// Settings of the reference server for this scenario, as in its configuration file. A path as `backend_url`,
    /// `gitlab_url` or `oidc_issuer` stands for that place on the mock.
    #[serde(default)]
    pub server: BTreeMap<String, Value>,
    /// Answers to requests that no route of the mocks owns, in the order in which they are tried.
    #[serde(default)]
    pub stubs: Vec<Located<StubItem>>,
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
    /// Sends the reference server's error codes (`auth_missing`, `auth_expired`, `bad_message`, …) and closes with its
    /// close codes.
    ErrorCodes,
    /// Keeps tokens for its users and refreshes them itself.
    TokenRefresh,
    /// The runner may change its settings (`server`).
    Settings,
    /// The runner may stop and start it (`restart`).
    Restart,
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
