//! Rotation of refresh tokens: how often each is good, and what a use too many costs (MOCKS K9). Decides, and never
//! waits.

use jiff::{SignedDuration, Timestamp};

use crate::{
    keycloak::{
        Refusal,
        keys::Claims,
        session::{ClientSession, Sessions},
    },
    realm::ReuseCount,
};

/// Within this time refreshes of one token all succeed when their count is not reliable.
const RACE: SignedDuration = SignedDuration::from_secs(1);

/// The newest refresh token used of a family.
#[derive(Clone, Debug)]
pub(super) struct Used {
    jti: String,
    /// When it was issued, in seconds since 1970.
    issued: i64,
    first: Timestamp,
    count: u32,
}

/// A refresh token as rotation sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefreshId<'a> {
    sid: &'a str,
    client: &'a str,
    jti: &'a str,
    family: &'a str,
    issued: i64,
}

impl<'a> RefreshId<'a> {
    /// The token with these claims.
    pub(super) fn of(claims: &'a Claims) -> Self {
        Self {
            sid: claims.text("sid"),
            client: claims.text("azp"),
            jti: claims.text("jti"),
            family: claims.text("reuse_id"),
            issued: claims.second("iat"),
        }
    }
}

/// How often a refresh token may be used, by what that is counted, and the time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reuse {
    pub(super) most: u32,
    pub(super) counted: ReuseCount,
    pub(super) now: Timestamp,
}

impl Reuse {
    /// What tokens of this one's kind are counted by.
    fn family<'a>(&self, token: RefreshId<'a>) -> &'a str {
        match self.counted {
            ReuseCount::PerClient => "",
            ReuseCount::PerLogin | ReuseCount::Racy => token.family,
        }
    }
}

/// Why a refresh token is good no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worn {
    /// A newer one was used.
    Older,
    /// It was used as often as it may be.
    UsedUp,
}

impl ClientSession {
    fn worn(&self, token: RefreshId<'_>, reuse: Reuse) -> Option<Worn> {
        let used = self.families.get(reuse.family(token))?;
        if used.jti != token.jti {
            return (token.issued < used.issued).then_some(Worn::Older);
        }
        let is_race = reuse.counted == ReuseCount::Racy && reuse.now.duration_since(used.first) < RACE;
        (used.count > reuse.most && !is_race).then_some(Worn::UsedUp)
    }
}

impl Sessions {
    /// Whether the next use of a refresh token would be refused.
    pub(super) fn is_worn(&self, token: RefreshId<'_>, reuse: Reuse) -> bool {
        self.part(token.sid, token.client)
            .is_some_and(|part| part.worn(token, reuse).is_some())
    }

    /// Uses a refresh token up. A use too many costs the client its part of the session.
    pub(super) fn rotate(&mut self, token: RefreshId<'_>, reuse: Reuse) -> Result<(), Refusal> {
        let part = self.part_mut(token.sid, token.client).ok_or_else(no_client)?;
        match part.worn(token, reuse) {
            Some(Worn::Older) => return Err(Refusal::grant("Stale token")),
            Some(Worn::UsedUp) => {
                self.detach(token.sid, token.client);
                return Err(Refusal::grant("Maximum allowed refresh token reuse exceeded"));
            }
            None => {}
        }
        let family = reuse.family(token);
        if let Some(used) = part.families.get_mut(family).filter(|used| used.jti == token.jti) {
            used.count += 1;
            return Ok(());
        }
        let used = Used {
            jti: token.jti.to_owned(),
            issued: token.issued,
            first: reuse.now,
            count: 1,
        };
        part.families.insert(family.to_owned(), used);
        Ok(())
    }
}

/// What a client hears that has no part in the session.
pub(super) fn no_client() -> Refusal {
    Refusal::grant("Session doesn't have required client")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seen::Who;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn sessions() -> Sessions {
        let mut sessions = Sessions::new(10);
        let who = Who {
            user: "ada".into(),
            browser: "desk".into(),
        };
        sessions.begin("s".into(), who, at(0));
        sessions.attach("s", "renku-ui", (Some(false), at(0)));
        sessions
    }

    fn token(jti: &str, issued: i64) -> RefreshId<'_> {
        RefreshId {
            sid: "s",
            client: "renku-ui",
            jti,
            family: "f",
            issued,
        }
    }

    fn reuse(counted: ReuseCount) -> Reuse {
        Reuse {
            most: 0,
            counted,
            now: at(10),
        }
    }

    #[test]
    fn a_token_used_twice_costs_the_client_its_part() {
        let mut sessions = sessions();
        let mut rotate = |jti, issued| {
            let refusal = sessions.rotate(token(jti, issued), reuse(ReuseCount::PerLogin));
            refusal.err().map(|refusal| refusal.description)
        };

        assert_eq!(rotate("a", 1), None);
        assert_eq!(rotate("b", 2), None);
        assert_eq!(rotate("a", 1).as_deref(), Some("Stale token"));
        assert_eq!(
            rotate("b", 2).as_deref(),
            Some("Maximum allowed refresh token reuse exceeded")
        );
        assert_eq!(
            rotate("c", 3).as_deref(),
            Some("Session doesn't have required client")
        );
    }

    #[test]
    fn uses_are_counted_by_sign_in_by_client_or_not_reliably() {
        for (counted, other_family, again) in [
            (ReuseCount::PerLogin, true, false),
            (ReuseCount::PerClient, false, false),
            (ReuseCount::Racy, true, true),
        ] {
            let mut sessions = sessions();
            let older = RefreshId {
                family: "g",
                ..token("x", 1)
            };

            assert_eq!(sessions.rotate(token("a", 2), reuse(counted)), Ok(()));
            assert_eq!(
                sessions.rotate(older, reuse(counted)).is_ok(),
                other_family,
                "{counted:?}"
            );
            assert_eq!(
                sessions.rotate(token("a", 2), reuse(counted)).is_ok(),
                again,
                "{counted:?}"
            );
        }
    }

    #[test]
    fn a_token_is_worn_when_its_next_use_would_be_refused() {
        let mut sessions = sessions();
        let per_login = reuse(ReuseCount::PerLogin);
        sessions.rotate(token("b", 2), per_login).unwrap();

        for (jti, issued, is_worn) in [("a", 1, true), ("b", 2, true), ("c", 3, false)] {
            assert_eq!(sessions.is_worn(token(jti, issued), per_login), is_worn, "{jti}");
        }
        assert_eq!(sessions.rotate(token("c", 3), per_login), Ok(()));
    }
}
