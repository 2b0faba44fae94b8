//! A whole run: starts the workers, puts together what they hand over, and judges it.

use std::{collections::BTreeMap, io, sync::Arc, thread, time::Duration};

use jiff::Timestamp;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    alarm::Alarm,
    clock::Clock,
    contact::Contact,
    dial::Dialer,
    health::{self, HostTimes},
    intent::Intent,
    lateness::Strain,
    merge::ALONE,
    plan::Plan,
    result::{FORMAT, Generator, Interval, LoadResult, Packed, Phase},
    schedule::Schedule,
    tally::{Count, Metric, Tally},
    threshold::shown,
    verdict::{Ending, Verdict},
    worker::{Handed, Shared, Worker},
};

/// Stretches that a run is cut into at most; longer runs have longer ones.
const INTERVALS: u32 = 600;
/// Stretches that wait to be put together, each worker.
const HANDED: usize = 64;
/// Time in which workers get ready before the run begins.
const HEAD_START: Duration = Duration::from_millis(100);
/// Time between two looks at whether the target takes tabs at all.
const LOOK: Duration = Duration::from_millis(250);
/// How long the services may take to say how often they were called.
const ASKING: Duration = Duration::from_secs(2);

/// Why a run cannot be made.
#[derive(Debug, Error)]
pub enum RunError {
    /// The target's name has no address.
    #[error("cannot find the target `{0}`")]
    Name(String, #[source] io::Error),
    /// Too many tabs for this process.
    #[error(
        "{needed} descriptors are needed for {tabs} tabs, and this process may have {limit}; raise the limit (`ulimit -n {needed}`, or LimitNOFILE), or spread the users over several processes with `--shard`"
    )]
    Descriptors {
        /// Most tabs at once.
        tabs: u64,
        /// Descriptors for them.
        needed: u64,
        /// Descriptors allowed.
        limit: u64,
    },
    /// The system does not give a thread, a runtime or a timer.
    #[error("cannot start a worker")]
    Worker(#[source] io::Error),
}

/// How far a run has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The stretch that has just ended.
    pub interval: &'a Interval,
    /// What was counted in it.
    pub tally: &'a Tally,
    /// What was counted until its end.
    pub total: &'a Tally,
    /// How busy the busiest worker was in it, as a part of a core.
    pub cpu: f64,
}

/// How a run begins and ends early.
#[derive(Debug)]
pub struct Order {
    /// How long until it begins; as soon as possible when zero.
    pub begins_in: Duration,
    /// When that is (RFC 3339).
    pub begins_at: Timestamp,
    /// A person ends it.
    pub stop: CancellationToken,
}

/// Makes a run. `watch` is told each stretch, and everything until then.
///
/// # Errors
///
/// When it cannot begin. What happens to the target afterwards is in the result.
pub async fn run(
    plan: Plan,
    order: Order,
    mut watch: impl FnMut(&Progress<'_>),
) -> Result<LoadResult, RunError> {
    let schedule = Schedule::new(&plan);
    let descriptors = check_descriptors(&plan, &schedule)?;
    let dialer = Dialer::new(&plan.site, &plan.limits)
        .await
        .map_err(|error| RunError::Name(plan.site.url.host().unwrap_or_default().to_owned(), error))?;
    let bounds = bounds(&plan, &schedule);
    let clock = Clock::starting_in(order.begins_in.max(HEAD_START));
    let shared = Arc::new(Shared {
        plan,
        schedule,
        clock,
        dialer,
        bounds,
        stop: order.stop.child_token(),
        contact: Contact::default(),
    });
    let (threads, mut handed) = start(&shared)?;
    let mut gathered = Gathered::new(&shared);
    let mut looking = tokio::time::interval(LOOK);
    loop {
        let stretch = tokio::select! {
            biased;
            stretch = handed.recv() => stretch,
            _ = looking.tick() => {
                gathered.give_up();
                continue;
            }
        };
        let Some(stretch) = stretch else { break };
        gathered.take(&stretch);
        while let Some(mut stretch) = gathered.next() {
            gathered.ask_polls(&mut stretch.tally).await;
            gathered.keep(stretch, &mut watch);
        }
    }
    for thread in threads {
        // A worker that panicked has said so; its users are missing in the result.
        if thread.join().is_err() {
            gathered.lost_workers += 1;
        }
    }
    gathered.rest(&mut watch);
    Ok(gathered.result(&order, descriptors))
}

fn check_descriptors(plan: &Plan, schedule: &Schedule) -> Result<u64, RunError> {
    let limit = health::raise_descriptors();
    let (first, step) = plan.shard.map_or((0, 1), |shard| (shard.index, shard.of));
    let users = (u64::from(first)..schedule.user_count()).step_by(step as usize);
    let tabs = users.map(|user| u64::from(schedule.tabs(user))).sum();
    let needed = health::descriptors_for(tabs);
    // How many are there at once when users go again shows only then.
    if needed > limit && plan.page.stay.is_none() {
        return Err(RunError::Descriptors { tabs, needed, limit });
    }
    Ok(limit)
}

/// Ends of the stretches: each lies in one phase.
fn bounds(plan: &Plan, schedule: &Schedule) -> Vec<Duration> {
    let step = plan.limits.interval.max(schedule.end() / INTERVALS);
    let mut bounds = Vec::new();
    let mut at = Duration::ZERO;
    for end in schedule.phase_ends() {
        // What would be shorter than half a stretch is a part of the last one.
        while at + step + step / 2 < end {
            at += step;
            bounds.push(at);
        }
        at = end;
        bounds.push(end);
    }
    bounds
}

type Started = (Vec<thread::JoinHandle<()>>, mpsc::Receiver<Handed>);

fn start(shared: &Arc<Shared>) -> Result<Started, RunError> {
    let workers = shared.plan.limits.workers.max(1);
    let (all, handed) = mpsc::channel(HANDED * workers);
    let mut threads = Vec::new();
    for index in 0..workers {
        let (shared, all) = (Arc::clone(shared), all.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(RunError::Worker)?;
        let alarm = {
            let _context = runtime.enter();
            Alarm::new().map_err(RunError::Worker)?
        };
        let drive = move || {
            let local = tokio::task::LocalSet::new();
            let (hand, mut own) = mpsc::channel(HANDED);
            local.block_on(&runtime, async {
                let worker = Worker::new(shared, hand);
                let pass_on = async {
                    while let Some(stretch) = own.recv().await {
                        if all.send(stretch).await.is_err() {
                            break;
                        }
                    }
                };
                let driving = worker.run(&alarm, (index as u64, workers as u64));
                tokio::join!(driving, pass_on);
            });
        };
        let name = format!("tabs-{index}");
        let thread = thread::Builder::new().name(name).spawn(drive);
        threads.push(thread.map_err(RunError::Worker)?);
    }
    Ok((threads, handed))
}

/// A stretch that is being put together.
struct Stretch {
    interval: Interval,
    tally: Tally,
    cpu: f64,
    waited: f64,
}

/// What was handed over until now.
struct Gathered<'a> {
    shared: &'a Arc<Shared>,
    /// Stretches that not every worker has handed over yet, with how many have.
    open: BTreeMap<usize, (Stretch, usize)>,
    intervals: Vec<Interval>,
    total: Tally,
    polls: u64,
    cpu_max: f64,
    cpu: f64,
    host: HostTimes,
    /// Of the stretches that were late.
    strain: Strain,
    lost_workers: u64,
    /// Set when the run ends before its schedule does.
    ending: Option<Ending>,
    notes: Vec<String>,
}

impl<'a> Gathered<'a> {
    fn new(shared: &'a Arc<Shared>) -> Self {
        Self {
            shared,
            open: BTreeMap::new(),
            intervals: Vec::new(),
            total: Tally::default(),
            polls: 0,
            cpu_max: 0.0,
            cpu: 0.0,
            host: HostTimes::read(shared.clock.now()),
            strain: Strain::default(),
            lost_workers: 0,
            ending: None,
            notes: Vec::new(),
        }
    }

    fn take(&mut self, stretch: &Handed) {
        let nth = stretch.nth;
        let length = self.bound(nth).saturating_sub(self.beginning(nth));
        self.cpu += stretch.cpu * length.as_secs_f64();
        let fresh = self.empty(nth);
        let (sum, handed) = self.open.entry(nth).or_insert((fresh, 0));
        *handed += 1;
        sum.cpu = sum.cpu.max(stretch.cpu.min(1.0));
        sum.waited = sum.waited.max(stretch.waited.min(1.0));
        sum.interval.users += stretch.users;
        sum.interval.tabs += stretch.tabs;
        sum.tally.add(&stretch.tally);
    }

    fn empty(&self, nth: usize) -> Stretch {
        let (from, to) = (self.beginning(nth), self.bound(nth));
        let ends = self.shared.schedule.phase_ends();
        let phase = ends
            .iter()
            .position(|end| to <= *end)
            .unwrap_or(ends.len().saturating_sub(1));
        Stretch {
            interval: Interval {
                from_s: from.as_secs_f64(),
                to_s: to.as_secs_f64(),
                phase,
                users: 0,
                tabs: 0,
                seen: Packed::default(),
            },
            tally: Tally::default(),
            cpu: 0.0,
            waited: 0.0,
        }
    }

    fn beginning(&self, nth: usize) -> Duration {
        nth.checked_sub(1)
            .map_or(Duration::ZERO, |before| self.bound(before))
    }

    /// The end of a stretch; what comes after the last one ends now.
    fn bound(&self, nth: usize) -> Duration {
        let bounds = &self.shared.bounds;
        let now = || {
            self.shared
                .clock
                .now()
                .max(bounds.last().copied().unwrap_or_default())
        };
        bounds.get(nth).copied().unwrap_or_else(now)
    }

    /// The next stretch that is complete.
    fn next(&mut self) -> Option<Stretch> {
        let workers = self.shared.plan.limits.workers.max(1);
        let (nth, (_, handed)) = self.open.first_key_value()?;
        let nth = *nth;
        (*handed == workers && nth == self.intervals.len())
            .then(|| self.open.remove(&nth))
            .flatten()
            .map(|(stretch, _)| stretch)
    }

    /// How often the target's loops asked the services in this stretch.
    async fn ask_polls(&mut self, tally: &mut Tally) {
        let Some(polls) = &self.shared.plan.site.polls else {
            return;
        };
        match tokio::time::timeout(ASKING, polls()).await {
            Ok(Ok(polls)) => {
                let more = polls.saturating_sub(self.polls);
                self.polls = polls;
                tally.add_count(Count::Polls, more);
            }
            Ok(Err(reason)) => self.note(&format!(
                "the services did not say how often they were called: {reason}"
            )),
            Err(_) => self.note("the services did not say in time how often they were called"),
        }
    }

    /// Ends the run if the target takes no tab.
    fn give_up(&mut self) {
        let shared = self.shared;
        if self.ending.is_none()
            && shared.contact.is_hopeless(shared.clock.now())
            && !shared.stop.is_cancelled()
        {
            self.ending = Some(Ending::Unreachable);
            shared.stop.cancel();
        }
    }

    fn note(&mut self, note: &str) {
        if !self.notes.iter().any(|known| known == note) {
            self.notes.push(note.to_owned());
        }
    }

    fn keep(&mut self, stretch: Stretch, watch: &mut impl FnMut(&Progress<'_>)) {
        let Stretch {
            mut interval,
            tally,
            cpu,
            waited,
        } = stretch;
        self.total.add(&tally);
        self.cpu_max = self.cpu_max.max(cpu);
        let then = std::mem::replace(&mut self.host, HostTimes::read(self.shared.clock.now()));
        let lag = tally.metric(Metric::Lag).map(|lag| lag.quantile(0.99));
        if lag.is_some_and(|lag| lag > self.shared.plan.limits.lag) {
            let strain = Strain {
                worker: cpu,
                waited,
                ..self.host.since(&then)
            };
            self.strain = self.strain.max(strain);
        }
        watch(&Progress {
            interval: &interval,
            tally: &tally,
            total: &self.total,
            cpu,
        });
        interval.seen = Packed::from(&tally);
        let plan = &self.shared.plan;
        let is_late = plan
            .abort_after
            .is_some_and(|after| interval.to_s >= after.as_secs_f64());
        if is_late && !self.shared.stop.is_cancelled() {
            let mut thresholds = plan.thresholds.iter();
            let missed = thresholds.find(|threshold| !threshold.may_still_hold(&self.total));
            let intent = Intent::from(plan);
            if let Some(missed) = missed.map(|threshold| threshold.judge(&self.total, &intent)) {
                let note = format!(
                    "ended after {} because a threshold was missed: {}, seen {}",
                    shown(Duration::from_secs_f64(interval.to_s)),
                    missed.threshold,
                    missed.seen
                );
                self.note(&note);
                self.ending = Some(Ending::Threshold);
                self.shared.stop.cancel();
            }
        }
        self.intervals.push(interval);
    }

    /// What not all workers handed over, as the run ended in the middle of a stretch.
    fn rest(&mut self, watch: &mut impl FnMut(&Progress<'_>)) {
        while let Some((_, (mut stretch, _))) = self.open.pop_first() {
            let interval = &mut stretch.interval;
            let now = self.shared.clock.now().as_secs_f64();
            interval.from_s = self.intervals.last().map_or(0.0, |last| last.to_s);
            interval.to_s = interval.to_s.min(now).max(interval.from_s);
            self.keep(stretch, watch);
        }
    }

    fn result(mut self, order: &Order, descriptors: u64) -> LoadResult {
        let plan = &self.shared.plan;
        self.notes.extend(outages(&self.intervals));
        if plan.shard.is_some() {
            self.notes.push(ALONE.to_owned());
        }
        let ending = if order.stop.is_cancelled() {
            Ending::Interrupt
        } else {
            self.ending.unwrap_or(Ending::Schedule)
        };
        let lag = self.total.metric(Metric::Lag);
        let lag_p99 = lag.map_or(Duration::ZERO, |lag| lag.quantile(0.99));
        let mut result = LoadResult {
            format: FORMAT.to_owned(),
            profile: plan.name.clone(),
            target: plan.site.name.clone(),
            started: order.begins_at.to_string(),
            seed: plan.seed,
            // Both are decided below.
            verdict: Verdict::Invalid,
            thresholds: Vec::new(),
            ending,
            intent: Intent::from(plan),
            invalid: Vec::new(),
            notes: self.notes,
            phases: phases(plan),
            shard: plan.shard,
            generators: vec![Generator {
                polytab: env!("CARGO_PKG_VERSION").to_owned(),
                machine: health::machine(),
                cores: health::cores() as u64,
                workers: plan.limits.workers.max(1) as u64,
                cpu_max: self.cpu_max,
                cpu_s: self.cpu,
                lag_p99_ms: lag_p99.as_secs_f64() * 1e3,
                strain: self.strain,
                lost_workers: self.lost_workers,
                resident_bytes: health::resident_peak(),
                descriptors,
            }],
            intervals: self.intervals,
        };
        result.conclude(&plan.thresholds, &[]);
        result
    }
}

fn phases(plan: &Plan) -> Vec<Phase> {
    let mut from_s = 0.0;
    let phase = |phase: &crate::plan::Phase| {
        let to_s = from_s + phase.length.as_secs_f64();
        let told = Phase {
            name: phase.name.clone(),
            from_s,
            to_s,
            users: phase.users,
        };
        from_s = to_s;
        told
    };
    plan.phases.iter().map(phase).collect()
}

/// When the target lost most of its tabs at once, and what was lost with them.
fn outages(intervals: &[Interval]) -> Vec<String> {
    let mut told = Vec::new();
    for pair in intervals.windows(2) {
        let [before, after] = pair else { continue };
        let tally = after.tally();
        let lost = tally.get(Count::Lost);
        if before.tabs > 0 && lost * 2 > before.tabs {
            told.push(format!(
                "between {:.0} s and {:.0} s the target lost {lost} of {} tabs; {} requests were left unanswered, and {} \
                 notifications unheard",
                after.from_s,
                after.to_s,
                before.tabs,
                tally.get(Count::Unanswered),
                tally.get(Count::Unheard),
            ));
        }
    }
    told
}
