//! Reads a tree into a type, over and over, each time without the parts that failed before, until nothing fails: so
//! that one run reports every error and not only the first.

use std::{collections::BTreeSet, sync::Arc};

use serde::de::DeserializeOwned;

use super::{
    de::{De, Error, Kind, Place},
    explain::Code,
    located::At,
    node::{Data, Node},
    problem::{Problem, shown},
    source::Source,
};
use crate::{
    pattern::Pattern,
    suggest::{choice, nearest},
};

/// How many errors of one file are looked for; a person mends no more at a time.
const ERRORS: usize = 40;

/// The value, as far as it can be read; what cannot be is left out of it and told to `problems`. Nothing when
/// something is missing without which there is no value.
pub(super) fn decode<T: DeserializeOwned>(
    source: &Arc<Source>,
    root: &Node,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let mut skip = BTreeSet::new();
    for _ in 0..ERRORS {
        let error = match T::deserialize(De {
            node: root,
            skip: &skip,
        }) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let place = error.place.as_ref().map_or(root.id, |place| place.id);
        problems.extend(problem(source, root, error));
        if place == root.id || !skip.insert(place) {
            return None;
        }
    }
    None
}

/// The node with this number.
fn find(node: &Node, id: u32) -> Option<&Node> {
    if node.id == id {
        return Some(node);
    }
    let pairs = node.pairs().iter().map(|pair| &pair.value);
    node.items().iter().chain(pairs).find_map(|child| find(child, id))
}

fn problem(source: &Arc<Source>, root: &Node, error: Error) -> Option<Problem> {
    let Place { at, id } = error.place.unwrap_or(Place {
        at: root.at.clone(),
        id: root.id,
    });
    let node = find(root, id).unwrap_or(root);
    let short = short(source, &at);
    let new = |code, message: String| Problem::new(code, source, short.clone(), message);
    Some(match error.kind {
        Kind::Reported => return None,
        Kind::UnknownKey { key, known } => new(
            Code::UnknownKey,
            format!("the key `{}` is not known here", shown(&key)),
        )
        .help_if(choice(&key, "the keys known here are", known.iter().copied())),
        Kind::UnknownWord { word, known } => unknown_word(&new, &word, known),
        Kind::Type { expected } => {
            let expected = words(&expected);
            new(
                Code::WrongType,
                format!("expected {expected}, found {}", node.found()),
            )
            .help_if(type_help(source, node, &expected))
        }
        Kind::Range { expected } => new(
            Code::WrongType,
            format!("expected {}, found {}", words(&expected), node.found()),
        ),
        Kind::Missing(key) => new(Code::MissingKey, format!("the key `{key}` is missing here"))
            .help(format!("add `{key}: …`{}", missing_hint(node, key))),
        Kind::Twice(key) => new(
            Code::DuplicateKey,
            format!("the key `{key}` is given twice, under two names"),
        )
        .help("keep one of the two"),
        Kind::SecondKey { first, second } => second_key(&new, &first, &second),
        Kind::NeedsValue(word) => new(
            Code::WrongType,
            format!("`{0}` needs a value after it", shown(&word)),
        )
        .help(format!("write `{}: …`", shown(&word))),
        Kind::Custom(code, message) => return Some(custom(source, node, &at, (code, message))),
    })
}

fn unknown_word(new: &dyn Fn(Code, String) -> Problem, word: &str, known: &[&'static str]) -> Problem {
    let step = known.contains(&"sleep_machine");
    let (code, what) = if step {
        (Code::UnknownStep, "step")
    } else {
        (Code::UnknownWord, "word")
    };
    let list = if step {
        "the steps are"
    } else {
        "the words known here are"
    };
    let message = if step {
        format!("there is no {what} `{}`", shown(word))
    } else {
        format!("the {what} `{}` is not known here", shown(word))
    };
    new(code, message).help_if(choice(word, list, known.iter().copied()))
}

fn second_key(new: &dyn Fn(Code, String) -> Problem, first: &str, second: &str) -> Problem {
    let (first, second) = (shown(first), shown(second));
    let message = format!("a step has one key, its name; after `{first}` this is a second, `{second}`");
    new(Code::WrongType, message).help(format!(
        "indent it further if it belongs to `{first}`, or put a dash before it if it is a step of its own"
    ))
}

/// An error that a type of ours wrote. What follows its last `; ` is the mend.
fn custom(source: &Arc<Source>, node: &Node, at: &At, error: (Option<Code>, String)) -> Problem {
    let (code, message) = error;
    let (code, message, at) = match (code, Pattern::compile(&node.value())) {
        (Some(code), _) => (code, message, at.clone()),
        (None, Err(error)) if message.contains(&error.message) => {
            let unknown = error.message.contains("unknown placeholder");
            let code = if unknown {
                Code::UnknownPlaceholder
            } else {
                Code::BadPattern
            };
            (code, error.message, pointed(node, &error.pointer).at.clone())
        }
        (None, _) => (Code::BadValue, message, at.clone()),
    };
    let message = plainly(node, message);
    let (message, help) = match message.rsplit_once("; ") {
        Some((message, help)) => (message.to_owned(), Some(help.to_owned())),
        None => (message, None),
    };
    Problem::new(code, source, short(source, &at), message).help_if(help)
}

/// What the types of others say, in words, with the value and a mend.
fn plainly(node: &Node, message: String) -> String {
    let written = shown(node.text().unwrap_or_default());
    if message == "invalid IP address syntax" {
        return format!("`{written}` is no IP address; write one, such as `127.0.0.1` or `::1`, and no name");
    }
    if message.starts_with("relative URL without a base") {
        return format!("`{written}` is no URL; write it with its scheme, such as `http://127.0.0.1:7081`");
    }
    message
}

/// The node at a JSON pointer, or the nearest there is on the way.
fn pointed<'a>(node: &'a Node, pointer: &str) -> &'a Node {
    let mut here = node;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let item = part
            .parse::<usize>()
            .ok()
            .and_then(|index| here.items().get(index));
        let Some(next) = item.or_else(|| here.get(&part)) else {
            break;
        };
        here = next;
    }
    here
}

/// A place that fits an excerpt: of several lines the first.
fn short(source: &Source, at: &At) -> At {
    source.head(at)
}

/// What serde calls a type, in words.
fn words(expected: &str) -> String {
    match expected {
        "a string" | "a borrowed string" | "string" | "str" => "a text".to_owned(),
        "a sequence" | "sequence" => "a list".to_owned(),
        "a boolean" | "bool" => "`true` or `false`".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u8" | "u32" | "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "a map" => "a map of keys and values".to_owned(),
        text if text.starts_with("struct ") || text.starts_with("tuple ") => {
            "a map of keys and values".to_owned()
        }
        text => text.to_owned(),
    }
}

fn type_help(source: &Source, node: &Node, expected: &str) -> Option<String> {
    let slice = shown(source.slice(&node.at));
    match &node.data {
        Data::Null if expected.contains("map") => Some("write `{}` for none".to_owned()),
        Data::Null => Some("write a value after the `:`".to_owned()),
        Data::Number(_) | Data::Bool(_) if expected.contains("text") => Some(format!(
            "put it in quotes if it is meant as a text: `\"{slice}\"`"
        )),
        Data::Text(text) if expected.contains("`true`") => {
            let word = nearest(text, ["true", "false"]).or_else(|| match text.to_lowercase().as_str() {
                "yes" | "on" | "y" => Some("true"),
                "no" | "off" | "n" => Some("false"),
                _ => None,
            });
            let bare = matches!(text.as_str(), "true" | "false");
            let why = if bare {
                "without quotes"
            } else {
                "no other word is a boolean"
            };
            word.map(|word| format!("write `{word}`{}{why}", if bare { " " } else { "; " }))
        }
        Data::Text(text) if expected.contains("number") && text.parse::<f64>().is_ok() => {
            Some(format!("write it without quotes: `{}`", shown(text)))
        }
        Data::Text(text) if expected == "a list" => Some(format!("write `[{}]`", shown(text))),
        Data::Map(_) if expected == "a list" => {
            Some("begin each item with a dash, or put it in `[ ]`".to_owned())
        }
        Data::Bool(_) | Data::Number(_) | Data::Text(_) | Data::List(_) | Data::Map(_) => None,
    }
}

/// A key with nearly the name of the missing one is the likely culprit.
fn missing_hint(node: &Node, key: &str) -> String {
    nearest(key, node.pairs().iter().map(|pair| pair.key.as_str()))
        .map(|near| format!("; `{near}` may be meant as that"))
        .unwrap_or_default()
}
