//! Single values of the YAML profile: where their text ends, and what an unquoted one says.

use saphyr_parser::ScalarStyle;

use super::node::Data;

/// A scalar without what the scanner counts to it: space and comments after a closing quote.
pub(super) fn written(slice: &str, style: ScalarStyle) -> &str {
    let quote = match style {
        ScalarStyle::SingleQuoted => b'\'',
        ScalarStyle::DoubleQuoted => b'"',
        ScalarStyle::Plain | ScalarStyle::Literal | ScalarStyle::Folded => return slice.trim_end(),
    };
    let bytes = slice.as_bytes();
    let mut index = 1;
    while index < bytes.len() {
        if bytes[index] == b'\\' && quote == b'"' {
            index += 2;
        } else if bytes[index] != quote {
            index += 1;
        } else if quote == b'\'' && bytes.get(index + 1) == Some(&quote) {
            index += 2;
        } else {
            return &slice[..=index];
        }
    }
    slice.trim_end()
}

/// What an unquoted text says.
pub(super) fn unquoted(text: &str) -> Data {
    match text {
        "" | "~" | "null" => Data::Null,
        "true" => Data::Bool(true),
        "false" => Data::Bool(false),
        _ => match text.bytes().next() {
            // The grammar of JSON: `007`, `1_000`, `+1`, `0x1f` and `.5` are texts, as commit hashes often are.
            Some(b'-' | b'0'..=b'9') => {
                serde_json::from_str(text).map_or_else(|_| Data::Text(text.to_owned()), Data::Number)
            }
            _ => Data::Text(text.to_owned()),
        },
    }
}
