//! Running many scenarios: several at once, tried again, in one order whoever finishes first.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use polytab_seams::{Seams, clock::Clock};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{error::RunError, scenario};
use crate::{
    events::{Report, Trouble, Verdict},
    scenario::model::Scenario,
    snapshot::store::SnapshotMode,
    target::{ClockKind, Target},
    testbed::{bed::BedPlan, ground::facts, mocks::MockHosts},
};

/// How often a target's port is tried before it counts as unreachable, and how long between two tries.
const REACH_TRIES: u32 = 20;
const REACH_PAUSE: Duration = Duration::from_millis(250);

/// How a suite is run.
#[derive(Clone, Debug)]
pub struct SuiteOptions {
    /// The server under test.
    pub target: Target,
    /// The clock.
    pub clock: ClockKind,
    /// The seed of the first run of each scenario.
    pub seed: u64,
    /// How many scenarios run at once; always one against a server that is not ours, as they share it.
    pub jobs: NonZeroUsize,
    /// How often each scenario is run, each time with the next seed.
    pub repeat: u32,
    /// How often a scenario is tried again that failed, or that its surroundings kept from going on.
    pub retries: u32,
    /// Begin no scenario after one failed.
    pub fail_fast: bool,
    /// Whether faults and stubs that nobody met, and requests that no mock takes, fail a scenario.
    pub strict: bool,
    /// Ports of the mocks beside a server that is not ours: Keycloak, backend, GitLab, control API.
    pub mock_ports: [u16; 4],
    /// What happens with snapshots.
    pub snapshots: SnapshotMode,
}

/// Runs scenarios. `finished` is called once per run, in the order of `scenarios`, as soon as all before it are done.
///
/// Cancelling `stop` ends what runs; those runs are reported as interrupted, those not begun are left out.
///
/// # Errors
///
/// When the target cannot be reached or a port of the mocks is taken: nothing has run then.
pub fn run(
    scenarios: &[Arc<Scenario>],
    options: &SuiteOptions,
    stop: &CancellationToken,
    finished: &mut dyn FnMut(&Report),
) -> Result<(), RunError> {
    let repeat = options.repeat as usize;
    let runs = scenarios.len() * repeat;
    // All runs of one scenario come one after the other, each with the next seed.
    let run_of = |nth: usize| Some((scenarios.get(nth / repeat)?, options.seed + (nth % repeat) as u64));
    let Some(foreign) = Foreign::set_up(options, stop)? else {
        return Ok(());
    };
    let hosts = foreign.hosts.clone();
    let jobs = if hosts.is_some() {
        1
    } else {
        options.jobs.get().min(runs)
    };
    let next = AtomicUsize::new(0);
    let over = CancellationToken::new();
    let (sender, reports) = mpsc::sync_channel(jobs.max(1));
    std::thread::scope(|threads| {
        for _ in 0..jobs {
            let (sender, hosts) = (sender.clone(), hosts.clone());
            let (run_of, next, over) = (&run_of, &next, &over);
            threads.spawn(move || {
                while !stop.is_cancelled() && !over.is_cancelled() {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    let Some((scenario, seed)) = run_of(nth) else {
                        return;
                    };
                    let plan = BedPlan {
                        target: options.target.clone(),
                        clock: options.clock,
                        seed,
                        strict: options.strict,
                        hosts: hosts.clone(),
                    };
                    let report = tried(scenario, &plan, options, stop);
                    if options.fail_fast && matches!(report.verdict, Verdict::Failed | Verdict::Broken) {
                        over.cancel();
                    }
                    // The receiver outlives every sender.
                    sender.send((nth, report)).ok();
                }
            });
        }
        drop(sender);
        in_order(&reports, finished);
    });
    Ok(())
}

/// Hands reports on in the order of their runs.
fn in_order(reports: &mpsc::Receiver<(usize, Report)>, finished: &mut dyn FnMut(&Report)) {
    let mut early = BTreeMap::new();
    let mut due = 0;
    for (nth, report) in reports {
        early.insert(nth, report);
        while let Some(report) = early.remove(&due) {
            finished(&report);
            due += 1;
        }
    }
    // After a stop some runs were never begun: what finished behind them is handed on all the same.
    early.values().for_each(finished);
}

fn tried(
    scenario: &Arc<Scenario>,
    plan: &BedPlan,
    options: &SuiteOptions,
    stop: &CancellationToken,
) -> Report {
    let mut report = scenario::run(scenario, plan, options.snapshots, stop);
    for tries in 2..=options.retries + 1 {
        if !may_pass_yet(&report) {
            break;
        }
        let first = report;
        report = scenario::run(scenario, plan, options.snapshots, stop);
        report.tries = tries;
        if report.verdict == Verdict::Passed {
            report.verdict = Verdict::Flaky;
            report.failures = first.failures;
            report.reason = first.reason;
        }
    }
    report
}

/// A sign-in that a busy machine let run out of time says as little of the next try as a rule that was broken.
fn may_pass_yet(report: &Report) -> bool {
    match report.verdict {
        Verdict::Failed => true,
        Verdict::Broken => report.trouble == Some(Trouble::Surroundings),
        Verdict::Passed | Verdict::Flaky | Verdict::Skipped | Verdict::Interrupted => false,
    }
}

/// What stands beside a server that is not ours: mocks on fixed ports, on a runtime of their own. Beside our own it is
/// nothing.
#[derive(Default)]
struct Foreign {
    hosts: Option<Arc<MockHosts>>,
    /// Ends the mocks when dropped.
    _runtime: Option<tokio::runtime::Runtime>,
}

impl Foreign {
    /// None when there was a wish to stop before all was there.
    fn set_up(options: &SuiteOptions, stop: &CancellationToken) -> Result<Option<Self>, RunError> {
        let Some(url) = &options.target.url else {
            return Ok(Some(Self::default()));
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(RunError::Runtime)?;
        // A server that is not ours looks at its own clock: tokens must be of today. With a speed, time goes faster
        // from now on, over all scenarios.
        let seams = Seams {
            clock: Clock::derived(Clock::system().wall(), options.target.speed),
            ..Seams::system()
        };
        // The mocks come first: a server may look for its identity provider before it listens.
        let hosts = runtime.block_on(MockHosts::on_ports(
            options.mock_ports,
            &facts(&options.target, url),
            seams,
        ))?;
        if !runtime.block_on(reach(url, stop))? {
            return Ok(None);
        }
        Ok(Some(Self {
            hosts: Some(Arc::new(hosts)),
            _runtime: Some(runtime),
        }))
    }
}

/// Waits until the target listens: it may just have been started. Says whether it does; not when there was a wish to
/// stop first.
async fn reach(url: &Url, stop: &CancellationToken) -> Result<bool, RunError> {
    let unreachable = |source| RunError::Unreachable {
        url: url.to_string(),
        waited: REACH_PAUSE * REACH_TRIES,
        source,
    };
    let addresses = url.socket_addrs(|| None).map_err(unreachable)?;
    let mut last = std::io::Error::other("its name has no address");
    for _ in 0..REACH_TRIES {
        for address in &addresses {
            match tokio::time::timeout(REACH_PAUSE, TcpStream::connect(address)).await {
                Ok(Ok(_)) => return Ok(true),
                Ok(Err(error)) => last = error,
                Err(elapsed) => last = elapsed.into(),
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(false),
            () = tokio::time::sleep(REACH_PAUSE) => {}
        }
    }
    Err(unreachable(last))
}
