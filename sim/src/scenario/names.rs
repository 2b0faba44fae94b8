//! `${name}`: puts in the values of `vars` and `matrix`, and finds names that nothing binds.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

use serde_json::Value;

use super::{
    explain::Code,
    node::{Data, Node, Pair},
    problem::{Problem, shown},
    source::Source,
    yaml::DEPTH,
};
use crate::{pattern::Pattern, suggest::choice};

/// How many nodes and bytes a scenario may grow to by putting values in: values may use values, which may double each
/// time.
const GROWTH: usize = 8 << 20;

/// Names and their values.
#[derive(Clone)]
pub(super) struct Bindings {
    values: BTreeMap<String, Node>,
    /// What is left of [`GROWTH`], for the scenario with all it includes.
    left: Rc<Cell<usize>>,
}

impl Default for Bindings {
    fn default() -> Self {
        Self {
            values: BTreeMap::new(),
            left: Rc::new(Cell::new(GROWTH)),
        }
    }
}

/// Why values cannot be put in.
pub(super) struct TooLarge {
    pub(super) code: Code,
    pub(super) at: super::located::At,
}

impl Bindings {
    /// Adds what a file's `vars` say; names bound before keep their value. A value may use names above it.
    pub(super) fn add(&mut self, vars: Option<&Node>) -> Result<(), TooLarge> {
        for pair in vars.map(Node::pairs).unwrap_or_default() {
            if !self.values.contains_key(&pair.key) {
                let value = self.fill(&pair.value)?;
                self.values.insert(pair.key.clone(), value);
            }
        }
        Ok(())
    }

    /// Binds one name.
    pub(super) fn bind(&mut self, name: &str, value: &Node) {
        self.values.insert(name.to_owned(), value.clone());
    }

    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// The tree with the values put in.
    pub(super) fn fill(&self, node: &Node) -> Result<Node, TooLarge> {
        Filling { bindings: self }.node(node, 0)
    }
}

struct Filling<'a> {
    bindings: &'a Bindings,
}

impl<'a> Filling<'a> {
    fn node(&self, node: &Node, depth: usize) -> Result<Node, TooLarge> {
        self.take(1, node)?;
        if depth > DEPTH {
            return Err(TooLarge {
                code: Code::TooDeep,
                at: node.at.clone(),
            });
        }
        let data = match &node.data {
            Data::Text(text) => match self.whole(text) {
                // The value keeps its own type, and takes the place where it is used.
                Some(value) => return self.placed(&value.data, node, depth),
                None => Data::Text(self.text(text, node)?),
            },
            Data::List(items) => Data::List(
                items
                    .iter()
                    .map(|item| self.node(item, depth + 1))
                    .collect::<Result<_, _>>()?,
            ),
            Data::Map(pairs) => Data::Map(
                pairs
                    .iter()
                    .map(|pair| self.pair(pair, depth))
                    .collect::<Result<_, _>>()?,
            ),
            Data::Null | Data::Bool(_) | Data::Number(_) => node.data.clone(),
        };
        Ok(Node {
            at: node.at.clone(),
            id: node.id,
            data,
        })
    }

    fn pair(&self, pair: &Pair, depth: usize) -> Result<Pair, TooLarge> {
        let key = self.text(&pair.key, &pair.value)?;
        let value = self.node(&pair.value, depth + 1)?;
        Ok(Pair {
            key_at: pair.key_at.clone(),
            key,
            value,
        })
    }

    /// A copy of a bound value, every part of it at the place that uses it.
    fn placed(&self, data: &Data, site: &Node, depth: usize) -> Result<Node, TooLarge> {
        self.take(1, site)?;
        if depth > DEPTH {
            return Err(TooLarge {
                code: Code::TooDeep,
                at: site.at.clone(),
            });
        }
        let data = match data {
            Data::List(items) => {
                let items = items.iter().map(|item| self.placed(&item.data, site, depth + 1));
                Data::List(items.collect::<Result<_, _>>()?)
            }
            Data::Map(pairs) => {
                let pairs = pairs.iter().map(|pair| {
                    let value = self.placed(&pair.value.data, site, depth + 1)?;
                    Ok(Pair {
                        key_at: site.at.clone(),
                        key: pair.key.clone(),
                        value,
                    })
                });
                Data::Map(pairs.collect::<Result<_, _>>()?)
            }
            Data::Text(text) => {
                self.take(text.len(), site)?;
                Data::Text(text.clone())
            }
            Data::Null | Data::Bool(_) | Data::Number(_) => data.clone(),
        };
        Ok(Node {
            at: site.at.clone(),
            id: site.id,
            data,
        })
    }

    /// The value that a text names as a whole.
    fn whole(&self, text: &str) -> Option<&'a Node> {
        let name = text.strip_prefix("${")?.strip_suffix('}')?;
        self.bindings.values.get(name)
    }

    fn text(&self, text: &str, node: &Node) -> Result<String, TooLarge> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, name, after)) = next_use(rest) {
            filled.push_str(before);
            match self.bindings.values.get(name).map(Node::value) {
                Some(Value::String(value)) => filled.push_str(&value),
                Some(value) => filled.push_str(&value.to_string()),
                None => filled.extend(["${", name, "}"]),
            }
            self.take(filled.len(), node)?;
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn take(&self, bytes: usize, node: &Node) -> Result<(), TooLarge> {
        let too_large = || TooLarge {
            code: Code::TooLarge,
            at: node.at.clone(),
        };
        let left = self
            .bindings
            .left
            .get()
            .checked_sub(bytes)
            .ok_or_else(too_large)?;
        self.bindings.left.set(left);
        Ok(())
    }
}

/// The text before the first `${name}`, the name, and the text after it.
fn next_use(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("${")?;
    let (name, after) = rest.split_once('}')?;
    Some((before, name, after))
}

/// Names that a text uses.
fn uses(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, name, after) = next_use(rest)?;
        rest = after;
        Some(name)
    })
}

/// Follows the steps in file order and reports each name that is used before anything binds it.
pub(super) struct Walk<'a> {
    bound: BTreeSet<String>,
    /// Names captured anywhere, to tell "too early" from "never".
    later: BTreeSet<String>,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(bindings: &Bindings, problems: &'a mut Vec<Problem>) -> Self {
        let bound = bindings.names().map(str::to_owned).collect();
        Self {
            bound,
            later: BTreeSet::new(),
            problems,
        }
    }

    /// Notes what the steps capture, wherever they do.
    pub(super) fn look_ahead(&mut self, steps: &Node) {
        let mut names = BTreeSet::new();
        texts(steps, &mut |text, _| names.extend(captures(text)));
        self.later.extend(names);
    }

    /// One step that holds no other steps.
    pub(super) fn step(&mut self, source: &Arc<Source>, name: &str, value: &Node) {
        if name != "note" {
            let judges = matches!(name, "expect" | "calls" | "wait");
            self.node(source, value, judges);
        }
    }

    /// What stands beside the steps, which may use what any step captures.
    pub(super) fn beside(&mut self, source: &Arc<Source>, node: &Node) {
        self.bound.append(&mut self.later);
        self.node(source, node, false);
    }

    fn node(&mut self, source: &Arc<Source>, node: &Node, judges: bool) {
        texts(node, &mut |text, node| {
            if judges {
                self.bound.extend(captures(text));
            }
            for name in uses(text)
                .filter(|name| !self.bound.contains(*name))
                .collect::<Vec<_>>()
            {
                let problem = self.unbound(source, node, name);
                self.problems.push(problem);
            }
        });
    }

    fn unbound(&self, source: &Arc<Source>, node: &Node, name: &str) -> Problem {
        let word = format!("${{{name}}}");
        let at = source.slice(&node.at).find(&word).map_or_else(
            || source.head(&node.at),
            |offset| node.at.start + offset..node.at.start + offset + word.len(),
        );
        let shown = shown(name);
        let new = |message| Problem::new(Code::NeverBound, source, at.clone(), message);
        if self.later.contains(name) {
            return new(format!(
                "`${{{shown}}}` is used here, but captured only later in the file"
            ))
            .help("use it in a step after the one that captures it");
        }
        let known: Vec<_> = self.bound.union(&self.later).map(String::as_str).collect();
        new(format!(
            "`${{{shown}}}` is never bound: no `vars`, no `matrix` and no earlier capture has that name"
        ))
        .help_if(choice(name, "the names bound here are", known))
        .help_if_none(format!(
            "add `{shown}` to `vars`, or capture it in an earlier `expect` with `<string:{shown}>`"
        ))
    }
}

/// Names that a text captures when it stands in a pattern.
fn captures(text: &str) -> Vec<String> {
    if !text.contains('<') {
        return Vec::new();
    }
    Pattern::compile(&Value::String(text.to_owned()))
        .map(|pattern| pattern.captures())
        .unwrap_or_default()
}

/// Every text of a tree in file order, keys too.
fn texts(node: &Node, see: &mut dyn FnMut(&str, &Node)) {
    match &node.data {
        Data::Text(text) => see(text, node),
        Data::List(items) => items.iter().for_each(|item| texts(item, see)),
        Data::Map(pairs) => pairs.iter().for_each(|pair| {
            see(&pair.key, &pair.value);
            texts(&pair.value, see);
        }),
        Data::Null | Data::Bool(_) | Data::Number(_) => {}
    }
}
