//! The turns of a channel: who leads, what is asked and when, and what is taken in of the answers.

use std::collections::{BTreeMap, BTreeSet};

use polytab_protocol::id::LoginSessionId;

use super::{
    event::{Age, Ask, Effect, LoopKind, Reading, Validity},
    state::ChannelState,
};
use crate::{
    coordinator::{Needs, Rank, Stamp, Standing},
    iteration,
};

/// What was read, and when it was shared.
pub(super) type Read<'a> = (&'a [Reading], Option<Stamp>);

/// How far a turn is.
#[derive(Debug)]
pub(super) enum Turn {
    /// It waits for the checks of the login sessions, and to know what this instance is.
    Begun {
        valid: Option<BTreeSet<LoginSessionId>>,
        stood: bool,
    },
    /// Its questions are asked.
    Asking,
}

impl ChannelState {
    /// What this instance is for the user.
    pub(crate) fn rank(&self) -> Rank {
        self.rank
    }

    pub(super) fn leads(&self) -> bool {
        !matches!(self.rank, Rank::Follows)
    }

    /// What is to be told to the coordinator now, and whether whoever leads must act on it at once.
    pub(crate) fn claim(&mut self) -> (Needs, bool) {
        let needs = self.needs();
        let before = std::mem::replace(&mut self.told, needs.clone());
        let news = needs.are_news_after(&before);
        (needs, news)
    }

    pub(super) fn needs(&self) -> Needs {
        Needs {
            tabs: self.tabs.len(),
            sessions: self
                .tabs
                .values()
                .flat_map(|tab| tab.wants.iter().copied())
                .collect(),
            projects: self.activations.under_way(),
            topics: self.topics.holds().collect(),
            version: self.version_asked,
        }
    }

    /// Who leads looks at once at what another instance needs; the others need not know.
    pub(super) fn needs_changed(&self) -> Vec<Effect> {
        if self.leads() {
            vec![Effect::Claim]
        } else {
            Vec::new()
        }
    }

    /// Takes in what this instance is now.
    pub(super) fn stand(&mut self, Standing { rank, at, others }: Standing, age: Age) -> Vec<Effect> {
        match (self.rank, rank) {
            (_, Rank::Alone) => {}
            // What others shared meanwhile is older than what was read here.
            (Rank::Alone, _) => self.read_at = at,
            // The coordinator's clock may go back, and no reading is void for that.
            _ => self.read_at = self.read_at.min(at),
        }
        self.rank = rank;
        self.version_asked |= others.version;
        self.others = others;
        let mut effects = self.announcements(age);
        let kinds: Vec<_> = self.under_way.keys().copied().collect();
        for kind in kinds {
            if let Some(Turn::Begun { stood, .. }) = self.under_way.get_mut(&kind) {
                *stood = true;
            }
            effects.extend(self.proceed(kind, age));
        }
        effects
    }

    /// Whether a turn of this loop is under way.
    pub(crate) fn is_under_way(&self, kind: LoopKind) -> bool {
        self.under_way.contains_key(&kind)
    }

    /// The loops whose questions are asked and not all answered.
    pub(crate) fn asking(&self) -> impl Iterator<Item = LoopKind> {
        let asking = self
            .under_way
            .iter()
            .filter(|(_, turn)| matches!(turn, Turn::Asking));
        asking.map(|(kind, _)| *kind)
    }

    pub(super) fn begin_turn(&mut self, kind: LoopKind) -> Vec<Effect> {
        if self.under_way.contains_key(&kind) {
            // Whoever asks for longer than a lease lasts leads on.
            return vec![Effect::Overrun(kind), Effect::Claim];
        }
        let turn = Turn::Begun {
            valid: None,
            stood: false,
        };
        self.under_way.insert(kind, turn);
        self.refused.clear();
        let sessions = self.tabs.values().map(|tab| tab.session.clone()).collect();
        vec![Effect::Check(kind, sessions), Effect::Claim]
    }

    pub(super) fn checked(
        &mut self,
        kind: LoopKind,
        validity: &BTreeMap<LoginSessionId, Validity>,
        age: Age,
    ) -> Vec<Effect> {
        let with = |wanted: Validity| {
            validity
                .iter()
                .filter(move |(_, is)| **is == wanted)
                .map(|(session, _)| session)
        };
        let mut effects: Vec<_> = with(Validity::Over)
            .flat_map(|session| self.end_session(session))
            .collect();
        if let Some(Turn::Begun { valid, .. }) = self.under_way.get_mut(&kind) {
            *valid = Some(with(Validity::Valid).cloned().collect());
        }
        effects.extend(self.proceed(kind, age));
        effects
    }

    /// Asks what a turn needs, once all is known that it waits for.
    fn proceed(&mut self, kind: LoopKind, age: Age) -> Vec<Effect> {
        let Some(Turn::Begun {
            valid: Some(valid),
            stood: true,
        }) = self.under_way.get(&kind)
        else {
            return Vec::new();
        };
        let token = valid
            .iter()
            .find(|session| self.tabs.values().any(|tab| tab.session == **session))
            .cloned();
        let questions: Vec<_> = iteration::functions(kind)
            .filter_map(|function| function.question(self))
            .collect();
        match token {
            Some(session) if self.leads() && !questions.is_empty() => {
                self.under_way.insert(kind, Turn::Asking);
                vec![Effect::Ask(Ask {
                    kind,
                    session,
                    questions,
                    rank: self.rank,
                })]
            }
            Some(_) | None => self.answered(kind, (&[], None), age),
        }
    }

    pub(super) fn answered(&mut self, kind: LoopKind, read: Read<'_>, age: Age) -> Vec<Effect> {
        self.under_way.remove(&kind);
        let mut effects = self.learn(kind, read, age);
        for function in iteration::functions(kind) {
            effects.extend(function.tell(self, age));
        }
        effects
    }

    /// Takes in what the leader read. An instance that is alone reads itself; what comes to it then was written before.
    pub(super) fn relayed(&mut self, kind: LoopKind, read: Read<'_>, age: Age) -> Vec<Effect> {
        if self.rank == Rank::Alone {
            return Vec::new();
        }
        self.learn(kind, read, age)
    }

    /// Takes in readings, but for those that are older than the last.
    fn learn(&mut self, kind: LoopKind, (readings, at): Read<'_>, age: Age) -> Vec<Effect> {
        if at.is_some_and(|at| at < self.read_at) {
            return Vec::new();
        }
        self.read_at = at.unwrap_or(self.read_at);
        self.stirred |= !readings.is_empty();
        let mut effects = Vec::new();
        for function in iteration::functions(kind) {
            let learned = readings
                .iter()
                .flat_map(|reading| function.learn(self, reading, age));
            effects.extend(learned);
        }
        effects
    }
}
