//! What `polytab run` is to do: arguments, environment and project file in one, checked.

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc, thread::available_parallelism};

use anyhow::{Context, anyhow, bail};
use clap::{ValueEnum, builder::FalseyValueParser};

use super::config::ProjectFile;
use crate::{
    report::Again,
    run::suite::SuiteOptions,
    scenario::model::Scenario,
    snapshot::store::SnapshotMode,
    suggest::quoted,
    target::{ClockKind, MOCK_PORTS, Target, is_on_this_machine},
};

/// The seed of who gives none: the same every time, so that a failure in a pipeline is the one seen at home.
const SEED: u64 = 1;
/// Runs of each scenario at most: a day of the fastest ones.
const REPEATS: u32 = 1_000_000;
/// How many times as fast the reference server goes on the real clock, unless told.
const REAL_SPEED: u32 = 10;
/// Scenarios at once per core on the real clock, where they mostly wait.
const REAL_JOBS_PER_CORE: usize = 4;

/// What to run, against what, how.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent flags")]
pub(super) struct RunArguments {
    /// Scenario files, and folders of them [default: scenarios]
    paths: Vec<PathBuf>,
    /// The server under test: `reference`, a URL (ws://…), or a name from polytab.toml [default: reference]
    #[arg(long, value_name = "NAME|URL", env = "POLYTAB_TARGET")]
    target: Option<String>,
    /// `virtual`: hours pass in milliseconds, in one process; `real`: over TCP [default: virtual for `reference`]
    #[arg(long, value_enum, env = "POLYTAB_CLOCK")]
    clock: Option<ClockKind>,
    /// On the real clock: all intervals are this many times shorter, 1 to 100 [default: 10 for `reference`]
    #[arg(long, value_name = "N", env = "POLYTAB_SPEED")]
    speed: Option<u32>,
    /// Scenarios at once [default: as many as cores; 4 times that on the real clock; 1 against a URL]
    #[arg(short, long, value_name = "N", env = "POLYTAB_JOBS")]
    jobs: Option<NonZeroUsize>,
    /// Only scenarios whose id or name contains this text; may be repeated
    #[arg(
        short,
        long,
        value_name = "TEXT",
        env = "POLYTAB_FILTER",
        value_delimiter = ','
    )]
    filter: Vec<String>,
    /// Only scenarios with this tag, or, with a `!` before it, without it; may be repeated
    #[arg(short, long, value_name = "TAG", env = "POLYTAB_TAG", value_delimiter = ',')]
    tag: Vec<String>,
    /// Only the i-th of n equal shares
    #[arg(long, value_name = "I/N", env = "POLYTAB_SHARD")]
    shard: Option<String>,
    /// Seed of all randomness [default: 1]
    #[arg(long, value_name = "N", env = "POLYTAB_SEED")]
    seed: Option<u64>,
    /// Run each scenario so often, each time with the next seed
    #[arg(long, value_name = "N", env = "POLYTAB_REPEAT")]
    repeat: Option<u32>,
    /// Try a failed or broken scenario again so often; one that passes then is flaky
    #[arg(long, value_name = "N", env = "POLYTAB_RETRIES")]
    retries: Option<u32>,
    /// Begin no further scenario after one failed
    #[arg(long, env = "POLYTAB_FAIL_FAST", value_parser = FalseyValueParser::new())]
    fail_fast: bool,
    /// Inconclusive scenarios, unused stubs and requests that no mock takes are failures
    #[arg(long, env = "POLYTAB_STRICT", value_parser = FalseyValueParser::new())]
    strict: bool,
    /// Form of the output: for people, or the event stream as JSON lines
    #[arg(long, value_enum, default_value_t, env = "POLYTAB_MESSAGE_FORMAT")]
    pub(super) message_format: MessageFormat,
    /// Write a report as well: junit=FILE; may be repeated
    #[arg(long, value_name = "KIND=FILE", env = "POLYTAB_REPORT", value_delimiter = ',')]
    report: Vec<String>,
    /// As in a pipeline: write no snapshots; a missing one is a failure. Set by `CI` as well
    #[arg(long, env = "CI", value_parser = FalseyValueParser::new())]
    ci: bool,
    /// Only lines for what did not pass
    #[arg(short, long, env = "POLYTAB_QUIET", value_parser = FalseyValueParser::new())]
    pub(super) quiet: bool,
    /// The target is meant, although it is not on this machine
    #[arg(long, env = "POLYTAB_I_OWN_THIS_SERVER", value_parser = FalseyValueParser::new())]
    i_own_this_server: bool,
    /// List what would run, and run nothing
    #[arg(long)]
    pub(super) list: bool,
    /// Ports of the mocks beside a target at a URL: Keycloak, backend, GitLab, control API [default:
    /// 7081,7082,7083,7084]
    #[arg(long, value_name = "K,B,G,C", env = "POLYTAB_MOCK_PORTS")]
    mock_ports: Option<String>,
    /// Settings of the project [default: polytab.toml, if there is one]
    #[arg(long, value_name = "FILE", env = "POLYTAB_CONFIG")]
    config: Option<PathBuf>,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum MessageFormat {
    /// For people.
    #[default]
    Human,
    /// JSON lines.
    Json,
}

/// Arguments and project file in one, checked.
pub(super) struct Plan {
    pub(super) paths: Vec<PathBuf>,
    pub(super) options: SuiteOptions,
    pub(super) selection: Selection,
    pub(super) junit: Vec<PathBuf>,
    pub(super) again: Again,
}

/// Which scenarios are meant.
pub(super) struct Selection {
    filter: Vec<String>,
    tags: Vec<String>,
    shard: Option<(usize, usize)>,
}

/// Arguments, environment and project file in one, checked.
pub(super) fn plan(arguments: &RunArguments) -> anyhow::Result<Plan> {
    let project = ProjectFile::load(arguments.config.as_deref())?;
    let settings = &project.run;
    let name = arguments.target.clone().or_else(|| settings.target.clone());
    let name = name.unwrap_or_else(|| "reference".to_owned());
    let asked = (
        arguments.clock.or(settings.clock),
        arguments.speed.or(settings.speed),
    );
    let (target, clock) = target(&name, &project, asked)?;
    if let Some(url) = target.url.as_ref().filter(|url| !is_on_this_machine(url))
        && !arguments.i_own_this_server
    {
        bail!(
            "`{}` is not this machine, and scenarios send hostile input; say `--i-own-this-server` if it is yours",
            url.host_str().unwrap_or_default()
        );
    }
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    let usual_jobs = match clock {
        ClockKind::Virtual => cores,
        ClockKind::Real => cores * REAL_JOBS_PER_CORE,
    };
    let mock_ports = match &arguments.mock_ports {
        Some(text) => ports(text)?,
        None => settings.mock_ports.unwrap_or(MOCK_PORTS),
    };
    let repeat = arguments.repeat.or(settings.repeat).unwrap_or(1);
    if !(1..=REPEATS).contains(&repeat) {
        bail!("--repeat {repeat} is none of 1 to {REPEATS}");
    }
    Ok(Plan {
        paths: match (arguments.paths.as_slice(), &settings.paths) {
            ([], Some(paths)) => paths.clone(),
            ([], None) => vec![PathBuf::from("scenarios")],
            (paths, _) => paths.to_vec(),
        },
        again: Again {
            flags: flags(arguments, &name, (clock, target.speed)),
        },
        options: SuiteOptions {
            target,
            clock,
            seed: arguments.seed.or(settings.seed).unwrap_or(SEED),
            jobs: arguments
                .jobs
                .or(settings.jobs)
                .unwrap_or(NonZeroUsize::new(usual_jobs).unwrap_or(NonZeroUsize::MIN)),
            repeat,
            retries: arguments.retries.or(settings.retries).unwrap_or(0),
            strict: arguments.strict || settings.strict.unwrap_or(false),
            fail_fast: arguments.fail_fast || settings.fail_fast.unwrap_or(false),
            mock_ports,
            snapshots: if arguments.ci {
                SnapshotMode::Check
            } else {
                SnapshotMode::Write
            },
        },
        selection: Selection {
            filter: pick(&arguments.filter, settings.filter.as_ref()),
            tags: pick(&arguments.tag, settings.tag.as_ref()),
            shard: arguments.shard.as_deref().map(shard).transpose()?,
        },
        junit: pick(&arguments.report, settings.report.as_ref())
            .iter()
            .map(|text| junit(text))
            .collect::<anyhow::Result<_>>()?,
    })
}

/// A list of the command line, or the project's.
fn pick(own: &[String], of_project: Option<&Vec<String>>) -> Vec<String> {
    match (own, of_project) {
        ([], Some(project)) => project.clone(),
        (own, _) => own.to_vec(),
    }
}

/// The flags that matter for a verdict, as they have to be given again.
fn flags(arguments: &RunArguments, name: &str, (clock, speed): (ClockKind, u32)) -> String {
    let config = arguments.config.as_ref();
    let config = config.map_or_else(String::new, |path| {
        format!(" --config {}", quoted(&path.display().to_string()))
    });
    let chosen = match (name, clock) {
        ("reference", ClockKind::Virtual) => String::new(),
        ("reference", ClockKind::Real) => format!(" --clock real --speed {speed}"),
        (name, _) => {
            let speed = arguments.speed;
            let speed = speed.map_or_else(String::new, |speed| format!(" --speed {speed}"));
            format!(" --target {}{speed}", quoted(name))
        }
    };
    let ports = arguments.mock_ports.as_ref();
    let ports = ports.map_or_else(String::new, |ports| format!(" --mock-ports {}", quoted(ports)));
    let strict = if arguments.strict { " --strict" } else { "" };
    let owned = if arguments.i_own_this_server {
        " --i-own-this-server"
    } else {
        ""
    };
    format!("{chosen}{ports}{config}{strict}{owned}")
}

fn target(
    name: &str,
    project: &ProjectFile,
    (clock, speed): (Option<ClockKind>, Option<u32>),
) -> anyhow::Result<(Target, ClockKind)> {
    if name == "reference" {
        let clock = clock.unwrap_or(ClockKind::Virtual);
        let speed = match (clock, speed) {
            (ClockKind::Virtual, None | Some(1)) => 1,
            (ClockKind::Virtual, Some(speed)) => {
                bail!("--speed {speed} is for the real clock; the virtual one is as fast as it can be")
            }
            (ClockKind::Real, speed) => speed.unwrap_or(REAL_SPEED),
        };
        return Ok((Target::reference(clock, speed)?, clock));
    }
    if clock == Some(ClockKind::Virtual) {
        bail!(
            "`{name}` runs on the real clock: the virtual one needs a server in the process, the reference server"
        );
    }
    let mut target = if name.contains("://") {
        Target::at_url(name)?
    } else {
        let description = project
            .target
            .get(name)
            .ok_or_else(|| unknown_target(name, project))?;
        Target::described(name, description)?
    };
    if let Some(speed) = speed {
        target = target.at_speed(speed)?;
    }
    Ok((target, ClockKind::Real))
}

fn unknown_target(name: &str, project: &ProjectFile) -> anyhow::Error {
    let known: Vec<_> = std::iter::once("reference")
        .chain(project.target.keys().map(String::as_str))
        .map(|name| format!("`{name}`"))
        .collect();
    anyhow!(
        "no target is called `{name}`: it is a URL (ws://…), or one of {}; polytab.toml names more in [target.NAME]",
        known.join(", ")
    )
}

fn ports(text: &str) -> anyhow::Result<[u16; 4]> {
    let ports: Option<Vec<u16>> = text.split(',').map(|port| port.trim().parse().ok()).collect();
    let ports = ports.and_then(|ports| ports.try_into().ok());
    ports.with_context(|| format!("--mock-ports {text}: four ports are given as 7081,7082,7083,7084"))
}

fn shard(text: &str) -> anyhow::Result<(usize, usize)> {
    let parsed = text
        .split_once('/')
        .and_then(|(nth, of)| Some((nth.parse().ok()?, of.parse().ok()?)));
    match parsed {
        Some((nth, of)) if (1..=of).contains(&nth) => Ok((nth, of)),
        _ => bail!("--shard {text}: a share is given as 2/5, from 1/5 to 5/5"),
    }
}

fn junit(text: &str) -> anyhow::Result<PathBuf> {
    match text.split_once('=') {
        Some(("junit", path)) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => bail!("--report {text}: a report is given as junit=FILE"),
    }
}

impl Selection {
    /// The scenarios that are meant, in order.
    pub(super) fn select(&self, scenarios: impl Iterator<Item = Arc<Scenario>>) -> Vec<Arc<Scenario>> {
        let selected = scenarios.filter(|scenario| self.takes(scenario));
        let is_ours = |nth: usize| self.shard.is_none_or(|(share, of)| nth % of == share - 1);
        selected
            .enumerate()
            .filter(|(nth, _)| is_ours(*nth))
            .map(|(_, scenario)| scenario)
            .collect()
    }

    fn takes(&self, scenario: &Scenario) -> bool {
        let (id, name) = (scenario.id(), &scenario.file.name.value);
        let is_filtered = self.filter.is_empty()
            || self
                .filter
                .iter()
                .any(|text| id.contains(text) || name.contains(text));
        let has = |tag: &str| scenario.file.tags.iter().any(|found| found == tag);
        let (without, with): (Vec<_>, Vec<_>) = self.tags.iter().partition(|tag| tag.starts_with('!'));
        is_filtered
            && (with.is_empty() || with.iter().any(|tag| has(tag)))
            && !without.iter().any(|tag| has(tag.trim_start_matches('!')))
    }
}
