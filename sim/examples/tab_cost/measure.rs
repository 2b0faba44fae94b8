//! One server measured: its memory, then windows without load, with notifications, with pings.

use std::{fmt, time::Duration};

use anyhow::bail;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    Arguments,
    mocks::Mocks,
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
            "{:.1} kB per tab, {:.1} after; idle {:.2} % of a core; notification {}; ping {}",
            self.tab_kb,
            self.tab_kb_after,
            self.idle * 100.0,
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
    };
    // Without load before and after what it is taken off from: a machine is not the same all the time.
    let (idle_before, polls) = bench.idle().await?;
    let notification = bench.notify().await?;
    let (idle_after, _) = bench.idle().await?;
    let ping = bench.ping().await?;
    let idle = f64::midpoint(idle_before, idle_after);
    let at_once = match server.mocks() {
        Some(_) => None,
        None => Some(bench.notify_at_once().await?),
    };
    bench.tabs.check()?;
    Ok(Figures {
        tab_kb,
        tab_kb_after: per_tab(server.process.resident_kb()?)?,
        idle,
        notification: notification.cost(idle),
        ping: ping.cost(idle),
        at_once: at_once.map(|at_once| at_once.cost(idle)),
        polls,
    })
}

struct Bench<'a> {
    server: &'a Server,
    tabs: Tabs,
    users: u32,
    each: u32,
}

impl Bench<'_> {
    /// A window without load. Gives the share of its core that the server takes, and the backend calls for each user
    /// and turn.
    async fn idle(&mut self) -> anyhow::Result<(f64, Option<f64>)> {
        let before = self.tabs.counts(What::Notifications);
        let call = match self.server.mocks() {
            Some(mocks) => Some((mocks, mocks.newest_call().await?)),
            None => None,
        };
        let (begin, processor) = (Instant::now(), self.server.process.processor()?);
        sleep(WINDOW).await;
        let used = self.server.process.processor()?.since(&processor)?;
        let idle = used.div_duration_f64(begin.elapsed());
        let polls = match call {
            Some((mocks, call)) => {
                let polls = mocks.polls_since(call).await?;
                Some(f64::from(polls) / f64::from(self.users * TURNS))
            }
            None => None,
        };
        self.expect(What::Notifications, &before, 0).await?;
        Ok((idle, polls))
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

impl Used {
    /// What each message took, of a server that takes this share of its core without load.
    fn cost(&self, idle: f64) -> Cost {
        let messages = f64::from(self.messages);
        let whole = self.processor.as_secs_f64();
        Cost {
            net_us: (whole - self.elapsed.as_secs_f64() * idle) * 1e6 / messages,
            whole_us: whole * 1e6 / messages,
            bytes: f64::from(self.bytes) / messages,
        }
    }
}
