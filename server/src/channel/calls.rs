//! What a channel asks of others. Each of these is a task beside the channel, which goes on meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::future::join_all;
use polytab_protocol::id::LoginSessionId;

use super::event::{Ask, Event, LoopKind, Validity};
use crate::{
    coordinator::{Fate, Life, Rank, Record, Stamp},
    host::Host,
};

pub(super) async fn check(host: Arc<Host>, kind: LoopKind, sessions: BTreeSet<LoginSessionId>) -> Event {
    let checks = sessions.into_iter().map(|session| async {
        let validity = host.auth.check(&session).await;
        (session, validity)
    });
    Event::Checked(
        kind,
        join_all(checks)
            .await
            .into_iter()
            .collect::<BTreeMap<_, Validity>>(),
    )
}

pub(super) async fn ask(host: Arc<Host>, life: Arc<Life>, what: Ask) -> Event {
    let Ask {
        kind,
        session,
        questions,
        rank,
    } = what;
    let Some(token) = host.auth.token(&session) else {
        return Event::Answered(kind, Vec::new(), None);
    };
    let asked = questions
        .into_iter()
        .map(|question| host.backend.ask(question, &token));
    let readings = join_all(asked).await;
    let record = Record::Answered(kind, readings.clone());
    match share(&host, &life, rank, &record).await {
        Shared::Taken(at) => Event::Answered(kind, readings, at),
        // The others are told by the next turn's.
        Shared::Lost => Event::Answered(kind, readings, None),
        Shared::Refused => Event::Answered(kind, Vec::new(), None),
    }
}

/// What became of a record that is to be acted on here and elsewhere.
pub(super) enum Shared {
    /// It may be acted on here.
    Taken(Option<Stamp>),
    /// Another leads by now: it is void.
    Refused,
    /// Nobody else may have heard of it.
    Lost,
}

pub(super) async fn share(host: &Host, life: &Life, rank: Rank, record: &Record) -> Shared {
    let Rank::Leads(fence) = rank else {
        return Shared::Taken(None);
    };
    match host
        .reach
        .note(host.coordinator.publish(life, fence, record).await)
    {
        Ok(Fate::Taken(at)) => Shared::Taken(Some(at)),
        Ok(Fate::Refused) => {
            host.metrics.stale_writes.inc();
            Shared::Refused
        }
        Err(_) => Shared::Lost,
    }
}
