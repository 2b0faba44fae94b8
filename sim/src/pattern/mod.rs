//! Patterns: JSON with placeholders, as scenario files write what a message must look like (DESIGN §4, "Matching").
//!
//! Objects match as subsets, arrays whole, `{"$exact": …}` closes an object. A placeholder that fills a whole string
//! stands for a value of its kind; inside a longer text it stands for a piece of it. `<uuid:sub>` captures at first
//! sight and must be equal afterwards; `${sub}` is what was captured.

pub mod fill;
mod matching;
mod syntax;

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;
use thiserror::Error;

use matching::matches;
use syntax::{Node, Piece, Placeholder, compile, visit};

/// What was captured so far, by name.
pub type Bindings = BTreeMap<String, Value>;

/// What a JSON value must look like.
#[derive(Clone, Debug)]
pub struct Pattern {
    source: Value,
    node: Node,
}

/// Why a value is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct PatternError {
    /// Where in the value, as `/data/message`; empty for the whole.
    pub pointer: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// The first difference between a value and a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where, as `data.message`; empty for the whole.
    pub path: String,
    /// What the pattern wants there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = if self.path.is_empty() { "it" } else { &self.path };
        write!(f, "`{place}` is {}, expected {}", self.found, self.expected)
    }
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// When a placeholder is unknown or its argument makes no sense.
    pub fn compile(source: &Value) -> Result<Self, PatternError> {
        let node = compile(source, "")?;
        Ok(Self {
            source: source.clone(),
            node,
        })
    }

    /// The pattern as it was written.
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// The names it captures.
    pub fn captures(&self) -> Vec<String> {
        let mut names = Vec::new();
        visit(&self.node, &mut |piece| {
            if let Piece::Placeholder(Placeholder {
                capture: Some(name), ..
            }) = piece
            {
                names.push(name.clone());
            }
        });
        names
    }

    /// The names it refers to as `${name}`.
    pub fn uses(&self) -> Vec<String> {
        let mut names = Vec::new();
        visit(&self.node, &mut |piece| {
            if let Piece::Reference(name) = piece {
                names.push(name.clone());
            }
        });
        names
    }

    /// Matches `value`; what it captures is added to `bindings` only when all of it matches.
    ///
    /// # Errors
    ///
    /// The first difference.
    pub fn matches(&self, value: &Value, bindings: &mut Bindings) -> Result<(), Mismatch> {
        let mut captured = bindings.clone();
        matches(&self.node, Some(value), &mut captured).map_err(|mut mismatch| {
            mismatch.path = mismatch.path.trim_start_matches('.').to_owned();
            mismatch
        })?;
        *bindings = captured;
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = Value::deserialize(deserializer)?;
        Self::compile(&source).map_err(D::Error::custom)
    }
}

impl JsonSchema for Pattern {
    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "Pattern",
            "description": "JSON with placeholders: objects match as subsets, arrays whole; <any> <string> <int> <number> <bool> <uuid> <time> <jwt> <re:…> <one-of:a|b> <absent>; <uuid:name> captures, ${name} refers to it",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(
        clippy::needless_pass_by_value,
        reason = "tables of cases hand over what they make"
    )]
    fn check(pattern: Value, value: Value) -> Result<Bindings, String> {
        let mut bindings = Bindings::from([("seen".to_owned(), json!("abc")), ("n".to_owned(), json!(7))]);
        let pattern = Pattern::compile(&pattern).map_err(|error| error.to_string())?;
        pattern
            .matches(&value, &mut bindings)
            .map_err(|mismatch| mismatch.to_string())?;
        Ok(bindings)
    }

    #[test]
    fn what_matches() {
        for (pattern, value) in [
            (json!({}), json!({"a": 1})),
            (json!({"a": 1}), json!({"a": 1.0, "b": 2})),
            (json!({"$exact": {"a": "<any>"}}), json!({"a": null})),
            (json!({"a": "<absent>"}), json!({"b": 1})),
            (json!(["<int>", "<bool>"]), json!([3, true])),
            (json!("<uuid>"), json!("0f8fad5b-d9cb-469f-a165-70867728950e")),
            (json!("<time>"), json!("2026-01-01T00:00:00.000Z")),
            (json!("<jwt>"), json!("eyJhbGciOi.eyJ-_.x")),
            (json!("<re:a>b+>"), json!("a>bb")),
            (json!("<one-of:a|b>"), json!("b")),
            (json!("retry_ms=<int>"), json!("retry_ms=250")),
            (json!("x ${seen} y"), json!("x abc y")),
            (json!("${n}"), json!(7)),
            (json!("a < b"), json!("a < b")),
        ] {
            assert!(check(pattern.clone(), value.clone()).is_ok(), "{pattern} {value}");
        }
    }

    #[test]
    fn what_does_not_match_says_where() {
        for (pattern, value, words) in [
            (
                json!({"a": {"b": [1]}}),
                json!({"a": {"b": [2]}}),
                "`a.b[0]` is `2`, expected `1`",
            ),
            (
                json!({"a": "<string>"}),
                json!({}),
                "`a` is absent, expected a string",
            ),
            (
                json!({"a": "<absent>"}),
                json!({"a": 1}),
                "`a` is `1`, expected absent",
            ),
            (
                json!({"$exact": {"a": 1}}),
                json!({"a": 1, "b": 2}),
                "`b` is `2`, expected absent",
            ),
            (
                json!([1]),
                json!([1, 2]),
                "`it` is an array of 2, expected an array of 1",
            ),
            (
                json!("retry_ms=<int>"),
                json!("retry_ms=x"),
                "`it` is `\"retry_ms=x\"`, expected `\"retry_ms=<int>\"`",
            ),
            (json!("${n}"), json!(8), "`it` is `8`, expected `7`"),
        ] {
            assert_eq!(check(pattern, value).unwrap_err(), words);
        }
    }

    #[test]
    fn a_capture_binds_at_first_sight_and_must_be_equal_afterwards() {
        let bindings = check(
            json!({"topic": "<string:topic>", "id": "e-<int:id>"}),
            json!({"topic": "/a", "id": "e-5"}),
        )
        .unwrap();

        assert_eq!((&bindings["topic"], &bindings["id"]), (&json!("/a"), &json!("5")));
        assert!(check(json!(["<string:x>", "<string:x>"]), json!(["a", "b"])).is_err());
        assert!(check(json!(["<string:x>", "<string:x>"]), json!(["a", "a"])).is_ok());
    }

    #[test]
    fn a_failed_match_binds_nothing() {
        let pattern = Pattern::compile(&json!({"a": "<string:a>", "b": 1})).unwrap();
        let mut bindings = Bindings::new();

        assert!(
            pattern
                .matches(&json!({"a": "x", "b": 2}), &mut bindings)
                .is_err()
        );

        assert!(bindings.is_empty());
    }

    #[test]
    fn an_unknown_placeholder_is_an_error_with_a_suggestion() {
        assert_eq!(
            check(json!({"a": "<itn>"}), json!(1)).unwrap_err(),
            "unknown placeholder `<itn>`; did you mean `<int>`?"
        );
    }
}
