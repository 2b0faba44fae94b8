//! How often something happens to one user, and shares, as profiles write them.

use std::{borrow::Cow, collections::BTreeMap, str::FromStr, time::Duration};

use polytab_mocks::shape::Either;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use thiserror::Error;

use crate::scenario::window::Span;

/// Tabs of one user at most: far beyond what people do, and within any target's patience.
const MOST_TABS: u32 = 1000;

/// So often per user: `2/m`, `0.5/s`, or `every 30s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate(
    /// Per second.
    pub f64,
);

/// Why a text is no rate or share. What follows `; ` is the mend.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RateError {
    /// Neither form.
    #[error("`{0}` does not say how often; write `2/m`, `0.5/s`, `1/h` or `every 30s`")]
    Form(String),
    /// More than a thousand a second.
    #[error("`{0}` is too often for one user; the most is `1000/s`")]
    TooOften(String),
    /// The interval is no duration.
    #[error("{0}")]
    Span(String),
    /// A share that is no percentage.
    #[error("`{0}` is no share; write percentages, as in `{{1: 60%, 2: 25%, 5: 15%}}`")]
    Share(String),
    /// Shares that are not a whole.
    #[error("the shares add up to {0}%, not to 100%; change one of them")]
    Sum(String),
    /// No number of tabs.
    #[error("`{0}` is no number of tabs; a user has 1 to {MOST_TABS}")]
    Tabs(String),
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let rate = if let Some(interval) = text.strip_prefix("every ") {
            let span: Span = interval
                .trim()
                .parse()
                .map_err(|error| RateError::Span(format!("{error}")))?;
            1.0 / span.0.as_secs_f64()
        } else {
            let form = || RateError::Form(text.to_owned());
            let (number, unit) = text.split_once('/').ok_or_else(form)?;
            let unit = match unit.trim() {
                "s" => Duration::from_secs(1),
                "m" => Duration::from_mins(1),
                "h" => Duration::from_hours(1),
                _ => return Err(form()),
            };
            let number: f64 = number.trim().parse().map_err(|_| form())?;
            if !(number.is_finite() && number >= 0.0) {
                return Err(form());
            }
            number / unit.as_secs_f64()
        };
        if rate > 1000.0 {
            return Err(RateError::TooOften(text.to_owned()));
        }
        Ok(Self(rate))
    }
}

impl TryFrom<String> for Rate {
    type Error = RateError;

    fn try_from(text: String) -> Result<Self, RateError> {
        text.parse()
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "How often, per user: `2/m`, `0.5/s`, `1/h` or `every 30s`",
            "pattern": r"^(every .+|[0-9.]+\s*/\s*[smh])$",
        })
    }
}

/// How many tabs users have: a number, or each number with its share, as in `{1: 60%, 2: 25%, 5: 15%}`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Either<u32, BTreeMap<String, String>>")]
pub struct TabsPerUser(
    /// Numbers of tabs with their shares of 100.
    pub Vec<(u32, f64)>,
);

impl TryFrom<Either<u32, BTreeMap<String, String>>> for TabsPerUser {
    type Error = RateError;

    fn try_from(either: Either<u32, BTreeMap<String, String>>) -> Result<Self, RateError> {
        match either {
            Either::Short(tabs) => Ok(Self(vec![(check_tabs(&tabs.to_string())?, 100.0)])),
            Either::Full(shares) => {
                Self::of(shares.iter().map(|(tabs, share)| (tabs.as_str(), share.as_str())))
            }
        }
    }
}

impl FromStr for TabsPerUser {
    type Err = RateError;

    /// `3`, or `1:60%,2:25%,5:15%`.
    fn from_str(text: &str) -> Result<Self, RateError> {
        if !text.contains(':') {
            return Ok(Self(vec![(check_tabs(text)?, 100.0)]));
        }
        let shares: Result<Vec<_>, _> = text
            .split(',')
            .map(|pair| {
                pair.split_once(':')
                    .ok_or_else(|| RateError::Share(pair.to_owned()))
            })
            .collect();
        Self::of(shares?.into_iter())
    }
}

impl TabsPerUser {
    fn of<'a>(shares: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, RateError> {
        let mut all = Vec::new();
        for (tabs, share) in shares {
            let percent = share
                .trim()
                .strip_suffix('%')
                .and_then(|number| number.trim().parse::<f64>().ok());
            let percent = percent
                .filter(|percent| percent.is_finite() && *percent >= 0.0)
                .ok_or_else(|| RateError::Share(share.to_owned()))?;
            all.push((check_tabs(tabs.trim())?, percent));
        }
        let sum: f64 = all.iter().map(|(_, percent)| percent).sum();
        if (sum - 100.0).abs() > 0.01 {
            return Err(RateError::Sum(format!("{sum}")));
        }
        Ok(Self(all))
    }
}

fn check_tabs(text: &str) -> Result<u32, RateError> {
    let tabs = text.parse().ok().filter(|tabs| (1..=MOST_TABS).contains(tabs));
    tabs.ok_or_else(|| RateError::Tabs(text.to_owned()))
}

impl JsonSchema for TabsPerUser {
    fn schema_name() -> Cow<'static, str> {
        "TabsPerUser".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "How many tabs a user has: a number, or each number with its share of users",
            "oneOf": [
                { "type": "integer", "minimum": 1, "maximum": MOST_TABS },
                {
                    "type": "object",
                    "propertyNames": { "pattern": "^[0-9]+$" },
                    "additionalProperties": { "type": "string", "pattern": "^[0-9.]+\\s*%$" },
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        for (text, per_minute) in [
            ("2/m", 2.0),
            ("0.5 / s", 30.0),
            ("every 30s", 2.0),
            ("60/h", 1.0),
            ("0/s", 0.0),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert!((rate.0 * 60.0 - per_minute).abs() < 1e-9, "{text}: {rate:?}");
        }
        for text in [
            "2", "2/d", "-1/s", "every", "every 5", "1001/s", "every 0s", "nan/s",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_a_whole() {
        let tabs: TabsPerUser = "1:60%,2:25%,5:15%".parse().unwrap();
        assert_eq!(tabs.0, [(1, 60.0), (2, 25.0), (5, 15.0)]);
        assert_eq!("3".parse::<TabsPerUser>().unwrap().0, [(3, 100.0)]);
        for text in ["0", "1001", "1:50%", "1:50%,2:x", "a:100%", "1:100"] {
            assert!(text.parse::<TabsPerUser>().is_err(), "{text}");
        }
    }
}
