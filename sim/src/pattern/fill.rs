//! References `${name}` in values that are to be sent.

use serde_json::Value;

use super::Bindings;

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
pub(super) fn reference(text: &str) -> Option<(&str, &str, &str)> {
    let start = text.find("${")?;
    let end = start + text[start..].find('}')?;
    Some((&text[..start], &text[start + 2..end], &text[end + 1..]))
}

pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
