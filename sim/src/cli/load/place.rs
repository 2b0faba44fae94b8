//! Where the load goes, as flags say it, and whether it may go there.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, bail};
use http::HeaderName;
use polytab_load::plan::Plan;
use polytab_seams::tls::dial::Trust;
use url::Url;

use super::arguments::{How, LoadArguments};
use crate::{
    load::{
        credentials,
        local::Local,
        profile::Profile,
        site::{Changes, Ground, SignIn},
    },
    target::is_on_this_machine,
};

/// On a server that is not on this machine, no run is longer,
const LONGEST: Duration = Duration::from_hours(1);
/// and no more tabs open in a second.
const OPENS_PER_SECOND: u64 = 1000;

/// A server, and who makes the changes of which its users hear.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// None is the reference server, started for the run.
    pub(super) url: Option<Url>,
    control: Option<Url>,
    change_url: Option<Url>,
}

impl Target {
    /// All that are loaded, in turns.
    pub(super) fn all(arguments: &LoadArguments) -> Vec<Self> {
        let services = &arguments.services;
        let first = Self {
            url: arguments.url.clone(),
            control: services.control.clone(),
            change_url: services.change_url.clone(),
        };
        let beside = arguments.beside.clone().map(|url| Self {
            url: Some(url),
            control: services.beside_control.clone(),
            change_url: services.beside_change_url.clone(),
        });
        [first].into_iter().chain(beside).collect()
    }

    /// Returns `true` if it is on this machine.
    fn is_here(&self) -> bool {
        self.url.as_ref().is_none_or(is_on_this_machine)
    }

    /// Why it is not loaded, whatever the profile.
    pub(super) fn problem(&self, is_owned: bool) -> Option<String> {
        let urls = [&self.url, &self.control, &self.change_url];
        if let Some(url) = urls.into_iter().flatten().find(|url| has_placeholder(url)) {
            return Some(format!(
                "`{url}` has a placeholder, and URLs of a load have none: a user's name goes into a header, as `--header \
                 'x-user: ${{user}}'`, or a column of `--credentials`"
            ));
        }
        let url = self.url.as_ref()?;
        if !matches!(url.scheme(), "ws" | "wss") {
            return Some(format!(
                "a server is loaded at `ws://…` or `wss://…`, not at `{url}`"
            ));
        }
        let host = url.host_str().unwrap_or_default();
        (!self.is_here() && !is_owned).then(|| {
            format!(
                "`{host}` is not this machine, and a load can take a server down; say `--i-own-this-server` if it is yours"
            )
        })
    }
}

/// Returns `true` for a URL with `${…}`, which the parser of URLs encodes.
fn has_placeholder(url: &Url) -> bool {
    let text = url.as_str().to_ascii_lowercase();
    text.contains("${") || text.contains("$%7b") || text.contains("%24%7b")
}

/// Why this load is too much for a server that is not on this machine.
pub(super) fn refusal(target: &Target, plan: &Plan) -> Option<String> {
    if target.is_here() {
        return None;
    }
    let length: Duration = plan.phases.iter().map(|phase| phase.length).sum();
    if length > LONGEST {
        return Some(format!(
            "the run would last {length:?}; a server that is not this machine is loaded for {LONGEST:?} at most, see `--duration`"
        ));
    }
    let most_tabs = plan
        .tabs_per_user
        .iter()
        .map(|(tabs, _)| u64::from(*tabs))
        .max()
        .unwrap_or(1);
    let mut before = 0;
    for phase in &plan.phases {
        let comers = phase.users.saturating_sub(before) * most_tabs;
        before = phase.users;
        let seconds = match phase.arrival {
            polytab_load::plan::Arrival::Spike => 1,
            _ => phase.length.as_secs().max(1),
        };
        if comers / seconds > OPENS_PER_SECOND {
            return Some(format!(
                "in the phase `{}` up to {} tabs would open in a second; on a server that is not this machine the most is \
                 {OPENS_PER_SECOND}: ask for fewer users, or let them come more slowly",
                phase.name,
                comers / seconds
            ));
        }
    }
    None
}

pub(super) fn ground(
    arguments: &LoadArguments,
    profile: &Profile,
    (target, local): (&Target, Option<&Local>),
) -> anyhow::Result<Ground> {
    let of = &arguments.users_of;
    let url = match (local, &target.url) {
        (Some(local), _) => local.tabs.clone(),
        (None, Some(url)) => url.clone(),
        (None, None) => bail!("there is no server to load"),
    };
    let mut base = local.map_or_else(|| url.clone(), |local| local.server.clone());
    let scheme = if url.scheme() == "wss" { "https" } else { "http" };
    // `set_scheme` knows that these two pairs go together.
    base.set_scheme(scheme).ok();
    base.set_query(None);
    let usual = if local.is_some() { How::Code } else { How::None };
    let missing = |flag: &str| format!("`--sign-in` needs `{flag}` as well");
    let sign_in = match of.sign_in.unwrap_or(usual) {
        How::None => SignIn::None,
        How::Code => SignIn::Code {
            login: base.join(&of.login)?,
            logout: base.join(&of.logout)?,
        },
        How::Password => SignIn::Password {
            token: of.token_url.clone().with_context(|| missing("--token-url"))?,
            client_id: of.client_id.clone().with_context(|| missing("--client-id"))?,
            client_secret: of.client_secret.clone(),
        },
        How::Command => SignIn::Command(
            of.sign_in_command
                .clone()
                .with_context(|| missing("--sign-in-command"))?,
        ),
    };
    let services = &arguments.services;
    let control = local
        .map(|local| local.control.clone())
        .or_else(|| target.control.clone());
    let changes = match (control, &target.change_url) {
        (Some(control), _) => Changes::Mocks(control),
        (None, Some(url)) => Changes::Post(url.clone()),
        (None, None) => Changes::Nobody,
    };
    let most = profile
        .phases
        .iter()
        .filter_map(|phase| phase.users)
        .chain([profile.users])
        .max();
    let wanted = arguments.users.or(most).unwrap_or(0);
    Ok(Ground {
        url,
        trust: trust(services.ca.as_deref())?,
        headers: of
            .header
            .iter()
            .map(|text| header(text))
            .collect::<Result<_, _>>()?,
        credentials: match &of.credentials {
            Some(path) => credentials::read(path, wanted)?,
            None => Vec::new(),
        },
        sign_in,
        changes,
        sources: services.sources.clone(),
        access_token: profile.reference.access_token.map(|span| span.0),
        projects: profile.reference.projects.clone(),
    })
}

fn trust(ca: Option<&Path>) -> anyhow::Result<Trust> {
    let Some(path) = ca else {
        return Ok(Trust::system());
    };
    let pem = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Trust::system()
        .and_pem(&pem)
        .with_context(|| format!("`{}` holds no certificate in PEM", path.display()))
}

fn header(text: &str) -> anyhow::Result<(HeaderName, String)> {
    let wrong = || format!("`--header {text}` is no header; write it as `--header 'X-User: ${{user}}'`");
    let (name, value) = text.split_once(':').with_context(wrong)?;
    let name = name.trim().parse().with_context(wrong)?;
    Ok((name, value.trim().to_owned()))
}
