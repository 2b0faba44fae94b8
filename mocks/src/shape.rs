//! Keys whose value may have one of two shapes. serde's `untagged` would lose the places and the reason of errors.

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{
        Error, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

/// A map is a `Full`; everything else a `Short`.
#[derive(Clone, Debug)]
pub enum Either<Short, Full> {
    /// What it is for short.
    Short(Short),
    /// What a map says in full.
    Full(Full),
}

impl<'de, Short: Deserialize<'de>, Full: Deserialize<'de>> Deserialize<'de> for Either<Short, Full> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EitherVisitor(PhantomData))
    }
}

struct EitherVisitor<Short, Full>(PhantomData<(Short, Full)>);

impl<'de, Short: Deserialize<'de>, Full: Deserialize<'de>> Visitor<'de> for EitherVisitor<Short, Full> {
    type Value = Either<Short, Full>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Full::deserialize(MapAccessDeserializer::new(map)).map(Either::Full)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        Short::deserialize(SeqAccessDeserializer::new(items)).map(Either::Short)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Short::deserialize(text.into_deserializer()).map(Either::Short)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Short::deserialize(number.into_deserializer()).map(Either::Short)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Short::deserialize(number.into_deserializer()).map(Either::Short)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Short::deserialize(number.into_deserializer()).map(Either::Short)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Short::deserialize(value.into_deserializer()).map(Either::Short)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Short::deserialize(().into_deserializer()).map(Either::Short)
    }
}

impl<Short: JsonSchema, Full: JsonSchema> JsonSchema for Either<Short, Full> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}Or{}", Short::schema_name(), Full::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (short, full) = (
            generator.subschema_for::<Short>(),
            generator.subschema_for::<Full>(),
        );
        json_schema!({ "anyOf": [short, full] })
    }
}
