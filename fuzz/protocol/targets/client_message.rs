//! A text frame from a tab: what is taken survives a round trip, and what an error repeats of it is bounded.

#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use polytab_protocol::message::{ClientMessage, ECHO_LIMIT, excerpt};

/// The longest text of an error about a frame, in bytes: the parser's words and a place, none of the frame.
const ERROR_BYTES: usize = 128;

fuzz_target!(|text: &str| {
    assert!(excerpt(text).chars().count() <= ECHO_LIMIT);
    match text.parse::<ClientMessage>() {
        Ok(message) => {
            assert!(excerpt(&message.kind).chars().count() <= ECHO_LIMIT);
            let again = message.encode(Timestamp::UNIX_EPOCH).parse::<ClientMessage>();
            assert_eq!(again.expect("what was encoded is read"), message);
        }
        Err(error) => assert!(error.to_string().len() <= ERROR_BYTES, "{error}"),
    }
});
