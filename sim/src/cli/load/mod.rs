//! `polytab load`: users with several tabs each, against any server.

pub(super) mod arguments;
mod compare;
mod job;
mod job_summary;
mod metrics;
mod place;
pub(super) mod view;

use std::{cell::RefCell, path::Path, time::Duration};

use anyhow::{Context, bail};
use polytab_load::{
    plan::Plan,
    result::{LoadResult, Shard},
    run::{Order, run},
    verdict::Verdict,
};
use polytab_seams::clock::Clock;
use tokio_util::sync::CancellationToken;

use self::{
    arguments::{LoadArguments, LoadCommand},
    compare::compare,
    job::job,
    metrics::Metrics,
    place::{Target, ground, refusal},
    view::{View, comparison, summary},
};
use super::{Exit, check::show, complain, mock::runtime, plan::MessageFormat, say};
use crate::{
    load::{
        behaviour::{Behaviour, of_profile},
        local::Local,
        plan::{Overrides, check_change_maker, plan, shard},
        profile::{Begin, Profile},
        site::populate,
    },
    scenario::document,
    sink::write_whole,
    suggest::nearest,
};

/// Profiles that are shipped.
const SHIPPED: [(&str, &str); 8] = [
    (
        "smoke",
        include_str!("../../../../scenarios/load/smoke.load.yaml"),
    ),
    (
        "steady",
        include_str!("../../../../scenarios/load/steady.load.yaml"),
    ),
    (
        "rollout",
        include_str!("../../../../scenarios/load/rollout.load.yaml"),
    ),
    (
        "reload-storm",
        include_str!("../../../../scenarios/load/reload-storm.load.yaml"),
    ),
    (
        "restart-storm",
        include_str!("../../../../scenarios/load/restart-storm.load.yaml"),
    ),
    (
        "token-wave",
        include_str!("../../../../scenarios/load/token-wave.load.yaml"),
    ),
    (
        "slow-tabs",
        include_str!("../../../../scenarios/load/slow-tabs.load.yaml"),
    ),
    ("soak", include_str!("../../../../scenarios/load/soak.load.yaml")),
];

pub(super) fn load(arguments: &LoadArguments) -> anyhow::Result<Exit> {
    if let Some(LoadCommand::Compare(arguments)) = &arguments.command {
        return compare(arguments);
    }
    if arguments.list {
        return list();
    }
    let asked = match read(arguments.profile.as_deref().unwrap_or_default()) {
        Ok(asked) => asked,
        Err(exit) => return Ok(exit),
    };
    let overrides = match overrides(arguments) {
        Ok(overrides) => overrides,
        Err(error) => {
            complain(&format!("{error:#}"));
            return Ok(Exit::Usage);
        }
    };
    let targets = Target::all(arguments);
    let is_owned = arguments.i_own_this_server;
    if let Some(problem) = targets.iter().find_map(|target| target.problem(is_owned)) {
        complain(&problem);
        return Ok(Exit::Usage);
    }
    if let Some(shards) = arguments.print_job {
        let own: Vec<String> = std::env::args().skip(1).collect();
        let job = job(shards.get(), &arguments.image, &own, Clock::system().wall());
        return say(&serde_json::to_string_pretty(&job)?);
    }
    let runtime = runtime()?;
    let mut worst = Exit::Passed;
    let mut results: Vec<Vec<LoadResult>> = vec![Vec::new(); targets.len()];
    let mut lines = Vec::new();
    'runs: for _ in 0..arguments.repeat.get() {
        for (target, results) in targets.iter().zip(&mut results) {
            let made = runtime.block_on(start(arguments, &asked, (&overrides, target)))?;
            let exit = match made {
                Ok(result) => {
                    tell_result(arguments, &result, &mut lines)?;
                    let exit = exit(result.verdict);
                    results.push(result);
                    exit
                }
                Err(exit) => exit,
            };
            worst = if exit.code() > worst.code() { exit } else { worst };
            if matches!(exit, Exit::Interrupted | Exit::Usage | Exit::InvalidFile) {
                break 'runs;
            }
        }
    }
    if let [first, beside] = results.as_slice()
        && !beside.is_empty()
        && arguments.message_format == MessageFormat::Human
    {
        let heads = [&first[0].target, &beside[0].target];
        let compared = polytab_load::compare::compare(first, beside, 0.0);
        say(&format!("\n{}", comparison(heads.map(String::as_str), &compared)))?;
    }
    Ok(worst)
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

/// What is asked for.
struct Asked {
    name: String,
    profile: Profile,
    behaviour: Option<Behaviour>,
}

/// The profile at a path, or a shipped one. What is wrong with it has been told.
fn read(asked: &str) -> Result<Asked, Exit> {
    let path = Path::new(asked);
    let told = |problems: Vec<_>| show(&problems, 1);
    if let Some((name, text)) = SHIPPED.iter().find(|(name, _)| *name == asked)
        && !path.exists()
    {
        let profile = document::parse(&format!("{name}.load.yaml"), text).map_err(told)?;
        return Ok(Asked {
            name: (*name).to_owned(),
            profile,
            behaviour: None,
        });
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
    let profile = document::load(path).map_err(told)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let behaviour = of_profile(&profile, folder).map_err(told)?;
    Ok(Asked {
        name,
        profile,
        behaviour,
    })
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
        allow_unmeasured: arguments.allow_unmeasured.clone(),
    })
}

/// One run, or how the process ends as there can be none, which has been told.
async fn start(
    arguments: &LoadArguments,
    asked: &Asked,
    (overrides, target): (&Overrides, &Target),
) -> anyhow::Result<Result<LoadResult, Exit>> {
    let Asked {
        name,
        profile,
        behaviour,
    } = asked;
    let local = match target.url {
        Some(_) => None,
        None => Some(Local::start(&profile.reference.server).await?),
    };
    let ground = match ground(arguments, profile, (target, local.as_ref())) {
        Ok(ground) => ground,
        Err(error) => {
            complain(&format!("{error:#}"));
            return Ok(Err(Exit::Usage));
        }
    };
    let users = ground.clone();
    let mut site = ground.site()?;
    if overrides.shard.is_some_and(|shard| shard.index > 0) {
        // All shards load one server: its calls are counted once.
        site.polls = None;
    }
    let plan = match plan(name, (profile, behaviour.as_ref()), overrides, site) {
        Ok(plan) => plan,
        Err(error) => {
            complain(&format!("{name}: {error}"));
            return Ok(Err(Exit::InvalidFile));
        }
    };
    if let Some(refusal) = refusal(target, &plan) {
        complain(&refusal);
        return Ok(Err(Exit::Usage));
    }
    if let Err(error) = check_change_maker(&plan) {
        complain(&format!("{name}: {error}"));
        return Ok(Err(Exit::InvalidFile));
    }
    if arguments.users_of.credentials.is_none() {
        populate(&users, ours(&plan)).await?;
    }
    drive(arguments, profile, plan, local.as_ref()).await.map(Ok)
}

/// Numbers of the users that this process drives.
fn ours(plan: &Plan) -> impl Iterator<Item = u64> + use<> {
    let Shard { index, of } = plan.shard.unwrap_or(Shard { index: 0, of: 1 });
    let most = plan.phases.iter().map(|phase| phase.users).max().unwrap_or(0);
    (u64::from(index)..most).step_by(of as usize)
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
    let view = RefCell::new(View::new(&plan, arguments.message_format));
    let metrics = match arguments.metrics {
        Some(address) => {
            let (metrics, address) = Metrics::listen(address, &plan).await?;
            view.borrow_mut()
                .tell(&format!("metrics: http://{address}/metrics"));
            Some(metrics)
        }
        None => None,
    };
    let lengths: Vec<_> = plan.phases.iter().map(|phase| phase.length).collect();
    let restarts = restarts((profile, &lengths), local, (begins_in, &view));
    let running = run(plan, order, |progress| {
        view.borrow_mut().show(progress);
        if let Some(metrics) = &metrics {
            metrics.add(progress);
        }
    });
    let asked = super::serve::asked_to_stop()?;
    let asking = async {
        asked.await;
        view.borrow_mut()
            .tell("ending: all tabs leave; ask again to stop at once");
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
async fn restarts(
    (profile, lengths): (&Profile, &[Duration]),
    local: Option<&Local>,
    (begins_in, view): (Duration, &RefCell<View>),
) {
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
            view.borrow_mut().tell(
                "note: only the reference server is restarted by the run; restart yours at the phase's beginning",
            );
        }
        return;
    };
    for at in times {
        tokio::time::sleep_until(beginning + at).await;
        if let Err(error) = process.restart().await {
            let text = format!("note: {:#}", anyhow::Error::new(error));
            view.borrow_mut().tell(&text);
        }
    }
}

/// Tells one run, and writes all until now.
fn tell_result(
    arguments: &LoadArguments,
    result: &LoadResult,
    lines: &mut Vec<String>,
) -> anyhow::Result<()> {
    let line = serde_json::to_string(result)?;
    lines.push(line.clone());
    if let Some(path) = &arguments.out {
        write_whole(path, &format!("{}\n", lines.join("\n")))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    if let Some(path) = job_summary::file() {
        job_summary::append(&path, result).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    match arguments.message_format {
        MessageFormat::Json => say(&line)?,
        MessageFormat::Human => say(&summary(result))?,
    };
    Ok(())
}

/// The exit code of a verdict.
pub(super) const fn exit(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Interrupted => Exit::Interrupted,
        Verdict::Invalid => Exit::Environment,
        Verdict::Passed => Exit::Passed,
        Verdict::Failed => Exit::Thresholds,
    }
}
