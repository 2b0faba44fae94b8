//! What types cannot say about a scenario: names that are not declared, marks, windows, keys that exclude each other.

mod clause;
mod routes;
mod step;
mod values;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    explain::Code,
    located::At,
    model::{File, Scenario},
    node::{Data, Node},
    people::{Client, DEFAULT_BROWSER},
    problem::{Problem, shown},
    source::Source,
    stubs,
};
use crate::suggest::choice;

/// The one version of the format there is.
const FORMAT: u64 = 1;

/// A format that is not ours: then nothing else is worth saying about the file.
pub(super) fn format(source: &Arc<Source>, root: &Node) -> Option<Problem> {
    let node = root.get("format")?;
    let Data::Number(number) = &node.data else {
        return None; // Reading the type says what is wrong.
    };
    (number.as_u64() != Some(FORMAT)).then(|| {
        let message = format!("format `{number}` is not known; this polytab reads format {FORMAT}");
        Problem::new(Code::BadFormat, source, node.at.clone(), message)
            .help("write `format: 1`, or update polytab")
    })
}

/// Everything that is wrong with a scenario whose types fit. `root` is the tree that it was read from.
pub(super) fn scenario(scenario: &Scenario, root: &Node, routes: &[&str]) -> Vec<Problem> {
    let mut checker = Checker {
        file: &scenario.file,
        routes,
        source: Arc::clone(&scenario.source),
        problems: Vec::new(),
        names: BTreeMap::new(),
        passed: BTreeSet::new(),
    };
    checker.head(root);
    checker.steps(&scenario.file.steps);
    let stubs = stubs::check(&scenario.file.stubs, &scenario.source);
    checker.problems.extend(stubs);
    checker.problems
}

/// Whether such a problem stands whatever else could not be read in its file.
pub(super) fn stands_alone(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownRoute
            | Code::BadCloseCode
            | Code::BadCount
            | Code::BadFault
            | Code::BadTopic
            | Code::BadValue
            | Code::DuplicateName
            | Code::ExclusiveKeys
            | Code::BadStub
            | Code::OwnedPath
    )
}

/// A name that a step gives, and where.
struct Given {
    source: Arc<Source>,
    at: At,
}

struct Checker<'a> {
    file: &'a File,
    routes: &'a [&'a str],
    /// The file of the steps at hand, which may be an included one.
    source: Arc<Source>,
    problems: Vec<Problem>,
    /// Marks and snapshots so far, each with its kind.
    names: BTreeMap<(&'static str, String), Given>,
    /// Tabs for which time has passed since an `expect` last looked at them.
    passed: BTreeSet<String>,
}

impl Checker<'_> {
    fn report(&mut self, code: Code, at: At, message: impl Into<String>) -> &mut Problem {
        let at = self.source.head(&at);
        let index = self.problems.len();
        self.problems.push(Problem::new(code, &self.source, at, message));
        &mut self.problems[index]
    }

    /// Where a word stands in a step; the step if it is not written out there.
    fn place(&self, at: &At, word: &str) -> At {
        self.source.find(at, word).unwrap_or_else(|| self.source.head(at))
    }

    /// What stands above the steps.
    fn head(&mut self, root: &Node) {
        let root_at = 0..self.source.text.len();
        if self.file.steps.is_empty() {
            let at = root
                .pairs()
                .iter()
                .find(|pair| pair.key == "steps")
                .map(|pair| pair.key_at.clone());
            self.report(
                Code::NoSteps,
                at.unwrap_or(root_at.clone()),
                "this scenario has no steps, so nothing would happen",
            )
            .help = Some("add a step, such as `- open: A`".to_owned());
        }
        let file = self.file;
        for tab in file.tabs.values() {
            self.user(&tab.at, &tab.value.user);
            self.client(&tab.at, tab.value.client.as_ref());
        }
        self.client(&root_at, Some(&file.client));
        self.shared_browsers();
        self.server_settings(root);
    }

    fn client(&mut self, at: &At, client: Option<&Client>) {
        let Some(Client::Custom(settings)) = client else {
            return;
        };
        for code in settings.reconnect_on.iter().flatten() {
            self.close_code(at, *code);
        }
    }

    fn close_code(&mut self, at: &At, code: u16) {
        if !(1000..5000).contains(&code) {
            let at = self.place(at, &code.to_string());
            self.report(Code::BadCloseCode, at, format!("`{code}` is no close code"))
                .help =
                Some("close codes are between 1000 and 4999; the server's own begin at 4000".to_owned());
        }
    }

    fn tab(&mut self, at: &At, name: &str) {
        if !self.file.tabs.contains_key(name) {
            let at = self.place(at, name);
            let help = choice(
                name,
                "the tabs declared are",
                self.file.tabs.keys().map(String::as_str),
            )
            .unwrap_or_else(|| "declare it: `tabs: { A: { user: ada } }`".to_owned());
            self.report(
                Code::UndeclaredTab,
                at,
                format!("the tab `{}` is not declared", shown(name)),
            )
            .help = Some(help);
        }
    }

    fn user(&mut self, at: &At, name: &str) {
        if !self.file.users.contains_key(name) {
            let at = self.place(at, name);
            let help = choice(
                name,
                "the users declared are",
                self.file.users.keys().map(String::as_str),
            )
            .unwrap_or_else(|| "declare it: `users: { ada: {} }`".to_owned());
            self.report(
                Code::UndeclaredUser,
                at,
                format!("the user `{}` is not declared", shown(name)),
            )
            .help = Some(help);
        }
    }

    fn browser(&mut self, at: &At, user: &str, browser: Option<&str>) {
        let Some(browser) = browser else {
            return;
        };
        let tabs = self.file.tabs.values().filter(|tab| tab.value.user == user);
        let known: BTreeSet<_> = tabs
            .map(|tab| tab.value.browser.as_deref().unwrap_or(DEFAULT_BROWSER))
            .collect();
        if self.file.users.contains_key(user) && !known.contains(browser) {
            let message = format!("no tab of `{}` is in a browser `{}`", shown(user), shown(browser));
            let help = choice(browser, "that user's browsers are", known);
            let at = self.place(at, browser);
            self.report(Code::UndeclaredBrowser, at, message).help = help;
        }
    }

    /// A mark or snapshot gets its name.
    fn give(&mut self, kind: &'static str, at: &At, name: &str) {
        let at = self.place(at, name);
        let given = Given {
            source: Arc::clone(&self.source),
            at: at.clone(),
        };
        let Some(first) = self.names.insert((kind, name.to_owned()), given) else {
            return;
        };
        // A file that is included twice gives its names again.
        if first.source != self.source || first.at != at {
            let problem = self.report(
                Code::DuplicateName,
                at,
                format!("the {kind} `{}` is set twice", shown(name)),
            );
            problem.add_related(&first.source, first.at, "it is set here already");
            problem.help = Some("give one of the two another name".to_owned());
        }
    }

    fn since(&mut self, at: &At, name: Option<&str>) {
        let Some(name) = name else {
            return;
        };
        if !self.names.contains_key(&("mark", name.to_owned())) {
            let marks = self
                .names
                .keys()
                .filter(|(kind, _)| *kind == "mark")
                .map(|(_, mark)| mark.as_str());
            let help = choice(name, "the marks set before are", marks)
                .unwrap_or_else(|| format!("put a step `- mark: {}` where it should begin", shown(name)));
            let at = self.place(at, name);
            self.report(
                Code::UnknownMark,
                at,
                format!("no earlier step sets the mark `{}`", shown(name)),
            )
            .help = Some(help);
        }
    }
}
