//! Workflow commands of GitHub Actions.

use std::io::{self, Write};

use super::printable;

/// An annotation at a line of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Annotation<'a> {
    /// `error` or `warning`.
    pub(crate) level: &'static str,
    pub(crate) file: &'a str,
    pub(crate) line: Option<usize>,
    pub(crate) title: &'a str,
    pub(crate) message: &'a str,
}

/// Writes annotations to the log of a job.
#[derive(Debug)]
pub(crate) struct WorkflowLog<W>(W);

impl<W: Write> WorkflowLog<W> {
    /// Commands to this writer.
    pub(crate) const fn new(out: W) -> Self {
        Self(out)
    }

    /// Writes one annotation.
    pub(crate) fn annotate(&mut self, annotation: Annotation<'_>) -> io::Result<()> {
        let Annotation {
            level,
            file,
            line,
            title,
            message,
        } = annotation;
        let line = line.map_or_else(String::new, |line| format!(",line={line}"));
        let (file, title) = (property(file), property(title));
        writeln!(
            self.0,
            "::{level} file={file}{line},title={title}::{}",
            data(message)
        )
    }
}

/// Text of a command. Line ends are escaped before.
fn data(text: &str) -> String {
    printable(text).replace('%', "%25")
}

/// Text of a command's property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_stays_in_its_place(file in any::<String>(), title in any::<String>(), message in any::<String>()) {
            let mut log = WorkflowLog::new(Vec::new());
            let annotation = Annotation { level: "error", file: &file, line: Some(7), title: &title, message: &message };

            log.annotate(annotation).unwrap();

            let line = String::from_utf8(log.0).unwrap();
            let line = line.strip_suffix('\n').unwrap();
            prop_assert!(!line.contains('\n') && !line.contains('\r'));
            let (head, said) = line.strip_prefix("::error ").unwrap().split_once("::").unwrap();
            let properties: Vec<_> = head.split(',').collect();
            prop_assert_eq!(properties.len(), 3);
            prop_assert_eq!(properties[1], "line=7");
            let back = |text: &str| text.replace("%3A", ":").replace("%2C", ",").replace("%25", "%");
            prop_assert_eq!(back(properties[0]), format!("file={}", printable(&file)));
            prop_assert_eq!(back(properties[2]), format!("title={}", printable(&title)));
            prop_assert_eq!(said.replace("%25", "%"), printable(&message));
        }
    }
}
