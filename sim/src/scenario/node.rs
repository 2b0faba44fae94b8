//! The tree that a file is read into: values that know their place.

use serde_json::{Map, Number, Value};

use super::{located::At, problem::shown};

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// The bytes that say it.
    pub(super) at: At,
    /// Which one it is; a copy keeps the number.
    pub(super) id: u32,
    /// What it is.
    pub(super) data: Data,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Pair>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pair {
    pub(super) key_at: At,
    pub(super) key: String,
    pub(super) value: Node,
}

impl Node {
    /// The value of a key, if this is a map that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.pairs()
            .iter()
            .find(|pair| pair.key == key)
            .map(|pair| &pair.value)
    }

    /// Keys and values; none if this is no map.
    pub(super) fn pairs(&self) -> &[Pair] {
        if let Data::Map(pairs) = &self.data {
            pairs
        } else {
            &[]
        }
    }

    /// Items; none if this is no list.
    pub(super) fn items(&self) -> &[Self] {
        if let Data::List(items) = &self.data {
            items
        } else {
            &[]
        }
    }

    /// The text, if this is one.
    pub(super) fn text(&self) -> Option<&str> {
        if let Data::Text(text) = &self.data {
            Some(text)
        } else {
            None
        }
    }

    /// The same without places.
    pub(super) fn value(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Bool(value) => Value::Bool(*value),
            Data::Number(number) => Value::Number(number.clone()),
            Data::Text(text) => Value::String(text.clone()),
            Data::List(items) => items.iter().map(Self::value).collect(),
            Data::Map(pairs) => {
                let pairs = pairs.iter().map(|pair| (pair.key.clone(), pair.value.value()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    /// What it is, for an error's "found …".
    pub(super) fn found(&self) -> String {
        match &self.data {
            Data::Null => "nothing".to_owned(),
            Data::Bool(value) => format!("`{value}`"),
            Data::Number(number) => format!("the number `{number}`"),
            Data::Text(text) => format!("the text `{}`", shown(text)),
            Data::List(_) => "a list".to_owned(),
            Data::Map(_) => "a map of keys and values".to_owned(),
        }
    }
}
