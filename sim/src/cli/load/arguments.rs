//! What `polytab load` is told.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
};

use clap::{Subcommand, ValueEnum, builder::FalseyValueParser};
use jiff::Timestamp;
use url::Url;

use super::compare::CompareArguments;
use crate::{
    cli::plan::MessageFormat,
    load::profile::{MeasureName, TabsPerUser},
    scenario::window::Span,
};

/// What to load, how, and where.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(in crate::cli) struct LoadArguments {
    #[command(subcommand)]
    pub(super) command: Option<LoadCommand>,
    /// A load profile (*.load.yaml), or the name of a shipped one
    #[arg(value_name = "PROFILE", required_unless_present = "list")]
    pub(super) profile: Option<String>,
    /// List the shipped profiles
    #[arg(long)]
    pub(super) list: bool,
    /// The server to load (ws://… or wss://…) [default: the reference server with its mocks, started for the run]
    #[arg(long, value_name = "URL", env = "POLYTAB_LOAD_URL")]
    pub(super) url: Option<Url>,
    /// Users at most; those of all phases in proportion
    #[arg(long, value_name = "N", env = "POLYTAB_LOAD_USERS")]
    pub(super) users: Option<u64>,
    /// Tabs of a user: a number, or numbers with their shares, as `1:60%,2:25%,5:15%`
    #[arg(long, value_name = "TABS", env = "POLYTAB_LOAD_TABS")]
    pub(super) tabs: Option<TabsPerUser>,
    /// How long all phases together last; each is stretched or shortened alike
    #[arg(long, value_name = "TIME", env = "POLYTAB_LOAD_DURATION")]
    pub(super) duration: Option<Span>,
    /// One more threshold, as `fanout.p99 < 2s`; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub(super) threshold: Vec<String>,
    /// Allow that these stay unmeasured although a threshold is about them, as `missed,polls_per_user_and_turn`
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(super) allow_unmeasured: Vec<MeasureName>,
    /// Seed of everything that is drawn [default: the profile's, or 1]
    #[arg(long, value_name = "N", env = "POLYTAB_SEED")]
    pub(super) seed: Option<u64>,
    /// Threads that drive tabs [default: as many as cores, less one for the target]
    #[arg(long, value_name = "N", env = "POLYTAB_LOAD_WORKERS")]
    pub(super) workers: Option<usize>,
    /// Only the users whose number leaves I when divided by N; `auto` asks the surroundings
    #[arg(long, value_name = "I/N", env = "POLYTAB_LOAD_SHARD")]
    pub(super) shard: Option<String>,
    /// Begin at this time (RFC 3339), as other shards do
    #[arg(long, value_name = "TIME", env = "POLYTAB_LOAD_START_AT")]
    pub(super) start_at: Option<Timestamp>,
    /// Write the result (JSON) to this file
    #[arg(long, value_name = "FILE", env = "POLYTAB_LOAD_OUT")]
    pub(super) out: Option<PathBuf>,
    /// Make the run so many times, each with its own result in a line of `--out`
    #[arg(long, value_name = "N", default_value = "1", env = "POLYTAB_LOAD_REPEAT")]
    pub(super) repeat: NonZeroU32,
    /// Load this server as well, in turns with the first one, and compare the two in the end
    #[arg(long, value_name = "URL", env = "POLYTAB_LOAD_BESIDE", conflicts_with_all = ["print_job", "shard"])]
    pub(super) beside: Option<Url>,
    /// Serve the run in Prometheus' text format while it goes on, at `http://ADDRESS/metrics`
    #[arg(long, value_name = "ADDRESS", env = "POLYTAB_LOAD_METRICS")]
    pub(super) metrics: Option<SocketAddr>,
    /// Form of the output: for people, or the result as one line of JSON
    #[arg(long, value_enum, default_value_t, env = "POLYTAB_MESSAGE_FORMAT")]
    pub(super) message_format: MessageFormat,
    /// Print this load as an Indexed Job of Kubernetes with so many shards, and load nothing
    #[arg(long, value_name = "SHARDS", requires = "url")]
    pub(super) print_job: Option<NonZeroU32>,
    /// With `--print-job`: the image of its pods
    #[arg(long, value_name = "IMAGE", default_value = concat!("polytab:", env!("CARGO_PKG_VERSION")))]
    pub(super) image: String,
    /// The load is meant, although the server is not on this machine
    #[arg(long, env = "POLYTAB_LOAD_I_OWN_THIS_SERVER", value_parser = FalseyValueParser::new())]
    pub(super) i_own_this_server: bool,
    #[command(flatten)]
    pub(super) users_of: UserArguments,
    #[command(flatten)]
    pub(super) services: ServiceArguments,
}

#[derive(Debug, Subcommand)]
pub(super) enum LoadCommand {
    /// Say what became slower or wrong between two results, and how sure that is
    Compare(CompareArguments),
}

/// Who the users are, and how they sign in.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Users")]
pub(super) struct UserArguments {
    /// How users sign in [default: `none`; `code` against the reference server]
    #[arg(long, value_enum, env = "POLYTAB_LOAD_SIGN_IN")]
    pub(super) sign_in: Option<How>,
    /// A CSV file of users: the columns `user`, `password`, `cookie`, `token`, or any header by its name
    #[arg(long, value_name = "FILE", env = "POLYTAB_LOAD_CREDENTIALS")]
    pub(super) credentials: Option<PathBuf>,
    /// A header of every handshake, as `X-User: ${user}`; may be repeated
    #[arg(long, value_name = "NAME: VALUE")]
    pub(super) header: Vec<String>,
    /// With `--sign-in code`: where a browser begins to sign in, on the server's host
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/auth/login",
        env = "POLYTAB_LOAD_LOGIN"
    )]
    pub(super) login: String,
    /// With `--sign-in code`: where a browser signs out
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/auth/logout",
        env = "POLYTAB_LOAD_LOGOUT"
    )]
    pub(super) logout: String,
    /// With `--sign-in password`: the token endpoint
    #[arg(long, value_name = "URL", env = "POLYTAB_LOAD_TOKEN_URL")]
    pub(super) token_url: Option<Url>,
    /// With `--sign-in password`: the client
    #[arg(long, value_name = "ID", env = "POLYTAB_LOAD_CLIENT_ID")]
    pub(super) client_id: Option<String>,
    /// With `--sign-in password`: the client's secret
    #[arg(
        long,
        value_name = "SECRET",
        env = "POLYTAB_LOAD_CLIENT_SECRET",
        hide_env_values = true
    )]
    pub(super) client_secret: Option<String>,
    /// With `--sign-in command`: prints the `Cookie` header of the user whom `POLYTAB_USER` names
    #[arg(long, value_name = "COMMAND", env = "POLYTAB_LOAD_SIGN_IN_COMMAND")]
    pub(super) sign_in_command: Option<String>,
}

/// What is beside the server.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Services")]
pub(super) struct ServiceArguments {
    /// Control API of our mocks beside the server: they make the changes, and count the server's calls
    #[arg(
        long,
        value_name = "URL",
        env = "POLYTAB_LOAD_CONTROL",
        conflicts_with = "change_url"
    )]
    pub(super) control: Option<Url>,
    /// Where a change is made: `POST` with `{"user": …, "mark": …}`
    #[arg(long, value_name = "URL", env = "POLYTAB_LOAD_CHANGE_URL")]
    pub(super) change_url: Option<Url>,
    /// Control API of our mocks beside the server of `--beside`
    #[arg(
        long,
        value_name = "URL",
        env = "POLYTAB_LOAD_BESIDE_CONTROL",
        requires = "beside",
        conflicts_with = "beside_change_url"
    )]
    pub(super) beside_control: Option<Url>,
    /// Where a change is made of which users of the server of `--beside` hear
    #[arg(
        long,
        value_name = "URL",
        env = "POLYTAB_LOAD_BESIDE_CHANGE_URL",
        requires = "beside"
    )]
    pub(super) beside_change_url: Option<Url>,
    /// Believe this certificate authority (PEM) as well
    #[arg(long, value_name = "FILE", env = "POLYTAB_LOAD_CA")]
    pub(super) ca: Option<PathBuf>,
    /// Addresses of this machine from which connections come, in turns
    #[arg(
        long,
        value_name = "IP,…",
        value_delimiter = ',',
        env = "POLYTAB_LOAD_SOURCES"
    )]
    pub(super) sources: Vec<IpAddr>,
}

/// How users sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum How {
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
  polytab load steady --url ws://127.0.0.1:8080/ws --beside ws://127.0.0.1:8081/ws --repeat 5
  polytab load my.load.yaml --url wss://staging.example/ws --credentials users.csv --i-own-this-server

Exit codes: 0 passed, all thresholds held; 99 failed, a threshold was missed; 6 invalid, as the target took no tab, a threshold \
was not measured or the generator was late; 3 the profile is not valid; 130 interrupted. The result is written in any case.";
