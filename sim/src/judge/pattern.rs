//! Patterns: what a message must look like (DESIGN §4, "Matching").

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;
use thiserror::Error;

/// Kinds of placeholder that may carry a name.
const KINDS: &[&str] = &[
    "any", "string", "int", "number", "bool", "uuid", "time", "jwt", "absent",
];

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    value: Value,
}

/// Why a value is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct PatternError {
    /// Where in the value, as a JSON pointer.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
}

impl Pattern {
    /// Checks a value and keeps it as a pattern.
    ///
    /// # Errors
    ///
    /// When a placeholder is not known.
    pub fn compile(value: &Value) -> Result<Self, PatternError> {
        check(value, "")?;
        Ok(Self { value: value.clone() })
    }

    /// Names that `<kind:name>` captures, in order.
    pub fn captures(&self) -> Vec<String> {
        let mut names = Vec::new();
        strings(&self.value, &mut |text| {
            if let Some((kind, name)) = text
                .strip_prefix('<')
                .and_then(|rest| rest.strip_suffix('>'))
                .and_then(|inner| inner.split_once(':'))
                && KINDS.contains(&kind)
            {
                names.push(name.to_owned());
            }
        });
        names
    }

    /// Names that `${name}` uses, in order.
    pub fn uses(&self) -> Vec<String> {
        let mut names = Vec::new();
        strings(&self.value, &mut |text| {
            for part in text.split("${").skip(1) {
                names.extend(part.split_once('}').map(|(name, _)| name.to_owned()));
            }
        });
        names
    }
}

fn strings(value: &Value, see: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => see(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, see)),
        Value::Object(map) => map.values().for_each(|item| strings(item, see)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn check(value: &Value, pointer: &str) -> Result<(), PatternError> {
    match value {
        Value::String(text) => placeholder(text).map_err(|message| PatternError {
            pointer: pointer.to_owned(),
            message,
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| check(item, &format!("{pointer}/{index}"))),
        Value::Object(map) => map.iter().try_for_each(|(key, item)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            check(item, &format!("{pointer}/{key}"))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn placeholder(text: &str) -> Result<(), String> {
    let Some(inner) = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) else {
        return Ok(());
    };
    let kind = inner.split_once(':').map_or(inner, |(kind, _)| kind);
    if KINDS.contains(&kind) || ["re", "one-of"].contains(&kind) {
        return Ok(());
    }
    let near = KINDS
        .iter()
        .filter(|known| strsim::osa_distance(known, kind) <= 2)
        .min_by_key(|known| strsim::osa_distance(known, kind));
    Err(match near {
        Some(near) => format!("unknown placeholder `<{kind}>`; did you mean `<{near}>`?"),
        None => format!("unknown placeholder `<{kind}>`"),
    })
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::compile(&value).map_err(D::Error::custom)
    }
}

impl JsonSchema for Pattern {
    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "A value to match, with placeholders such as `<int>` in its texts." })
    }
}
