//! `stubs`: answers to requests that no route of the mocks owns, in the scenario itself or in a file beside it.

use std::{borrow::Cow, fmt, path::Path, sync::Arc};

use polytab_mocks::{
    error::ControlError,
    stub::{Stub, owner::Owners},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeSeed, Error, IgnoredAny, IntoDeserializer, MapAccess, Visitor,
        value::MapAccessDeserializer,
    },
};

use super::{
    de::Coded,
    decode::decode,
    explain::Code,
    files,
    load::{Loaded, Unit},
    located::{At, Located},
    node::{Data, Node},
    problem::{Problem, shown},
    source::Source,
    yaml,
};

/// One item of `stubs`.
#[derive(Clone, Debug)]
pub enum StubItem {
    /// A stub.
    Stub(Box<Stub>),
    /// A file of them.
    File(StubFile),
}

/// `{ file: stubs.yaml }`
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct StubFile {
    /// A file with a list of stubs, from the folder of this one.
    pub file: Located<String>,
    /// That file; the places of its stubs are in it. Empty until loaded.
    #[schemars(skip)]
    pub source: Arc<Source>,
    /// Its stubs.
    #[schemars(skip)]
    pub stubs: Vec<Located<Stub>>,
}

impl StubItem {
    /// The stubs, in order.
    pub fn stubs(&self) -> impl Iterator<Item = &Stub> {
        let (one, many): (Option<&Stub>, &[Located<Stub>]) = match self {
            Self::Stub(stub) => (Some(stub), &[]),
            Self::File(file) => (None, &file.stubs),
        };
        one.into_iter().chain(many.iter().map(|stub| &stub.value))
    }
}

impl<'de> Deserialize<'de> for StubItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = StubItem;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a stub with `request` and `answer`, or a `file` of stubs")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StubItem, A::Error> {
        let first: Option<String> = map.next_key()?;
        if first.as_deref() != Some("file") {
            let map = Again { first, map };
            return Stub::deserialize(MapAccessDeserializer::new(map))
                .map(|stub| StubItem::Stub(Box::new(stub)));
        }
        let file = map.next_value()?;
        if map.next_key::<IgnoredAny>()?.is_some() {
            return Err(A::Error::custom(Coded {
                code: Code::ExclusiveKeys,
                error: "an item of `stubs` that names a `file` has no other key; put a dash before what follows it",
            }));
        }
        Ok(StubItem::File(StubFile {
            file,
            source: Arc::default(),
            stubs: Vec::new(),
        }))
    }
}

/// A map whose first key was read already.
struct Again<A> {
    first: Option<String>,
    map: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Again<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        match self.first.take() {
            Some(key) => seed.deserialize(key.into_deserializer()).map(Some),
            None => self.map.next_key_seed(seed),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

impl JsonSchema for StubItem {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StubItem".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (stub, file) = (
            generator.subschema_for::<Stub>(),
            generator.subschema_for::<StubFile>(),
        );
        json_schema!({ "anyOf": [stub, file] })
    }
}

/// A file of stubs that is a map.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fragment {
    stubs: Vec<Located<Stub>>,
}

fn fragment(source: &Arc<Source>, root: &Node, problems: &mut Vec<Problem>) -> Vec<Located<Stub>> {
    let stubs = match &root.data {
        Data::Map(_) => decode(source, root, problems).map(|fragment: Fragment| fragment.stubs),
        _ => decode(source, root, problems),
    };
    stubs.unwrap_or_default()
}

/// Gives each `file` its stubs.
pub(super) fn attach(items: &mut [Located<StubItem>], unit: &Unit, problems: &mut Vec<Problem>) {
    for item in items {
        let StubItem::File(file) = &mut item.value else {
            continue;
        };
        let Some(read) = unit.stub_files.get(&file.file.at.start) else {
            continue; // Reported when it could not be read.
        };
        let before = problems.len();
        file.source = Arc::clone(&read.source);
        file.stubs = fragment(&read.source, &read.root, problems);
        for problem in &mut problems[before..] {
            problem.add_related(&unit.source, file.file.at.clone(), "named here");
        }
    }
}

/// Where the files stand that a scenario's `stubs` name.
pub(super) fn named_files(root: &Node) -> Vec<(At, String)> {
    let items = root.get("stubs").map(Node::items).unwrap_or_default();
    let files = items.iter().filter_map(|item| item.get("file"));
    files
        .filter_map(|file| Some((file.at.clone(), file.text()?.to_owned())))
        .collect()
}

/// What is wrong with the stubs of a scenario whose types fit.
pub(super) fn check(items: &[Located<StubItem>], source: &Arc<Source>) -> Vec<Problem> {
    if items.is_empty() {
        return Vec::new();
    }
    let owners = Owners::usual();
    let mut problems = Vec::new();
    for item in items {
        match &item.value {
            StubItem::Stub(stub) => problems.extend(problem(source, (&item.at, stub), &owners)),
            StubItem::File(file) => {
                let found = file.stubs.iter().filter_map(|stub| {
                    let problem = problem(&file.source, (&stub.at, &stub.value), &owners)?;
                    Some(problem.related(source, file.file.at.clone(), "named here"))
                });
                problems.extend(found);
            }
        }
    }
    problems
}

/// Why a stub could not answer.
fn problem(source: &Arc<Source>, (at, stub): (&At, &Stub), owners: &Owners) -> Option<Problem> {
    let new = |code, word: &str, message: String| {
        let place = source.find(at, word).unwrap_or_else(|| source.head(at));
        Problem::new(code, source, place, message)
    };
    match stub.check() {
        Ok(()) => {}
        Err(ControlError::BadStub { field, value, mend }) => {
            let message = format!("`{field}` of a stub cannot be `{}`", shown(&value));
            return Some(new(Code::BadStub, &value, message).help(mend));
        }
        Err(error) => return Some(new(Code::BadStub, "times", error.to_string())),
    }
    let (route, path) = (owners.owner(stub)?, stub.request.path.as_deref()?);
    let message = format!(
        "this stub would never answer: `{}` belongs to the route `{route}`",
        shown(path)
    );
    let mend = "have the route itself answer so, by `set` or a `fault`; a stub for another service names it in \
                `service`";
    Some(new(Code::OwnedPath, path, message).help(mend))
}

/// Reads a file of stubs: a list of them, or a map with `stubs`. What is wrong with it is in `problems`; then there
/// are none.
pub fn load(path: &Path) -> (Vec<Stub>, Loaded) {
    let mut problems = Vec::new();
    let mut stubs = Vec::new();
    match files::read(path, String::new()) {
        Err(error) => problems.push(files::unreadable(path, &error)),
        Ok((_, Some(problem))) => problems.push(problem),
        Ok((source, None)) => {
            if let Some(root) = yaml::parse(&source, &mut problems) {
                stubs = fragment(&source, &root, &mut problems);
                let owners = Owners::usual();
                let found = stubs
                    .iter()
                    .filter_map(|stub| problem(&source, (&stub.at, &stub.value), &owners));
                problems.extend(found.collect::<Vec<_>>());
            }
        }
    }
    if !problems.is_empty() {
        stubs.clear();
    }
    let loaded = Loaded {
        problems,
        files: 1,
        ..Loaded::default()
    };
    (stubs.into_iter().map(|stub| stub.value).collect(), loaded)
}
