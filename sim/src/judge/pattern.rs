//! Patterns: JSON with placeholders, as scenario files write what a message must look like (DESIGN §4, "Matching").
//!
//! Objects match as subsets, arrays whole, `{"$exact": …}` closes an object. A placeholder that fills a whole string
//! stands for a value of its kind; inside a longer text it stands for a piece of it. `<uuid:sub>` captures at first
//! sight and must be equal afterwards; `${sub}` is what was captured.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;
use regex::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;
use thiserror::Error;

/// What was captured so far, by name.
pub type Bindings = BTreeMap<String, Value>;

/// The words that stand before a `:` or alone between `<` and `>`.
pub const KINDS: [&str; 10] = [
    "any", "string", "int", "number", "bool", "uuid", "time", "jwt", "re", "one-of",
];
const ABSENT: &str = "absent";

/// What a JSON value must look like.
#[derive(Clone, Debug)]
pub struct Pattern {
    source: Value,
    node: Node,
}

#[derive(Clone, Debug)]
enum Node {
    /// Equal to this number, boolean or null.
    Literal(Value),
    /// Whole string: one placeholder.
    Kind(Placeholder),
    /// A text, perhaps with placeholders and references in it.
    Text(Vec<Piece>),
    Array(Vec<Node>),
    Object {
        fields: Vec<(String, Node)>,
        closed: bool,
    },
}

#[derive(Clone, Debug)]
enum Piece {
    Literal(String),
    Reference(String),
    Placeholder(Placeholder),
}

#[derive(Clone, Debug)]
struct Placeholder {
    kind: Kind,
    capture: Option<String>,
}

#[derive(Clone, Debug)]
enum Kind {
    Any,
    String,
    Int,
    Number,
    Bool,
    Uuid,
    Time,
    Jwt,
    Absent,
    Regex(Regex),
    OneOf(Vec<String>),
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

/// Puts captured values for `${name}` into a value that is to be sent.
///
/// # Errors
///
/// The first name that has no value yet.
pub fn fill(value: &Value, bindings: &Bindings) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => fill_text(text, bindings)?,
        Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| fill(item, bindings))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| Ok((name.clone(), fill(value, bindings)?)))
                .collect::<Result<_, String>>()?,
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}

fn fill_text(text: &str, bindings: &Bindings) -> Result<Value, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, name, after)) = reference(rest) {
        let value = bindings.get(name).ok_or_else(|| name.to_owned())?;
        if before.is_empty() && after.is_empty() && filled.is_empty() {
            return Ok(value.clone());
        }
        filled.push_str(before);
        filled.push_str(&plain(value));
        rest = after;
    }
    filled.push_str(rest);
    Ok(Value::String(filled))
}

/// Splits a text at its first `${name}`.
fn reference(text: &str) -> Option<(&str, &str, &str)> {
    let start = text.find("${")?;
    let end = start + text[start..].find('}')?;
    Some((&text[..start], &text[start + 2..end], &text[end + 1..]))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn compile(source: &Value, pointer: &str) -> Result<Node, PatternError> {
    Ok(match source {
        Value::Null | Value::Bool(_) | Value::Number(_) => Node::Literal(source.clone()),
        Value::String(text) => compile_text(text).map_err(|message| PatternError {
            pointer: pointer.to_owned(),
            message,
        })?,
        Value::Array(items) => Node::Array(
            items
                .iter()
                .enumerate()
                .map(|(index, item)| compile(item, &format!("{pointer}/{index}")))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(fields) => {
            if let (Some(inner), 1) = (fields.get("$exact"), fields.len()) {
                return match compile(inner, &format!("{pointer}/$exact"))? {
                    Node::Object { fields, .. } => Ok(Node::Object { fields, closed: true }),
                    _ => Err(PatternError {
                        pointer: pointer.to_owned(),
                        message: "`$exact` closes an object: give it one".to_owned(),
                    }),
                };
            }
            let fields = fields
                .iter()
                .map(|(name, value)| Ok((name.clone(), compile(value, &format!("{pointer}/{name}"))?)))
                .collect::<Result<_, _>>()?;
            Node::Object {
                fields,
                closed: false,
            }
        }
    })
}

fn compile_text(text: &str) -> Result<Node, String> {
    // A regular expression may hold any character, `>` too, so it must fill the whole string.
    if let Some(expression) = text.strip_prefix("<re:").and_then(|rest| rest.strip_suffix('>')) {
        let regex = Regex::new(&format!("^(?:{expression})$"))
            .map_err(|_| format!("`{expression}` is not a regular expression"))?;
        return Ok(Node::Kind(Placeholder {
            kind: Kind::Regex(regex),
            capture: None,
        }));
    }
    let mut pieces = pieces(text)?;
    Ok(match pieces.as_mut_slice() {
        [Piece::Placeholder(_)] => {
            let Some(Piece::Placeholder(placeholder)) = pieces.pop() else {
                unreachable!("just seen")
            };
            Node::Kind(placeholder)
        }
        _ => Node::Text(pieces),
    })
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let (piece, after) = if let Some(("", name, after)) = reference(rest) {
            (Piece::Reference(name.to_owned()), after)
        } else if let Some((inner, after)) = placeholder_at(rest) {
            (Piece::Placeholder(placeholder(inner)?), after)
        } else {
            literal.push(character);
            rest = &rest[character.len_utf8()..];
            continue;
        };
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(piece);
        rest = after;
    }
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// `<word>` or `<word:argument>` at the start of a text: what is between the brackets, and the rest.
fn placeholder_at(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix('<')?;
    let end = rest.find('>')?;
    let inner = &rest[..end];
    let word = inner.split(':').next().unwrap_or(inner);
    let is_word = !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    is_word.then(|| (inner, &rest[end + 1..]))
}

fn placeholder(inner: &str) -> Result<Placeholder, String> {
    let (word, argument) = inner
        .split_once(':')
        .map_or((inner, None), |(word, rest)| (word, Some(rest)));
    let kind = match word {
        "any" => Kind::Any,
        "string" => Kind::String,
        "int" => Kind::Int,
        "number" => Kind::Number,
        "bool" => Kind::Bool,
        "uuid" => Kind::Uuid,
        "time" => Kind::Time,
        "jwt" => Kind::Jwt,
        ABSENT => {
            return Ok(Placeholder {
                kind: Kind::Absent,
                capture: None,
            });
        }
        "re" => return Err("`<re:…>` must fill the whole string".to_owned()),
        "one-of" => {
            let words: Vec<_> = argument.unwrap_or("").split('|').map(str::to_owned).collect();
            if words.iter().all(String::is_empty) {
                return Err("`<one-of>` needs its choices: `<one-of:a|b>`".to_owned());
            }
            return Ok(Placeholder {
                kind: Kind::OneOf(words),
                capture: None,
            });
        }
        _ => return Err(unknown(word)),
    };
    let capture = argument.map(str::to_owned);
    if capture
        .as_ref()
        .is_some_and(|name| name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_'))
    {
        return Err(format!(
            "`<{inner}>` needs a name of letters, digits and `_` after the colon"
        ));
    }
    Ok(Placeholder { kind, capture })
}

fn unknown(word: &str) -> String {
    let known = KINDS.iter().copied().chain([ABSENT]);
    let distance = |known: &str| strsim::damerau_levenshtein(known, word);
    let nearest = known.clone().min_by_key(|known| distance(known));
    match nearest.filter(|near| distance(near) <= 2) {
        Some(near) => format!("unknown placeholder `<{word}>`; did you mean `<{near}>`?"),
        None => format!(
            "unknown placeholder `<{word}>`; there are {}",
            known.collect::<Vec<_>>().join(", ")
        ),
    }
}

fn visit(node: &Node, look: &mut impl FnMut(&Piece)) {
    match node {
        Node::Literal(_) => {}
        Node::Kind(placeholder) => look(&Piece::Placeholder(placeholder.clone())),
        Node::Text(pieces) => pieces.iter().for_each(look),
        Node::Array(items) => items.iter().for_each(|item| visit(item, look)),
        Node::Object { fields, .. } => fields.iter().for_each(|(_, field)| visit(field, look)),
    }
}

/// `value` is `None` where an object lacks the key.
fn matches(node: &Node, value: Option<&Value>, bindings: &mut Bindings) -> Result<(), Mismatch> {
    let Some(value) = value else {
        return match node {
            Node::Kind(Placeholder {
                kind: Kind::Absent, ..
            }) => Ok(()),
            _ => Err(differ(describe(node), "absent".to_owned())),
        };
    };
    match node {
        Node::Literal(wanted) => equal(wanted, value),
        Node::Kind(placeholder) => match_kind(placeholder, value, bindings),
        Node::Text(pieces) => match_text(pieces, value, bindings),
        Node::Array(items) => match_array(items, value, bindings),
        Node::Object { fields, closed } => match_object(fields, *closed, value, bindings),
    }
}

fn equal(wanted: &Value, found: &Value) -> Result<(), Mismatch> {
    // 1 and 1.0 are the same number to a JSON reader.
    let same = wanted == found
        || wanted
            .as_f64()
            .is_some_and(|wanted| found.as_f64() == Some(wanted));
    if same {
        Ok(())
    } else {
        Err(differ(format!("`{wanted}`"), shown(found)))
    }
}

fn match_array(items: &[Node], value: &Value, bindings: &mut Bindings) -> Result<(), Mismatch> {
    let Some(found) = value.as_array() else {
        return Err(differ("an array".to_owned(), shown(value)));
    };
    if found.len() != items.len() {
        let count = |n: usize| format!("an array of {n}");
        return Err(differ(count(items.len()), count(found.len())));
    }
    for (index, (item, value)) in items.iter().zip(found).enumerate() {
        matches(item, Some(value), bindings).map_err(|inner| under(&format!("[{index}]"), inner))?;
    }
    Ok(())
}

fn match_object(
    fields: &[(String, Node)],
    closed: bool,
    value: &Value,
    bindings: &mut Bindings,
) -> Result<(), Mismatch> {
    let Some(found) = value.as_object() else {
        return Err(differ("an object".to_owned(), shown(value)));
    };
    for (name, field) in fields {
        matches(field, found.get(name), bindings).map_err(|inner| under(&format!(".{name}"), inner))?;
    }
    let extra = found
        .keys()
        .find(|key| closed && fields.iter().all(|(name, _)| name != *key));
    match extra {
        Some(key) => Err(under(
            &format!(".{key}"),
            differ("absent".to_owned(), shown(&found[key])),
        )),
        None => Ok(()),
    }
}

fn match_kind(placeholder: &Placeholder, value: &Value, bindings: &mut Bindings) -> Result<(), Mismatch> {
    if !placeholder.kind.takes(value) {
        return Err(differ(placeholder.kind.words(), shown(value)));
    }
    capture(placeholder, value.clone(), bindings)
}

fn capture(placeholder: &Placeholder, value: Value, bindings: &mut Bindings) -> Result<(), Mismatch> {
    let Some(name) = &placeholder.capture else {
        return Ok(());
    };
    match bindings.get(name) {
        Some(bound) if *bound != value => Err(differ(
            format!("{} as captured in `{name}`", shown(bound)),
            shown(&value),
        )),
        Some(_) => Ok(()),
        None => {
            bindings.insert(name.clone(), value);
            Ok(())
        }
    }
}

fn match_text(pieces: &[Piece], value: &Value, bindings: &mut Bindings) -> Result<(), Mismatch> {
    // A lone `${name}` stands for the captured value itself, of whatever type.
    if let [Piece::Reference(name)] = pieces {
        let bound = bindings
            .get(name)
            .ok_or_else(|| differ(format!("`${{{name}}}`, which is not bound"), shown(value)))?;
        return equal(bound, value);
    }
    let mut expression = String::from("^");
    let mut groups = Vec::new();
    let mut wanted = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(text) => {
                wanted.push_str(text);
                expression.push_str(&regex::escape(text));
            }
            Piece::Reference(name) => {
                let bound = bindings.get(name).map_or_else(|| format!("${{{name}}}"), plain);
                wanted.push_str(&bound);
                expression.push_str(&regex::escape(&bound));
            }
            Piece::Placeholder(placeholder) => {
                wanted.extend(["<", placeholder.kind.word(), ">"]);
                expression.extend(["(", &placeholder.kind.expression(), ")"]);
                groups.push(placeholder);
            }
        }
    }
    expression.push('$');
    let mismatch = || differ(format!("`\"{wanted}\"`"), shown(value));
    let text = value.as_str().ok_or_else(mismatch)?;
    let found = Regex::new(&expression)
        .ok()
        .and_then(|regex| regex.captures(text))
        .ok_or_else(mismatch)?;
    for (placeholder, group) in groups.iter().zip(found.iter().skip(1)) {
        let piece = group.map_or("", |group| group.as_str());
        capture(placeholder, Value::from(piece), bindings)?;
    }
    Ok(())
}

impl Kind {
    fn takes(&self, value: &Value) -> bool {
        let text = value.as_str();
        match self {
            Self::Any => true,
            Self::Absent => false,
            Self::String => text.is_some(),
            Self::Int => value.is_i64() || value.is_u64(),
            Self::Number => value.is_number(),
            Self::Bool => value.is_boolean(),
            Self::Uuid | Self::Jwt => text.is_some_and(|text| {
                Regex::new(&format!("^{}$", self.expression())).is_ok_and(|r| r.is_match(text))
            }),
            Self::Time => text.is_some_and(|text| text.parse::<Timestamp>().is_ok()),
            Self::Regex(regex) => text.is_some_and(|text| regex.is_match(text)),
            Self::OneOf(words) => words.contains(&plain(value)),
        }
    }

    /// The word between the brackets.
    fn word(&self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::String => "string",
            Self::Int => "int",
            Self::Number => "number",
            Self::Bool => "bool",
            Self::Uuid => "uuid",
            Self::Time => "time",
            Self::Jwt => "jwt",
            Self::Absent => ABSENT,
            Self::Regex(_) => "re",
            Self::OneOf(_) => "one-of",
        }
    }

    /// What stands for it inside a text.
    fn expression(&self) -> String {
        match self {
            Self::Any | Self::String | Self::Absent => "(?s:.*?)".to_owned(),
            Self::Int => r"-?\d+".to_owned(),
            Self::Number => r"-?\d+(?:\.\d+)?".to_owned(),
            Self::Bool => "true|false".to_owned(),
            Self::Uuid => "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}".to_owned(),
            Self::Time => r"\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d)".to_owned(),
            Self::Jwt => r"[\w-]+\.[\w-]+\.[\w-]*".to_owned(),
            Self::Regex(regex) => regex.as_str().to_owned(),
            Self::OneOf(words) => words
                .iter()
                .map(|word| regex::escape(word))
                .collect::<Vec<_>>()
                .join("|"),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Any => "anything".to_owned(),
            Self::String => "a string".to_owned(),
            Self::Int => "an integer".to_owned(),
            Self::Number => "a number".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Uuid => "a UUID".to_owned(),
            Self::Time => "an RFC 3339 time".to_owned(),
            Self::Jwt => "a JSON web token".to_owned(),
            Self::Absent => "absent".to_owned(),
            Self::Regex(regex) => format!("text like `{regex}`"),
            Self::OneOf(words) => format!("one of {}", words.join(", ")),
        }
    }
}

fn describe(node: &Node) -> String {
    match node {
        Node::Literal(value) => format!("`{value}`"),
        Node::Kind(placeholder) => placeholder.kind.words(),
        Node::Text(pieces) => match pieces.as_slice() {
            [Piece::Literal(text)] => format!("`\"{text}\"`"),
            _ => "a text".to_owned(),
        },
        Node::Array(items) => format!("an array of {}", items.len()),
        Node::Object { .. } => "an object".to_owned(),
    }
}

fn differ(expected: String, found: String) -> Mismatch {
    Mismatch {
        path: String::new(),
        expected,
        found,
    }
}

fn under(step: &str, inner: Mismatch) -> Mismatch {
    Mismatch {
        path: format!("{step}{}", inner.path),
        ..inner
    }
}

/// A value for people, bounded.
fn shown(value: &Value) -> String {
    const LIMIT: usize = 120;
    let text = value.to_string();
    if text.chars().count() <= LIMIT {
        return format!("`{text}`");
    }
    format!("`{}…`", text.chars().take(LIMIT).collect::<String>())
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

    #[test]
    fn fill_keeps_types_and_reports_what_is_not_bound() {
        let bindings = Bindings::from([("n".to_owned(), json!(7))]);

        assert_eq!(
            fill(&json!({"a": ["${n}", "x${n}"]}), &bindings),
            Ok(json!({"a": [7, "x7"]}))
        );
        assert_eq!(fill(&json!("${m}"), &bindings), Err("m".to_owned()));
    }
}
