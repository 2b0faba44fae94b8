//! Who reads which project's events, and the events kept for readers that come back. Decides, and never waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use axum::body::Bytes;
use polytab_protocol::{
    event_stream::StreamEvent,
    topic::{EventType, Topic},
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::{config::MocksConfig, observation::Observation};

/// Projects and readers.
#[derive(Debug)]
pub(crate) struct Hub {
    /// First part of every event id; another one after each reset.
    pub(crate) epoch: i64,
    rings: BTreeMap<u64, Ring>,
    readers: BTreeMap<u64, Reader>,
    ring_events: usize,
    stream_queue: usize,
}

/// The newest events of one project.
#[derive(Debug, Default)]
struct Ring {
    newest: u64,
    kept: VecDeque<Kept>,
}

#[derive(Debug)]
struct Kept {
    seq: u64,
    event: EventType,
    text: Bytes,
}

#[derive(Debug)]
struct Reader {
    want: Want,
    queue: mpsc::Sender<Bytes>,
    end: oneshot::Sender<End>,
}

/// What a reader asks for.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    pub(crate) user: String,
    pub(crate) project: u64,
    pub(crate) types: BTreeSet<EventType>,
    /// As it is shown: `/project/42/issue`.
    pub(crate) topic: String,
    /// The last event that the reader has.
    pub(crate) last_id: Option<String>,
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In order.
    Done,
    /// The connection breaks.
    Broken,
}

/// The far end of a reader: what it gets.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) id: u64,
    pub(crate) backlog: VecDeque<Bytes>,
    pub(crate) queue: mpsc::Receiver<Bytes>,
    pub(crate) end: oneshot::Receiver<End>,
}

impl Hub {
    pub(crate) fn new(config: &MocksConfig, epoch: i64) -> Self {
        Self {
            epoch,
            rings: BTreeMap::new(),
            readers: BTreeMap::new(),
            ring_events: config.ring_events.max(1),
            stream_queue: config.stream_queue.max(1),
        }
    }

    /// Takes the reader whose call has this number; its feed begins with what it missed.
    pub(crate) fn open(&mut self, id: u64, want: Want) -> Feed {
        let backlog = self.missed(&want);
        let (queue, feed_queue) = mpsc::channel(self.stream_queue);
        let (end, feed_end) = oneshot::channel();
        self.readers.insert(id, Reader { want, queue, end });
        Feed {
            id,
            backlog,
            queue: feed_queue,
            end: feed_end,
        }
    }

    /// What happened after the last event that a reader has; a `reset` event when that is not known any more.
    fn missed(&self, want: &Want) -> VecDeque<Bytes> {
        let Some(last_id) = &want.last_id else {
            return VecDeque::new();
        };
        let none = Ring::default();
        let ring = self.rings.get(&want.project).unwrap_or(&none);
        let oldest = ring.kept.front().map_or(ring.newest + 1, |kept| kept.seq);
        let reason = match parse(last_id) {
            None => "unknown id",
            Some((epoch, _)) if epoch != self.epoch => "other epoch",
            Some((_, seq)) if seq > ring.newest => "unknown id",
            Some((_, seq)) if seq + 1 < oldest => "too old",
            Some((_, seq)) => {
                let missed = ring
                    .kept
                    .iter()
                    .filter(|kept| kept.seq > seq && want.types.contains(&kept.event));
                return missed.map(|kept| kept.text.clone()).collect();
            }
        };
        let id = |seq: u64| format!("{}-{seq}", self.epoch);
        let reset = StreamEvent {
            event: "reset".to_owned(),
            data: json!({"reason": reason, "oldest": id(oldest), "newest": id(ring.newest)}).to_string(),
            ..StreamEvent::default()
        };
        [Bytes::from(reset.encode())].into()
    }

    /// Keeps an event and hands it to its readers; one that has too many waiting is closed instead.
    pub(crate) fn emit(&mut self, topic: Topic, payload: &Value) -> (String, Vec<Observation>) {
        let ring = self.rings.entry(topic.project).or_default();
        ring.newest += 1;
        let id = format!("{}-{}", self.epoch, ring.newest);
        let event = StreamEvent {
            id: id.clone(),
            event: topic.event.to_string(),
            data: payload.to_string(),
        };
        let text = Bytes::from(event.encode());
        if ring.kept.len() >= self.ring_events {
            ring.kept.pop_front();
        }
        ring.kept.push_back(Kept {
            seq: ring.newest,
            event: topic.event,
            text: text.clone(),
        });
        let is_slow = |_: &u64, reader: &mut Reader| {
            let is_concerned =
                reader.want.project == topic.project && reader.want.types.contains(&topic.event);
            is_concerned && reader.queue.try_send(text.clone()).is_err()
        };
        let slow = self.readers.extract_if(.., is_slow);
        let closed = slow
            .map(|(id, reader)| reader.close(id, (End::Broken, "slow reader")))
            .collect();
        (id, closed)
    }

    /// Closes one stream whose reader left.
    pub(crate) fn left(&mut self, id: u64) -> Option<Observation> {
        let reader = self.readers.remove(&id)?;
        Some(reader.close(id, (End::Done, "reader left")))
    }

    /// Cuts streams: all, or those of one user.
    pub(crate) fn cut(&mut self, user: Option<&str>) -> Vec<Observation> {
        self.close(
            |_, want| user.is_none_or(|user| want.user == user),
            (End::Broken, "cut"),
        )
    }

    /// Cuts one stream.
    pub(crate) fn cut_one(&mut self, id: u64) -> Vec<Observation> {
        self.close(|found, _| found == id, (End::Broken, "cut"))
    }

    /// Ends the user's streams of projects that are not among these.
    pub(crate) fn close_hidden(&mut self, user: &str, visible: &[u64]) -> Vec<Observation> {
        let is_hidden = |want: &Want| want.user == user && !visible.contains(&want.project);
        self.close(|_, want| is_hidden(want), (End::Done, "access lost"))
    }

    /// Ends all streams.
    pub(crate) fn close_all(&mut self, reason: &str) -> Vec<Observation> {
        self.close(|_, _| true, (End::Done, reason))
    }

    fn close(&mut self, is_meant: impl Fn(u64, &Want) -> bool, how: (End, &str)) -> Vec<Observation> {
        let closed = self
            .readers
            .extract_if(.., |id, reader| is_meant(*id, &reader.want));
        closed.map(|(id, reader)| reader.close(id, how)).collect()
    }

    /// Open streams: number, reader, topic.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (u64, &str, &str)> {
        self.readers
            .iter()
            .map(|(id, reader)| (*id, reader.want.user.as_str(), reader.want.topic.as_str()))
    }
}

impl Reader {
    fn close(self, id: u64, (end, reason): (End, &str)) -> Observation {
        // Who has gone already needs no telling.
        self.end.send(end).ok();
        Observation::StreamClosed {
            id,
            user: self.want.user,
            topic: self.want.topic,
            reason: reason.to_owned(),
        }
    }
}

fn parse(id: &str) -> Option<(i64, u64)> {
    let (epoch, seq) = id.split_once('-')?;
    Some((epoch.parse().ok()?, seq.parse().ok()?))
}

#[cfg(test)]
mod tests {
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
            project: 42,
            types: types.iter().copied().collect(),
            topic: "/project/42/issue".into(),
            last_id: last_id.map(str::to_owned),
        }
    }

    fn emit(hub: &mut Hub, event: EventType) -> Vec<Observation> {
        hub.emit(Topic { project: 42, event }, &json!({"a": 1})).1
    }

    fn first_lines(backlog: &VecDeque<Bytes>) -> Vec<String> {
        let line = |text: &Bytes| String::from_utf8_lossy(text).lines().next().unwrap().to_owned();
        backlog.iter().map(line).collect()
    }

    #[test]
    fn a_reader_that_comes_back_gets_what_it_missed_once() {
        let mut hub = hub();
        for event in [EventType::Issue, EventType::Push, EventType::Issue] {
            emit(&mut hub, event);
        }

        for (last_id, lines) in [
            (None, vec![]),
            (Some("100-1"), vec!["id: 100-3"]),
            (Some("100-0"), vec!["id: 100-1", "id: 100-3"]),
            (Some("100-3"), vec![]),
            (Some("100-4"), vec!["event: reset"]),
            (Some("99-1"), vec!["event: reset"]),
            (Some("nonsense"), vec!["event: reset"]),
        ] {
            let feed = hub.open(1, want(&[EventType::Issue], last_id));

            assert_eq!(first_lines(&feed.backlog), lines, "{last_id:?}");
        }
    }

    #[test]
    fn what_fell_off_the_ring_cannot_be_resumed() {
        let mut hub = hub();
        for _ in 0..5 {
            emit(&mut hub, EventType::Issue);
        }

        let too_old = hub.open(2, want(&[EventType::Issue], Some("100-1")));
        let just_kept = hub.open(3, want(&[EventType::Issue], Some("100-2")));

        let text = String::from_utf8_lossy(&too_old.backlog[0]).into_owned();
        assert_eq!(
            text,
            "event: reset\ndata: {\"newest\":\"100-5\",\"oldest\":\"100-3\",\"reason\":\"too old\"}\n\n"
        );
        assert_eq!(just_kept.backlog.len(), 3);
    }

    #[test]
    fn a_reader_gets_only_the_types_it_asked_for() {
        let mut hub = hub();
        let mut feed = hub.open(4, want(&[EventType::Issue, EventType::Job], None));

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
        let mut feed = hub.open(5, want(&[EventType::Issue], None));

        let closed: Vec<_> = (0..3).flat_map(|_| emit(&mut hub, EventType::Issue)).collect();

        assert_eq!(closed.len(), 1);
        assert_eq!(feed.end.try_recv(), Ok(End::Broken));
        assert_eq!(hub.streams().count(), 0);
        assert_eq!(hub.left(feed.id), None);
    }

    #[test]
    fn losing_a_project_ends_its_streams_only() {
        let mut hub = hub();
        let mut feed = hub.open(6, want(&[EventType::Issue], None));

        assert!(hub.close_hidden("bob", &[]).is_empty());
        assert!(hub.close_hidden("ada", &[42]).is_empty());
        assert_eq!(hub.close_hidden("ada", &[7]).len(), 1);
        assert_eq!(feed.end.try_recv(), Ok(End::Done));
    }
}
