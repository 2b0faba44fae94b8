//! The command line: parses, calls the library, and gives an exit code.

mod check;
mod config;
mod doctor;
mod explain;
mod load;
mod mock;
mod plan;
mod report;
mod run;
mod serve;
mod snapshot;

use std::{io, process::ExitCode};

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// How the process ends (DESIGN §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything held.
    Passed,
    /// An expectation, rule or snapshot did not hold.
    Failed,
    /// The command line or `polytab.toml` is wrong.
    Usage,
    /// A file is not valid.
    InvalidFile,
    /// There was nothing to run.
    NothingRan,
    /// The target cannot be reached, a port is taken, a file cannot be written.
    Environment,
    /// A threshold of a load was missed.
    Thresholds,
    /// A defect of Polytab.
    Bug,
    /// A person stopped it.
    Interrupted,
}

impl Exit {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Passed,
        Self::Failed,
        Self::Usage,
        Self::InvalidFile,
        Self::NothingRan,
        Self::Environment,
        Self::Thresholds,
        Self::Bug,
        Self::Interrupted,
    ];

    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::InvalidFile => 3,
            Self::NothingRan => 4,
            Self::Environment => 6,
            Self::Thresholds => 99,
            Self::Bug => 101,
            Self::Interrupted => 130,
        }
    }

    /// What it says.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Passed => "everything held; of scenarios, at least one passed",
            Self::Failed => {
                "an expectation, a standing rule or a snapshot did not hold; under `--strict` also an inconclusive scenario"
            }
            Self::Usage => "the command line or polytab.toml is wrong",
            Self::InvalidFile => "a file is not valid; nothing was run",
            Self::NothingRan => {
                "no scenario was selected, or those selected were all skipped or inconclusive"
            }
            Self::Environment => {
                "the surroundings do not allow it: the target cannot be reached, a port is taken, a file cannot be written; or a \
                 load is invalid, as there is not enough evidence to judge its target"
            }
            Self::Thresholds => "a threshold of a load was missed",
            Self::Bug => "a defect of Polytab itself",
            Self::Interrupted => "stopped by a person; reports of what ran until then are written",
        }
    }
}

/// Finds the bugs that appear only when one person has many browser tabs open.
///
/// Replays multi-tab scenarios against a WebSocket notification server and judges what every tab, and every service
/// behind the server, saw.
#[derive(Debug, Parser)]
#[command(name = "polytab", version, max_term_width = 100, after_help = AFTER)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "Every flag has an environment twin (POLYTAB_…) and most have a key in polytab.toml; a flag wins over \
the environment, the environment over the file.\nExit codes: `polytab explain exit`.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios and judge what every tab saw
    Run(Box<plan::RunArguments>),
    /// Say what is wrong with scenario files, without running them
    Check(check::CheckArguments),
    /// Load a server with users who have several tabs each, and count what their tabs should have heard and did not
    Load(Box<load::arguments::LoadArguments>),
    /// Start the reference server with its mocks
    Serve(Box<serve::ServeArguments>),
    /// Start the mocks alone: Keycloak, backend services, gateway, GitLab, and the API that orders what they do
    ///
    /// They answer, and refuse, as the real services do; one line on standard output says where once all of them
    /// listen.
    Mock(Box<mock::MockArguments>),
    /// Make a page, a table, test cases or metrics of the result of a load, or merge its shards
    Report(report::ReportArguments),
    /// Say whether this machine can do what is asked of it: descriptors, ports, memory, timer
    Doctor(doctor::DoctorArguments),
    /// List, review, accept or reject snapshots
    Snapshot(snapshot::SnapshotArguments),
    /// Print the JSON Schema of a file format, for editors, or the OpenAPI document of the mocks' control API
    Schema {
        /// Which format.
        what: Format,
    },
    /// Say more about a problem, a standing rule, a close code or an exit code
    Explain {
        /// A problem's name (`unknown-key`), a rule's (`no-cross-user`), a close code (`4001`), or `exit`; without it,
        /// everything that can be explained.
        what: Option<String>,
    },
    /// Print completions for a shell
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// A file format.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// `*.tabs.yaml`
    Scenario,
    /// `*.load.yaml`
    Load,
    /// Settings of the mocks: `polytab mock --file`
    Mocks,
    /// The mocks' control API, as an OpenAPI document
    Control,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors. Where they cannot be written, nobody reads them.
            error.print().ok();
            let code = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Passed
            };
            return ExitCode::from(code.code());
        }
    };
    start_logs();
    match dispatch(arguments.command) {
        Ok(exit) => ExitCode::from(exit.code()),
        // A reader that left (`polytab run | head`) wants no more, not even an error.
        Err(error) if is_broken_pipe(&error) => ExitCode::from(BROKEN_PIPE),
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::from(Exit::Environment.code())
        }
    }
}

/// The status that shells give a process which SIGPIPE ended (128 + 13).
const BROKEN_PIPE: u8 = 141;

fn dispatch(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Load(arguments) => load::load(&arguments),
        Command::Serve(arguments) => serve::serve(&arguments),
        Command::Mock(arguments) => mock::mock(*arguments),
        Command::Report(arguments) => report::report(&arguments),
        Command::Doctor(arguments) => doctor::doctor(&arguments),
        Command::Snapshot(arguments) => snapshot::snapshot(&arguments),
        Command::Schema { what } => {
            let schema = match what {
                Format::Scenario => crate::scenario::schema::scenario(),
                Format::Load => crate::scenario::schema::load(),
                Format::Mocks => crate::scenario::schema::mocks(),
                Format::Control => polytab_mocks::control::document(),
            };
            say(&serde_json::to_string_pretty(&schema)?)
        }
        Command::Explain { what } => explain::explain(what.as_deref()),
        Command::Completions { shell } => {
            // Into memory first: the generator panics where it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "polytab", &mut script);
            say(String::from_utf8(script)?.trim_end())
        }
    }
}

/// Logs of the parts are for people who look for a defect: `RUST_LOG=debug`.
fn start_logs() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .init();
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A result, to standard output.
fn say(text: &str) -> anyhow::Result<Exit> {
    use io::Write;
    writeln!(anstream::stdout(), "{text}").context("cannot write to standard output")?;
    Ok(Exit::Passed)
}

/// A line of a result with text of others in it, to standard output.
fn say_line(text: &str) -> anyhow::Result<Exit> {
    crate::sink::Terminal::new(anstream::stdout())
        .line(text)
        .context("cannot write to standard output")?;
    Ok(Exit::Passed)
}

/// Why it does not go on, to standard error.
fn complain(text: &str) {
    tell(&format!("error: {text}"));
}

fn tell(text: &str) {
    use io::Write;
    // Without standard error there is nobody to tell.
    writeln!(anstream::stderr(), "{text}").ok();
}

/// Characters per line of the terminal, or of what `COLUMNS` says.
fn width() -> usize {
    let told = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok());
    let seen = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    told.or_else(seen).unwrap_or(120).clamp(60, 240)
}

/// Names of the mocks' routes, against which files are checked.
fn routes() -> Vec<&'static str> {
    polytab_mocks::route::ROUTES
        .iter()
        .map(|route| route.name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
