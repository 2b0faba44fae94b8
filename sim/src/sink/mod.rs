//! Sinks: the places where text of others is shown.
//!
//! Servers, scenario files and result files are not trusted. Their text must not move the cursor of a terminal, forge a
//! line of a report, give a command to a CI system or become markup. Each sink is a type that takes text and escapes it;
//! none gives access to the writer behind it, so that text cannot pass without being escaped. XML is escaped by
//! `quick-junit` in the same way.

mod file;
mod markdown;
mod printable;
mod terminal;
mod workflow;

pub(crate) use self::{
    file::{OutputFile, write_whole},
    markdown::MarkdownText,
    printable::printable,
    terminal::Terminal,
    workflow::{Annotation, WorkflowLog},
};
