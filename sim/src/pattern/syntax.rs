//! The words of a pattern: from JSON as written to a tree that can be matched.

use regex::Regex;
use serde_json::Value;

use super::{PatternError, fill::reference};
use crate::suggest::nearest;

/// The words that stand before a `:` or alone between `<` and `>`.
const KINDS: [&str; 11] = [
    "any", "string", "int", "number", "bool", "uuid", "time", "jwt", "re", "one-of", ABSENT,
];

pub(super) const ABSENT: &str = "absent";

#[derive(Clone, Debug)]
pub(super) enum Node {
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
pub(super) enum Piece {
    Literal(String),
    Reference(String),
    Placeholder(Placeholder),
}

#[derive(Clone, Debug)]
pub(super) struct Placeholder {
    pub(super) kind: Kind,
    pub(super) capture: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
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

pub(super) fn compile(source: &Value, pointer: &str) -> Result<Node, PatternError> {
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
    match nearest(word, KINDS) {
        Some(near) => format!("unknown placeholder `<{word}>`; did you mean `<{near}>`?"),
        None => format!("unknown placeholder `<{word}>`; there are {}", KINDS.join(", ")),
    }
}

pub(super) fn visit(node: &Node, look: &mut impl FnMut(&Piece)) {
    match node {
        Node::Literal(_) => {}
        Node::Kind(placeholder) => look(&Piece::Placeholder(placeholder.clone())),
        Node::Text(pieces) => pieces.iter().for_each(look),
        Node::Array(items) => items.iter().for_each(|item| visit(item, look)),
        Node::Object { fields, .. } => fields.iter().for_each(|(_, field)| visit(field, look)),
    }
}
