//! A load profile: none breaks the reader, and what is wrong has a place inside the file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use polytab::{
    load::profile::Profile,
    scenario::{document, problem::render},
};

fuzz_target!(|text: &str| {
    let read = document::parse::<Profile>("hostile.load.yaml", text);

    for problem in read.err().into_iter().flatten() {
        assert!(problem.span.start <= problem.span.end && problem.span.end <= problem.source.text.len());
        // What people see, with the line around the place.
        assert!(!render(&problem, false, 100).is_empty());
    }
});
