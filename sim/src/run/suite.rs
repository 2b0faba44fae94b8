//! Running many scenarios: several at once, tried again, in one order whoever finishes first.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
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

/// Something to tell of a suite under way.
#[derive(Clone, Copy, Debug)]
pub enum SuiteEvent<'a> {
    /// A run is over.
    Finished(&'a Report),
    /// A run has taken unusually long; told once.
    Slow {
        /// The scenario's id.
        id: &'a str,
        /// Real time since it began.
        since: Duration,
    },
}

/// Real time after which a run is told to be slow.
const SLOW: Duration = Duration::from_mins(1);
/// Real time that runs have to end once they are asked to stop. One that does not, waits for nothing: it hangs.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at runs that take long.
const TICK: Duration = Duration::from_millis(200);

/// Runs scenarios. `tell` hears of each run once, in the order of `scenarios`, as soon as all before it are done.
///
/// Cancelling `stop` ends what runs; those runs are reported as interrupted, those not begun are left out. A run that
/// does not end within 5 s is left behind on its thread, and reported as one that hangs.
///
/// # Errors
///
/// When the target cannot be reached or a port of the mocks is taken: nothing has run then.
pub fn run(
    scenarios: &[Arc<Scenario>],
    options: &SuiteOptions,
    stop: &CancellationToken,
    tell: &mut dyn FnMut(SuiteEvent<'_>),
) -> Result<(), RunError> {
    let Some(foreign) = Foreign::set_up(options, stop)? else {
        return Ok(());
    };
    let hosts = foreign.hosts.clone();
    let runs = scenarios.len() * options.repeat as usize;
    let jobs = if hosts.is_some() {
        1
    } else {
        options.jobs.get().min(runs)
    };
    let (sender, reports) = mpsc::sync_channel(jobs.max(1));
    let suite = Arc::new(Suite {
        scenarios: scenarios.to_vec(),
        options: options.clone(),
        hosts,
        next: AtomicUsize::new(0),
        running: Mutex::default(),
        stop: stop.clone(),
        over: CancellationToken::new(),
    });
    for _ in 0..jobs {
        let (suite, sender) = (Arc::clone(&suite), sender.clone());
        // Not scoped: a run that hangs must not keep the process.
        std::thread::spawn(move || suite.work(&sender));
    }
    drop(sender);
    suite.collect(&reports, tell);
    Ok(())
}

/// A suite under way.
struct Suite {
    scenarios: Vec<Arc<Scenario>>,
    options: SuiteOptions,
    hosts: Option<Arc<MockHosts>>,
    /// Number of the next run to begin.
    next: AtomicUsize,
    running: Mutex<BTreeMap<usize, Running>>,
    stop: CancellationToken,
    /// No run begins any more, because one failed.
    over: CancellationToken,
}

/// A run under way.
struct Running {
    since: Instant,
    is_told: bool,
}

impl Suite {
    /// All runs of one scenario come one after the other, each with the next seed.
    fn run_of(&self, number: usize) -> Option<(&Arc<Scenario>, u64)> {
        let repeat = self.options.repeat as usize;
        let seed = self.options.seed + (number % repeat) as u64;
        Some((self.scenarios.get(number / repeat)?, seed))
    }

    /// Runs one scenario after another until none is left.
    fn work(&self, sender: &mpsc::SyncSender<(usize, Report)>) {
        while !self.stop.is_cancelled() && !self.over.is_cancelled() {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((scenario, seed)) = self.run_of(number) else {
                return;
            };
            let plan = BedPlan {
                target: self.options.target.clone(),
                clock: self.options.clock,
                seed,
                strict: self.options.strict,
                hosts: self.hosts.clone(),
            };
            let running = Running {
                since: now(),
                is_told: false,
            };
            self.running().insert(number, running);
            let report = tried(scenario, &plan, &self.options, &self.stop);
            self.running().remove(&number);
            if self.options.fail_fast
                && matches!(
                    report.verdict,
                    Verdict::Failed | Verdict::Flooded | Verdict::Broken
                )
            {
                self.over.cancel();
            }
            // After a stop nobody may listen any more.
            if sender.send((number, report)).is_err() {
                return;
            }
        }
    }

    /// Hands reports on in the order of their runs, until all are there or the rest hangs.
    fn collect(&self, reports: &mpsc::Receiver<(usize, Report)>, tell: &mut dyn FnMut(SuiteEvent<'_>)) {
        let (mut early, mut due, mut stopped) = (BTreeMap::new(), 0, None);
        loop {
            match reports.recv_timeout(TICK) {
                Ok((number, report)) => {
                    early.insert(number, report);
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    self.tell_slow(tell);
                    if self.stop.is_cancelled() && stopped.get_or_insert_with(now).elapsed() >= STOP_PATIENCE
                    {
                        early.extend(self.hanging());
                        break;
                    }
                }
            }
            while let Some(report) = early.remove(&due) {
                tell(SuiteEvent::Finished(&report));
                due += 1;
            }
        }
        // After a stop some runs were never begun: those behind them are handed on all the same.
        for report in early.values() {
            tell(SuiteEvent::Finished(report));
        }
    }

    fn tell_slow(&self, tell: &mut dyn FnMut(SuiteEvent<'_>)) {
        for (number, running) in self.running().iter_mut() {
            let since = running.since.elapsed();
            if since >= SLOW
                && !std::mem::replace(&mut running.is_told, true)
                && let Some((scenario, _)) = self.run_of(*number)
            {
                let id = &scenario.id();
                tell(SuiteEvent::Slow { id, since });
            }
        }
    }

    /// Reports of the runs that were asked to stop and did not.
    fn hanging(&self) -> Vec<(usize, Report)> {
        let running = self.running();
        let report = |(number, running): (&usize, &Running)| {
            let (scenario, seed) = self.run_of(*number)?;
            let seconds = running.since.elapsed().as_secs();
            let reason = format!("hangs: it began {seconds} s ago and does not react to the wish to stop");
            let report = Report {
                verdict: Verdict::Interrupted,
                reason: Some(reason),
                ..scenario::blank_report(scenario, seed)
            };
            Some((*number, report))
        };
        running.iter().filter_map(report).collect()
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<usize, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "real time is what is wanted: how long a run takes"
)]
fn now() -> Instant {
    Instant::now()
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
        if report.verdict == Verdict::Inconclusive {
            // An attempt that showed nothing does not take back an earlier failure.
            report = first;
            report.tries = tries;
            break;
        }
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
        Verdict::Passed
        | Verdict::Flaky
        | Verdict::Inconclusive
        | Verdict::Skipped
        | Verdict::Flooded
        | Verdict::Interrupted => false,
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
