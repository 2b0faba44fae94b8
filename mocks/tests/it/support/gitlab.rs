//! What GitLab's mock tells of a project, read back.

use std::time::Duration;

use axum::body::Body;
use http::Request;
use polytab_mocks::{Mocks, gitlab::generate::EventOrder};
use polytab_protocol::topic::EventType;
use serde_json::Value;

use super::{get, mocks, send, text, tokens};

/// A token of ada's.
pub(crate) async fn access(mocks: &Mocks) -> String {
    text(&tokens(mocks).await, "access_token").to_owned()
}

/// The payload that a fresh GitLab makes for such an event, as the stream carries it.
pub(crate) async fn streamed(event: EventType) -> Value {
    let mocks = mocks();
    let token = access(&mocks).await;
    let id = mocks.generate(42, &EventOrder::new(event)).unwrap().remove(0);
    serde_json::from_str(&data_lines(&mocks, &token, &id).await[0]).unwrap()
}

/// The `data:` lines of all events up to the one with this id.
pub(crate) async fn data_lines(mocks: &Mocks, token: &str, last: &str) -> Vec<String> {
    let types: Vec<_> = EventType::ALL.iter().map(|event| event.as_str()).collect();
    let origin = format!("{}-0", last.split_once('-').unwrap().0);
    let path = format!("/project/42?types={}&last_event_id={origin}", types.join(","));
    // The stream is over at once for good, and so can be read to its end.
    let reading = get(mocks.gitlab(), &path, Some(token));
    tokio::pin!(reading);
    assert!(
        tokio::time::timeout(Duration::from_millis(1), &mut reading)
            .await
            .is_err()
    );
    let cut = Request::delete("/streams").body(Body::empty()).unwrap();
    send(mocks.control(), cut).await;
    let text = reading.await.text;
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(str::to_owned)
        .collect()
}
