//! A topic: no two texts name one, so that nothing but what it prints can reach a URL.

#![no_main]

use libfuzzer_sys::fuzz_target;
use polytab_protocol::topic::Topic;

fuzz_target!(|text: &str| {
    if let Ok(topic) = text.parse::<Topic>() {
        assert_eq!(topic.to_string(), text);
    }
});
