//! A pattern's tree held against a value, and the first difference in words.

use jiff::Timestamp;
use regex::Regex;
use serde_json::Value;

use super::{
    Bindings, Mismatch,
    fill::plain,
    syntax::{ABSENT, Kind, Node, Piece, Placeholder},
};

/// `value` is `None` where an object lacks the key.
pub(super) fn matches(node: &Node, value: Option<&Value>, bindings: &mut Bindings) -> Result<(), Mismatch> {
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
