//! The topics of a channel and the event streams that are held upstream for them.

use std::collections::BTreeMap;

use polytab_protocol::{
    id::{LoginSessionId, TabId},
    message::ServerMessage,
    topic::Topic,
};

use super::{
    event::{Age, Came, Earlier, Effect, StreamNews, Wanted},
    state::ChannelState,
    topics::Welcome,
};
use crate::coordinator::Hold;

/// An event stream that is held upstream.
#[derive(Debug)]
pub(super) struct Stream {
    /// Whose token it uses.
    session: LoginSessionId,
    pub(super) accepted: bool,
}

impl ChannelState {
    /// The topics that are held, for people to look at.
    pub(crate) fn topics(&self) -> impl Iterator<Item = Topic> {
        self.topics.iter()
    }

    /// A tab subscribes, and wants what came after an event. `None` if the user holds too many topics already.
    pub(crate) fn subscribe(
        &mut self,
        tab: TabId,
        (topic, last_event): (Topic, Option<String>),
        age: Age,
    ) -> Option<Vec<Effect>> {
        if !self.topics.is_held(topic) && self.topics.len() >= self.terms.subscriptions {
            return None;
        }
        self.stirred = true;
        // Who leads asks GitLab for it anew, whatever it said to others.
        self.refused.remove(&topic);
        let welcome = self.topics.subscribe(tab, (topic, last_event), age);
        Some(welcome.map_or_else(Vec::new, |welcome| welcomed(topic, welcome).collect()))
    }

    /// A tab lets go of a topic. `None` if it did not hold it.
    pub(crate) fn unsubscribe(&mut self, tab: TabId, topic: Topic) -> Option<Vec<Effect>> {
        if !self.topics.unsubscribe(tab, topic) {
            return None;
        }
        self.stirred = true;
        Some(vec![Effect::Send(
            vec![tab],
            ServerMessage::ack_topic("unsubscribe", topic),
        )])
    }

    /// Who leads holds a stream for each topic that is needed anywhere, with the token of a login session that has
    /// tabs here.
    pub(super) fn tend_streams(&mut self) -> Vec<Effect> {
        if self.streams.is_empty() && (!self.leads() || self.topics.len() + self.others.topics.len() == 0) {
            return Vec::new();
        }
        let wanted = if self.leads() {
            self.topics_wanted()
        } else {
            BTreeMap::new()
        };
        let vain = self.streams.keys().filter(|topic| !wanted.contains_key(*topic));
        let vain: Vec<_> = vain.copied().collect();
        let mut effects = Vec::new();
        for topic in vain {
            self.streams.remove(&topic);
            self.topics.end_stream(topic);
            self.stirred = true;
            effects.push(Effect::CloseStream(topic));
        }
        for (topic, hold) in wanted {
            let has_tabs = |session: &LoginSessionId| self.tabs.values().any(|tab| tab.session == *session);
            if self
                .streams
                .get(&topic)
                .is_some_and(|stream| has_tabs(&stream.session))
            {
                continue;
            }
            let holder = self.topics.holder(topic).and_then(|tab| self.tabs.get(&tab));
            let Some(tab) = holder.or_else(|| self.tabs.values().next()) else {
                continue;
            };
            let session = tab.session.clone();
            let stream = Stream {
                session: session.clone(),
                accepted: false,
            };
            self.streams.insert(topic, stream);
            effects.push(Effect::OpenStream(Wanted {
                topic,
                session,
                last_event: self.topics.stream(topic, hold.last_event),
                accepted: hold.accepted,
            }));
        }
        effects
    }

    /// The topics that are needed anywhere, but for those of other instances that GitLab refused.
    fn topics_wanted(&self) -> BTreeMap<Topic, Hold> {
        let mut wanted: BTreeMap<Topic, Hold> = self.topics.holds().collect();
        for (topic, hold) in &self.others.topics {
            if self.topics.is_held(*topic) || !self.refused.contains(topic) {
                wanted.entry(*topic).or_default().add(hold.clone());
            }
        }
        wanted
    }

    /// Others that wait for a stream that is held here already are told so, and what they missed.
    pub(super) fn announcements(&mut self, age: Age) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (topic, hold) in self.others.topics.iter().filter(|(_, hold)| hold.waits) {
            if self.streams.get(topic).is_some_and(|stream| stream.accepted) {
                let earlier = if hold.behind {
                    self.topics.kept(*topic, age)
                } else {
                    Earlier::There
                };
                effects.push(Effect::Announce(*topic, earlier));
            }
        }
        effects
    }

    pub(super) fn stream_news(&mut self, topic: Topic, news: StreamNews, age: Age) -> Vec<Effect> {
        self.stirred |= matches!(news, StreamNews::Accepted(_) | StreamNews::Refused(_));
        match news {
            StreamNews::Accepted(earlier) => {
                if let Some(stream) = self.streams.get_mut(&topic) {
                    stream.accepted = true;
                }
                let welcomes = self.topics.accepted(topic, earlier, age);
                welcomes
                    .into_iter()
                    .flat_map(|welcome| welcomed(topic, welcome))
                    .collect()
            }
            StreamNews::Refused(code) => {
                if self.streams.remove(&topic).is_some() {
                    self.refused.insert(topic);
                }
                let text = format!("`subscribe`: no events of `{topic}` for you");
                send(self.topics.refused(topic), ServerMessage::error(code, &text))
            }
            StreamNews::Reset => {
                self.topics.reset(topic);
                Vec::new()
            }
            StreamNews::Event(event) => send(self.topics.event(topic, &event, age), told(topic, event)),
        }
    }
}

fn welcomed(topic: Topic, welcome: Welcome) -> impl Iterator<Item = Effect> {
    let tab = welcome.tab;
    let ack = match welcome.recovered {
        _ if welcome.has_ack => None,
        None => Some(ServerMessage::ack_topic("subscribe", topic)),
        Some(recovered) => Some(ServerMessage::ack_subscribe(topic, recovered)),
    };
    let events = welcome.events.into_iter().map(move |event| told(topic, event));
    ack.into_iter()
        .chain(events)
        .map(move |message| Effect::Send(vec![tab], message))
}

fn told(topic: Topic, Came { id, payload }: Came) -> ServerMessage {
    ServerMessage::project_event(topic, payload, (!id.is_empty()).then_some(id))
}

fn send(tabs: Vec<TabId>, message: ServerMessage) -> Vec<Effect> {
    if tabs.is_empty() {
        return Vec::new();
    }
    vec![Effect::Send(tabs, message)]
}
