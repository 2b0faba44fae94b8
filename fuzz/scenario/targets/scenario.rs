//! A scenario file: none breaks the reader, and what is wrong has a place inside the file and a mend.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use polytab::scenario::{load, problem::render, source::Source};

fuzz_target!(|text: &str| {
    let source = Arc::new(Source {
        path: "hostile.tabs.yaml".into(),
        text: text.to_owned(),
        ..Source::default()
    });

    let (scenarios, problems) = load::text(&source, &["backend.sessions", "keycloak.token"]);

    assert!(scenarios.is_empty() || problems.is_empty());
    for problem in problems {
        assert!(problem.span.start <= problem.span.end && problem.span.end <= problem.source.text.len());
        // What people see, with the line around the place.
        assert!(!render(&problem, false, 100).is_empty());
    }
});
