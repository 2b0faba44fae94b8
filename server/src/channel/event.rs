//! What happens to a channel, and what must follow.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use polytab_protocol::{
    close::CloseCode,
    id::{LoginSessionId, TabId},
    message::{ClientMessage, ErrorCode, ServerMessage},
    sessions::{Activation, SessionsReading},
    topic::Topic,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::coordinator::{Rank, Stamp, Standing};

/// One of a channel's two loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum LoopKind {
    /// About every 5 s.
    Short,
    /// About every 3 min.
    Long,
}

impl LoopKind {
    /// Its word in logs and metrics.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Long => "long",
        }
    }
}

/// Whether a login session still stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validity {
    /// Its token can be used.
    Valid,
    /// It is over: its tabs must go.
    Over,
    /// Its token cannot be used now, and nobody can say whether it is over.
    Unknown,
}

/// Which kind of session notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum SessionsKind {
    /// `sessionStatus`, from the notebooks service.
    V1,
    /// `sessionStatusV2`, from the data service.
    V2,
}

impl SessionsKind {
    /// The notification's type.
    pub(crate) const fn message_type(self) -> &'static str {
        match self {
            Self::V1 => "sessionStatus",
            Self::V2 => "sessionStatusV2",
        }
    }
}

/// What an iteration must ask an upstream service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Question {
    /// The user's backend sessions.
    Sessions(SessionsKind),
    /// How far these projects' knowledge graphs are.
    Activation(BTreeSet<u64>),
}

/// What an iteration learned; `None` where an answer could not be used.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Reading {
    /// The user's backend sessions.
    Sessions(SessionsKind, Option<SessionsReading>),
    /// What was learned of each project; a project without an entry gave no usable answer.
    Activation(BTreeMap<u64, Activation>),
}

/// How an upstream event stream goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum StreamNews {
    /// GitLab accepted it.
    Accepted(Earlier),
    /// GitLab refuses it, for this reason to be told.
    Refused(ErrorCode),
    /// An event came.
    Event(Came),
    /// GitLab lost events.
    Reset,
}

/// An event of a topic; one without an id has an empty one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Came {
    pub(crate) id: String,
    pub(crate) payload: Box<RawValue>,
}

impl Came {
    /// What its payload takes.
    pub(crate) fn bytes(&self) -> usize {
        self.payload.get().len()
    }
}

/// What is known of the events before those that come from now on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Earlier {
    /// GitLab was asked for all after this one, if any.
    Asked(Option<String>),
    /// The stream was there before; nothing is said of what came.
    There,
    /// The stream was there before: all that came after this one; if that is unknown, the last that came.
    Kept {
        after: Option<String>,
        events: Vec<Came>,
    },
}

/// One thing that happens to a channel.
#[derive(Debug)]
pub(crate) enum Event {
    /// A tab is there; it belongs to this login session.
    Joined(TabId, LoginSessionId),
    /// A tab has gone.
    Left(TabId),
    /// A tab sent a command.
    Received(TabId, ClientMessage),
    /// A tab sent something that is no message, for this reason.
    Garbled(TabId, String),
    /// A loop's turn is due.
    TurnDue(LoopKind),
    /// The login sessions were checked for this turn.
    Checked(LoopKind, BTreeMap<LoginSessionId, Validity>),
    /// This turn's questions are answered; the coordinator took the answers at this moment.
    Answered(LoopKind, Vec<Reading>, Option<Stamp>),
    /// What this instance is for the user now.
    Stood(Standing),
    /// Another instance needs something else than before.
    NeedsChanged,
    /// Nobody leads any more.
    Released,
    /// The leader's questions of a turn are answered.
    Relayed(LoopKind, Vec<Reading>, Stamp),
    /// Letters of other instances may have been lost.
    Doubted,
    /// A login session is over, said the identity provider of itself.
    SessionOver(LoginSessionId),
    /// News of an upstream event stream.
    Stream(Topic, StreamNews),
}

/// What a turn asks.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) kind: LoopKind,
    /// With whose token.
    pub(crate) session: LoginSessionId,
    pub(crate) questions: Vec<Question>,
    /// What this instance was when it began to ask.
    pub(crate) rank: Rank,
}

/// An event stream that is to be held upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Of what.
    pub(crate) topic: Topic,
    /// With whose token.
    pub(crate) session: LoginSessionId,
    /// From after this event on.
    pub(crate) last_event: Option<String>,
    /// Tabs were told that GitLab accepted it: what goes wrong from then on is a cut, and no refusal.
    pub(crate) accepted: bool,
}

/// One thing that must follow.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    /// Send to these tabs, the same bytes to each.
    Send(Vec<TabId>, ServerMessage),
    /// Close a tab; it is no longer the channel's.
    Close(TabId, CloseCode),
    /// Check these login sessions for this turn.
    Check(LoopKind, BTreeSet<LoginSessionId>),
    /// Tell the coordinator what is needed here, and lead if nobody does.
    Claim,
    /// Ask upstream, and share the answers.
    Ask(Ask),
    /// Tell the other instances that GitLab accepted a stream which is held here.
    Announce(Topic, Earlier),
    /// Hold an event stream upstream.
    OpenStream(Wanted),
    /// Hold it no longer.
    CloseStream(Topic),
    /// A turn came while the last one of its loop was under way.
    Overrun(LoopKind),
}

/// Time since the channel was born; the state has no clock of its own.
pub(crate) type Age = Duration;
