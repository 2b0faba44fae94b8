//! Text in a Markdown document, as GitHub renders it.

use std::fmt;

use super::printable;

/// Characters that begin markup, a link, a mention or a cell of a table.
const MARKUP: &str = "\\`*_{}[]()#+-!|<>&~@:$\"'=";

/// Shows a text as it is: everything that could be markup becomes a character reference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MarkdownText<'a>(pub(crate) &'a str);

impl fmt::Display for MarkdownText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in printable(self.0).chars() {
            if MARKUP.contains(character) {
                write!(f, "&#{};", u32::from(character))?;
            } else {
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn markup_is_shown() {
        let text = MarkdownText("a | [x](https://e) <img>").to_string();

        assert_eq!(text, "a &#124; &#91;x&#93;&#40;https&#58;//e&#41; &#60;img&#62;");
    }

    proptest! {
        #[test]
        fn any_text_is_one_line_without_markup(text in any::<String>()) {
            let shown = MarkdownText(&text).to_string();

            prop_assert!(!shown.contains('\n'));
            let mut back = shown.clone();
            for character in MARKUP.chars() {
                back = back.replace(&format!("&#{};", u32::from(character)), "");
            }
            prop_assert!(!back.contains(|character| MARKUP.contains(character)), "{shown}");
        }
    }
}
