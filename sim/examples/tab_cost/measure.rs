//! One server measured: its memory, then windows without load, with notifications, with pings.

use std::{fmt, time::Duration};

use anyhow::bail;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    Arguments,
    mocks::Mocks,
    process,
    server::Server,
    tabs::{Tabs, Tally, What},
};

/// Short turns in a window.
const TURNS: u32 = 4;
/// A short turn; that of the reference server.
const TURN: Duration = Duration::from_secs(5);
/// A window: as long as a tab's ping interval, so that the pings of one are those of any other.
const WINDOW: Duration = Duration::from_secs(20);
/// Pings of each tab in a window: far fewer than may be sent, and a whole number in it.
const PINGS: u32 = 10;
/// After a window, for what is still on its way, and for what should not come any more.
const GRACE: Duration = Duration::from_secs(15);
const QUIET: Duration = Duration::from_secs(1);

/// What was found of one server in one round.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// Resident kilobytes of each tab, before any load and after all of it.
    pub(crate) tab_kb: f64,
    pub(crate) tab_kb_after: f64,
    /// Share of its core that it takes without load.
    pub(crate) idle: f64,
    /// Share of its core that was not to be had: that a virtual machine's host gave to others.
    pub(crate) stolen: f64,
    pub(crate) notification: Cost,
    pub(crate) ping: Cost,
    /// Of a notification when all users are told at once, where that can be.
    pub(crate) at_once: Option<Cost>,
    /// Backend calls for each user and turn, of a server that makes any.
    pub(crate) polls: Option<f64>,
}

/// Processor time of one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Beyond what the server takes without load, in microseconds.
    pub(crate) net_us: f64,
    /// All that was taken meanwhile.
    pub(crate) whole_us: f64,
    /// The size of such a message.
    pub(crate) bytes: f64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} µs ({:.2} with idle work)", self.net_us, self.whole_us)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} kB per tab, {:.1} after; idle {:.2} % of a core, {:.1} % stolen; notification {}; ping {}",
            self.tab_kb,
            self.tab_kb_after,
            self.idle * 100.0,
            self.stolen * 100.0,
            self.notification,
            self.ping
        )?;
        if let Some(at_once) = self.at_once {
            write!(f, "; notification to all at once {at_once}")?;
        }
        if let Some(polls) = self.polls {
            write!(f, "; {polls:.3} backend calls per user and turn")?;
        }
        Ok(())
    }
}

/// Opens the tabs and measures.
///
/// # Errors
///
/// When a tab leaves, or any of them receives another number of messages than it should: then nothing was measured.
pub(crate) async fn measure(server: &Server, arguments: &Arguments) -> anyhow::Result<Figures> {
    sleep(Duration::from_secs(2)).await;
    let empty_kb = server.process.resident_kb()?;
    let tabs = Tabs::open(server, arguments).await?;
    sleep(arguments.settle()).await;
    let per_tab = |kb: u64| -> anyhow::Result<f64> {
        let grown = u32::try_from(kb.saturating_sub(empty_kb))?;
        Ok(f64::from(grown) / f64::from(arguments.tab_count()))
    };
    let tab_kb = per_tab(server.process.resident_kb()?)?;
    let mut bench = Bench {
        server,
        tabs,
        users: arguments.users,
        each: arguments.tabs_each,
        idle: Vec::new(),
        polls: Vec::new(),
    };
    let (begin, stolen) = (Instant::now(), process::stolen(arguments.core)?);
    let (mut notifications, mut pings) = (Vec::new(), Vec::new());
    bench.idle().await?;
    for _ in 0..arguments.windows {
        notifications.push(bench.loaded(What::Notifications).await?);
        pings.push(bench.loaded(What::Acks).await?);
    }
    let stolen = process::stolen(arguments.core)?.saturating_sub(stolen);
    let stolen = stolen.div_duration_f64(begin.elapsed());
    let idle = mean(&bench.idle);
    let at_once = match server.mocks() {
        Some(_) => None,
        None => Some(bench.notify_at_once().await?),
    };
    bench.tabs.check()?;
    Ok(Figures {
        tab_kb,
        tab_kb_after: per_tab(server.process.resident_kb()?)?,
        idle,
        stolen,
        notification: Cost::of(&notifications),
        ping: Cost::of(&pings),
        at_once: at_once.map(|at_once| Cost::of(&[(at_once, idle)])),
        polls: server.mocks().map(|_| mean(&bench.polls)),
    })
}

fn mean(all: &[f64]) -> f64 {
    let (sum, count) = all
        .iter()
        .fold((0.0, 0.0), |(sum, count), one| (sum + one, count + 1.0));
    sum / count
}

struct Bench<'a> {
    server: &'a Server,
    tabs: Tabs,
    users: u32,
    each: u32,
    /// Of each window without load, the share of its core that the server took.
    idle: Vec<f64>,
    /// And the backend calls for each user and turn, of a server that makes any.
    polls: Vec<f64>,
}

impl Bench<'_> {
    /// A window without load.
    async fn idle(&mut self) -> anyhow::Result<()> {
        let before = self.tabs.counts(What::Notifications);
        let call = match self.server.mocks() {
            Some(mocks) => Some((mocks, mocks.newest_call().await?)),
            None => None,
        };
        let (begin, processor) = (Instant::now(), self.server.process.processor()?);
        sleep(WINDOW).await;
        let used = self.server.process.processor()?.since(&processor)?;
        self.idle.push(used.div_duration_f64(begin.elapsed()));
        if let Some((mocks, call)) = call {
            let polls = mocks.polls_since(call).await?;
            self.polls.push(f64::from(polls) / f64::from(self.users * TURNS));
        }
        self.expect(What::Notifications, &before, 0).await
    }

    /// A window with load, after one without and before another. Gives what it took, and the share of its core that the
    /// server takes without load, by these two: a machine is not the same all the time.
    async fn loaded(&mut self, what: What) -> anyhow::Result<(Used, f64)> {
        let used = match what {
            What::Notifications => self.notify().await?,
            What::Acks => self.ping().await?,
        };
        self.idle().await?;
        let around = &self.idle[self.idle.len().saturating_sub(2)..];
        Ok((used, mean(around)))
    }

    /// A window in which every user's state changes once in each turn.
    async fn notify(&mut self) -> anyhow::Result<Used> {
        let window = Window::open(self, What::Notifications, TURNS)?;
        match self.server.mocks() {
            Some(mocks) => self.change_in_mocks(mocks, &window).await?,
            None => {
                for turn in 0..TURNS {
                    sleep_until(window.begin + TURN * turn).await;
                    self.server.change_all(false).await?;
                }
            }
        }
        sleep_until(window.begin + WINDOW).await;
        window.close(self).await
    }

    /// A user's next change comes as soon as all its tabs were told of the last one: no turn sees two.
    async fn change_in_mocks(&self, mocks: &Mocks, window: &Window) -> anyhow::Result<()> {
        let each = usize::try_from(self.each)?;
        let mut made = vec![0; usize::try_from(self.users)?];
        while made.iter().any(|made| *made < TURNS) {
            if window.begin.elapsed() > WINDOW + GRACE {
                bail!("not all changes were told in time");
            }
            let counts = self.tabs.counts(What::Notifications);
            let tabs = counts.chunks(each).zip(window.before.chunks(each));
            for (user, (made, (now, before))) in (0..).zip(made.iter_mut().zip(tabs)) {
                let told = now.iter().zip(before).all(|(now, before)| now - before == *made);
                if *made < TURNS && told {
                    *made += 1;
                    mocks.change(user, *made).await?;
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// As many notifications, but those of a turn all at once.
    async fn notify_at_once(&mut self) -> anyhow::Result<Used> {
        let window = Window::open(self, What::Notifications, TURNS)?;
        for turn in 0..TURNS {
            sleep_until(window.begin + Duration::from_secs(1) * turn).await;
            self.server.change_all(true).await?;
        }
        window.close(self).await
    }

    /// A window in which every tab sends pings.
    async fn ping(&mut self) -> anyhow::Result<Used> {
        let window = Window::open(self, What::Acks, PINGS)?;
        self.tabs.ping(PINGS, WINDOW).await?;
        sleep_until(window.begin + WINDOW).await;
        window.close(self).await
    }

    /// Waits until each tab has received so many messages more than before; fails if it never does, or receives more.
    async fn expect(&mut self, what: What, before: &[u32], each: u32) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            self.tabs.check()?;
            let counts = self.tabs.counts(what);
            let wrong: Vec<_> = counts
                .iter()
                .zip(before)
                .map(|(now, before)| now - before)
                .filter(|received| *received != each)
                .collect();
            match wrong.first() {
                None => return Ok(()),
                Some(one) if begin.elapsed() > GRACE || wrong.iter().any(|received| *received > each) => {
                    bail!(
                        "{} tabs received another number of {what:?} than {each}, one of them {one}",
                        wrong.len()
                    )
                }
                Some(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

/// A stretch of time in which each tab is to receive so many messages.
struct Window {
    what: What,
    each: u32,
    before: Vec<u32>,
    tally: Tally,
    begin: Instant,
    processor: crate::process::Processor,
}

impl Window {
    fn open(bench: &Bench<'_>, what: What, each: u32) -> anyhow::Result<Self> {
        Ok(Self {
            what,
            each,
            before: bench.tabs.counts(what),
            tally: bench.tabs.tally(what),
            begin: Instant::now(),
            processor: bench.server.process.processor()?,
        })
    }

    /// Ends when all is received.
    async fn close(self, bench: &mut Bench<'_>) -> anyhow::Result<Used> {
        bench.expect(self.what, &self.before, self.each).await?;
        let processor = bench.server.process.processor()?.since(&self.processor)?;
        let (elapsed, tally) = (self.begin.elapsed(), bench.tabs.tally(self.what));
        sleep(QUIET).await;
        bench.expect(self.what, &self.before, self.each).await?;
        Ok(Used {
            processor,
            elapsed,
            messages: tally.messages - self.tally.messages,
            bytes: u32::try_from(tally.bytes - self.tally.bytes)?,
        })
    }
}

/// What a window took.
struct Used {
    processor: Duration,
    elapsed: Duration,
    messages: u32,
    bytes: u32,
}

impl Cost {
    /// What each message took in these windows, in which the server would have taken such a share of its core without
    /// load.
    fn of(windows: &[(Used, f64)]) -> Self {
        let messages: u32 = windows.iter().map(|(used, _)| used.messages).sum();
        let each = |of: fn(&(Used, f64)) -> f64| windows.iter().map(of).sum::<f64>() / f64::from(messages);
        let whole_us = each(|(used, _)| used.processor.as_secs_f64() * 1e6);
        Self {
            net_us: whole_us - each(|(used, idle)| used.elapsed.as_secs_f64() * idle * 1e6),
            whole_us,
            bytes: each(|(used, _)| f64::from(used.bytes)),
        }
    }
}
