//! Steps as one line of text, for output.

use std::sync::Arc;

use super::{
    located::Located,
    node::{Data, Node},
    source::Source,
    step::Step,
    yaml,
};

/// The longest line, in characters.
const LENGTH: usize = 160;

/// A step as its file writes it, folded to one line without comments, and bounded.
pub fn step_text(source: &Source, step: &Located<Step>) -> String {
    let slice = source.slice(&step.at);
    // The first line lost its indentation to the dash; without it the rest would not fit below.
    let indent = source.line_column(step.at.start).1 - 1;
    let padded = Arc::new(Source {
        text: format!("{}{slice}", " ".repeat(indent)),
        ..Source::default()
    });
    let folded = match yaml::parse(&padded, &mut Vec::new()) {
        Some(node) => flow(&padded, &node, true),
        None => fold(slice),
    };
    bounded(folded)
}

/// A node in brackets, its texts as the file writes them.
fn flow(source: &Source, node: &Node, top: bool) -> String {
    match &node.data {
        Data::List(items) => {
            let items: Vec<_> = items.iter().map(|item| flow(source, item, false)).collect();
            format!("[{}]", items.join(", "))
        }
        Data::Map(pairs) => {
            let pairs = pairs.iter().map(|pair| {
                let key = source.slice(&pair.key_at);
                format!("{key}: {}", flow(source, &pair.value, false))
                    .trim_end()
                    .to_owned()
            });
            let pairs = pairs.collect::<Vec<_>>().join(", ");
            match pairs.as_str() {
                "" => "{}".to_owned(),
                _ if top => pairs,
                _ => format!("{{ {pairs} }}"),
            }
        }
        Data::Null | Data::Bool(_) | Data::Number(_) | Data::Text(_) => fold(source.slice(&node.at)),
    }
}

fn fold(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn bounded(text: String) -> String {
    match text.char_indices().nth(LENGTH) {
        Some((byte, _)) => format!("{}…", &text[..byte]),
        None => text,
    }
}
