//! A time as it is written in orders: `250ms`, `5s`, `3m`.

use std::{borrow::Cow, fmt, time::Duration};

use jiff::fmt::{
    friendly::{Designator, Spacing, SpanPrinter},
    serde::unsigned_duration::friendly::compact as text,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A length of scenario time, written with its units: `250ms`, `5s`, `1m 30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(#[serde(with = "text::required")] pub Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printer = SpanPrinter::new()
            .designator(Designator::Compact)
            .spacing(Spacing::BetweenUnits);
        f.write_str(&printer.unsigned_duration_to_string(&self.0))
    }
}

impl JsonSchema for Time {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A length of time with its units: `250ms`, `5s`, `1m 30s`.",
            "examples": ["5s"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_as_it_is_written() {
        for text in ["250ms", "5s", "1m 30s"] {
            let time: Time = serde_json::from_value(text.into()).unwrap();

            assert_eq!(time.to_string(), text);
            assert_eq!(serde_json::to_value(time).unwrap(), text);
        }
    }
}
