//! A process that was started here: its first line, its memory, its processor time.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};

/// A process that ends with this value.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Process {
    /// Starts a program, on this core if one is given; gives it with its first line of output.
    pub(crate) fn start<S: AsRef<OsStr>>(
        core: Option<usize>,
        command: &[S],
    ) -> anyhow::Result<(Self, String)> {
        let pinned = core.map(|core| ["taskset", "-c", &core.to_string()].map(str::to_owned));
        let pinned = pinned.iter().flatten().map(AsRef::as_ref);
        let mut words = pinned.chain(command.iter().map(AsRef::as_ref));
        let program = words.next().context("no program")?;
        let mut child = Command::new(program)
            .args(words)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{}`", program.display()))?;
        let out = child.stdout.take().context("no output")?;
        let process = Self(child);
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        if line.is_empty() {
            bail!(
                "`{}` did not start",
                command
                    .iter()
                    .map(|word| word.as_ref().display().to_string())
                    .collect::<Vec<_>>()
                    .join(" ")
            );
        }
        Ok((process, line))
    }

    /// Keeps a core busy with what gives way to everything else (`SCHED_IDLE` in `sched(7)`). A core that falls asleep
    /// between two messages wakes slowly, with cold caches and at a low frequency, so that all costs less the more there
    /// is to do.
    pub(crate) fn keep_awake(core: usize) -> anyhow::Result<Self> {
        let spin = [
            "chrt",
            "--idle",
            "0",
            "sh",
            "-c",
            "echo awake; while :; do :; done",
        ];
        let (process, _) = Self::start(Some(core), &spin)?;
        Ok(process)
    }

    /// Resident memory, in kilobytes.
    pub(crate) fn resident_kb(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .context("no VmRSS")?;
        Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
    }

    /// Processor time of each thread until now.
    pub(crate) fn processor(&self) -> anyhow::Result<Processor> {
        let mut threads = BTreeMap::new();
        for thread in fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let thread = thread?;
            let id: u32 = thread.file_name().to_string_lossy().parse()?;
            let schedstat = fs::read_to_string(thread.path().join("schedstat"))?;
            let ns = schedstat
                .split_whitespace()
                .next()
                .context("an empty schedstat")?;
            threads.insert(id, Duration::from_nanos(ns.parse()?));
        }
        Ok(Processor(threads))
    }
}

/// Time of a core that a virtual machine wanted and its host gave to others (`steal` in `proc(5)`), since the start.
pub(crate) fn stolen(core: usize) -> anyhow::Result<Duration> {
    /// The hundredth of a second in which `/proc/stat` counts (`USER_HZ`).
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string("/proc/stat")?;
    let name = format!("cpu{core} ");
    let line = stat
        .lines()
        .find(|line| line.starts_with(&name))
        .with_context(|| format!("no core {core}"))?;
    let ticks = line
        .split_whitespace()
        .nth(8)
        .context("no time stolen in /proc/stat")?;
    Ok(TICK * ticks.parse::<u32>()?)
}

/// Processor time of a process's threads.
#[derive(Debug)]
pub(crate) struct Processor(BTreeMap<u32, Duration>);

impl Processor {
    /// What was used since then.
    ///
    /// # Errors
    ///
    /// When a thread has ended meanwhile, and took its time along.
    pub(crate) fn since(&self, before: &Self) -> anyhow::Result<Duration> {
        if let Some(ended) = before.0.keys().find(|id| !self.0.contains_key(id)) {
            bail!("thread {ended} has ended: its processor time is not known");
        }
        let sum = |processor: &Self| processor.0.values().sum::<Duration>();
        sum(self)
            .checked_sub(sum(before))
            .context("processor time went backwards")
    }
}
