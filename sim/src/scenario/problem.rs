//! What is wrong with a scenario file: where, in a plain sentence, and how to mend it.

use std::{fmt, sync::Arc};

use annotate_snippets::{Annotation, AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};

use super::{explain::Code, located::At, source::Source};

/// The most characters of a user's text that a message repeats.
const SHOWN: usize = 60;

/// Something that keeps a file from being run.
#[derive(Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which kind; stable, for `polytab explain`.
    pub code: Code,
    /// What is wrong, in one sentence.
    pub message: String,
    /// The file.
    pub source: Arc<Source>,
    /// Where in it.
    pub span: At,
    /// How to mend it.
    pub help: Option<String>,
    /// Other places that have to do with it.
    pub related: Vec<Related>,
}

/// Another place that a problem has to do with.
#[derive(Clone, PartialEq, Eq)]
pub struct Related {
    /// The file.
    pub source: Arc<Source>,
    /// Where in it.
    pub span: At,
    /// What it has to do with the problem.
    pub label: String,
}

impl Problem {
    pub(crate) fn new(code: Code, source: &Arc<Source>, span: At, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            source: Arc::clone(source),
            span,
            help: None,
            related: Vec::new(),
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn help_if(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    pub(super) fn help_if_none(mut self, help: String) -> Self {
        self.help.get_or_insert(help);
        self
    }

    pub(super) fn related(mut self, source: &Arc<Source>, span: At, label: &str) -> Self {
        self.add_related(source, span, label);
        self
    }

    pub(super) fn add_related(&mut self, source: &Arc<Source>, span: At, label: &str) {
        let (source, label) = (Arc::clone(source), label.to_owned());
        self.related.push(Related { source, span, label });
    }

    /// Whether it is about some of the same bytes as another.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.source == other.source && self.span.start < other.span.end && other.span.start < self.span.end
    }

    /// `file:line:column` of the place.
    pub fn place(&self) -> String {
        self.source.place(self.span.start)
    }
}

// The text of the file would drown everything else.
impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: [{}] {}", self.place(), self.code, self.message)
    }
}

impl fmt::Debug for Related {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source.place(self.span.start), self.label)
    }
}

/// A problem as people read it: the sentence, the place, the lines with a caret, the mend.
pub fn render(problem: &Problem, colour: bool, width: usize) -> String {
    let renderer = if colour {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let primary = AnnotationKind::Primary.span(problem.span.clone());
    let (same, other): (Vec<_>, Vec<_>) = problem
        .related
        .iter()
        .partition(|related| related.source == problem.source);
    let same = same.into_iter().map(|related| {
        AnnotationKind::Context
            .span(related.span.clone())
            .label(&*related.label)
    });
    let annotations = std::iter::once(primary).chain(same).collect();
    let mut group = Level::ERROR
        .primary_title(problem.message.as_str())
        .id(problem.code.as_str())
        .element(excerpt(&problem.source, annotations));
    for related in other {
        let annotation = AnnotationKind::Context
            .span(related.span.clone())
            .label(&*related.label);
        group = group.element(excerpt(&related.source, vec![annotation]));
    }
    if let Some(help) = &problem.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let report: &[Group<'_>] = &[group];
    renderer.term_width(width).render(report)
}

/// The place in its lines; of a file without text only its path.
fn excerpt<'a>(source: &'a Source, annotations: Vec<Annotation<'a>>) -> Element<'a> {
    let path = source.path.to_string_lossy();
    if source.text.is_empty() {
        return Origin::path(path).into();
    }
    Snippet::source(source.text.as_str())
        .path(path)
        .annotations(annotations)
        .into()
}

/// A user's text as a message repeats it: one line, bounded, nothing that a terminal would obey.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .flat_map(|c| {
            let plain = !c.is_control();
            plain
                .then_some(c)
                .into_iter()
                .chain((!plain).then(|| c.escape_default()).into_iter().flatten())
        })
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_text_is_bounded_and_plain() {
        assert_eq!(shown("a\u{1b}[31m\n"), "a\\u{1b}[31m\\n");
        assert_eq!(shown(&"x".repeat(100)).chars().count(), SHOWN + 1);
    }
}
