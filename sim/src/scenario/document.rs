//! Other files than scenarios, read in the same strict YAML, with the same care for what is wrong in them.

use std::{path::Path, sync::Arc};

use serde::de::DeserializeOwned;

use super::{decode::decode, explain::Code, files, node::Data, problem::Problem, source::Source, yaml};

/// Reads a YAML or JSON file into a value; an empty one is an empty map.
///
/// # Errors
///
/// Everything that is wrong with the file, in its order.
pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Result<T, Vec<Problem>> {
    let name = path.display().to_string();
    let (source, problem) = files::read(path, name).map_err(|error| vec![files::unreadable(path, &error)])?;
    if let Some(problem) = problem {
        return Err(vec![about_no_scenario(problem)]);
    }
    text(&untabbed(source)).map_err(|problems| problems.into_iter().map(about_no_scenario).collect())
}

/// The same for a text that is in this program; `name` is what it is called.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn parse<T: DeserializeOwned>(name: &str, content: &str) -> Result<T, Vec<Problem>> {
    let source = Source {
        id: name.to_owned(),
        path: name.into(),
        text: content.to_owned(),
    };
    text(&Arc::new(source)).map_err(|problems| problems.into_iter().map(about_no_scenario).collect())
}

fn text<T: DeserializeOwned>(source: &Arc<Source>) -> Result<T, Vec<Problem>> {
    let mut problems = Vec::new();
    let value = yaml::parse(source, &mut problems).and_then(|mut root| {
        if root.data == Data::Null {
            root.data = Data::Map(Vec::new());
        }
        decode(source, &root, &mut problems)
    });
    problems.sort_by_key(|problem| problem.span.start);
    match value {
        Some(value) if problems.is_empty() => Ok(value),
        _ => Err(problems),
    }
}

/// JSON may be indented with tabs, which stand nowhere else in it; YAML may not.
fn untabbed(source: Arc<Source>) -> Arc<Source> {
    let is_json = source.path.extension().is_some_and(|ending| ending == "json");
    if !is_json || !source.text.contains('\t') {
        return source;
    }
    Arc::new(Source {
        text: source.text.replace('\t', " "),
        ..Source::clone(&source)
    })
}

/// Mends instead of those that are written for scenarios.
const MENDS: [(Code, &str); 5] = [
    (
        Code::YamlFeature,
        "write it out in plain YAML: text, numbers, lists, maps",
    ),
    (Code::DuplicateKey, "keep one of the two"),
    (Code::TooLarge, "write it shorter"),
    (Code::TooDeep, "write it flatter"),
    (Code::NotUtf8, "save it as UTF-8"),
];

/// The problem with a file that is no scenario.
fn about_no_scenario(problem: Problem) -> Problem {
    let mend = MENDS.iter().find(|(code, _)| *code == problem.code);
    problem.help_if(mend.map(|(_, mend)| (*mend).to_owned()))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Tea {
        cups: u8,
        sugar: bool,
    }

    impl Default for Tea {
        fn default() -> Self {
            Self { cups: 1, sugar: true }
        }
    }

    fn read(ending: &str, content: &str) -> Result<Tea, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("tea.{ending}"));
        std::fs::write(&path, content).unwrap();
        load(&path).map_err(|problems| {
            let lines = problems.iter().map(|problem| {
                let (line, column) = problem.source.line_column(problem.span.start);
                format!("{line}:{column} {}: {}", problem.code, problem.message)
            });
            lines.collect::<Vec<_>>().join("\n")
        })
    }

    #[test]
    fn yaml_json_and_nothing_at_all_are_read() {
        let bitter = |cups| Tea { cups, sugar: false };

        let read_yaml = read("yaml", "cups: 2\nsugar: false\n");
        let read_json = read("json", "{\n\t\"cups\": 3,\n\t\"sugar\": false\n}\n");
        let empty = read("yaml", "# nothing yet\n");

        assert_eq!(read_yaml, Ok(bitter(2)));
        assert_eq!(read_json, Ok(bitter(3)));
        assert_eq!(empty, Ok(Tea::default()));
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let wrong = read("yaml", "cups: many\nsugar: no\nlemon: 1\n");

        let told = wrong.unwrap_err();
        let places: Vec<_> = told.lines().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(places, ["1", "2", "3"], "{told}");
    }
}
