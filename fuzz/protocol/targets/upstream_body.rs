//! A body from the backend services: none breaks the reader, and order is never news.

#![no_main]

use libfuzzer_sys::fuzz_target;
use polytab_protocol::sessions::{Activation, SessionsReading};
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    if let Ok(activation) = Activation::from_graph_status(body) {
        assert!(matches!(activation.number(), -408 | -2..=100));
    }
    if let Ok(reading) = SessionsReading::from_v2(body) {
        assert_eq!(
            SessionsReading::from_v2(&reversed(body)).expect("the same list is read"),
            reading
        );
    }
    if let Ok(reading) = SessionsReading::from_v1(body) {
        assert_eq!(
            SessionsReading::from_v1(&reversed(body)).expect("the same object is read"),
            reading
        );
    }
});

/// The same sessions, a list in the other order, written anew.
fn reversed(body: &[u8]) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(body).expect("what was read is JSON");
    if let Value::Array(items) = &mut value {
        items.reverse();
    }
    value.to_string().into_bytes()
}
