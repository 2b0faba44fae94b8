//! Lines of a terminal, or of the log of a CI system that shows one.

use std::{
    fmt::Display,
    io::{self, Write},
};

use anstyle::Style;

use super::printable;

/// Writes lines; each argument is shown as text, and only the styles given apart act on the terminal.
#[derive(Debug)]
pub(crate) struct Terminal<W>(W);

impl<W: Write> Terminal<W> {
    /// Lines to this writer.
    pub(crate) const fn new(out: W) -> Self {
        Self(out)
    }

    /// Writes one line.
    pub(crate) fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.0, "{}", inert(&text.to_string()))
    }

    /// Writes one line whose first part has a style.
    pub(crate) fn styled(&mut self, style: Style, first: impl Display, rest: impl Display) -> io::Result<()> {
        let (first, rest) = (first.to_string(), rest.to_string());
        writeln!(self.0, "{style}{}{style:#}{}", inert(&first), inert(&rest))
    }

    /// Hands all lines on.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A printable line that is not a workflow command: GitHub Actions takes `::` at the start of a line, after blanks, and
/// `##[` anywhere for one.
fn inert(text: &str) -> String {
    let line = printable(text).replace("##[", "#\\u{23}[");
    match line.trim_start().strip_prefix("::") {
        Some(rest) => format!("{}:\\u{{3a}}{rest}", &line[..line.len() - rest.len() - 2]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use anstyle::AnsiColor;
    use proptest::prelude::*;

    use super::*;
    use crate::sink::printable::is_printable;

    fn written(write: impl FnOnce(&mut Terminal<Vec<u8>>) -> io::Result<()>) -> String {
        let mut terminal = Terminal::new(Vec::new());
        write(&mut terminal).unwrap();
        String::from_utf8(terminal.0).unwrap()
    }

    #[test]
    fn a_workflow_command_in_a_text_is_shown_as_text() {
        for (text, line) in [
            ("::stop-commands::x", ":\\u{3a}stop-commands::x\n"),
            ("  ::error::x", "  :\\u{3a}error::x\n"),
            ("a ::error::x", "a ::error::x\n"),
            ("seen ##[group]x", "seen #\\u{23}[group]x\n"),
        ] {
            assert_eq!(written(|terminal| terminal.line(text)), line);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_one_line_that_commands_nothing(text in any::<String>(), blanks in " {0,3}", colons in ":{0,3}") {
            let line = written(|terminal| terminal.line(format!("{blanks}{colons}{text}")));
            let line = line.strip_suffix('\n').unwrap();

            prop_assert!(line.chars().all(is_printable), "{line:?}");
            prop_assert!(!line.trim_start().starts_with("::") && !line.contains("##["), "{line:?}");
        }

        #[test]
        fn only_the_given_style_acts(first in any::<String>(), rest in any::<String>()) {
            let style = AnsiColor::Red.on_default();

            let line = written(|terminal| terminal.styled(style, &first, &rest));

            let line = line.strip_suffix('\n').unwrap();
            prop_assert_eq!(line.matches('\u{1b}').count(), 2, "{:?}", line);
            let is_shown = |character| character == '\u{1b}' || is_printable(character);
            prop_assert!(line.chars().all(is_shown) && !line.contains("##["));
        }
    }
}
