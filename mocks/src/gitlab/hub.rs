//! Who reads which project's events. Decides, and never waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use axum::body::Bytes;
use polytab_protocol::topic::{EventType, Topic};
use tokio::sync::{mpsc, watch};

use super::{
    fault::{GitlabFault, Way},
    store::{Ended, Store, Stored},
};
use crate::{
    config::MocksConfig,
    seen::{CallMatch, Seen},
};

/// Events and their readers.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) store: Store,
    pub(crate) ended: Ended,
    readers: BTreeMap<u64, Reader>,
    stream_queue: usize,
}

#[derive(Debug)]
struct Reader {
    want: Want,
    way: Way,
    /// The next event is left out.
    gap_due: bool,
    /// Events put onto the stream.
    events: u64,
    queue: mpsc::Sender<Bytes>,
    state: watch::Sender<StreamState>,
}

/// What a reader asks for.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    pub(crate) user: String,
    /// The call that opened it, as orders know it.
    pub(crate) seen: Seen,
    /// Which token it came with.
    pub(crate) token: String,
    pub(crate) project: u64,
    pub(crate) types: BTreeSet<EventType>,
    /// As it is shown: `/project/42/issue`.
    pub(crate) topic: String,
    /// The last event that the reader has.
    pub(crate) last_id: Option<String>,
}

impl Want {
    fn is_about(&self, topic: Topic) -> bool {
        self.project == topic.project && self.types.contains(&topic.event)
    }
}

/// How a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamState {
    /// Events and heart-beats go out.
    Flowing,
    /// The connection stands, and nothing comes.
    Stalled,
    /// Over, in order.
    Done,
    /// Over: the connection breaks.
    Broken,
}

/// The far end of a reader: what it gets.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) id: u64,
    pub(crate) backlog: VecDeque<Bytes>,
    pub(crate) queue: mpsc::Receiver<Bytes>,
    pub(crate) state: watch::Receiver<StreamState>,
}

/// A stream that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) id: u64,
    pub(crate) user: String,
    pub(crate) topic: String,
    pub(crate) reason: &'static str,
    /// Events put onto it.
    pub(crate) events: u64,
}

/// An open stream, as it is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenStream<'a> {
    pub(crate) id: u64,
    pub(crate) user: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) events: u64,
    /// Chunks that wait for the reader.
    pub(crate) waiting: usize,
    pub(crate) is_stalled: bool,
}

impl Hub {
    pub(crate) fn new(config: &MocksConfig, epoch: i64) -> Self {
        Self {
            store: Store::new(config.ring_events, epoch),
            ended: Ended::default(),
            readers: BTreeMap::new(),
            stream_queue: config.stream_queue.max(1),
        }
    }

    /// Takes the reader whose call has this number. What it missed comes first, each event past what `fault` says it
    /// meets; a `reset` event instead when that is not known any more.
    pub(crate) fn open(
        &mut self,
        id: u64,
        want: Want,
        mut fault: impl FnMut() -> Option<GitlabFault>,
    ) -> Feed {
        let (queue, feed_queue) = mpsc::channel(self.stream_queue);
        let (state, feed_state) = watch::channel(StreamState::Flowing);
        let mut reader = Reader {
            want,
            way: Way::default(),
            gap_due: false,
            events: 0,
            queue,
            state,
        };
        let project = reader.want.project;
        let mut backlog = VecDeque::new();
        match reader
            .want
            .last_id
            .as_deref()
            .map(|id| self.store.after(project, id))
        {
            None => {}
            Some(Err(reason)) => backlog.push_back(self.store.reset(project, reason)),
            Some(Ok(mut missed)) => {
                missed.retain(|event| reader.want.is_about(event.topic));
                let chunks = missed
                    .iter()
                    .flat_map(|event| reader.chunks(event, fault(), &self.store));
                backlog.extend(chunks);
            }
        }
        self.readers.insert(id, reader);
        Feed {
            id,
            backlog,
            queue: feed_queue,
            state: feed_state,
        }
    }

    /// Whom an event concerns: stream and user.
    pub(crate) fn concerned(&self, topic: Topic) -> Vec<(u64, Seen)> {
        let concerned = self
            .readers
            .iter()
            .filter(|(_, reader)| reader.want.is_about(topic));
        concerned
            .map(|(id, reader)| (*id, reader.want.seen.clone()))
            .collect()
    }

    /// Hands an event to a reader; one that has too many waiting is closed instead.
    pub(crate) fn send(&mut self, id: u64, event: &Stored, fault: Option<GitlabFault>) -> Option<Closed> {
        let reader = self.readers.get_mut(&id)?;
        let chunks = reader.chunks(event, fault, &self.store);
        self.put(id, chunks)
    }

    /// Tells a reader that it lost events.
    pub(crate) fn send_reset(&mut self, id: u64) -> Option<Closed> {
        let project = self.readers.get(&id)?.want.project;
        let reset = self.store.reset(project, "ordered");
        self.put(id, vec![reset])
    }

    fn put(&mut self, id: u64, chunks: Vec<Bytes>) -> Option<Closed> {
        let queue = &self.readers.get(&id)?.queue;
        let is_slow = chunks.into_iter().any(|chunk| queue.try_send(chunk).is_err());
        let how = (StreamState::Broken, "slow reader");
        is_slow
            .then(|| self.close(|found, _| found == id, how).pop())
            .flatten()
    }

    /// Leaves the next event to a reader out.
    pub(crate) fn leave_gap(&mut self, id: u64) {
        if let Some(reader) = self.readers.get_mut(&id) {
            reader.gap_due = true;
        }
    }

    /// Sends nothing more on a stream, which stays open.
    pub(crate) fn stall(&mut self, id: u64) {
        if let Some(reader) = self.readers.get(&id) {
            reader.state.send_replace(StreamState::Stalled);
        }
    }

    /// Closes one stream whose reader left.
    pub(crate) fn left(&mut self, id: u64) -> Option<Closed> {
        let left = self.close(|found, _| found == id, (StreamState::Done, "reader left"));
        left.into_iter().next()
    }

    /// Cuts the streams that were opened by these calls.
    pub(crate) fn cut(&mut self, calls: &CallMatch) -> Vec<Closed> {
        let is_meant = |_, want: &Want| calls.takes(&want.seen);
        self.close(is_meant, (StreamState::Broken, "cut"))
    }

    /// Cuts one stream.
    pub(crate) fn cut_one(&mut self, id: u64) -> Vec<Closed> {
        self.close(|found, _| found == id, (StreamState::Broken, "cut"))
    }

    /// Ends the user's streams of projects that are not among these.
    pub(crate) fn close_hidden(&mut self, user: &str, visible: &[u64]) -> Vec<Closed> {
        let is_hidden = |want: &Want| want.user == user && !visible.contains(&want.project);
        self.close(|_, want| is_hidden(want), (StreamState::Done, "access lost"))
    }

    /// Ends the streams that were opened with a token.
    pub(crate) fn close_revoked(&mut self, token: &str) -> Vec<Closed> {
        self.close(
            |_, want| want.token == token,
            (StreamState::Done, "token revoked"),
        )
    }

    /// Ends the streams of what has ended for good.
    pub(crate) fn close_ended(&mut self) -> Vec<Closed> {
        let ended = std::mem::take(&mut self.ended);
        let closed = self.close(|_, want| ended.has(want.project), (StreamState::Done, "ended"));
        self.ended = ended;
        closed
    }

    /// Ends all streams.
    pub(crate) fn close_all(&mut self, reason: &'static str) -> Vec<Closed> {
        self.close(|_, _| true, (StreamState::Done, reason))
    }

    fn close(
        &mut self,
        is_meant: impl Fn(u64, &Want) -> bool,
        (state, reason): (StreamState, &'static str),
    ) -> Vec<Closed> {
        let closed = self
            .readers
            .extract_if(.., |id, reader| is_meant(*id, &reader.want));
        let close = |(id, reader): (u64, Reader)| {
            reader.state.send_replace(state);
            Closed {
                id,
                user: reader.want.user,
                topic: reader.want.topic,
                reason,
                events: reader.events,
            }
        };
        closed.map(close).collect()
    }

    /// The token that an open stream came with.
    pub(crate) fn token(&self, id: u64) -> Option<&str> {
        Some(&self.readers.get(&id)?.want.token)
    }

    /// Open streams.
    pub(crate) fn streams(&self) -> impl Iterator<Item = OpenStream<'_>> {
        self.readers.iter().map(|(id, reader)| OpenStream {
            id: *id,
            user: &reader.want.user,
            topic: &reader.want.topic,
            events: reader.events,
            waiting: reader.queue.max_capacity() - reader.queue.capacity(),
            is_stalled: *reader.state.borrow() == StreamState::Stalled,
        })
    }
}

impl Reader {
    /// What of an event goes onto the stream.
    fn chunks(&mut self, event: &Stored, fault: Option<GitlabFault>, store: &Store) -> Vec<Bytes> {
        let gap = std::mem::take(&mut self.gap_due).then_some(GitlabFault::Gap);
        let reset = || store.reset(event.topic.project, "ordered");
        let chunks = self.way.take(event.text(), gap.or(fault), reset);
        self.events += u64::from(!chunks.is_empty());
        chunks
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn hub() -> Hub {
        let config = MocksConfig {
            ring_events: 3,
            stream_queue: 2,
            ..MocksConfig::default()
        };
        Hub::new(&config, 100)
    }

    fn want(types: &[EventType], last_id: Option<&str>) -> Want {
        Want {
            user: "ada".into(),
            seen: Seen::default(),
            token: "t".into(),
            project: 42,
            types: types.iter().copied().collect(),
            topic: "/project/42/issue".into(),
            last_id: last_id.map(str::to_owned),
        }
    }

    fn open(hub: &mut Hub, id: u64, want: Want) -> Feed {
        hub.open(id, want, || None)
    }

    fn emit(hub: &mut Hub, event: EventType) -> Vec<Closed> {
        let topic = Topic { project: 42, event };
        let event = hub.store.push(topic, &json!({"a": 1}), Timestamp::UNIX_EPOCH);
        let concerned = hub.concerned(topic);
        concerned
            .iter()
            .filter_map(|(id, _)| hub.send(*id, &event, None))
            .collect()
    }

    #[test]
    fn a_reader_that_comes_back_gets_what_it_missed_of_its_types() {
        let mut hub = hub();
        for event in [EventType::Issue, EventType::Push, EventType::Issue] {
            emit(&mut hub, event);
        }

        for (last_id, lines) in [
            (None, vec![]),
            (Some("100-0"), vec!["id: 100-1", "id: 100-3"]),
            (Some("100-1"), vec!["id: 100-3"]),
            (Some("99-1"), vec!["event: reset"]),
        ] {
            let feed = open(&mut hub, 1, want(&[EventType::Issue], last_id));

            let line = |text: &Bytes| String::from_utf8_lossy(text).lines().next().unwrap().to_owned();
            assert_eq!(
                feed.backlog.iter().map(line).collect::<Vec<_>>(),
                lines,
                "{last_id:?}"
            );
        }
    }

    #[test]
    fn a_reader_gets_only_the_types_it_asked_for() {
        let mut hub = hub();
        let mut feed = open(&mut hub, 4, want(&[EventType::Issue, EventType::Job], None));

        for event in [EventType::Push, EventType::Job] {
            emit(&mut hub, event);
        }

        let got = feed.queue.try_recv().unwrap();
        assert_eq!(got, "id: 100-2\nevent: job\ndata: {\"a\":1}\n\n");
        assert!(feed.queue.try_recv().is_err());
    }

    #[test]
    fn a_slow_reader_is_cut_and_never_skips_an_event() {
        let mut hub = hub();
        let feed = open(&mut hub, 5, want(&[EventType::Issue], None));

        let closed: Vec<_> = (0..3).flat_map(|_| emit(&mut hub, EventType::Issue)).collect();

        assert_eq!((closed.len(), closed[0].reason), (1, "slow reader"));
        assert_eq!(*feed.state.borrow(), StreamState::Broken);
        assert_eq!(hub.streams().count(), 0);
        assert_eq!(hub.left(feed.id), None);
    }

    #[test]
    fn losing_a_project_or_a_token_ends_its_streams_only() {
        let mut hub = hub();
        let feed = open(&mut hub, 6, want(&[EventType::Issue], None));

        assert!(hub.close_hidden("bob", &[]).is_empty());
        assert!(hub.close_hidden("ada", &[42]).is_empty());
        assert!(hub.close_revoked("another").is_empty());
        assert_eq!(hub.close_hidden("ada", &[7]).len(), 1);
        assert_eq!(*feed.state.borrow(), StreamState::Done);
        open(&mut hub, 7, want(&[EventType::Issue], None));
        assert_eq!(hub.close_revoked("t").len(), 1);
    }

    #[test]
    fn a_gap_on_order_is_one_event_wide() {
        let mut hub = hub();
        let mut feed = open(&mut hub, 8, want(&[EventType::Issue], None));

        hub.leave_gap(8);
        emit(&mut hub, EventType::Issue);
        emit(&mut hub, EventType::Issue);

        assert!(feed.queue.try_recv().unwrap().starts_with(b"id: 100-2\n"));
        assert_eq!(hub.streams().next().map(|stream| stream.events), Some(1));
    }
}
