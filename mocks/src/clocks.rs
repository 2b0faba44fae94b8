//! The clocks of the mocks: each service has its own, which may be ahead of the others', behind, or stand still.
//!
//! A clock decides what is due and what payloads and tokens say. It wakes nobody: heart-beats, held answers and calls
//! of hooks go by the time that really passes.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::{SignedDuration, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, Serializer};

use crate::error::ControlError;

/// No clock is further off than this: about ten years.
const FURTHEST: SignedDuration = SignedDuration::from_hours(24 * 3660);

/// A service with a clock of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mock {
    /// Keycloak: tokens, login sessions, accounts.
    Keycloak,
    /// The backend services: sessions, alerts, and what they think of tokens.
    Backend,
    /// GitLab: events, hooks, the rate limit, and what it thinks of tokens.
    Gitlab,
    /// The gateway: cookies, and when tokens are refreshed.
    Gateway,
}

impl Mock {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Keycloak, Self::Backend, Self::Gitlab, Self::Gateway];
}

/// Which clocks an order is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Clocked {
    /// Keycloak's.
    Keycloak,
    /// The backend services'.
    Backend,
    /// GitLab's.
    Gitlab,
    /// The gateway's.
    Gateway,
    /// All four.
    All,
}

impl Clocked {
    fn mocks(self) -> Vec<Mock> {
        match self {
            Self::Keycloak => vec![Mock::Keycloak],
            Self::Backend => vec![Mock::Backend],
            Self::Gitlab => vec![Mock::Gitlab],
            Self::Gateway => vec![Mock::Gateway],
            Self::All => Mock::ALL.into(),
        }
    }
}

/// What becomes of a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It shows this time, and goes on from there.
    Set(Timestamp),
    /// It jumps ahead.
    Advance(SignedDuration),
    /// It stands still, or goes on from where it stood.
    Freeze(bool),
    /// It is ahead of the time that really is, or behind when negative.
    Skew(SignedDuration),
}

/// Clocks that are to show another time.
///
/// ```json
/// { "mock": "keycloak", "skew": "-90s" }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Wish")]
pub struct ClockOrder {
    /// Whose.
    pub mock: Clocked,
    /// What becomes of them.
    pub turn: Turn,
}

/// Clocks that are to show another time: `mock`, and exactly one of the others.
///
/// Nothing is woken by it: heart-beats, held answers and calls of hooks go by the time that really passes. What is due
/// by a clock (tokens, login sessions, lives of backend sessions) is so at the next call.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 2, "maxProperties" = 2))]
struct Wish {
    /// Whose clock.
    mock: Clocked,
    /// The time that it shows from now on (RFC 3339).
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    set: Option<Timestamp>,
    /// How far it jumps ahead: `5m`.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    advance: Option<SignedDuration>,
    /// Whether it stands still.
    #[serde(default)]
    freeze: Option<bool>,
    /// By how much it is ahead of the time that really is; behind when negative: `-90s`.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    skew: Option<SignedDuration>,
}

impl JsonSchema for ClockOrder {
    fn schema_name() -> Cow<'static, str> {
        "ClockOrder".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Wish::json_schema(generator)
    }
}

impl TryFrom<Wish> for ClockOrder {
    type Error = &'static str;

    fn try_from(wish: Wish) -> Result<Self, Self::Error> {
        let turns = [
            wish.set.map(Turn::Set),
            wish.advance.map(Turn::Advance),
            wish.freeze.map(Turn::Freeze),
            wish.skew.map(Turn::Skew),
        ];
        let mut turns = turns.into_iter().flatten();
        match (turns.next(), turns.next()) {
            (Some(turn), None) => Ok(Self {
                mock: wish.mock,
                turn,
            }),
            (_, _) => Err("of `set`, `advance`, `freeze` and `skew` exactly one must be there"),
        }
    }
}

/// A clock as it was turned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClockState {
    /// By how much it is ahead of the time that really is; behind when negative.
    #[serde(serialize_with = "signed")]
    #[schemars(with = "String")]
    pub skew: SignedDuration,
    /// The time at which it stands still.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub frozen: Option<Timestamp>,
}

/// With its sign in front, as orders have it: `-1m 30s`.
fn signed<S: Serializer>(skew: &SignedDuration, serializer: S) -> Result<S::Ok, S::Error> {
    let (sign, length) = if skew.is_negative() {
        ("-", skew.checked_neg().unwrap_or(SignedDuration::MAX))
    } else {
        ("", *skew)
    };
    serializer.collect_str(&format_args!("{sign}{length:#}"))
}

impl ClockState {
    fn shows(self, real: Timestamp) -> Timestamp {
        let ahead = real.saturating_add(self.skew).unwrap_or(Timestamp::MAX);
        self.frozen.unwrap_or(ahead)
    }

    /// The same clock, turned.
    fn turned(self, turn: Turn, real: Timestamp) -> Self {
        let shown = self.shows(real);
        let (time, stands) = match turn {
            Turn::Set(time) => (time, self.frozen.is_some()),
            Turn::Advance(time) => (
                shown.saturating_add(time).unwrap_or(Timestamp::MAX),
                self.frozen.is_some(),
            ),
            Turn::Freeze(stands) => (shown, stands),
            Turn::Skew(skew) => (
                real.saturating_add(skew).unwrap_or(Timestamp::MAX),
                self.frozen.is_some(),
            ),
        };
        Self {
            skew: time.duration_since(real),
            frozen: stands.then_some(time),
        }
    }

    fn check(self, real: Timestamp) -> Result<(), ControlError> {
        let off = self.shows(real).duration_since(real);
        let near = -FURTHEST..=FURTHEST;
        if near.contains(&off) && near.contains(&self.skew) {
            return Ok(());
        }
        Err(ControlError::BadValue {
            what: "what a clock shows, at most ten years from now,",
            value: self.shows(real).to_string(),
            nearest: None,
        })
    }
}

/// All clocks. One that was not turned shows the time that really is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clocks(BTreeMap<Mock, ClockState>);

impl Clocks {
    /// What a clock shows when it is really this time.
    pub(crate) fn now(&self, mock: Mock, real: Timestamp) -> Timestamp {
        self.0.get(&mock).map_or(real, |clock| clock.shows(real))
    }

    /// Turns clocks: all that are meant, or none.
    pub(crate) fn turn(&mut self, order: ClockOrder, real: Timestamp) -> Result<(), ControlError> {
        if let Turn::Advance(time) = order.turn
            && time.is_negative()
        {
            return Err(ControlError::BadValue {
                what: "how far a clock jumps ahead",
                value: format!("{time:#}"),
                nearest: None,
            });
        }
        let mut turned = self.clone();
        for mock in order.mock.mocks() {
            let clock = turned.0.entry(mock).or_default();
            *clock = clock.turned(order.turn, real);
            clock.check(real)?;
        }
        *self = turned;
        Ok(())
    }

    /// Sets one clock as a document has it.
    pub(crate) fn put(&mut self, mock: Mock, clock: ClockState, real: Timestamp) -> Result<(), ControlError> {
        clock.check(real)?;
        self.0.insert(mock, clock);
        Ok(())
    }

    /// The clocks that show another time than really is.
    pub(crate) fn turned(&self) -> BTreeMap<Mock, ClockState> {
        let turned = self
            .0
            .iter()
            .filter(|(_, clock)| **clock != ClockState::default());
        turned.map(|(mock, clock)| (*mock, *clock)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn turn(clocks: &mut Clocks, turn: Turn, real: i64) -> Result<(), ControlError> {
        let mock = Clocked::Backend;
        clocks.turn(ClockOrder { mock, turn }, at(real))
    }

    #[test]
    fn a_clock_is_set_moved_stopped_and_started_and_the_others_go_on() {
        let mut clocks = Clocks::default();
        let second = SignedDuration::from_secs(1);

        for (order, real, then, later) in [
            (Turn::Set(at(1_000)), 0, 1_000, 1_010),
            (Turn::Advance(60 * second), 20, 1_080, 1_090),
            (Turn::Freeze(true), 30, 1_090, 1_090),
            (Turn::Freeze(true), 50, 1_090, 1_090),
            (Turn::Advance(10 * second), 60, 1_100, 1_100),
            (Turn::Set(at(5)), 70, 5, 5),
            (Turn::Freeze(false), 80, 5, 15),
            (Turn::Skew(-90 * second), 90, 0, 10),
        ] {
            turn(&mut clocks, order, real).unwrap();

            let shown = |real| clocks.now(Mock::Backend, at(real)).as_second();
            assert_eq!((shown(real), shown(real + 10)), (then, later), "{order:?}");
            assert_eq!(clocks.now(Mock::Gitlab, at(real)), at(real));
        }
    }

    #[test]
    fn a_clock_is_never_turned_too_far_nor_advanced_backwards() {
        let mut clocks = Clocks::default();
        let century = SignedDuration::from_hours(24 * 36_500);

        for order in [
            Turn::Set(at(4_000_000_000)),
            Turn::Advance(century),
            Turn::Advance(-SignedDuration::from_secs(1)),
            Turn::Skew(-century),
            Turn::Skew(SignedDuration::MAX),
        ] {
            assert!(turn(&mut clocks, order, 0).is_err(), "{order:?}");
        }
        assert_eq!(clocks, Clocks::default());
    }

    #[test]
    fn an_order_says_exactly_one_thing() {
        let read = |text: &str| serde_json::from_str::<ClockOrder>(text).ok();

        assert_eq!(
            read(r#"{"mock": "all", "skew": "-90s"}"#),
            Some(ClockOrder {
                mock: Clocked::All,
                turn: Turn::Skew(SignedDuration::from_secs(-90)),
            })
        );
        assert_eq!(read(r#"{"mock": "all"}"#), None);
        assert_eq!(read(r#"{"mock": "all", "freeze": true, "advance": "5m"}"#), None);
    }
}
