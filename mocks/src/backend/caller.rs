//! Who calls the data service. It refuses nobody: whoever it does not know is anonymous (MOCKS B1).

use polytab_seams::random::Random;

use super::{fault::PollFault, items::Items, name::ulid};
use crate::{
    Shared,
    call::Call,
    clocks::Mock,
    fault::action::FaultAction,
    shelf::Shelf,
    world::{GATEWAY_COOKIE, World},
};

/// What the data service takes in `aud` (MOCKS K7).
const AUDIENCES: [&str; 4] = ["renku", "renku-ui", "renku-cli", "swagger"];
/// Header or cookie that tells one anonymous caller from another.
pub(crate) const ANONYMOUS_ID: &str = "Renku-Auth-Anon-Id";
/// What the ids of anonymous callers begin with.
pub(crate) const ANONYMOUS: &str = "anon-";
/// Characters of an anonymous caller's id at most.
const LONGEST_ID: usize = 100;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A user of this name.
    User(String),
    /// Somebody of whom nothing but this id is known.
    Anonymous(String),
}

impl Caller {
    /// What is the same for all that a caller owns, and different from all others'.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::User(name) | Self::Anonymous(name) => name,
        }
    }
}

/// What anonymous callers own, by their ids; the oldest make room.
#[derive(Debug)]
pub(crate) struct Strangers(Shelf<Items>);

impl Strangers {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Shelf::new(limit))
    }
}

impl World {
    /// Who makes this call: by token, else by the gateway's cookie, else nobody that is known. A session that is over
    /// goes unnoticed, as only signature and times are looked at.
    pub(super) fn caller(&self, shared: &Shared, call: &Call) -> Caller {
        if call.fault == Some(FaultAction::Backend(PollFault::Anonymous)) {
            return Caller::Anonymous(fresh_id(&self.seams.random));
        }
        let known = match call.bearer() {
            Some(token) => self.bearer(shared, token),
            None => call
                .cookie(GATEWAY_COOKIE)
                .and_then(|cookie| self.cookies.get(cookie))
                .map(|who| who.user.clone()),
        };
        known.map_or_else(|| self.stranger(call), Caller::User)
    }

    fn bearer(&self, shared: &Shared, token: &str) -> Option<String> {
        let claims = self.access(shared, token, Mock::Backend)?;
        let is_for_us = AUDIENCES.iter().any(|wanted| claims.is_for(wanted));
        is_for_us.then(|| self.user_of(&claims)).flatten()
    }

    fn stranger(&self, call: &Call) -> Caller {
        let told = call.header(ANONYMOUS_ID).or_else(|| call.cookie(ANONYMOUS_ID));
        let id = told
            .filter(|id| id.len() <= LONGEST_ID && id.len() > ANONYMOUS.len() && id.starts_with(ANONYMOUS))
            .map_or_else(|| fresh_id(&self.seams.random), str::to_owned);
        Caller::Anonymous(id)
    }

    /// What a caller owns, if it is anything.
    pub(super) fn owned(&self, caller: &Caller) -> Option<&Items> {
        match caller {
            Caller::User(name) => Some(&self.users.get(name)?.items),
            Caller::Anonymous(id) => self.strangers.0.get(id),
        }
    }

    pub(super) fn owned_mut(&mut self, caller: &Caller) -> Option<&mut Items> {
        match caller {
            Caller::User(name) => Some(&mut self.users.get_mut(name)?.items),
            Caller::Anonymous(id) => self.strangers.0.get_mut(id),
        }
    }

    /// Keeps a place for what an anonymous caller will own.
    pub(super) fn make_owner(&mut self, caller: &Caller) {
        if let Caller::Anonymous(id) = caller
            && self.strangers.0.get(id).is_none()
        {
            // One stream for all of them: ids come from outside, and streams are kept.
            let items = Items::new("anonymous", self.sessions_per_user);
            self.strangers.0.put(id.clone(), items);
        }
    }
}

fn fresh_id(random: &Random) -> String {
    format!("{ANONYMOUS}{}", ulid(random, "anonymous/id"))
}
