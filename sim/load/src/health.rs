//! The generator itself: what it may use and what it used.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr, TcpListener},
    time::Duration,
};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};

use crate::{alarm::Alarm, clock::Clock, histogram::Histogram, lateness::Strain};

/// Descriptors that a process needs beside those of tabs: runtimes, files, connections to services.
const OTHER_DESCRIPTORS: u64 = 256;

/// Processor time of the thread that asks.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// How long the thread that asks was ready to run, and something else ran on its core; zero where the system does not
/// say.
pub(crate) fn thread_wait() -> Duration {
    let schedule = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = schedule.split_whitespace().nth(1).map(str::parse);
    Duration::from_nanos(waited.and_then(Result::ok).unwrap_or(0))
}

/// Processor times of the machine since it started, and of the container's limit, at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostTimes {
    at: Duration,
    /// In the system's ticks, all cores together.
    busy: u64,
    idle: u64,
    stolen: u64,
    throttled: Duration,
}

impl HostTimes {
    /// Zero for everything that the system does not tell.
    pub(crate) fn read(now: Duration) -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let mut ticks = [0; 8];
        let line = stat.lines().next().unwrap_or_default();
        let fields = line
            .split_whitespace()
            .skip(1)
            .map(|field| field.parse().unwrap_or(0));
        for (tick, field) in ticks.iter_mut().zip(fields) {
            *tick = field;
        }
        let [
            user,
            nice,
            system,
            idle,
            waiting,
            interrupts,
            soft_interrupts,
            stolen,
        ] = ticks;
        let limit = fs::read_to_string("/sys/fs/cgroup/cpu.stat").unwrap_or_default();
        let throttled = limit
            .lines()
            .find_map(|line| line.strip_prefix("throttled_usec ")?.trim().parse().ok());
        Self {
            at: now,
            busy: user + nice + system + interrupts + soft_interrupts,
            idle: idle + waiting,
            stolen,
            throttled: Duration::from_micros(throttled.unwrap_or(0)),
        }
    }

    /// The parts of the time since then; those of workers are zero.
    pub(crate) fn since(&self, then: &Self) -> Strain {
        let [busy, idle, stolen] = [
            (self.busy, then.busy),
            (self.idle, then.idle),
            (self.stolen, then.stolen),
        ]
        .map(|(now, then)| u32::try_from(now.saturating_sub(then)).unwrap_or(u32::MAX));
        let all = (f64::from(busy) + f64::from(idle) + f64::from(stolen)).max(1.0);
        let wall = self.at.saturating_sub(then.at).as_secs_f64().max(1e-3);
        let throttled = self.throttled.saturating_sub(then.throttled).as_secs_f64() / wall;
        Strain {
            host: (f64::from(busy) + f64::from(stolen)) / all,
            stolen: f64::from(stolen) / all,
            throttled: throttled.min(1.0),
            ..Strain::default()
        }
    }
}

/// Raises the limit of descriptors as far as the system lets it be raised, and says what it is.
pub fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => most,
        Err(_) => limit.current.unwrap_or(u64::MAX),
    }
}

/// How many descriptors so many tabs need.
pub fn descriptors_for(tabs: u64) -> u64 {
    tabs + OTHER_DESCRIPTORS
}

/// Resident memory of this process at its peak, in bytes; zero where the system does not say.
pub(crate) fn resident_peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// Operating system and processor, for people.
pub(crate) fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(':'))
        .map_or("unknown processor", |(_, model)| model.trim());
    format!("{} {}, {model}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Whether this process may ask the terminal of its standard error something: one in the background is stopped for it.
pub fn has_terminal() -> bool {
    let own = rustix::process::getpgrp();
    rustix::termios::tcgetpgrp(std::io::stderr()).is_ok_and(|foreground| foreground == own)
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Ports that the system gives to connections from one address to one destination (`ip_local_port_range`; Linux' own
/// range where it does not say).
pub fn ports() -> u64 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = range.split_whitespace().map(str::parse::<u64>);
    match (ends.next(), ends.next()) {
        (Some(Ok(first)), Some(Ok(last))) => last.saturating_sub(first) + 1,
        _ => 28_232,
    }
}

/// Memory that processes can still have, in bytes; none where the system does not say.
pub fn memory() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let rest = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Whether connections can come from this address, and servers listen there.
pub fn has_address(address: IpAddr) -> bool {
    TcpListener::bind(SocketAddr::new(address, 0)).is_ok()
}

/// How late a worker wakes after so many waits of a millisecond, while it does nothing else.
///
/// # Errors
///
/// When the system gives no timer.
pub async fn lateness(waits: u32) -> io::Result<Histogram> {
    const WAIT: Duration = Duration::from_millis(1);
    let alarm = Alarm::new()?;
    let clock = Clock::starting_in(Duration::ZERO);
    let mut late = Histogram::default();
    for _ in 0..waits {
        let due = clock.now() + WAIT;
        alarm.sleep(WAIT).await;
        late.record(clock.now().saturating_sub(due));
    }
    Ok(late)
}
