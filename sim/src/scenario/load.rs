//! Loads scenario files: reads, resolves includes, puts values in, expands matrices, checks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    check,
    decode::decode,
    explain::Code,
    files::{self, Found},
    include,
    located::At,
    matrix::{self, Row},
    model::{File, Scenario},
    names::{Bindings, TooLarge, Walk},
    node::{Data, Node},
    problem::{Problem, shown},
    source::Source,
    stubs, yaml,
};

/// How deep includes may nest, and how many one scenario may have: each may include several.
const INCLUDE_DEPTH: usize = 16;
const INCLUDES: usize = 256;

/// What was found at the paths.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Every scenario of every file that has no problem, in the order of paths, files and matrix rows.
    pub scenarios: Vec<Scenario>,
    /// What is wrong, in file order.
    pub problems: Vec<Problem>,
    /// How many files were looked at.
    pub files: usize,
}

/// Loads files, and folders with everything `*.tabs.yaml` in them. `routes` are the names that routes may have; with
/// none, names are not checked.
pub fn load(paths: &[PathBuf], routes: &[&str]) -> Loaded {
    let mut loaded = Loaded::default();
    let mut seen = BTreeSet::new();
    for path in paths {
        for found in files::find(path, &mut loaded.problems) {
            // `run scenarios scenarios/reload` names some files twice.
            if seen.insert(canonical(&found.path)) {
                loaded.files += 1;
                one(&found, routes, &mut loaded);
            }
        }
    }
    loaded
}

fn canonical(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn one(found: &Found, routes: &[&str], loaded: &mut Loaded) {
    match files::read(&found.path, files::id(found)) {
        Err(error) => loaded.problems.push(files::unreadable(&found.path, &error)),
        Ok((_, Some(problem))) => loaded.problems.push(problem),
        Ok((source, None)) => {
            let (scenarios, problems) = text(&source, routes);
            loaded.problems.extend(problems);
            loaded.scenarios.extend(scenarios);
        }
    }
}

/// The scenarios of one file's text: none if anything is wrong with it.
pub fn text(source: &Arc<Source>, routes: &[&str]) -> (Vec<Scenario>, Vec<Problem>) {
    let mut problems = Vec::new();
    let Some(root) = yaml::parse(source, &mut problems) else {
        return (Vec::new(), problems);
    };
    if root.data == Data::Null {
        let problem = Problem::new(Code::MissingKey, source, 0..0, "this file is empty")
            .help("a scenario begins with `format: 1`, then `name`, `users`, `tabs` and `steps`");
        return (Vec::new(), vec![problem]);
    }
    if let Some(problem) = check::format(source, &root) {
        return (Vec::new(), vec![problem]);
    }
    let mut scenarios = Vec::new();
    let mut seen = Vec::new();
    for row in matrix::rows(source, &root, &mut problems) {
        let (scenario, found) = Assembly::new(source, &root, &row).scenario(&row, routes);
        scenarios.extend(scenario);
        for problem in found {
            // Most problems are the same in every row.
            if !seen.contains(&problem) {
                seen.push(problem);
            }
        }
    }
    problems.extend(seen);
    problems.sort_by_key(|problem| {
        (
            problem.source != *source,
            problem.source.path.clone(),
            problem.span.start,
        )
    });
    if !problems.is_empty() {
        scenarios.clear();
    }
    (scenarios, problems)
}

/// A file and what it includes, with values put in.
pub(super) struct Unit {
    pub(super) source: Arc<Source>,
    pub(super) root: Node,
    /// By the place of the path that names it.
    pub(super) includes: BTreeMap<usize, Unit>,
    /// Likewise, files of stubs.
    pub(super) stub_files: BTreeMap<usize, Unit>,
}

impl Unit {
    /// Its steps: an included file may be nothing but a list of them.
    fn steps(&self) -> &Node {
        self.root.get("steps").unwrap_or(&self.root)
    }
}

/// Where an include stands.
struct Site<'a> {
    source: &'a Arc<Source>,
    at: At,
    /// The files that are being included, outermost first.
    stack: &'a [PathBuf],
}

/// The making of one scenario.
struct Assembly {
    bindings: Bindings,
    includes_left: usize,
    problems: Vec<Problem>,
    source: Arc<Source>,
    root: Node,
}

impl Assembly {
    fn new(source: &Arc<Source>, root: &Node, row: &Row) -> Self {
        let mut bindings = Bindings::default();
        for (name, value) in row {
            bindings.bind(name, value);
        }
        let source = Arc::clone(source);
        Self {
            bindings,
            includes_left: INCLUDES,
            problems: Vec::new(),
            source,
            root: root.clone(),
        }
    }

    fn scenario(mut self, row: &Row, routes: &[&str]) -> (Option<Scenario>, Vec<Problem>) {
        let (source, root) = (Arc::clone(&self.source), self.root.clone());
        let stack = [canonical(&source.path)];
        let bindings = std::mem::take(&mut self.bindings);
        let Some(unit) = self.unit(&source, &root, (bindings, &stack)) else {
            return (None, self.problems);
        };
        let (unit, bindings) = unit;
        bound(&unit, &bindings, &mut self.problems);
        let mut found = Vec::new();
        let file: Option<File> = decode(&source, &unit.root, &mut found);
        let file = file.map(|mut file| {
            include::attach(&mut file.steps, &unit, &mut found);
            stubs::attach(&mut file.stubs, &unit, &mut found);
            file
        });
        self.append(found);
        let Some(file) = file else {
            return (None, self.problems);
        };
        let scenario = Scenario {
            source,
            row: matrix::name(row),
            file,
        };
        let found = check::scenario(&scenario, &unit.root, routes);
        let found = if self.problems.is_empty() {
            found
        } else {
            self.independent(&unit, found)
        };
        self.append(found);
        (Some(scenario), self.problems)
    }

    /// Of what was found out about a file of which parts could not be read, that which does not follow from it.
    fn independent(&self, unit: &Unit, found: Vec<Problem>) -> Vec<Problem> {
        let declared = unit
            .root
            .pairs()
            .iter()
            .filter(|pair| matches!(pair.key.as_str(), "users" | "tabs"));
        let declared: Vec<_> = declared
            .map(|pair| pair.key_at.start..pair.value.at.end)
            .collect();
        let shaken = self.problems.iter().any(|problem| {
            let within = |range: &At| range.contains(&problem.span.start);
            problem.source == unit.source && declared.iter().any(within)
        });
        let stands = |problem: &Problem| match problem.code {
            Code::UndeclaredTab | Code::UndeclaredUser => !shaken,
            code => check::stands_alone(code),
        };
        found.into_iter().filter(stands).collect()
    }

    /// Adds problems but those that follow from others at the same place.
    fn append(&mut self, found: Vec<Problem>) {
        let fresh: Vec<_> = found
            .into_iter()
            .filter(|problem| !self.problems.iter().any(|known| known.overlaps(problem)))
            .collect();
        self.problems.extend(fresh);
    }

    fn unit(
        &mut self,
        source: &Arc<Source>,
        root: &Node,
        (mut bindings, stack): (Bindings, &[PathBuf]),
    ) -> Option<(Unit, Bindings)> {
        let filled = bindings.add(root.get("vars")).and_then(|()| bindings.fill(root));
        let root = match filled {
            Ok(root) => root,
            Err(TooLarge { code, at }) => {
                let message = "the values of `vars` put in here make the file too large";
                self.problems.push(
                    Problem::new(code, source, source.head(&at), message)
                        .help("use fewer variables within variables"),
                );
                return None;
            }
        };
        let mut unit = Unit {
            source: Arc::clone(source),
            root,
            includes: BTreeMap::new(),
            stub_files: BTreeMap::new(),
        };
        let mut paths = Vec::new();
        each(unit.steps(), &mut |name, value| {
            if let ("include", Some(path)) = (name, value.text()) {
                paths.push((value.at.clone(), path.to_owned()));
            }
        });
        for (at, path) in paths {
            let site = Site {
                source,
                at: at.clone(),
                stack,
            };
            if let Some(included) = self.include(&site, &path, &bindings) {
                unit.includes.insert(at.start, included);
            }
        }
        // An included scenario lends only its steps.
        let is_scenario = stack.len() == 1;
        for (at, path) in stubs::named_files(&unit.root).into_iter().filter(|_| is_scenario) {
            let site = Site {
                source,
                at: at.clone(),
                stack,
            };
            if let Some(read) = self.include(&site, &path, &bindings) {
                unit.stub_files.insert(at.start, read);
            }
        }
        Some((unit, bindings))
    }

    fn include(&mut self, site: &Site<'_>, path: &str, bindings: &Bindings) -> Option<Unit> {
        let bad = |message: String| Problem::new(Code::BadInclude, site.source, site.at.clone(), message);
        if path.contains("${") {
            return None; // Reported as a name that is never bound.
        }
        let full = site.source.path.parent().unwrap_or(Path::new("")).join(path);
        let canonical = canonical(&full);
        let problem = if Path::new(path).is_absolute() {
            Some(
                bad("this path starts at the folder of the file it stands in".to_owned())
                    .help("write it relative, without a `/` in front"),
            )
        } else if !files::is_in_project(&canonical, &site.stack[0]) {
            Some(
                bad(format!("`{}` lies outside the project folder", shown(path))).help(
                    "include files below the folder of `.git` or `polytab.toml`; without either, below the scenario's \
                     own folder",
                ),
            )
        } else if site.stack.contains(&canonical) {
            Some(
                bad(format!(
                    "`{}` includes itself, directly or through others",
                    shown(path)
                ))
                .help("move the shared steps into a file that includes neither"),
            )
        } else if site.stack.len() > INCLUDE_DEPTH {
            Some(bad(format!("includes nest more than {INCLUDE_DEPTH} deep here")).help("nest them less"))
        } else if self.includes_left == 0 {
            Some(bad(format!("the scenario has more than {INCLUDES} includes")).help("use `repeat`"))
        } else {
            None
        };
        if let Some(problem) = problem {
            self.problems.push(problem);
            return None;
        }
        self.includes_left -= 1;
        let source = self.included_source(site, &full, path)?;
        let root = self.told(site, |assembly| yaml::parse(&source, &mut assembly.problems))?;
        let mut stack = site.stack.to_vec();
        stack.push(canonical);
        let unit = self.told(site, |assembly| {
            assembly.unit(&source, &root, (bindings.clone(), &stack))
        });
        unit.map(|(unit, _)| unit)
    }

    fn included_source(&mut self, site: &Site<'_>, full: &Path, path: &str) -> Option<Arc<Source>> {
        match files::read(full, site.source.id.clone()) {
            Ok((source, None)) => Some(source),
            Ok((_, Some(problem))) => {
                self.problems
                    .push(problem.related(site.source, site.at.clone(), "included here"));
                None
            }
            Err(error) => {
                let message = format!(
                    "the included file `{}` cannot be read: {}",
                    shown(path),
                    files::plainly(&error)
                );
                let problem = Problem::new(Code::BadInclude, site.source, site.at.clone(), message);
                self.problems.push(
                    problem
                        .help_if(files::neighbour(full))
                        .help_if_none("the path starts at the folder of the including file".to_owned()),
                );
                None
            }
        }
    }

    /// Does something about an included file, whose problems then say where it is included.
    fn told<T>(&mut self, site: &Site<'_>, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.problems.len();
        let done = work(self);
        for problem in &mut self.problems[before..] {
            let known = problem
                .related
                .iter()
                .any(|related| related.source == *site.source);
            if problem.source != *site.source && !known {
                problem.add_related(site.source, site.at.clone(), "included here");
            }
        }
        done
    }
}

/// Every step of a list, also those within `repeat` and `parallel`, in file order.
fn each(steps: &Node, see: &mut dyn FnMut(&str, &Node)) {
    for pair in steps.items().iter().filter_map(|step| step.pairs().first()) {
        match pair.key.as_str() {
            "repeat" => {
                if let Some(steps) = pair.value.get("steps") {
                    each(steps, see);
                }
            }
            "parallel" => pair.value.items().iter().for_each(|steps| each(steps, see)),
            name => see(name, &pair.value),
        }
    }
}

/// Reports every name that is used before it is bound.
fn bound(unit: &Unit, bindings: &Bindings, problems: &mut Vec<Problem>) {
    let mut walk = Walk::new(bindings, problems);
    // Stubs are there before any step captures a value.
    if let Some(stubs) = unit.root.get("stubs") {
        walk.beside(&unit.source, stubs);
    }
    for file in unit.stub_files.values() {
        walk.beside(&file.source, &file.root);
    }
    ahead(unit, &mut walk);
    in_order(unit, &mut walk);
    let beside = unit.root.pairs().iter();
    for pair in beside.filter(|pair| {
        !["steps", "stubs", "vars", "matrix", "note", "name", "tags"].contains(&pair.key.as_str())
    }) {
        walk.beside(&unit.source, &pair.value);
    }
}

fn ahead(unit: &Unit, walk: &mut Walk<'_>) {
    walk.look_ahead(unit.steps());
    unit.includes.values().for_each(|included| ahead(included, walk));
}

fn in_order(unit: &Unit, walk: &mut Walk<'_>) {
    each(
        unit.steps(),
        &mut |name, value| match unit.includes.get(&value.at.start) {
            Some(included) if name == "include" => in_order(included, walk),
            Some(_) | None => walk.step(&unit.source, name, value),
        },
    );
}
