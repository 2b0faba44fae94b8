//! The newest events of each project: the one place that event streams, hooks and the events API are served from.
//! Decides, and never waits; knows no reader.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use axum::body::Bytes;
use jiff::Timestamp;
use polytab_protocol::{event_stream::StreamEvent, topic::Topic};
use serde_json::{Value, json};

/// Events by project.
#[derive(Debug)]
pub(crate) struct Store {
    /// First part of every event id; another one after each reset.
    pub(crate) epoch: i64,
    /// Events of all projects until now.
    pub(crate) count: u64,
    rings: BTreeMap<u64, Ring>,
    ring_events: usize,
}

/// The newest events of one project.
#[derive(Debug, Default)]
struct Ring {
    newest: u64,
    kept: VecDeque<Arc<Stored>>,
}

/// An event.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Its number among those of its project.
    pub(crate) seq: u64,
    /// Its number among all.
    pub(crate) number: u64,
    /// `<epoch>-<seq>`, as streams name it.
    pub(crate) id: String,
    pub(crate) topic: Topic,
    pub(crate) at: Timestamp,
    /// The payload as JSON, on one line: byte for byte what streams carry and hooks are sent.
    pub(crate) body: String,
}

impl Stored {
    /// Its bytes on a stream.
    pub(crate) fn text(&self) -> Bytes {
        let event = StreamEvent {
            id: self.id.clone(),
            event: self.topic.event.to_string(),
            data: self.body.clone(),
        };
        Bytes::from(event.encode())
    }

    /// What it says.
    pub(crate) fn payload(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

impl Store {
    pub(crate) fn new(ring_events: usize, epoch: i64) -> Self {
        Self {
            epoch,
            count: 0,
            rings: BTreeMap::new(),
            ring_events: ring_events.max(1),
        }
    }

    /// The numbers that the project's next event will have: among all, and among those of its project.
    pub(crate) fn next(&self, project: u64) -> (u64, u64) {
        (self.count + 1, self.range(project).1 + 1)
    }

    /// Keeps an event; the project's oldest goes when there is no room.
    pub(crate) fn push(&mut self, topic: Topic, payload: &Value, at: Timestamp) -> Arc<Stored> {
        let ring = self.rings.entry(topic.project).or_default();
        ring.newest += 1;
        self.count += 1;
        let event = Arc::new(Stored {
            seq: ring.newest,
            number: self.count,
            id: format!("{}-{}", self.epoch, ring.newest),
            topic,
            at,
            body: payload.to_string(),
        });
        if ring.kept.len() >= self.ring_events {
            ring.kept.pop_front();
        }
        ring.kept.push_back(Arc::clone(&event));
        event
    }

    /// The kept events of a project, oldest first.
    pub(crate) fn events(&self, project: u64) -> impl DoubleEndedIterator<Item = &Arc<Stored>> {
        self.rings.get(&project).into_iter().flat_map(|ring| &ring.kept)
    }

    /// What happened after the event of this id.
    ///
    /// # Errors
    ///
    /// When that is not known any more: why.
    pub(crate) fn after(&self, project: u64, id: &str) -> Result<Vec<Arc<Stored>>, &'static str> {
        let (oldest, newest) = self.range(project);
        match parse(id) {
            None => Err("unknown id"),
            Some((epoch, _)) if epoch != self.epoch => Err("other epoch"),
            Some((_, seq)) if seq > newest => Err("unknown id"),
            Some((_, seq)) if seq + 1 < oldest => Err("too old"),
            Some((_, seq)) => Ok(self
                .events(project)
                .filter(|event| event.seq > seq)
                .cloned()
                .collect()),
        }
    }

    /// The event that tells a reader that it lost some.
    pub(crate) fn reset(&self, project: u64, reason: &str) -> Bytes {
        let (oldest, newest) = self.range(project);
        let id = |seq: u64| format!("{}-{seq}", self.epoch);
        let reset = StreamEvent {
            event: "reset".to_owned(),
            data: json!({"reason": reason, "oldest": id(oldest), "newest": id(newest)}).to_string(),
            ..StreamEvent::default()
        };
        Bytes::from(reset.encode())
    }

    /// The numbers of the oldest event that is kept, and of the newest.
    fn range(&self, project: u64) -> (u64, u64) {
        let newest = self.rings.get(&project).map_or(0, |ring| ring.newest);
        let oldest = self.events(project).next().map_or(newest + 1, |event| event.seq);
        (oldest, newest)
    }

    /// Forgets the events of a project.
    pub(crate) fn forget(&mut self, project: u64) {
        self.rings.remove(&project);
    }
}

/// Which projects' streams have ended for good.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// Deleted projects.
    pub(crate) projects: BTreeSet<u64>,
    /// GitLab itself is not coming back.
    pub(crate) all: bool,
}

impl Ended {
    pub(crate) fn has(&self, project: u64) -> bool {
        self.all || self.projects.contains(&project)
    }
}

fn parse(id: &str) -> Option<(i64, u64)> {
    let (epoch, seq) = id.split_once('-')?;
    Some((epoch.parse().ok()?, seq.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use polytab_protocol::topic::EventType;

    use super::*;

    fn store(events: u64) -> Store {
        let mut store = Store::new(3, 100);
        let topic = Topic {
            project: 42,
            event: EventType::Issue,
        };
        for n in 1..=events {
            store.push(topic, &json!({"n": n}), Timestamp::UNIX_EPOCH);
        }
        store
    }

    #[test]
    fn what_came_after_an_event_is_known_as_long_as_it_is_kept() {
        for (events, last_id, after) in [
            (3, "100-0", Ok(vec![1, 2, 3])),
            (3, "100-1", Ok(vec![2, 3])),
            (3, "100-3", Ok(vec![])),
            (3, "100-4", Err("unknown id")),
            (3, "99-1", Err("other epoch")),
            (3, "nonsense", Err("unknown id")),
            (5, "100-1", Err("too old")),
            (5, "100-2", Ok(vec![3, 4, 5])),
            (0, "100-0", Ok(vec![])),
        ] {
            let found = store(events).after(42, last_id);

            let found = found.map(|events| events.iter().map(|event| event.seq).collect::<Vec<_>>());
            assert_eq!(found, after, "{events} events, {last_id}");
        }
    }

    #[test]
    fn a_reset_names_what_is_still_there() {
        assert_eq!(
            store(5).reset(42, "too old"),
            "event: reset\ndata: {\"newest\":\"100-5\",\"oldest\":\"100-3\",\"reason\":\"too old\"}\n\n"
        );
    }
}
