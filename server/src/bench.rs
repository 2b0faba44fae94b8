//! What benches reach of the server's inside: commands, a channel's state, outboxes. No part of its interface.

use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use polytab_protocol::{
    id::{LoginSessionId, TabId},
    message::{ClientMessage, ServerMessage},
    sessions::SessionsReading,
};

use crate::{
    Config,
    channel::{
        event::{Effect, Event, LoopKind, Reading, SessionsKind},
        state::{ChannelState, Terms},
    },
    command,
    coordinator::Standing,
    outbox::{Bounds, Encoded, Outbox, Outgoing},
};

/// Since a channel was born; the same for all that happens to it here.
const AGE: Duration = Duration::from_secs(10);

/// A channel's state without a task around it.
#[derive(Debug)]
pub struct Channel(ChannelState);

impl Channel {
    /// A channel of so many tabs, all of which want session notifications.
    ///
    /// # Panics
    ///
    /// Never: the command is one.
    pub fn with_tabs(count: u64) -> Self {
        let terms = Terms {
            version: None,
            tabs: usize::try_from(count).unwrap_or(usize::MAX),
            ..Terms::of(&Config::default())
        };
        let mut state = ChannelState::new(terms, "01234567-1000".to_owned());
        state.apply(Event::Stood(Standing::alone()), AGE);
        let pull: ClientMessage = r#"{"timestamp":"t","type":"pullSessionStatusV2","data":{}}"#
            .parse()
            .expect("this is a command");
        for tab in 1..=count {
            state.apply(Event::Joined(TabId(tab), LoginSessionId("s".to_owned())), AGE);
            state.apply(Event::Received(TabId(tab), pull.clone()), AGE);
        }
        Self(state)
    }

    /// Finds a command and does it, for the first tab. Gives whether it was one.
    pub fn command(&mut self, message: &ClientMessage) -> bool {
        command::run(&mut self.0, TabId(1), message, AGE).is_ok()
    }

    /// Takes in what the first tab sent. Gives to how many tabs something is to be sent.
    pub fn receive(&mut self, message: ClientMessage) -> usize {
        told(&self.0.apply(Event::Received(TabId(1), message), AGE))
    }

    /// Takes in what a turn read. Gives to how many tabs something is to be sent.
    pub fn read(&mut self, sessions: SessionsReading) -> usize {
        let reading = Reading::Sessions(SessionsKind::V2, Some(sessions));
        let answered = Event::Answered(LoopKind::Short, vec![reading], None);
        told(&self.0.apply(answered, AGE))
    }
}

fn told(effects: &[Effect]) -> usize {
    let told = effects.iter().map(|effect| match effect {
        Effect::Send(tabs, _) => tabs.len(),
        Effect::Close(..)
        | Effect::Check(..)
        | Effect::Claim
        | Effect::Ask(_)
        | Effect::Announce(..)
        | Effect::OpenStream(..)
        | Effect::CloseStream(_)
        | Effect::Overrun(_) => 0,
    });
    told.sum()
}

/// Outboxes of tabs that nobody waits at.
#[derive(Debug)]
pub struct Outboxes(Vec<Outbox>);

impl Outboxes {
    /// So many of them, empty.
    pub fn new(count: usize) -> Self {
        let config = Config::default();
        let bounds = Bounds {
            messages: config.outbox_messages,
            bytes: config.outbox_bytes,
        };
        Self((0..count).map(|_| Outbox::new(bounds)).collect())
    }

    /// Encodes a message, and puts it into each.
    pub fn push(&self, message: &ServerMessage) {
        let encoded = Encoded::new(message, Timestamp::UNIX_EPOCH);
        for outbox in &self.0 {
            outbox.push(encoded.clone());
        }
    }

    /// Takes out what is in them. Gives the number of bytes.
    pub fn empty(&self) -> usize {
        let mut bytes = 0;
        for outbox in &self.0 {
            while let Some(Outgoing::Text(text)) = outbox.next().now_or_never() {
                bytes += text.len();
            }
        }
        bytes
    }
}
