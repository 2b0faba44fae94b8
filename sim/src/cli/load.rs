//! `polytab load`: users with several tabs each, against any server.

use std::{
    fs,
    net::IpAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum, builder::FalseyValueParser};
use http::HeaderName;
use jiff::Timestamp;
use polytab_load::{
    plan::Plan,
    result::{LoadResult, Shard, Verdict},
    run::{Order, run},
};
use polytab_seams::{clock::Clock, tls::dial::Trust};
use tokio_util::sync::CancellationToken;
use url::{Host, Url};

use super::{
    Exit,
    check::show,
    complain,
    load_view::{View, comparison, summary},
    mock::runtime,
    plan::MessageFormat,
    say, tell,
};
use crate::{
    load::{
        credentials,
        local::Local,
        plan::{Overrides, plan, shard},
        profile::{Begin, Profile, TabsPerUser},
        site::{Changes, Ground, SignIn, populate},
    },
    scenario::{document, window::Span},
    suggest::nearest,
};

/// What to load, how, and where.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct LoadArguments {
    #[command(subcommand)]
    command: Option<LoadCommand>,
    /// A load profile (*.load.yaml), or the name of a shipped one
    #[arg(value_name = "PROFILE", required_unless_present = "list")]
    profile: Option<String>,
    /// List the shipped profiles
    #[arg(long)]
    list: bool,
    /// The server to load (ws://… or wss://…) [default: the reference server with its mocks, started for the run]
    #[arg(long, value_name = "URL", env = "POLYTAB_LOAD_URL")]
    url: Option<Url>,
    /// Users at most; those of all phases in proportion
    #[arg(long, value_name = "N", env = "POLYTAB_LOAD_USERS")]
    users: Option<u64>,
    /// Tabs of a user: a number, or numbers with their shares, as `1:60%,2:25%,5:15%`
    #[arg(long, value_name = "TABS", env = "POLYTAB_LOAD_TABS")]
    tabs: Option<TabsPerUser>,
    /// How long all phases together last; each is stretched or shortened alike
    #[arg(long, value_name = "TIME", env = "POLYTAB_LOAD_DURATION")]
    duration: Option<Span>,
    /// One more threshold, as `fanout.p99 < 2s`; may be repeated
    #[arg(long, value_name = "TEXT")]
    threshold: Vec<String>,
    /// Seed of everything that is drawn [default: the profile's, or 1]
    #[arg(long, value_name = "N", env = "POLYTAB_SEED")]
    seed: Option<u64>,
    /// Threads that drive tabs [default: as many as cores, less one for the target]
    #[arg(long, value_name = "N", env = "POLYTAB_LOAD_WORKERS")]
    workers: Option<usize>,
    /// Only the users whose number leaves I when divided by N; `auto` asks the surroundings
    #[arg(long, value_name = "I/N", env = "POLYTAB_LOAD_SHARD")]
    shard: Option<String>,
    /// Begin at this time (RFC 3339), as other shards do
    #[arg(long, value_name = "TIME", env = "POLYTAB_LOAD_START_AT")]
    start_at: Option<Timestamp>,
    /// Write the result (JSON) to this file
    #[arg(long, value_name = "FILE", env = "POLYTAB_LOAD_OUT")]
    out: Option<PathBuf>,
    /// Make the run so many times, each with its own result in a line of `--out`
    #[arg(long, value_name = "N", default_value = "1", env = "POLYTAB_LOAD_REPEAT")]
    repeat: NonZeroU32,
    /// Form of the output: for people, or the result as one line of JSON
    #[arg(long, value_enum, default_value_t, env = "POLYTAB_MESSAGE_FORMAT")]
    message_format: MessageFormat,
    /// The load is meant, although the server is not on this machine
    #[arg(long, env = "POLYTAB_LOAD_I_OWN_THIS_SERVER", value_parser = FalseyValueParser::new())]
    i_own_this_server: bool,
    #[command(flatten)]
    users_of: UserArguments,
    #[command(flatten)]
    services: ServiceArguments,
}

#[derive(Debug, Subcommand)]
enum LoadCommand {
    /// Say what became slower or wrong between two results, and how sure that is
    Compare(CompareArguments),
}

/// Who the users are, and how they sign in.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Users")]
struct UserArguments {
    /// How users sign in [default: `none`; `code` against the reference server]
    #[arg(long, value_enum, env = "POLYTAB_LOAD_SIGN_IN")]
    sign_in: Option<How>,
    /// A CSV file of users: the columns `user`, `password`, `cookie`, `token`, or any header by its name
    #[arg(long, value_name = "FILE", env = "POLYTAB_LOAD_CREDENTIALS")]
    credentials: Option<PathBuf>,
    /// A header of every handshake, as `X-User: ${user}`; may be repeated
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// With `--sign-in code`: where a browser begins to sign in, on the server's host
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/auth/login",
        env = "POLYTAB_LOAD_LOGIN"
    )]
    login: String,
    /// With `--sign-in code`: where a browser signs out
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/auth/logout",
        env = "POLYTAB_LOAD_LOGOUT"
    )]
    logout: String,
    /// With `--sign-in password`: the token endpoint
    #[arg(long, value_name = "URL", env = "POLYTAB_LOAD_TOKEN_URL")]
    token_url: Option<Url>,
    /// With `--sign-in password`: the client
    #[arg(long, value_name = "ID", env = "POLYTAB_LOAD_CLIENT_ID")]
    client_id: Option<String>,
    /// With `--sign-in password`: the client's secret
    #[arg(
        long,
        value_name = "SECRET",
        env = "POLYTAB_LOAD_CLIENT_SECRET",
        hide_env_values = true
    )]
    client_secret: Option<String>,
    /// With `--sign-in command`: prints the `Cookie` header of the user whom `POLYTAB_USER` names
    #[arg(long, value_name = "COMMAND", env = "POLYTAB_LOAD_SIGN_IN_COMMAND")]
    sign_in_command: Option<String>,
}

/// What is beside the server.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Services")]
struct ServiceArguments {
    /// Control API of our mocks beside the server: they make the changes, and count the server's calls
    #[arg(
        long,
        value_name = "URL",
        env = "POLYTAB_LOAD_CONTROL",
        conflicts_with = "change_url"
    )]
    control: Option<Url>,
    /// Where a change is made: `POST` with `{"user": …, "mark": …}`
    #[arg(long, value_name = "URL", env = "POLYTAB_LOAD_CHANGE_URL")]
    change_url: Option<Url>,
    /// Believe this certificate authority (PEM) as well
    #[arg(long, value_name = "FILE", env = "POLYTAB_LOAD_CA")]
    ca: Option<PathBuf>,
    /// Addresses of this machine from which connections come, in turns
    #[arg(
        long,
        value_name = "IP,…",
        value_delimiter = ',',
        env = "POLYTAB_LOAD_SOURCES"
    )]
    sources: Vec<IpAddr>,
}

/// How users sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum How {
    /// They do not: headers say who they are
    None,
    /// As in a browser, by Keycloak's login form
    Code,
    /// For a bearer token, with a password
    Password,
    /// By a command
    Command,
}

const EXAMPLES: &str = "\
Examples:
  polytab load smoke                            the reference server, a few users, half a minute
  polytab load rollout --users 2000 --out result.json
  polytab load steady --url ws://127.0.0.1:8080/ui-server/ws --sign-in code --control http://127.0.0.1:7084
  polytab load my.load.yaml --url wss://staging.example/ws --credentials users.csv --i-own-this-server

Exit codes: 0 all thresholds held, 99 one was missed, 3 the profile is not valid, 6 the target cannot be reached or the \
generator was the bottleneck, 130 interrupted; the result is written in any case.";

/// Profiles that are shipped.
const SHIPPED: [(&str, &str); 8] = [
    ("smoke", include_str!("../../../scenarios/load/smoke.load.yaml")),
    ("steady", include_str!("../../../scenarios/load/steady.load.yaml")),
    (
        "rollout",
        include_str!("../../../scenarios/load/rollout.load.yaml"),
    ),
    (
        "reload-storm",
        include_str!("../../../scenarios/load/reload-storm.load.yaml"),
    ),
    (
        "restart-storm",
        include_str!("../../../scenarios/load/restart-storm.load.yaml"),
    ),
    (
        "token-wave",
        include_str!("../../../scenarios/load/token-wave.load.yaml"),
    ),
    (
        "slow-tabs",
        include_str!("../../../scenarios/load/slow-tabs.load.yaml"),
    ),
    ("soak", include_str!("../../../scenarios/load/soak.load.yaml")),
];

/// On a server that is not on this machine, no run is longer,
const LONGEST: Duration = Duration::from_hours(1);
/// and no more tabs open in a second.
const OPENS_PER_SECOND: u64 = 1000;

pub(super) fn load(arguments: &LoadArguments) -> anyhow::Result<Exit> {
    if let Some(LoadCommand::Compare(arguments)) = &arguments.command {
        return compare(arguments);
    }
    if arguments.list {
        return list();
    }
    let (name, profile) = match read(arguments.profile.as_deref().unwrap_or_default()) {
        Ok(read) => read,
        Err(exit) => return Ok(exit),
    };
    let overrides = match overrides(arguments) {
        Ok(overrides) => overrides,
        Err(error) => {
            complain(&format!("{error:#}"));
            return Ok(Exit::Usage);
        }
    };
    if let Some(url) = arguments
        .url
        .as_ref()
        .filter(|url| !matches!(url.scheme(), "ws" | "wss"))
    {
        complain(&format!(
            "a server is loaded at `ws://…` or `wss://…`, not at `{url}`"
        ));
        return Ok(Exit::Usage);
    }
    let runtime = runtime()?;
    let mut worst = Exit::Passed;
    let mut results = Vec::new();
    for _ in 0..arguments.repeat.get() {
        let exit = runtime.block_on(start(arguments, (&name, &profile), (&overrides, &mut results)))?;
        worst = if exit.code() > worst.code() { exit } else { worst };
        if exit == Exit::Interrupted {
            break;
        }
    }
    Ok(worst)
}

/// Two results, or two series of results.
#[derive(Debug, clap::Args)]
struct CompareArguments {
    /// Results before, as `--out` writes them; several runs (`--repeat`) make it sure
    before: PathBuf,
    /// Results after
    after: PathBuf,
    /// How much longer durations may be, as `10%`
    #[arg(long, value_name = "PERCENT", default_value = "10%", value_parser = percent)]
    margin: f64,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text
        .strip_suffix('%')
        .and_then(|number| number.trim().parse().ok());
    match number {
        Some(percent) if (0.0..=1000.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("write a percentage, as `10%`".to_owned()),
    }
}

fn compare(arguments: &CompareArguments) -> anyhow::Result<Exit> {
    let mut runs = Vec::new();
    for path in [&arguments.before, &arguments.after] {
        match super::report::read(path) {
            Ok(read) => runs.push(read),
            Err(error) => {
                complain(&format!("{error:#}"));
                return Ok(Exit::InvalidFile);
            }
        }
    }
    let compared = polytab_load::compare::compare(&runs[0], &runs[1], arguments.margin);
    say(&comparison(&compared))?;
    let is_worse = compared.iter().any(|compared| compared.is_worse);
    Ok(if is_worse { Exit::Thresholds } else { Exit::Passed })
}

fn list() -> anyhow::Result<Exit> {
    let lines: Vec<_> = SHIPPED
        .iter()
        .map(|(name, text)| {
            let about = text.lines().find_map(|line| line.strip_prefix("about: "));
            format!("{name:<14} {}", about.unwrap_or_default())
        })
        .collect();
    say(&lines.join("\n"))
}

/// The profile at a path, or a shipped one. What is wrong with it has been told.
fn read(asked: &str) -> Result<(String, Profile), Exit> {
    let path = Path::new(asked);
    let told = |problems: Vec<_>| show(&problems, 1);
    if let Some((name, text)) = SHIPPED.iter().find(|(name, _)| *name == asked)
        && !path.exists()
    {
        let profile = document::parse(&format!("{name}.load.yaml"), text).map_err(told)?;
        return Ok(((*name).to_owned(), profile));
    }
    if !path.exists() && path.extension().is_none() {
        let names = SHIPPED.map(|(name, _)| name);
        let hint = nearest(asked, names).map_or_else(
            || format!("the shipped ones are {}", names.join(", ")),
            |near| format!("`{near}` is nearest"),
        );
        complain(&format!(
            "no load profile is called `{asked}`, and no file is; {hint}"
        ));
        return Err(Exit::Usage);
    }
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let name = file.strip_suffix(".load.yaml").unwrap_or(&file).to_owned();
    Ok((name, document::load(path).map_err(told)?))
}

fn overrides(arguments: &LoadArguments) -> anyhow::Result<Overrides> {
    let env = |name: &str| std::env::var(name).ok();
    let shard = arguments
        .shard
        .as_deref()
        .map(|text| shard(text, &env))
        .transpose()?;
    if let Some(at) = arguments.start_at
        && at < Clock::system().wall()
    {
        bail!("`--start-at {at}` has passed; name a time that all shards can still reach");
    }
    Ok(Overrides {
        users: arguments.users,
        tabs: arguments.tabs.clone(),
        length: arguments.duration.map(|span| span.0),
        seed: arguments.seed,
        workers: arguments.workers,
        shard,
        thresholds: arguments.threshold.clone(),
    })
}

async fn start(
    arguments: &LoadArguments,
    (name, profile): (&str, &Profile),
    (overrides, lines): (&Overrides, &mut Vec<String>),
) -> anyhow::Result<Exit> {
    let local = match arguments.url {
        Some(_) => None,
        None => Some(Local::start(&profile.reference.server).await?),
    };
    let ground = match ground(arguments, profile, local.as_ref()) {
        Ok(ground) => ground,
        Err(error) => {
            complain(&format!("{error:#}"));
            return Ok(Exit::Usage);
        }
    };
    let users = ground.clone();
    let mut site = ground.site()?;
    if overrides.shard.is_some_and(|shard| shard.index > 0) {
        // All shards load one server: its calls are counted once.
        site.polls = None;
    }
    let plan = match plan(name, profile, overrides, site) {
        Ok(plan) => plan,
        Err(error) => {
            complain(&format!("{name}: {error}"));
            return Ok(Exit::InvalidFile);
        }
    };
    if let Some(refusal) = refusal(arguments, &plan) {
        complain(&refusal);
        return Ok(Exit::Usage);
    }
    if arguments.users_of.credentials.is_none() {
        populate(&users, ours(&plan)).await?;
    }
    let result = drive(arguments, profile, plan, local.as_ref()).await?;
    tell_result(arguments, &result, lines)
}

/// Numbers of the users that this process drives.
fn ours(plan: &Plan) -> impl Iterator<Item = u64> + use<> {
    let Shard { index, of } = plan.shard.unwrap_or(Shard { index: 0, of: 1 });
    let most = plan.phases.iter().map(|phase| phase.users).max().unwrap_or(0);
    (u64::from(index)..most).step_by(of as usize)
}

/// Why this server is not loaded.
fn refusal(arguments: &LoadArguments, plan: &Plan) -> Option<String> {
    let url = arguments.url.as_ref()?;
    let is_here = match url.host()? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    if is_here {
        return None;
    }
    let host = url.host_str().unwrap_or_default();
    if !arguments.i_own_this_server {
        return Some(format!(
            "`{host}` is not this machine, and a load can take a server down; say `--i-own-this-server` if it is yours"
        ));
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

fn ground(arguments: &LoadArguments, profile: &Profile, local: Option<&Local>) -> anyhow::Result<Ground> {
    let of = &arguments.users_of;
    let url = match (local, &arguments.url) {
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
        .or_else(|| services.control.clone());
    let changes = match (control, &services.change_url) {
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

/// Makes the run, and lets a person end it.
async fn drive(
    arguments: &LoadArguments,
    profile: &Profile,
    plan: Plan,
    local: Option<&Local>,
) -> anyhow::Result<LoadResult> {
    let stop = CancellationToken::new();
    let now = Clock::system().wall();
    let begins_in = arguments.start_at.map_or(HEAD_START, |at| {
        Duration::try_from(at.duration_since(now)).unwrap_or_default()
    });
    let order = Order {
        begins_in,
        begins_at: arguments.start_at.unwrap_or(now),
        stop: stop.clone(),
    };
    let mut view = View::new(&plan, arguments.message_format);
    let lengths: Vec<_> = plan.phases.iter().map(|phase| phase.length).collect();
    let restarts = restarts((profile, &lengths), local, begins_in);
    let running = run(plan, order, |progress| view.show(progress));
    let asked = super::serve::asked_to_stop()?;
    let asking = async {
        asked.await;
        tell("ending: all tabs leave; ask again to stop at once");
        stop.cancel();
        if let Ok(again) = super::serve::asked_to_stop() {
            again.await;
        }
    };
    let beginnings = async {
        restarts.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        result = running => Ok(result?),
        () = asking => bail!("stopped at once; there is no result"),
        () = beginnings => bail!("the run has no end"),
    }
}

/// The run begins in so long, unless told.
const HEAD_START: Duration = Duration::from_millis(200);

/// Restarts the reference server at the beginning of each phase that asks for it.
async fn restarts((profile, lengths): (&Profile, &[Duration]), local: Option<&Local>, begins_in: Duration) {
    let beginning = tokio::time::Instant::now() + begins_in;
    let mut at = Duration::ZERO;
    let mut times = Vec::new();
    for (phase, length) in profile.phases.iter().zip(lengths) {
        if phase.begin == Some(Begin::RestartServer) {
            times.push(at);
        }
        at += *length;
    }
    let Some(process) = local.map(Local::process) else {
        if !times.is_empty() {
            tell(
                "note: only the reference server is restarted by the run; restart yours at the phase's beginning",
            );
        }
        return;
    };
    for at in times {
        tokio::time::sleep_until(beginning + at).await;
        if let Err(error) = process.restart().await {
            tell(&format!("note: {:#}", anyhow::Error::new(error)));
        }
    }
}

/// Tells one run, and writes all until now.
fn tell_result(
    arguments: &LoadArguments,
    result: &LoadResult,
    lines: &mut Vec<String>,
) -> anyhow::Result<Exit> {
    let line = serde_json::to_string(result)?;
    lines.push(line.clone());
    if let Some(path) = &arguments.out {
        fs::write(path, format!("{}\n", lines.join("\n")))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    match arguments.message_format {
        MessageFormat::Json => say(&line)?,
        MessageFormat::Human => say(&summary(result))?,
    };
    Ok(exit(result))
}

/// How the process ends after a run.
pub(super) fn exit(result: &LoadResult) -> Exit {
    let total = result.total();
    // Of a target that never took a tab nothing can be said.
    let is_unreachable = total.get(polytab_load::tally::Count::Opened) == 0;
    match result.verdict {
        Verdict::Interrupted => Exit::Interrupted,
        Verdict::Invalid => Exit::Environment,
        Verdict::Passed | Verdict::Failed if is_unreachable => Exit::Environment,
        Verdict::Passed => Exit::Passed,
        Verdict::Failed => Exit::Thresholds,
    }
}
