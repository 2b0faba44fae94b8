//! `polytab run`: selects scenarios, runs them, reports.

use std::{
    io::{self, BufWriter, Write},
    num::NonZeroUsize,
    path::PathBuf,
    sync::Arc,
    thread::available_parallelism,
};

use anyhow::{Context, anyhow, bail};
use clap::{ValueEnum, builder::FalseyValueParser};
use tokio_util::sync::CancellationToken;

use super::{
    Exit,
    check::{nothing, show_problems},
    complain,
    config::ProjectFile,
    routes, width,
};
use crate::{
    events::Trouble,
    report::{
        Reporter, Scenarios, Start, Summary,
        github::Github,
        human::{Again, Human, Progress},
        json::Json,
        junit::Junit,
    },
    run::suite::{self, SuiteOptions},
    scenario::{load::load, model::Scenario},
    snapshot::store::SnapshotMode,
    target::{ClockKind, MOCK_PORTS, Target},
};

/// The seed of who gives none: the same every time, so that a failure in a pipeline is the one seen at home.
const SEED: u64 = 1;
/// How many times as fast the reference server goes on the real clock, unless told.
const REAL_SPEED: u32 = 10;
/// Scenarios at once per core on the real clock, where they mostly wait.
const REAL_JOBS_PER_CORE: usize = 4;

/// What to run, against what, how.
#[derive(Debug, clap::Args)]
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
    /// Try a failed scenario again so often; one that passes then is flaky
    #[arg(long, value_name = "N", env = "POLYTAB_RETRIES")]
    retries: Option<u32>,
    /// Begin no further scenario after one failed
    #[arg(long, env = "POLYTAB_FAIL_FAST", value_parser = FalseyValueParser::new())]
    fail_fast: bool,
    /// Form of the output: for people, or the event stream as JSON lines
    #[arg(long, value_enum, default_value_t, env = "POLYTAB_MESSAGE_FORMAT")]
    message_format: MessageFormat,
    /// Write a report as well: junit=FILE; may be repeated
    #[arg(long, value_name = "KIND=FILE", env = "POLYTAB_REPORT", value_delimiter = ',')]
    report: Vec<String>,
    /// As in a pipeline: write no snapshots; a missing one is a failure. Set by `CI` as well
    #[arg(long, env = "CI", value_parser = FalseyValueParser::new())]
    ci: bool,
    /// Only lines for what did not pass
    #[arg(short, long, env = "POLYTAB_QUIET", value_parser = FalseyValueParser::new())]
    quiet: bool,
    /// List what would run, and run nothing
    #[arg(long)]
    list: bool,
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
struct Plan {
    paths: Vec<PathBuf>,
    options: SuiteOptions,
    selection: Selection,
    junit: Vec<PathBuf>,
    again: Again,
}

/// Which scenarios are meant.
struct Selection {
    filter: Vec<String>,
    tags: Vec<String>,
    shard: Option<(usize, usize)>,
}

pub(super) fn run(arguments: RunArguments) -> anyhow::Result<Exit> {
    let plan = match plan(&arguments) {
        Ok(plan) => plan,
        Err(error) => {
            complain(&format!("{error:#}"));
            return Ok(Exit::Usage);
        }
    };
    let loaded = load(&plan.paths, &routes());
    if !loaded.problems.is_empty() {
        return Ok(show_problems(&loaded));
    }
    let all = loaded.scenarios.len();
    let scenarios = plan.selection.select(loaded.scenarios.into_iter().map(Arc::new));
    if scenarios.is_empty() {
        complain(&if all == 0 {
            nothing(&plan.paths)
        } else {
            format!("none of {all} scenarios is selected")
        });
        return Ok(Exit::NothingRan);
    }
    if arguments.list {
        for scenario in &scenarios {
            super::say(&format!("{}: {}", scenario.id(), scenario.file.name.value))?;
        }
        return Ok(Exit::Passed);
    }
    let stop = CancellationToken::new();
    let _listening = listen(&stop)?;
    play(&plan, &arguments, &scenarios, &stop)
}

/// Cancels `stop` at the first Ctrl-C; the second ends the process, reports or not.
fn listen(stop: &CancellationToken) -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let stop = stop.clone();
    let asked = runtime.block_on(async { super::serve::asked_to_stop() })?;
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn_on(
        async move {
            asked.await;
            stop.cancel();
        },
        runtime.handle(),
    );
    tasks.detach_all();
    Ok(runtime)
}

fn play(
    plan: &Plan,
    arguments: &RunArguments,
    scenarios: &[Arc<Scenario>],
    stop: &CancellationToken,
) -> anyhow::Result<Exit> {
    let options = &plan.options;
    let start = Start {
        polytab: env!("CARGO_PKG_VERSION"),
        target: options.target.name.clone(),
        clock: options.clock.word(),
        speed: options.target.speed,
        seed: options.seed,
        runs: scenarios.len() * options.repeat as usize,
    };
    let mut reporters = reporters(plan, arguments, scenarios);
    let mut told = tell(&mut reporters, |reporter| reporter.start(&start));
    if told.is_err() {
        return told.map(|()| Exit::Environment);
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "real time is what is wanted: how long the suite took"
    )]
    let started = std::time::Instant::now();
    let (mut summary, mut worst) = (Summary::default(), None);
    let ran = suite::run(scenarios, options, stop, &mut |report| {
        summary.add(report);
        worst = worst.max(report.trouble);
        if told.is_ok() {
            told = tell(&mut reporters, |reporter| reporter.finished(report));
            if told.is_err() {
                // Nobody reads on, or the disk is full: what comes would be lost.
                stop.cancel();
            }
        }
    });
    summary.left_out = start.runs - summary.begun();
    summary.wall_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let ended = tell(&mut reporters, |reporter| reporter.end(&summary));
    told.and(ended)?;
    if let Err(error) = ran {
        return Err(anyhow!(error));
    }
    Ok(exit(&summary, worst, stop.is_cancelled()))
}

fn exit(summary: &Summary, worst: Option<Trouble>, is_stopped: bool) -> Exit {
    match worst {
        _ if is_stopped && summary.interrupted + summary.left_out > 0 => Exit::Interrupted,
        Some(Trouble::Tool) => Exit::Bug,
        Some(Trouble::Surroundings) => Exit::Environment,
        _ if summary.failed > 0 => Exit::Failed,
        Some(Trouble::File) => Exit::InvalidFile,
        None if summary.passed + summary.flaky == 0 => Exit::NothingRan,
        None => Exit::Passed,
    }
}

fn tell(
    reporters: &mut [Box<dyn Reporter>],
    mut about: impl FnMut(&mut dyn Reporter) -> io::Result<()>,
) -> anyhow::Result<()> {
    for reporter in reporters {
        about(reporter.as_mut()).context("cannot write a report")?;
    }
    Ok(())
}

fn reporters(plan: &Plan, arguments: &RunArguments, scenarios: &[Arc<Scenario>]) -> Vec<Box<dyn Reporter>> {
    let by_id: Scenarios = scenarios
        .iter()
        .map(|scenario| (scenario.id(), Arc::clone(scenario)))
        .collect();
    let mut reporters: Vec<Box<dyn Reporter>> = match arguments.message_format {
        MessageFormat::Human => vec![Box::new(Human {
            out: anstream::stdout(),
            scenarios: by_id,
            again: plan.again.clone(),
            width: width(),
            is_quiet: arguments.quiet,
            progress: Progress::default(),
        })],
        MessageFormat::Json => vec![Box::new(Json(BufWriter::new(io::stdout())))],
    };
    for path in &plan.junit {
        reporters.push(Box::new(Junit::new(path.clone())));
    }
    if std::env::var_os("GITHUB_ACTIONS").is_some() {
        let summary = std::env::var_os("GITHUB_STEP_SUMMARY").map(PathBuf::from);
        // Actions reads annotations from either stream; standard output may be the event stream.
        let out: Box<dyn Write> = match arguments.message_format {
            MessageFormat::Human => Box::new(io::stdout()),
            MessageFormat::Json => Box::new(io::stderr()),
        };
        reporters.push(Box::new(Github::new(out, summary)));
    }
    reporters
}

fn plan(arguments: &RunArguments) -> anyhow::Result<Plan> {
    let project = ProjectFile::load(arguments.config.as_deref())?;
    let settings = &project.run;
    let name = arguments.target.clone().or_else(|| settings.target.clone());
    let name = name.unwrap_or_else(|| "reference".to_owned());
    let asked = (
        arguments.clock.or(settings.clock),
        arguments.speed.or(settings.speed),
    );
    let (target, clock) = target(&name, &project, asked)?;
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    let usual_jobs = match clock {
        ClockKind::Virtual => cores,
        ClockKind::Real => cores * REAL_JOBS_PER_CORE,
    };
    let mock_ports = match &arguments.mock_ports {
        Some(text) => ports(text)?,
        None => settings.mock_ports.unwrap_or(MOCK_PORTS),
    };
    let pick = |own: &[String], of_project: &Option<Vec<String>>| {
        if own.is_empty() {
            of_project.clone().unwrap_or_default()
        } else {
            own.to_vec()
        }
    };
    let repeat = arguments.repeat.or(settings.repeat).unwrap_or(1);
    if repeat == 0 {
        bail!("--repeat 0 would run nothing");
    }
    let is_usual = (name == "reference", clock == ClockKind::Virtual);
    Ok(Plan {
        paths: match (arguments.paths.as_slice(), &settings.paths) {
            ([], Some(paths)) => paths.clone(),
            ([], None) => vec![PathBuf::from("scenarios")],
            (paths, _) => paths.to_vec(),
        },
        again: Again {
            flags: match is_usual {
                (true, true) => String::new(),
                (true, false) => format!(" --clock real --speed {}", target.speed),
                (false, _) => format!(" --target {name}"),
            },
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
            fail_fast: arguments.fail_fast || settings.fail_fast.unwrap_or(false),
            mock_ports,
            snapshots: if arguments.ci {
                SnapshotMode::Check
            } else {
                SnapshotMode::Write
            },
        },
        selection: Selection {
            filter: pick(&arguments.filter, &settings.filter),
            tags: pick(&arguments.tag, &settings.tag),
            shard: arguments.shard.as_deref().map(shard).transpose()?,
        },
        junit: pick(&arguments.report, &settings.report)
            .iter()
            .map(|text| junit(text))
            .collect::<anyhow::Result<_>>()?,
    })
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
    fn select(&self, scenarios: impl Iterator<Item = Arc<Scenario>>) -> Vec<Arc<Scenario>> {
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
