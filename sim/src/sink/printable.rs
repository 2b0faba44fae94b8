//! Text on one line without characters that control how it is shown.

use std::borrow::Cow;

/// Replaces control characters, line ends, and characters that reorder or hide text by escapes as `\u{1b}` and `\n`.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_printable(character) {
            line.push(character);
        } else {
            line.extend(character.escape_default());
        }
    }
    Cow::Owned(line)
}

/// Control characters (C0, DEL, C1) act on terminals. The others are named in Unicode's "Bidirectional Algorithm" (UAX #9)
/// and "Security Mechanisms" (UTS #39): they reorder a line, end it, or are invisible.
pub(super) fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_text_stays_and_the_rest_is_shown_as_escapes() {
        for (text, line) in [
            ("Grüße, 世界 🎉 a\\b", "Grüße, 世界 🎉 a\\b"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{1b}[31mred\u{9b}0m", "\\u{1b}[31mred\\u{9b}0m"),
            (
                "\u{202e}txt.exe\u{2069}\u{200f}",
                "\\u{202e}txt.exe\\u{2069}\\u{200f}",
            ),
            ("\u{feff}\u{2028}\u{7f}\0", "\\u{feff}\\u{2028}\\u{7f}\\u{0}"),
        ] {
            assert_eq!(printable(text), line);
        }
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_printable_line(text in any::<String>()) {
            let line = printable(&text);

            prop_assert!(line.chars().all(is_printable));
            prop_assert_eq!(printable(&line), line.clone());
        }
    }
}
