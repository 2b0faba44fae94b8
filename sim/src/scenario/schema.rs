//! The JSON Schema of scenario files, for editors that complete and check while typing.

use polytab_mocks::settings::Settings;
use schemars::{
    Schema, SchemaGenerator, generate::SchemaSettings, json_schema, transform::transform_subschemas,
};
use serde_json::{Map, Value, json};

use super::model::File;
use crate::{judge::rule::Rule, load::profile::Profile};

/// What a value looks like that `vars` or `matrix` gives.
const VARIABLE: &str = r"^\$\{[^}]+\}$";

/// The schema (draft 2020-12).
pub fn scenario() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(as_loaded);
    let mut schema = settings.into_generator().into_root_schema_for::<File>();
    schema.insert("title".to_owned(), "Polytab scenario".into());
    schema.insert(
        "description".to_owned(),
        "One multi-tab scenario, as in a `*.tabs.yaml` file.".into(),
    );
    if let Some(Value::Object(types)) = schema.get_mut("$defs") {
        for (name, definition) in types {
            if let Value::Object(definition) = definition {
                definition.insert("title".to_owned(), name.as_str().into());
            }
        }
    }
    schema.to_value()
}

/// The schema of the settings of the mocks.
pub fn mocks() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(left_out);
    let mut schema = settings.into_generator().into_root_schema_for::<Settings>();
    schema.insert("title".to_owned(), "Settings of Polytab's mocks".into());
    schema.insert(
        "description".to_owned(),
        "What `polytab mock --file` and `polytab serve --file` take.".into(),
    );
    schema.to_value()
}

/// The schema of load profiles.
pub fn load() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(left_out);
    let mut schema = settings.into_generator().into_root_schema_for::<Profile>();
    schema.insert("title".to_owned(), "Polytab load profile".into());
    schema.insert(
        "description".to_owned(),
        "Users with several tabs each on a schedule, as in a `*.load.yaml` file.".into(),
    );
    schema.to_value()
}

/// No nulls anywhere.
fn left_out(schema: &mut Schema) {
    if let Some(object) = schema.as_object_mut() {
        without_null(object);
    }
    transform_subschemas(&mut left_out, schema);
}

/// Brings what the types say to what loading takes: no nulls, and `${name}` wherever a value may be.
fn as_loaded(schema: &mut Schema) {
    if let Some(object) = schema.as_object_mut() {
        without_null(object);
        with_variables(object);
    }
    transform_subschemas(&mut as_loaded, schema);
}

/// A key that may be left out may not be left empty.
fn without_null(object: &mut Map<String, Value>) {
    let unsaid = object
        .get("default")
        .is_some_and(|value| value.is_null() || *value == json!(u64::MAX));
    if unsaid {
        object.remove("default");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
        if let [Value::Object(only)] = &choices[..] {
            let only = only.clone();
            object.remove("anyOf");
            // What is said where the type is used says more than what the type says.
            only.into_iter().for_each(|(key, value)| {
                object.entry(key).or_insert(value);
            });
        }
    }
}

fn with_variables(object: &mut Map<String, Value>) {
    let name = object.get("type").and_then(Value::as_str).unwrap_or_default();
    if matches!(name, "integer" | "number" | "boolean") {
        let either = json!([name, "string"]);
        object.insert("type".to_owned(), either);
        object.insert("pattern".to_owned(), VARIABLE.into());
    }
}

/// Reasons by the name of a rule.
pub(super) fn waive(generator: &mut SchemaGenerator) -> Schema {
    let rules = generator.subschema_for::<Rule>();
    json_schema!({ "type": "object", "propertyNames": rules, "additionalProperties": { "type": "string" } })
}

/// `send` takes its tabs as `tab` or `tabs`.
pub(super) fn tab_or_tabs(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::Object(properties)) = object.get_mut("properties")
        && let Some(tab) = properties.get("tab").cloned()
    {
        properties.insert("tabs".to_owned(), tab);
    }
    if let Some(Value::Array(required)) = object.get_mut("required") {
        required.retain(|key| key != "tab");
    }
    object.insert(
        "oneOf".to_owned(),
        json!([{ "required": ["tab"] }, { "required": ["tabs"] }]),
    );
}
