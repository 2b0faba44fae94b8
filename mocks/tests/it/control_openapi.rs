//! What the control API says of itself: all of it, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{get, mocks, send_json, text};
use polytab_mocks::control;
use serde_json::{Value, json};

const VERBS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// Path, verb, and what is said of it.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let verbs = paths
        .iter()
        .map(|(path, verbs)| (path.as_str(), verbs.as_object().unwrap()));
    verbs
        .flat_map(|(path, verbs)| verbs.iter().map(move |(verb, told)| (path, verb.as_str(), told)))
        .collect()
}

/// Every `$ref` below this value.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get("$ref") {
                found.insert(target);
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn parameters(path: &str) -> BTreeSet<&str> {
    let parts = path.split('/');
    parts
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_document_is_served() {
    let served = get(mocks().control(), "/openapi.json", None).await;

    assert_eq!(served.status, 200);
    assert_eq!(served.json(), control::document());
}

#[tokio::test(start_paused = true)]
async fn each_path_takes_the_verbs_that_are_told_of_it_and_no_others() {
    let document = control::document();
    let told: BTreeSet<_> = operations(&document)
        .into_iter()
        .map(|(path, verb, _)| (path, verb))
        .collect();
    let paths: BTreeSet<_> = told.iter().map(|(path, _)| *path).collect();

    for path in paths {
        for verb in VERBS {
            // No order of this form can be carried out, so that none waits or ends anything.
            let real = path.replace(['{', '}'], "");
            let method = verb.to_uppercase();
            let answer = send_json(mocks().control(), (&method, &real), None, &json!([])).await;

            let is_taken = answer.status != 405;
            assert_eq!(
                is_taken,
                told.contains(&(path, verb)),
                "{method} {path}: {}",
                answer.text
            );
            let is_unknown = answer.text.contains("the control API has no");
            assert!(!is_unknown, "{method} {path}: {}", answer.text);
        }
    }
}

#[test]
fn every_operation_is_told_of_in_full() {
    let document = control::document();
    let mut names = BTreeMap::new();

    for (path, verb, told) in operations(&document) {
        for field in ["summary", "description", "operationId"] {
            assert!(!text(told, field).is_empty(), "{verb} {path}: {field}");
        }
        let twin = names.insert(text(told, "operationId"), path);
        assert_eq!(twin, None, "{verb} {path}: {told}");
        let listed = told["parameters"].as_array().unwrap();
        let in_path: BTreeSet<_> = listed
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| text(parameter, "name"))
            .collect();
        assert_eq!(in_path, parameters(path), "{verb} {path}");
        let are_told = listed
            .iter()
            .all(|parameter| !text(parameter, "description").is_empty());
        assert!(are_told, "{verb} {path}: {listed:?}");
        let responses = told["responses"].as_object().unwrap();
        assert!(
            responses.keys().any(|status| status.starts_with('2')),
            "{verb} {path}"
        );
    }
    assert!(names.len() > 40);
}

#[test]
fn everything_that_is_referred_to_is_there() {
    let document = control::document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);

    assert_eq!(document["openapi"], "3.1.0");
    assert!(found.contains("#/components/responses/Problem"));
    assert!(found.contains("#/components/schemas/State"));
    for target in found {
        let place = target.strip_prefix('#').unwrap();
        assert!(document.pointer(place).is_some(), "{target}");
    }
}

#[test]
fn what_a_problem_is_like_is_told_as_problem_details() {
    let document = control::document();

    let problem = &document["components"]["responses"]["Problem"];
    let schema = &problem["content"]["application/problem+json"]["schema"];
    let fields = document
        .pointer(text(schema, "$ref").strip_prefix('#').unwrap())
        .unwrap();
    assert_eq!(fields["required"], json!(["type", "title", "status", "detail"]));
    let faults = &document["paths"]["/faults"]["post"]["responses"];
    assert_eq!(faults["default"]["$ref"], "#/components/responses/Problem");
    assert_eq!(faults["400"]["$ref"], "#/components/responses/Problem");
}
