//! A strict part of YAML: text to a tree of nodes that know their place. Size and depth are bounded while reading.
//!
//! Left out on purpose: anchors, aliases, tags, merge keys, several documents, keys that are not plain text. Only
//! `true` and `false` are booleans; numbers are those of JSON; everything else unquoted is text.

use std::sync::Arc;

use super::{
    explain::Code,
    located::At,
    node::{Data, Node, Pair},
    problem::{Problem, shown},
    scalar,
    source::Source,
};
use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// How deep lists and maps may nest. The deepest scenario we know nests 12 deep.
pub(super) const DEPTH: usize = 64;

/// Reads one document. What is wrong goes to `problems`; a tree is given if there is one to look at nevertheless.
pub(super) fn parse(source: &Arc<Source>, problems: &mut Vec<Problem>) -> Option<Node> {
    let mut builder = Builder {
        source,
        offsets: Offsets::new(&source.text),
        open: Vec::new(),
        scalars: Vec::new(),
        next_id: 0,
        documents: 0,
        root: None,
        problems,
    };
    let done = builder.read();
    let scalars = std::mem::take(&mut builder.scalars);
    let root = builder.root.take();
    if let Err(problem) = done {
        // A tab explains the odd error that it causes further down.
        let line = source.text[problem.span.end..]
            .find('\n')
            .map_or(0, |newline| newline + 1);
        let tab = tab_indent(source, &scalars, problem.span.end + line);
        problems.push(tab.unwrap_or(problem));
        return None;
    }
    if let Some(tab) = tab_indent(source, &scalars, source.text.len()) {
        problems.push(tab);
        return None;
    }
    Some(root.unwrap_or(Node {
        at: 0..0,
        id: 0,
        data: Data::Null,
    }))
}

/// Byte offsets of characters; the scanner counts characters.
struct Offsets(Option<Vec<usize>>, usize);

impl Offsets {
    fn new(text: &str) -> Self {
        let table = (!text.is_ascii()).then(|| text.char_indices().map(|(byte, _)| byte).collect());
        Self(table, text.len())
    }

    fn byte(&self, character: usize) -> usize {
        match &self.0 {
            Some(table) => table.get(character).copied().unwrap_or(self.1),
            None => character.min(self.1),
        }
    }

    fn range(&self, span: Span) -> At {
        let (start, end) = (self.byte(span.start.index()), self.byte(span.end.index()));
        start..end.max(start)
    }
}

/// A list or map that is not closed yet.
enum Open {
    List {
        start: At,
        items: Vec<Node>,
    },
    Map {
        start: At,
        pairs: Vec<Pair>,
        key: Option<(String, At)>,
    },
}

struct Builder<'a> {
    source: &'a Arc<Source>,
    offsets: Offsets,
    open: Vec<Open>,
    /// Where texts of several lines stand; a tab in there is text.
    scalars: Vec<At>,
    next_id: u32,
    documents: u32,
    root: Option<Node>,
    problems: &'a mut Vec<Problem>,
}

impl Builder<'_> {
    fn read(&mut self) -> Result<(), Problem> {
        if let Some(at) = directive(&self.source.text) {
            return Err(self.feature(at, "a directive", "leave the line out"));
        }
        // Borrowed apart, so that the events may refer to the text while the builder changes.
        let source = Arc::clone(self.source);
        let mut parser = Parser::new_from_str(&source.text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| self.syntax(&error))?;
            let at = self.offsets.range(span);
            match event {
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                Event::DocumentStart(_) => self.document(&at)?,
                Event::Alias(_) => {
                    return Err(self.feature(at, "an alias", "write the value out, or use `vars`"));
                }
                Event::Scalar(text, style, anchor, tag) => {
                    self.plain(&at, anchor, tag.is_some())?;
                    self.scalar(&text, style, at)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.plain(&at, anchor, tag.is_some())?;
                    self.begin(Open::List {
                        start: at,
                        items: Vec::new(),
                    })?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.plain(&at, anchor, tag.is_some())?;
                    self.begin(Open::Map {
                        start: at,
                        pairs: Vec::new(),
                        key: None,
                    })?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.end(&at)?,
            }
        }
        Ok(())
    }

    fn document(&mut self, at: &At) -> Result<(), Problem> {
        self.documents += 1;
        if self.documents > 1 {
            return Err(self.feature(at.clone(), "a second document", "put it into a file of its own"));
        }
        Ok(())
    }

    /// Refuses anchors and tags.
    fn plain(&self, at: &At, anchor: usize, tag: bool) -> Result<(), Problem> {
        if anchor != 0 {
            return Err(self.feature(
                at.clone(),
                "an anchor (`&`)",
                "leave it out; use `vars` to name a value",
            ));
        }
        if tag {
            return Err(self.feature(
                at.clone(),
                "a tag (`!`)",
                "leave it out, or put the text in quotes",
            ));
        }
        Ok(())
    }

    fn feature(&self, at: At, what: &str, help: &str) -> Problem {
        let message = format!("{what} is a YAML feature that is left out here");
        Problem::new(Code::YamlFeature, self.source, self.source.head(&at), message).help(help)
    }

    fn syntax(&self, error: &saphyr_parser::ScanError) -> Problem {
        let byte = self.offsets.byte(error.marker().index());
        let at = visible(&self.source.text, byte);
        let info = error.info();
        if info.contains("anchor") {
            return self.feature(at, "an alias", "write the value out, or use `vars`");
        }
        if info.contains("recursion limit") {
            return self.deep(at);
        }
        Problem::new(Code::YamlSyntax, self.source, at, plainly(info)).help(
            "look for a bracket or quote that is not closed, a `:` in an unquoted text, or a wrong indentation",
        )
    }

    fn deep(&self, at: At) -> Problem {
        let message = format!("lists and maps nest more than {DEPTH} deep here");
        Problem::new(Code::TooDeep, self.source, at, message).help(
            "write it flatter; to send a deeply nested message use `send_raw: { tab: A, nested: 1000 }`",
        )
    }

    fn begin(&mut self, open: Open) -> Result<(), Problem> {
        if self.open.len() >= DEPTH {
            let (Open::List { start, .. } | Open::Map { start, .. }) = open;
            return Err(self.deep(start));
        }
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self, at: &At) -> Result<(), Problem> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let (start, data, last) = match open {
            Open::List { start, items } => {
                let last = items.last().map(|item| item.at.end);
                (start, Data::List(items), last)
            }
            Open::Map { start, pairs, .. } => {
                let last = pairs.last().map(|pair| pair.value.at.end.max(pair.key_at.end));
                (start, Data::Map(pairs), last)
            }
        };
        // A closing bracket is seen; the end of an indented block is not, and lies where its last value ends.
        let closed = !at.is_empty() && self.source.text[at.start..].starts_with([']', '}']);
        let end = if closed {
            at.start + 1
        } else {
            last.unwrap_or(start.end)
        };
        self.add(data, start.start..end.max(start.start))
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, at: At) -> Result<(), Problem> {
        let slice = scalar::written(self.source.slice(&at), style);
        let at = at.start..at.start + slice.len();
        if slice.contains('\n') {
            self.scalars.push(at.clone());
        }
        let data = if style == ScalarStyle::Plain {
            scalar::unquoted(text)
        } else {
            Data::Text(text.to_owned())
        };
        if let Some(Open::Map {
            key: key @ None,
            pairs,
            ..
        }) = self.open.last_mut()
        {
            if data == Data::Null && at.is_empty() {
                let message = "a `:` without a key before it";
                return Err(Problem::new(Code::YamlSyntax, self.source, at, message)
                    .help("write the key before the `:`, or put the text in quotes"));
            }
            if style == ScalarStyle::Plain && text == "<<" {
                return Err(self.feature(at, "a merge key (`<<`)", "write the keys out"));
            }
            if let Some(first) = pairs.iter().find(|pair| pair.key == text) {
                let message = format!("the key `{}` occurs twice in this map", shown(text));
                let problem = Problem::new(Code::DuplicateKey, self.source, at.clone(), message)
                    .related(self.source, first.key_at.clone(), "it is here already")
                    .help("keep one of the two; two steps are two list items, each with its own dash");
                self.problems.push(problem);
            }
            *key = Some((text.to_owned(), at));
            return Ok(());
        }
        self.add(data, at)
    }

    fn add(&mut self, data: Data, at: At) -> Result<(), Problem> {
        self.next_id += 1;
        let mut node = Node {
            at,
            id: self.next_id,
            data,
        };
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { pairs, key, .. }) => {
                let Some((key, key_at)) = key.take() else {
                    let message = "a key must be a plain text, not a list or map";
                    return Err(Problem::new(
                        Code::YamlFeature,
                        self.source,
                        self.source.head(&node.at),
                        message,
                    )
                    .help("put a text that begins with a bracket in quotes"));
                };
                if node.at.is_empty() {
                    node.at = key_at.end..key_at.end;
                }
                // The first of two equal keys stands; the second has been reported.
                if pairs.iter().all(|pair| pair.key != key) {
                    pairs.push(Pair {
                        key_at,
                        key,
                        value: node,
                    });
                }
            }
        }
        Ok(())
    }
}

/// What the scanner means, in words.
fn plainly(info: &str) -> String {
    const WORDS: &[(&str, &str)] = &[
        (
            "did not find expected node content",
            "a value is missing here, or a bracket is not closed",
        ),
        (
            "unexpected end of stream",
            "a quote that is opened here is never closed",
        ),
        (
            "mapping values are not allowed",
            "a `:` stands where no key can be",
        ),
        (
            "expected ',' or '}'",
            "a `{` before this is not closed, or a `,` is missing",
        ),
        (
            "expected ',' or ']'",
            "a `[` before this is not closed, or a `,` is missing",
        ),
        (
            "expected '-' indicator",
            "this should be another list item with a dash, or be indented further",
        ),
        (
            "did not find expected key",
            "this is not where a key can be; its indentation differs from its neighbours",
        ),
        ("misplaced bracket", "a bracket closes what was never opened"),
        ("simple key expect", "a key needs a `:` after it"),
    ];
    let words = WORDS
        .iter()
        .find(|(part, _)| info.contains(part))
        .map(|(_, words)| (*words).to_owned());
    words.unwrap_or_else(|| format!("this is not YAML: {}", shown(info)))
}

/// The place of a `%` directive: it can only stand before the document.
fn directive(text: &str) -> Option<At> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with('%') {
            return Some(start..start + line.trim_end().len());
        }
        if !line.trim().is_empty() && !line.starts_with('#') {
            return None;
        }
        start += line.len();
    }
    None
}

/// The character at a byte, or the last one before it if there is none to be seen.
fn visible(text: &str, byte: usize) -> At {
    let byte = text.floor_char_boundary(byte);
    match text[byte..].chars().next() {
        Some(c) if !c.is_whitespace() => byte..byte + c.len_utf8(),
        _ => {
            let before = text[..byte].trim_end();
            let last = before.chars().next_back().map_or(0, char::len_utf8);
            before.len() - last..before.len()
        }
    }
}

/// The first line, up to a byte, that is indented with a tab.
fn tab_indent(source: &Arc<Source>, scalars: &[At], until: usize) -> Option<Problem> {
    let mut start = 0;
    for line in source.text.split_inclusive('\n') {
        if start > until {
            break;
        }
        let indent = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
        let inside = scalars
            .iter()
            .any(|scalar| scalar.start < start && start < scalar.end);
        if let Some(tab) = indent.find('\t')
            && !line.trim().is_empty()
            && !inside
        {
            let at = start + tab..start + tab + 1;
            let message = "this line is indented with a tab character; YAML indents with spaces only";
            return Some(
                Problem::new(Code::TabIndent, source, at, message)
                    .help("replace each tab at the beginning of the line by two spaces"),
            );
        }
        start += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Option<Node>, Vec<Problem>) {
        let source = Arc::new(Source {
            text: text.to_owned(),
            ..Source::default()
        });
        let mut problems = Vec::new();
        let node = parse(&source, &mut problems);
        (node, problems)
    }

    fn places(text: &str, node: &Node, out: &mut Vec<String>) {
        out.push(format!("{:?}", &text[node.at.clone()]));
        node.items().iter().for_each(|item| places(text, item, out));
        node.pairs().iter().for_each(|pair| {
            out.push(format!("key {:?}", &text[pair.key_at.clone()]));
            places(text, &pair.value, out);
        });
    }

    #[test]
    fn every_node_knows_the_bytes_that_say_it() {
        let text = "ä: [ö, {x: 1}] # c\r\nlist:\r\n  - a: 'q'\n    b: |\n      one\n      \ttwo\n\n  - \"z\" # d\nempty:\nlast: plain\n  text\n";

        let (node, problems) = parsed(text);

        let mut out = Vec::new();
        places(text, &node.unwrap(), &mut out);
        assert_eq!(problems, []);
        insta::assert_snapshot!(out.join("\n"));
    }

    #[test]
    fn only_true_and_false_are_booleans_and_only_json_numbers_are_numbers() {
        let (node, _) = parsed(
            "[yes, no, on, off, True, true, ~, null, '', 1, -2.5, 1e3, 007, 0x1f, 1_000, .5, 12e4567, \"1\"]",
        );

        assert_eq!(
            node.unwrap().value(),
            serde_json::json!([
                "yes", "no", "on", "off", "True", true, null, null, "", 1, -2.5, 1e3, "007", "0x1f", "1_000",
                ".5", "12e4567", "1"
            ])
        );
    }

    #[test]
    fn features_that_are_left_out_are_named() {
        let cases = [
            "a: &x 1",
            "a: *x",
            "a: &x 1\nb: *x",
            "a: !t 1",
            "<<: {}",
            "a: 1\n---\nb: 2",
            "%YAML 1.1\n---\na: 1",
            "? [a]\n: 1",
            "[a]: 1",
            ": 1",
            "a: [",
            "a: \"x",
            "a: b: c",
            "a: {x: 1\nb: 2",
            "a:\n\t- x",
            "\ta: 1",
            "a: {\n\tx: 1}",
            "a: 1\na: 2\na: 3",
            "- a\nb: 1",
            "a: @x",
            "a: `x`",
            "a: ]",
        ];

        let errors: Vec<_> = cases
            .iter()
            .map(|text| format!("{text:?}\n  {:?}", parsed(text).1))
            .collect();

        insta::assert_snapshot!(errors.join("\n"));
    }

    #[test]
    fn deep_nesting_ends_at_the_bound() {
        for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", "")] {
            let fine = format!("{}1{}", open.repeat(DEPTH), close.repeat(DEPTH));
            let deep = format!("{}1{}", open.repeat(DEPTH + 1), close.repeat(DEPTH + 1));

            assert_eq!(parsed(&fine).1, []);
            assert_eq!(parsed(&deep).1[0].code, Code::TooDeep);
        }
        assert_eq!(parsed(&"[".repeat(1_000_000)).1[0].code, Code::TooDeep);
        assert_eq!(parsed(&"- ".repeat(500_000)).1[0].code, Code::TooDeep);
        assert_eq!(parsed(&"{x: ".repeat(200_000)).1[0].code, Code::TooDeep);
    }
}
