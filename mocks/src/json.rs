//! JSON laid over JSON.

use serde_json::Value;

/// Lays `patch` over `base` (RFC 7396): objects merge, `null` takes away, all else replaces.
pub(crate) fn lay_over(base: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        base.clone_from(patch);
        return;
    };
    if !base.is_object() {
        *base = Value::Object(serde_json::Map::new());
    }
    let Value::Object(base) = base else { return };
    for (key, value) in patch {
        if value.is_null() {
            base.remove(key);
        } else {
            lay_over(base.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_replaces_what_it_names_and_takes_away_what_it_nulls() {
        let mut base = json!({"a": 1, "b": {"c": 2, "d": [1]}, "e": 3});

        lay_over(
            &mut base,
            &json!({"b": {"d": [2, 3], "x": {"y": null, "z": 1}}, "e": null}),
        );

        assert_eq!(base, json!({"a": 1, "b": {"c": 2, "d": [2, 3], "x": {"z": 1}}}));
    }
}
