//! The JSON Schema of scenario files, for editors that complete and check while typing.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::model::File;

/// The schema (draft 2020-12).
pub fn scenario() -> Value {
    let mut schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<File>();
    schema.insert("title".to_owned(), "Polytab scenario".into());
    schema.insert(
        "description".to_owned(),
        "One multi-tab scenario, as in a `*.tabs.yaml` file.".into(),
    );
    schema.to_value()
}
