//! Feeds a tree of nodes to serde, and keeps with every error the innermost node it is about.

use std::{cell::Cell, collections::BTreeSet, fmt};

use serde::{
    Deserializer,
    de::{
        DeserializeSeed, EnumAccess, Error as _, Expected, IntoDeserializer, MapAccess, SeqAccess,
        Unexpected, VariantAccess, Visitor, value::StrDeserializer,
    },
    forward_to_deserialize_any,
};

use super::{
    explain::Code,
    located::{self, At},
    node::{Data, Node, Pair},
};

/// Parts a code from its message on their way through serde, which only carries text.
const SEPARATOR: char = '\u{1f}';

/// An error with its code, as text that [`Error`] takes apart again.
pub(super) struct Coded<E> {
    pub(super) code: Code,
    pub(super) error: E,
}

impl<E: fmt::Display> fmt::Display for Coded<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{SEPARATOR}{}", self.code, self.error)
    }
}

/// Why a tree does not fit a type.
#[derive(Debug)]
pub(super) struct Error {
    pub(super) kind: Kind,
    /// The innermost node it is about, once known.
    pub(super) place: Option<Place>,
}

/// Where an error is.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) at: At,
    /// The node that has to go for the rest to be read.
    pub(super) id: u32,
}

/// What is wrong.
#[derive(Debug)]
pub(super) enum Kind {
    UnknownKey {
        key: String,
        known: &'static [&'static str],
    },
    UnknownWord {
        word: String,
        known: &'static [&'static str],
    },
    Type {
        expected: String,
    },
    Range {
        expected: String,
    },
    Missing(&'static str),
    Twice(&'static str),
    /// A step with several keys, of which this is the second.
    SecondKey {
        first: String,
        second: String,
    },
    /// A word that needs a value beside it.
    NeedsValue(String),
    Custom(Option<Code>, String),
    /// Follows from an error that has been reported.
    Reported,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

impl std::error::Error for Error {}

impl Error {
    fn of(kind: Kind) -> Self {
        Self { kind, place: None }
    }

    /// Tells an error that has no place yet where it is.
    fn at(mut self, at: &At, id: u32) -> Self {
        self.place.get_or_insert_with(|| Place { at: at.clone(), id });
        self
    }

    fn on(self, node: &Node) -> Self {
        self.at(&node.at, node.id)
    }
}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = message.to_string();
        let coded = text
            .split_once(SEPARATOR)
            .and_then(|(name, message)| Some((super::explain::find(name)?.code, message)));
        Self::of(match coded {
            Some((code, message)) => Kind::Custom(Some(code), message.to_owned()),
            None => Kind::Custom(None, text),
        })
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::of(Kind::Type {
            expected: expected.to_string(),
        })
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::of(Kind::Range {
            expected: expected.to_string(),
        })
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::of(Kind::UnknownWord {
            word: word.to_owned(),
            known,
        })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::of(Kind::UnknownKey {
            key: key.to_owned(),
            known,
        })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::of(Kind::Missing(key))
    }

    fn duplicate_field(key: &'static str) -> Self {
        Self::of(Kind::Twice(key))
    }
}

/// One reading of a tree, which leaves out the nodes that an earlier reading failed at.
#[derive(Clone, Copy)]
pub(super) struct De<'a> {
    pub(super) node: &'a Node,
    pub(super) skip: &'a BTreeSet<u32>,
}

impl<'a> De<'a> {
    fn to(self, node: &'a Node) -> Self {
        Self {
            node,
            skip: self.skip,
        }
    }

    /// Reads with a seed and tells its error where it happened.
    fn read<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self).map_err(|error| error.on(self.node))
    }

    fn any<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.data {
            Data::Null => visitor.visit_unit(),
            Data::Bool(value) => visitor.visit_bool(*value),
            Data::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::INFINITY)),
            },
            Data::Text(text) => visitor.visit_str(text),
            Data::List(items) => visitor.visit_seq(Items {
                de: self,
                rest: items.iter(),
            }),
            Data::Map(pairs) => visitor
                .visit_map(Pairs {
                    de: self,
                    rest: pairs.iter(),
                    last: None,
                })
                .map_err(|error| self.placed(error)),
        }
    }

    /// Places the errors that serde finds out about a map as a whole.
    fn placed(self, error: Error) -> Error {
        if error.place.is_some() {
            return error;
        }
        // `tabs` is another name of `tab` in `send`.
        let named = |pair: &Pair, key: &str| pair.key == key || pair.key.strip_suffix('s') == Some(key);
        let pairs = self.node.pairs();
        match error.kind {
            Kind::Twice(key) => match pairs.iter().rfind(|pair| named(pair, key)) {
                Some(second) => error.at(&second.key_at, second.value.id),
                None => error.on(self.node),
            },
            // A key that is missing because its value was reported is no news.
            Kind::Missing(key)
                if pairs
                    .iter()
                    .any(|pair| named(pair, key) && self.skip.contains(&pair.value.id)) =>
            {
                Error::of(Kind::Reported).on(self.node)
            }
            Kind::Missing(_) => match pairs.first() {
                Some(first) => error.at(&first.key_at, self.node.id),
                None => error.on(self.node),
            },
            Kind::UnknownKey { .. }
            | Kind::UnknownWord { .. }
            | Kind::Type { .. }
            | Kind::Range { .. }
            | Kind::SecondKey { .. }
            | Kind::NeedsValue(_)
            | Kind::Custom(..)
            | Kind::Reported => error.on(self.node),
        }
    }
}

impl<'de> Deserializer<'de> for De<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.any(visitor).map_err(|error| error.on(self.node))
    }

    // A key that is there has a value: `within:` with nothing after it is a slip, not a default.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self).map_err(|error| error.on(self.node))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == located::NAME {
            return visitor.visit_seq(Triple {
                de: self,
                next: Cell::new(0),
            });
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let choice = match &self.node.data {
            Data::Text(word) => Choice {
                de: self,
                word,
                at: &self.node.at,
                content: None,
            },
            Data::Map(_) => self.single()?,
            Data::Null | Data::Bool(_) | Data::Number(_) | Data::List(_) => {
                let expected = if name == "Step" {
                    "a step such as `open: A`"
                } else {
                    "a word"
                };
                return Err(Error::of(Kind::Type {
                    expected: expected.to_owned(),
                })
                .on(self.node));
            }
        };
        visitor.visit_enum(choice).map_err(|error| error.on(self.node))
    }

    // serde would also take a list, value by value.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if let Data::Map(_) = &self.node.data {
            return self.deserialize_any(visitor);
        }
        let expected = "a map".to_owned();
        Err(Error::of(Kind::Type { expected }).on(self.node))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

impl<'a> De<'a> {
    /// The only key of a map, as steps have it.
    fn single(self) -> Result<Choice<'a>, Error> {
        let mut pairs = self.node.pairs().iter();
        let Some(first) = pairs.next() else {
            let expected = "a key with a value".to_owned();
            return Err(Error::of(Kind::Type { expected }).on(self.node));
        };
        if let Some(second) = pairs.next() {
            let kind = Kind::SecondKey {
                first: first.key.clone(),
                second: second.key.clone(),
            };
            return Err(Error::of(kind).at(&second.key_at, self.node.id));
        }
        if self.skip.contains(&first.value.id) {
            return Err(Error::of(Kind::Reported).on(self.node));
        }
        let content = Some(self.to(&first.value));
        Ok(Choice {
            de: self,
            word: &first.key,
            at: &first.key_at,
            content,
        })
    }
}

struct Items<'a> {
    de: De<'a>,
    rest: std::slice::Iter<'a, Node>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let skip = self.de.skip;
        let item = self.rest.find(|item| !skip.contains(&item.id));
        item.map(|item| self.de.to(item).read(seed)).transpose()
    }
}

struct Pairs<'a> {
    de: De<'a>,
    rest: std::slice::Iter<'a, Pair>,
    last: Option<&'a Pair>,
}

impl<'de> MapAccess<'de> for Pairs<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let skip = self.de.skip;
        self.last = self.rest.find(|pair| !skip.contains(&pair.value.id));
        let Some(pair) = self.last else {
            return Ok(None);
        };
        let key: StrDeserializer<'_, Error> = pair.key.as_str().into_deserializer();
        seed.deserialize(key)
            .map(Some)
            .map_err(|error| error.at(&pair.key_at, pair.value.id))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let pair = self.last.ok_or_else(|| Error::custom("a value without a key"))?;
        self.de.to(&pair.value).read(seed)
    }
}

/// Start, end and value, as [`located::Located`] asks for them.
struct Triple<'a> {
    de: De<'a>,
    next: Cell<u8>,
}

impl<'de> SeqAccess<'de> for Triple<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let turn = self.next.get();
        self.next.set(turn + 1);
        let at = &self.de.node.at;
        match turn {
            0 => seed.deserialize(at.start.into_deserializer()).map(Some),
            1 => seed.deserialize(at.end.into_deserializer()).map(Some),
            2 => self.de.read(seed).map(Some),
            _ => Ok(None),
        }
    }
}

/// A word, alone or with a value.
struct Choice<'a> {
    de: De<'a>,
    word: &'a str,
    at: &'a At,
    content: Option<De<'a>>,
}

impl<'de> EnumAccess<'de> for Choice<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let word: StrDeserializer<'_, Error> = self.word.into_deserializer();
        let variant = seed
            .deserialize(word)
            .map_err(|error| error.at(self.at, self.de.node.id))?;
        Ok((variant, self))
    }
}

impl Choice<'_> {
    fn content(&self) -> Result<De<'_>, Error> {
        self.content
            .ok_or_else(|| Error::of(Kind::NeedsValue(self.word.to_owned())).on(self.de.node))
    }
}

impl<'de> VariantAccess<'de> for Choice<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content {
            Some(content) if content.node.data != Data::Null => {
                let expected = format!("only the word `{}`", self.word);
                Err(Error::of(Kind::Type { expected }).on(content.node))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        let content = self.content()?;
        content.read(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.content()?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.content()?.deserialize_any(visitor)
    }
}
