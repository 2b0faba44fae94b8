//! The shell around a channel's state: waits for what happens, performs what follows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use polytab_protocol::{
    id::{LoginSessionId, TabId},
    topic::Topic,
};
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::{AbortHandle, JoinSet},
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    calls::{Shared, ask, check, share},
    event::{Earlier, Effect, Event, LoopKind, Reading, StreamNews, Wanted},
    state::{ChannelState, Terms},
};
use crate::{
    coordinator::{Life, Rank, Record, Standing},
    host::Host,
    metrics::Turn,
    outbox::{Encoded, Outbox},
};

/// A tab that joins.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub(crate) tab: TabId,
    pub(crate) session: LoginSessionId,
    pub(crate) outbox: Outbox,
}

/// What comes into a channel's mailbox.
#[derive(Debug)]
enum Mail {
    Join(Newcomer),
    Event(Event),
    Stream(u64, Topic, StreamNews, Instant),
    Look(oneshot::Sender<Value>),
}

/// The way to a channel.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    mailbox: mpsc::Sender<Mail>,
    gone: Arc<Departures>,
}

/// Tabs that left. Not in the mailbox: a tab that leaves does not wait for room in it.
#[derive(Debug, Default)]
struct Departures {
    tabs: Mutex<Vec<TabId>>,
    some: Notify,
}

impl Handle {
    pub(crate) async fn join(&self, newcomer: Newcomer) {
        // A channel that ended meanwhile has no use for the tab, nor the tab for it.
        self.mailbox.send(Mail::Join(newcomer)).await.ok();
    }

    pub(crate) async fn tell(&self, event: Event) {
        self.mailbox.send(Mail::Event(event)).await.ok();
    }

    pub(crate) fn left(&self, tab: TabId) {
        self.gone
            .tabs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(tab);
        self.gone.some.notify_one();
    }

    /// What people may see of the channel.
    pub(crate) async fn look(&self) -> Value {
        let (answer, seen) = oneshot::channel();
        self.mailbox.send(Mail::Look(answer)).await.ok();
        seen.await.unwrap_or(Value::Null)
    }
}

/// Starts a channel without tabs; it goes on until `stop`.
pub(crate) fn spawn(host: &Arc<Host>, life: Life, stop: CancellationToken) -> Handle {
    let (mailbox, mail) = mpsc::channel(host.config.mailbox);
    let gone = Arc::new(Departures::default());
    let handle = Handle {
        mailbox: mailbox.clone(),
        gone: Arc::clone(&gone),
    };
    let config = &host.config;
    let jitter_ms = u64::try_from(config.phase_jitter.0.as_millis()).unwrap_or(u64::MAX);
    let jitter = std::time::Duration::from_millis(host.seams.random.below("server/phase", jitter_ms));
    let short = Instant::now() + config.start_delay.0 + jitter;
    let actor = Actor {
        state: ChannelState::new(Terms::of(&host.config), life.epoch.clone()),
        life: Arc::new(life),
        born: Instant::now(),
        begun: BTreeMap::new(),
        outboxes: BTreeMap::new(),
        short_loop: ticks(short, config.short_loop.0),
        long_loop: ticks(short + config.long_after_short.0, config.long_loop.0),
        turns: JoinSet::new(),
        rank: watch::Sender::new(Rank::Follows),
        claiming: Claiming::Not,
        streams: JoinSet::new(),
        open: BTreeMap::new(),
        next_stream: 0,
        failing: BTreeSet::new(),
        host: Arc::clone(host),
        mailbox,
        mail,
        gone,
        stop,
    };
    host.tasks.spawn(actor.run());
    handle
}

/// A turn that is late does not make the next ones early, and missed ones are not made up for.
fn ticks(first: Instant, period: std::time::Duration) -> Interval {
    let mut ticks = interval_at(first, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

struct Actor {
    host: Arc<Host>,
    state: ChannelState,
    born: Instant,
    /// When the turns under way began.
    begun: BTreeMap<LoopKind, Instant>,
    outboxes: BTreeMap<TabId, Outbox>,
    short_loop: Interval,
    long_loop: Interval,
    life: Arc<Life>,
    /// Checks, claims and calls under way.
    turns: JoinSet<Event>,
    /// What this instance is for the user, for the streams that it holds.
    rank: watch::Sender<Rank>,
    claiming: Claiming,
    /// Upstream event streams.
    streams: JoinSet<()>,
    open: BTreeMap<Topic, (u64, AbortHandle)>,
    next_stream: u64,
    /// Questions whose last answer could not be used, so that it is logged once.
    failing: BTreeSet<&'static str>,
    mailbox: mpsc::Sender<Mail>,
    mail: mpsc::Receiver<Mail>,
    gone: Arc<Departures>,
    stop: CancellationToken,
}

/// Claims go one after the other, so that the last one to be heard was the last one made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claiming {
    Not,
    UnderWay,
    /// And another one is due after it.
    Again,
}

/// What woke the actor.
enum Woken {
    Stopped,
    Gone,
    Mail(Mail),
    Event(Event),
    Nothing,
}

impl Actor {
    async fn run(mut self) {
        loop {
            match self.next().await {
                Woken::Stopped => break,
                Woken::Gone => {
                    // Who is gone may have joined a moment ago.
                    self.catch_up();
                    let gone =
                        std::mem::take(&mut *self.gone.tabs.lock().unwrap_or_else(PoisonError::into_inner));
                    for tab in gone {
                        self.outboxes.remove(&tab);
                        self.apply(Event::Left(tab));
                    }
                }
                Woken::Mail(mail) => self.read(mail),
                Woken::Event(event) => {
                    if matches!(event, Event::Stood(_)) {
                        self.catch_up();
                    }
                    self.apply(event);
                }
                Woken::Nothing => {}
            }
        }
        self.host.metrics.channels.dec();
        if matches!(self.state.rank(), Rank::Leads(_)) {
            self.host.metrics.led.dec();
        }
        if let Err(error) = self.host.coordinator.release(&self.life).await {
            // The lease ends by itself.
            tracing::debug!(%error, "could not release a lease");
        }
    }

    /// Waits for one thing. Cancel safe, as every branch is.
    async fn next(&mut self) -> Woken {
        tokio::select! {
            biased; // Rarest first: no source can starve another.
            () = self.stop.cancelled() => Woken::Stopped,
            _ = self.long_loop.tick() => Woken::Event(Event::TurnDue(LoopKind::Long)),
            _ = self.short_loop.tick() => Woken::Event(Event::TurnDue(LoopKind::Short)),
            () = self.gone.some.notified() => Woken::Gone,
            // A task that panicked would leave its turn under way for ever: the channel ends with it.
            Some(ended) = self.turns.join_next() => ended.map_or(Woken::Stopped, Woken::Event),
            Some(_) = self.streams.join_next() => Woken::Nothing,
            mail = self.mail.recv() => mail.map_or(Woken::Stopped, Woken::Mail),
        }
    }

    /// Reads what is here by now: what others are told after a claim is to be all that was shared before it.
    fn catch_up(&mut self) {
        for _ in 0..self.mail.len() {
            if let Ok(mail) = self.mail.try_recv() {
                self.read(mail);
            }
        }
    }

    fn read(&mut self, mail: Mail) {
        match mail {
            Mail::Join(Newcomer { tab, session, outbox }) => {
                self.outboxes.insert(tab, outbox);
                self.apply(Event::Joined(tab, session));
            }
            // An older leader's word of a topic that is streamed here by now.
            Mail::Event(Event::Stream(topic, StreamNews::Accepted(_) | StreamNews::Refused(_)))
                if self.open.contains_key(&topic) => {}
            Mail::Event(event) => {
                // Under way is a claim that may have been made before.
                if matches!(event, Event::NeedsChanged) && self.claiming == Claiming::UnderWay {
                    self.claiming = Claiming::Again;
                }
                self.apply(event);
            }
            // News of a stream that was closed, or replaced, meanwhile.
            Mail::Stream(number, topic, ..)
                if self.open.get(&topic).is_none_or(|(open, _)| *open != number) => {}
            Mail::Stream(_, topic, news, came) => {
                if matches!(news, StreamNews::Refused(_)) {
                    self.open.remove(&topic);
                }
                self.apply_at(Event::Stream(topic, news), came);
            }
            Mail::Look(answer) => {
                let topics: Vec<_> = self.state.topics().map(|topic| topic.to_string()).collect();
                let asking: Vec<_> = self.state.asking().map(LoopKind::word).collect();
                let due = |ticks: &Interval| ticks.period().as_millis();
                let seen = json!({
                    "topics": topics,
                    "rank": self.state.rank().word(),
                    "asking": asking,
                    "age_ms": u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX),
                    "short_loop_ms": u64::try_from(due(&self.short_loop)).unwrap_or(u64::MAX),
                    "long_loop_ms": u64::try_from(due(&self.long_loop)).unwrap_or(u64::MAX),
                });
                // Whoever asked may have gone.
                answer.send(seen).ok();
            }
        }
    }

    fn apply(&mut self, event: Event) {
        self.apply_at(event, Instant::now());
    }

    fn note_rank(&mut self) {
        let (before, now) = (self.rank.send_replace(self.state.rank()), self.state.rank());
        if before.word() != now.word() {
            self.host.metrics.ranked(before, now);
            tracing::debug!(?now, "another rank");
        }
    }

    /// Tells the coordinator what is needed here, and learns who leads.
    fn claim(&mut self) {
        if self.claiming != Claiming::Not {
            self.claiming = Claiming::Again;
            return;
        }
        self.claiming = Claiming::UnderWay;
        let (needs, news) = self.state.claim();
        let (host, life) = (Arc::clone(&self.host), Arc::clone(&self.life));
        self.turns.spawn(async move {
            // Without tabs there is no token to ask with; another instance may have some.
            let standing = if needs.tabs == 0 {
                let released = host.coordinator.release(&life).await;
                host.reach.note(released.map(|()| Standing::idle()))
            } else {
                host.reach.note(host.coordinator.claim(&life, &needs, news).await)
            };
            Event::Stood(standing.unwrap_or_else(|_| Standing::alone()))
        });
    }

    /// Applies what happened at a time that may be past.
    fn apply_at(&mut self, event: Event, happened: Instant) {
        self.log_unusable(&event);
        let stood = matches!(event, Event::Stood(_));
        let age = self.born.elapsed();
        // Only these make notifications; what follows from others is a reply.
        let news = matches!(
            event,
            Event::Answered(..) | Event::Relayed(..) | Event::Stream(_, StreamNews::Event(_))
        );
        for effect in self.state.apply(event, age) {
            self.perform(effect, news.then_some(happened));
        }
        let (state, metrics) = (&self.state, &self.host.metrics);
        self.begun.retain(|kind, at| {
            let goes_on = state.is_under_way(*kind);
            if !goes_on {
                metrics.turned(kind.word(), at.elapsed());
            }
            goes_on
        });
        if stood {
            self.note_rank();
            if std::mem::replace(&mut self.claiming, Claiming::Not) == Claiming::Again {
                self.claim();
            }
        }
    }

    fn perform(&mut self, effect: Effect, news: Option<Instant>) {
        match effect {
            Effect::Send(tabs, message) => {
                // Encoded once: every tab gets the same bytes.
                let encoded = Encoded::new(&message, self.host.seams.clock.wall());
                let mut fullest = (0, 0);
                let mut superseded = 0;
                for outbox in tabs.iter().filter_map(|tab| self.outboxes.get(tab)) {
                    superseded += outbox.push(encoded.clone());
                    self.host.metrics.messages.inc();
                    fullest = fullest.max(outbox.depth());
                }
                self.host.metrics.superseded.inc_by(superseded as u64);
                if let Some(happened) = news {
                    self.host.metrics.notified(happened.elapsed(), fullest);
                }
            }
            Effect::Close(tab, code) => {
                if let Some(outbox) = self.outboxes.remove(&tab) {
                    outbox.close(code.into());
                }
            }
            Effect::Check(kind, sessions) => {
                self.count_turn(kind, "begun");
                self.begun.insert(kind, Instant::now());
                let span = tracing::debug_span!("check", loop_kind = kind.word());
                self.turns
                    .spawn(check(Arc::clone(&self.host), kind, sessions).instrument(span));
            }
            Effect::Claim => self.claim(),
            Effect::Ask(what) => {
                let span = tracing::debug_span!("ask", loop_kind = what.kind.word());
                self.turns
                    .spawn(ask(Arc::clone(&self.host), Arc::clone(&self.life), what).instrument(span));
            }
            Effect::Announce(topic, earlier) => self.announce(topic, earlier),
            Effect::Overrun(kind) => self.count_turn(kind, "overrun"),
            Effect::OpenStream(wanted) => self.open_stream(wanted),
            Effect::CloseStream(topic) => self.close_stream(topic),
        }
    }

    fn count_turn(&self, kind: LoopKind, result: &'static str) {
        self.host
            .metrics
            .turns
            .get_or_create(&Turn {
                kind: kind.word(),
                result,
            })
            .inc();
    }

    fn open_stream(&mut self, wanted: Wanted) {
        let topic = wanted.topic;
        self.close_stream(topic);
        self.next_stream += 1;
        let number = self.next_stream;
        let (host, mailbox) = (Arc::clone(&self.host), self.mailbox.clone());
        let (life, rank) = (Arc::clone(&self.life), self.rank.subscribe());
        let task = self.streams.spawn(async move {
            let tell = |news: StreamNews| {
                let (host, mailbox, life, mut rank) = (&host, &mailbox, &life, rank.clone());
                let happened = Instant::now();
                async move {
                    let record = Record::Stream(topic, news.clone());
                    loop {
                        let now = *rank.borrow_and_update();
                        if let Shared::Taken(_) = share(host, life, now, &record).await {
                            let mail = Mail::Stream(number, topic, news, happened);
                            return mailbox.send(mail).await.is_ok();
                        }
                        // Another leads, and this stream is closed; or nobody does, and this instance leads again; or
                        // nobody can be reached, and it is alone.
                        let mail = Mail::Event(Event::NeedsChanged);
                        if mailbox.send(mail).await.is_err() || rank.changed().await.is_err() {
                            return false;
                        }
                    }
                }
            };
            host.gitlab.hold(&host.auth, wanted, tell).await;
        });
        self.open.insert(topic, (number, task));
    }

    fn announce(&mut self, topic: Topic, earlier: Earlier) {
        let (host, life, rank) = (Arc::clone(&self.host), Arc::clone(&self.life), self.state.rank());
        self.streams.spawn(async move {
            let accepted = Record::Stream(topic, StreamNews::Accepted(earlier));
            // Whoever waits says so again at its next turn.
            share(&host, &life, rank, &accepted).await;
        });
    }

    fn close_stream(&mut self, topic: Topic) {
        if let Some((_, task)) = self.open.remove(&topic) {
            task.abort();
        }
    }

    /// An upstream's fault is logged once per change of state.
    fn log_unusable(&mut self, event: &Event) {
        let Event::Answered(_, readings, _) = event else {
            return;
        };
        for reading in readings {
            let (name, usable) = match reading {
                Reading::Sessions(kind, reading) => (kind.message_type(), reading.is_some()),
                Reading::Activation(_) => continue,
            };
            if usable && self.failing.remove(name) {
                tracing::info!(reading = name, "can be read again");
            } else if !usable && self.failing.insert(name) {
                tracing::warn!(
                    reading = name,
                    "cannot be read; the tabs are told nothing until it can"
                );
            }
        }
    }
}
