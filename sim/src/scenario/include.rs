//! `include`: gives the steps of other files to the steps that name them.

use std::sync::Arc;

use serde::{Deserialize, de::IgnoredAny};

use super::{
    decode::decode,
    load::Unit,
    located::Located,
    node::Data,
    problem::Problem,
    step::{Include, Step},
};

/// A file of steps; a whole scenario may be included as well, and lends only its steps.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fragment {
    steps: Vec<Located<Step>>,
    #[serde(default, rename = "format")]
    _format: Option<IgnoredAny>,
    #[serde(default, rename = "name")]
    _name: Option<IgnoredAny>,
    #[serde(default, rename = "tags")]
    _tags: Option<IgnoredAny>,
    #[serde(default, rename = "note")]
    _note: Option<IgnoredAny>,
    #[serde(default, rename = "requires")]
    _requires: Option<IgnoredAny>,
    #[serde(default, rename = "vars")]
    _vars: Option<IgnoredAny>,
    #[serde(default, rename = "users")]
    _users: Option<IgnoredAny>,
    #[serde(default, rename = "tabs")]
    _tabs: Option<IgnoredAny>,
    #[serde(default, rename = "client")]
    _client: Option<IgnoredAny>,
    #[serde(default, rename = "ignore")]
    _ignore: Option<IgnoredAny>,
    #[serde(default, rename = "waive")]
    _waive: Option<IgnoredAny>,
    #[serde(default, rename = "server")]
    _server: Option<IgnoredAny>,
    #[serde(default, rename = "stubs")]
    _stubs: Option<IgnoredAny>,
}

/// Gives each `include` its steps.
pub(super) fn attach(steps: &mut [Located<Step>], unit: &Unit, problems: &mut Vec<Problem>) {
    for step in steps {
        if let Step::Repeat(repeat) = &mut step.value {
            attach(&mut repeat.steps, unit, problems);
        } else if let Step::Parallel(lists) = &mut step.value {
            for steps in lists {
                attach(steps, unit, problems);
            }
        } else if let Step::Include(include) = &mut step.value {
            included(include, unit, problems);
        }
    }
}

fn included(include: &mut Include, unit: &Unit, problems: &mut Vec<Problem>) {
    let Some(included) = unit.includes.get(&include.file.at.start) else {
        return; // Reported when it could not be read.
    };
    let before = problems.len();
    include.source = Arc::clone(&included.source);
    include.steps = fragment(included, problems);
    attach(&mut include.steps, included, problems);
    for problem in &mut problems[before..] {
        problem.add_related(&unit.source, include.file.at.clone(), "included here");
    }
}

fn fragment(unit: &Unit, problems: &mut Vec<Problem>) -> Vec<Located<Step>> {
    let steps = match &unit.root.data {
        Data::List(_) => decode(&unit.source, &unit.root, problems),
        _ => decode(&unit.source, &unit.root, problems).map(|fragment: Fragment| fragment.steps),
    };
    steps.unwrap_or_default()
}
