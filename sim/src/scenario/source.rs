//! The text of a scenario file, and lines and columns in it.

use std::path::PathBuf;

use super::located::At;

/// A file that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Its name without folder of the suite and ending: `reload/reload-storm`.
    pub id: String,
    /// Where it was found, as the user wrote it.
    pub path: PathBuf,
    /// What it says. Of a file that could not be read as a whole, the beginning.
    pub text: String,
}

impl Source {
    /// The line of a byte, counted from 1, and its column in characters, counted from 1.
    pub fn line_column(&self, byte: usize) -> (usize, usize) {
        let byte = self.text.floor_char_boundary(byte);
        let before = &self.text[..byte];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        (line, before[start..].chars().count() + 1)
    }

    /// `file:line:column`, as terminals and editors make a link of it.
    pub fn place(&self, byte: usize) -> String {
        let (line, column) = self.line_column(byte);
        format!("{}:{line}:{column}", self.path.display())
    }

    /// The text of a range; empty for one that is not of this file.
    pub fn slice(&self, at: &At) -> &str {
        self.text.get(at.clone()).unwrap_or_default()
    }

    /// The first line of a range, for places that would otherwise cover half a file.
    pub(super) fn head(&self, at: &At) -> At {
        let slice = self.slice(at);
        let line = slice.find('\n').map_or(slice, |newline| &slice[..newline]);
        at.start..at.start + line.trim_end().len()
    }

    /// Where a word stands alone in a range: a value rather than a key if it is both.
    pub(super) fn find(&self, at: &At, word: &str) -> Option<At> {
        let slice = self.slice(at);
        let part_of_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        let mut as_key = None;
        for (offset, _) in slice.match_indices(word).filter(|_| !word.is_empty()) {
            let (before, after) = (&slice[..offset], &slice[offset + word.len()..]);
            if before.ends_with(part_of_word) || after.starts_with(part_of_word) {
                continue;
            }
            let found = at.start + offset..at.start + offset + word.len();
            if !after.trim_start_matches(['"', '\'']).starts_with(':') {
                return Some(found);
            }
            as_key = as_key.or(Some(found));
        }
        as_key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let source = Source {
            text: "ab\nüx: A\n".to_owned(),
            ..Source::default()
        };

        assert_eq!(source.line_column(0), (1, 1));
        assert_eq!(source.line_column(5), (2, 2));
        assert_eq!(source.line_column(999), (3, 1));
    }

    #[test]
    fn a_word_is_found_as_a_value_rather_than_as_a_key() {
        let source = Source {
            text: "tab: { tab: tab, tabs: x-tab }".to_owned(),
            ..Source::default()
        };

        assert_eq!(source.find(&(0..30), "tab"), Some(12..15));
        assert_eq!(source.find(&(0..30), "tabs"), Some(17..21));
        assert_eq!(source.find(&(0..30), "none"), None);
    }
}
