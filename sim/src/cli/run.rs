//! `polytab run`: selects scenarios, runs them, reports.

use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::{
    Exit,
    check::{nothing, show},
    complain,
    plan::{MessageFormat, Plan, RunArguments, plan},
    routes, width,
};
use crate::{
    events::Trouble,
    report::{
        Reporter, Scenarios, Start, Summary,
        github::Github,
        human::{Human, Progress},
        json::Json,
        junit::Junit,
    },
    run::suite::{self, SuiteEvent},
    scenario::{load::load, model::Scenario},
    sink::{Terminal, printable},
};

pub(super) fn run(arguments: &RunArguments) -> anyhow::Result<Exit> {
    let plan = match plan(arguments) {
        Ok(plan) => plan,
        Err(error) => {
            complain(&format!("{error:#}"));
            return Ok(Exit::Usage);
        }
    };
    let loaded = load(&plan.paths, &routes());
    if !loaded.problems.is_empty() {
        return Ok(show(&loaded.problems, loaded.files));
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
            super::say_line(&format!("{}: {}", scenario.id(), scenario.file.name.value))?;
        }
        return Ok(Exit::Passed);
    }
    let stop = CancellationToken::new();
    let _listening = listen(&stop)?;
    play(&plan, arguments, &scenarios, &stop)
}

/// Signals within this time are one wish to stop: shells and wrappers pass the same one on more than once.
const ONE_WISH: Duration = Duration::from_secs(1);

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
            tokio::time::sleep(ONE_WISH).await;
            // Without signals there is no second wish.
            if let Ok(again) = super::serve::asked_to_stop() {
                again.await;
                leave();
            }
        },
        runtime.handle(),
    );
    tasks.detach_all();
    Ok(runtime)
}

#[expect(clippy::exit, reason = "who asks twice does not want to wait for reports")]
fn leave() {
    std::process::exit(i32::from(Exit::Interrupted.code()));
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
    let ran = suite::run(scenarios, options, stop, &mut |event| {
        let report = match event {
            SuiteEvent::Finished(report) => report,
            SuiteEvent::Slow { id, since } => {
                super::tell(&format!(
                    "still running after {} s: {}",
                    since.as_secs(),
                    printable(id)
                ));
                return;
            }
        };
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
        return Err(error.into());
    }
    Ok(exit(&summary, worst, stop.is_cancelled()))
}

fn exit(summary: &Summary, worst: Option<Trouble>, is_stopped: bool) -> Exit {
    match worst {
        _ if is_stopped && summary.interrupted + summary.left_out > 0 => Exit::Interrupted,
        Some(Trouble::Tool) => Exit::Bug,
        Some(Trouble::Surroundings) => Exit::Environment,
        _ if summary.failed + summary.flooded > 0 => Exit::Failed,
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
        about(reporter.as_mut()).with_context(|| format!("cannot write {}", reporter.output()))?;
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
            out: Terminal::new(anstream::stdout()),
            scenarios: by_id,
            again: plan.again.clone(),
            width: width(),
            is_quiet: arguments.quiet,
            progress: Progress::default(),
        })],
        MessageFormat::Json => vec![Box::new(Json(BufWriter::new(io::stdout())))],
    };
    for path in &plan.junit {
        reporters.push(Box::new(Junit::new(path.clone(), plan.again.clone())));
    }
    // An empty value is the usual way to unset a variable for one command.
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if set("GITHUB_ACTIONS").is_some() {
        let summary = set("GITHUB_STEP_SUMMARY").map(PathBuf::from);
        // Actions reads annotations from either stream; standard output may be the event stream.
        let out: Box<dyn Write> = match arguments.message_format {
            MessageFormat::Human => Box::new(io::stdout()),
            MessageFormat::Json => Box::new(io::stderr()),
        };
        reporters.push(Box::new(Github::new(out, summary, plan.again.clone())));
    }
    reporters
}
