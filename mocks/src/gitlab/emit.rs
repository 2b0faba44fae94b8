//! What an event and an order do to open streams, told to whoever watches and kept in the journal.

use std::sync::Arc;

use polytab_protocol::topic::Topic;
use serde_json::Value;

use super::{fault::GitlabFault, hub::Closed, store::Stored};
use crate::{clocks::Mock, observation::Observation, route::STREAM, seen::Seen, world::World};

impl World {
    /// Keeps an event and hands it to its readers and hooks; gives its id.
    pub(crate) fn emit(&mut self, topic: Topic, payload: &Value) -> String {
        let event = self.emit_to_streams(topic, payload);
        self.call_hooks(&event);
        event.id.clone()
    }

    /// Keeps an event and hands it to its readers.
    pub(super) fn emit_to_streams(&mut self, topic: Topic, payload: &Value) -> Arc<Stored> {
        let event = self.hub.store.push(topic, payload, self.now_at(Mock::Gitlab));
        self.tell(&Observation::Emitted {
            topic: topic.to_string(),
            event_id: event.id.clone(),
        });
        for (id, seen) in self.hub.concerned(topic) {
            let fault = self.stream_fault(&seen, |fault| fault != GitlabFault::Bom);
            let closed = self.hub.send(id, &event, fault);
            self.streams_closed(closed);
        }
        event
    }

    /// The fault that a stream meets now, if it is one of those meant.
    pub(crate) fn stream_fault(
        &mut self,
        seen: &Seen,
        is_meant: impl Fn(GitlabFault) -> bool,
    ) -> Option<GitlabFault> {
        let (now, random) = (self.now(), self.seams.random.clone());
        let (firing, fault) = self.orders.meet_stream(seen, (now, &random), is_meant)?;
        self.fired(&firing, STREAM);
        Some(fault)
    }

    /// Puts on record that streams are over.
    pub(crate) fn streams_closed(&mut self, closed: impl IntoIterator<Item = Closed>) {
        for closed in closed {
            if let Some(entry) = self.journal.entry(closed.id) {
                entry.stream_end = Some(closed.reason);
                entry.stream_events = Some(closed.events);
            }
            self.tell(&Observation::StreamClosed {
                id: closed.id,
                user: closed.user,
                topic: closed.topic,
                reason: closed.reason.to_owned(),
            });
        }
    }

    /// Takes a project away for good: its streams end, and whoever comes back for them is told not to.
    pub(crate) fn end_project(&mut self, project: u64) {
        self.hub.store.forget(project);
        self.hub.ended.projects.insert(project);
        let closed = self.hub.close_ended();
        self.streams_closed(closed);
    }

    /// Ends all streams for good.
    pub(crate) fn end_streams(&mut self) {
        self.hub.ended.all = true;
        let closed = self.hub.close_ended();
        self.streams_closed(closed);
    }

    /// Takes a token no more; the streams that were opened with it end.
    pub(crate) fn revoke_gitlab_token(&mut self, token: &str) {
        self.gitlab.revoked.put(token.to_owned(), ());
        let closed = self.hub.close_revoked(token);
        self.streams_closed(closed);
    }
}
