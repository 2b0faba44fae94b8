//! GitLab's event streams as readers meet them: resumed anywhere, misbehaving on order, over for good.

use std::time::Duration;

use crate::support::{get, gitlab::access, mocks, mocks_with, send};
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use polytab_mocks::{
    Mocks, config::MocksConfig, fault::action::FaultAction, gitlab::fault::GitlabFault, order::FaultOrder,
    seen::CallMatch,
};
use polytab_protocol::event_stream::{Decoder, Item, StreamEvent};
use serde_json::{Value, json};
use tower::ServiceExt;

/// An open stream.
struct Stream(Body);

impl Stream {
    /// Opens a stream of issues that goes on after the event `last`.
    async fn open(mocks: &Mocks, token: &str, last: &str) -> Self {
        let request = Request::get("/project/42/issue")
            .header("private-token", token)
            .header("last-event-id", last);
        let answer = mocks
            .gitlab()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        Self(answer.into_body())
    }

    /// The chunks that are there without waiting, and whether more may follow.
    async fn chunks(&mut self) -> (Vec<Vec<u8>>, bool) {
        let mut chunks = Vec::new();
        while let Ok(frame) = tokio::time::timeout(Duration::from_millis(1), self.0.frame()).await {
            let Some(Ok(frame)) = frame else {
                return (chunks, false);
            };
            chunks.push(frame.into_data().unwrap().to_vec());
        }
        (chunks, true)
    }
}

fn decoded(chunks: &[impl AsRef<[u8]>]) -> Vec<StreamEvent> {
    let mut decoder = Decoder::new(1 << 16);
    let items = chunks.iter().flat_map(|chunk| decoder.push(chunk.as_ref()));
    items
        .filter_map(|item| match item {
            Item::Event(event) => Some(event),
            Item::Retry(_) | Item::Comment | Item::TooLong { .. } => None,
        })
        .collect()
}

fn emit(mocks: &Mocks, n: u32) -> String {
    mocks.emit(
        "/project/42/issue".parse().unwrap(),
        &json!({"n": n, "text": "a 😀 é"}),
    )
}

/// The id before the first event.
fn origin(first: &str) -> String {
    format!("{}-0", first.split_once('-').unwrap().0)
}

async fn control(mocks: &Mocks, method: &str, path: &str) -> StatusCode {
    let request = Request::builder().method(method).uri(path);
    send(mocks.control(), request.body(Body::empty()).unwrap())
        .await
        .status
}

#[tokio::test(start_paused = true)]
async fn a_stream_cut_at_any_byte_and_resumed_loses_nothing_and_doubles_nothing() {
    let mocks = mocks();
    let token = access(&mocks).await;
    let ids: Vec<_> = (1..=10).map(|n| emit(&mocks, n)).collect();
    let recorded = Stream::open(&mocks, &token, &origin(&ids[0]))
        .await
        .chunks()
        .await
        .0;
    let recorded = recorded.concat();
    let whole = decoded(&[&recorded]);
    assert_eq!(
        whole.iter().map(|event| &event.id).collect::<Vec<_>>(),
        ids.iter().collect::<Vec<_>>()
    );

    for cut in 0..=recorded.len() {
        let mut seen = decoded(&[&recorded[..cut]]);
        let last = seen
            .last()
            .map_or_else(|| origin(&ids[0]), |event| event.id.clone());
        let rest = Stream::open(&mocks, &token, &last).await.chunks().await.0;
        seen.extend(decoded(&rest));

        assert_eq!(seen, whole, "cut at {cut}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_fault_of_streams_does_to_one_event_what_its_name_says() {
    for (fault, numbers) in [
        (GitlabFault::Gap, vec![2, 3]),
        (GitlabFault::Duplicate, vec![1, 1, 2, 3]),
        (GitlabFault::Reorder, vec![2, 1, 3]),
        (GitlabFault::ResetEvent, vec![0, 1, 2, 3]),
        (GitlabFault::SplitUtf8, vec![1, 2, 3]),
        (GitlabFault::Bom, vec![1, 2, 3]),
        (GitlabFault::CrlfMix, vec![1, 2, 3]),
    ] {
        for is_live in [false, true] {
            let mocks = mocks();
            let token = access(&mocks).await;
            let first = emit(&mocks, 0);
            mocks
                .arm(FaultOrder {
                    on: CallMatch::of("gitlab.stream").by(Some("ada".into())),
                    ..FaultOrder::on("gitlab", FaultAction::Gitlab(fault)).times(1)
                })
                .unwrap();

            let emit_all = || (1..=3).for_each(|n| drop(emit(&mocks, n)));
            if !is_live {
                emit_all();
            }
            let mut stream = Stream::open(&mocks, &token, &first).await;
            if is_live {
                emit_all();
            }
            let (chunks, goes_on) = stream.chunks().await;

            let number = |event: &StreamEvent| {
                serde_json::from_str::<Value>(&event.data).unwrap()["n"]
                    .as_u64()
                    .unwrap_or(0)
            };
            let found: Vec<_> = decoded(&chunks).iter().map(number).collect();
            assert_eq!(
                (found, goes_on),
                (numbers.clone(), true),
                "{fault}, live: {is_live}"
            );
            assert!(mocks.unused_faults().is_empty(), "{fault}");
            assert_eq!(
                chunks[0].starts_with("\u{feff}".as_bytes()),
                fault == GitlabFault::Bom
            );
            let is_split = chunks.iter().any(|chunk| std::str::from_utf8(chunk).is_err());
            assert_eq!(is_split, fault == GitlabFault::SplitUtf8);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_be_dropped_stalled_reset_or_given_a_gap_on_order() {
    let reset = "reset";
    for (verb, events, goes_on) in [
        ("drop", vec![], false),
        ("stall", vec![], true),
        ("reset", vec![reset, "issue", "issue"], true),
        ("gap", vec!["issue"], true),
        ("revoke", vec![], false),
    ] {
        let mocks = mocks();
        let token = access(&mocks).await;
        let last = emit(&mocks, 0);
        let mut stream = Stream::open(&mocks, &token, &last).await;
        stream.chunks().await;
        let open = get(mocks.control(), "/streams", None).await.json();

        let path = format!("/streams/{}/{verb}", open[0]["id"]);
        let status = control(&mocks, "POST", &path).await;
        emit(&mocks, 1);
        emit(&mocks, 2);

        let (chunks, still) = stream.chunks().await;
        let found = decoded(&chunks);
        let found: Vec<_> = found.iter().map(|event| event.event.as_str()).collect();
        assert_eq!((status.as_u16(), found, still), (204, events, goes_on), "{verb}");
        let reopened = get(mocks.gitlab(), "/api/v4/user", Some(&token)).await.status;
        assert_eq!(reopened.as_u16(), if verb == "revoke" { 401 } else { 200 });
    }
    assert_eq!(control(&mocks(), "POST", "/streams/99/drop").await.as_u16(), 404);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_stream_sends_no_heart_beat() {
    let mocks = mocks();
    let token = access(&mocks).await;
    let mut stream = Stream::open(&mocks, &token, "").await;
    stream.chunks().await;
    let open = get(mocks.control(), "/streams", None).await.json();
    control(&mocks, "POST", &format!("/streams/{}/stall", open[0]["id"])).await;

    let silence = tokio::time::timeout(Duration::from_mins(5), stream.0.frame()).await;

    assert!(silence.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_for_good_tells_readers_to_stay_away() {
    for order in ["/projects/42", "/streams"] {
        let mocks = mocks();
        let token = access(&mocks).await;
        let mut stream = Stream::open(&mocks, &token, "").await;
        stream.chunks().await;

        control(&mocks, "DELETE", order).await;

        assert_eq!(stream.chunks().await, (vec![], false), "{order}");
        for (path, bearer, status) in [
            ("/project/42/issue", Some(token.as_str()), 204),
            ("/project/42?types=issue,push", Some(&token), 204),
            ("/project/42/issue", None, 401),
            ("/project/7/issue", Some(&token), 404),
        ] {
            assert_eq!(
                get(mocks.gitlab(), path, bearer).await.status,
                status,
                "{order} {path}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_revokes_itself_ends_its_streams_and_is_refused_then() {
    let mocks = mocks();
    let (token, other) = (access(&mocks).await, access(&mocks).await);
    let mut stream = Stream::open(&mocks, &token, "").await;
    stream.chunks().await;

    let request = Request::delete("/api/v4/personal_access_tokens/self").header("private-token", &token);
    let revoked = send(mocks.gitlab(), request.body(Body::empty()).unwrap()).await;

    assert_eq!(revoked.status.as_u16(), 204);
    assert_eq!(stream.chunks().await, (vec![], false));
    for (token, status) in [(&token, 401), (&other, 200)] {
        assert_eq!(
            get(mocks.gitlab(), "/api/v4/projects/42", Some(token))
                .await
                .status,
            status
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_journal_says_why_a_stream_is_over_and_what_it_carried() {
    let mocks = mocks_with(MocksConfig {
        stream_queue: 2,
        ..MocksConfig::default()
    });
    let token = access(&mocks).await;
    let _unread = Stream::open(&mocks, &token, "").await;
    drop(Stream::open(&mocks, &token, "").await);

    for n in 1..=3 {
        emit(&mocks, n);
    }

    let journal = get(mocks.control(), "/journal?route=gitlab.stream", None)
        .await
        .json();
    assert_eq!(journal[0]["stream_end"], "slow reader");
    assert_eq!(journal[0]["stream_events"], 3);
    assert_eq!(journal[1]["stream_end"], "reader left");
    assert_eq!(journal[1]["stream_events"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_project_may_be_named_by_its_path() {
    let mocks = mocks();
    let token = access(&mocks).await;

    for path in ["/api/v4/projects/group%2Fproject-42", "/api/v4/projects/42"] {
        assert_eq!(get(mocks.gitlab(), path, Some(&token)).await.json()["id"], 42);
    }
    for (path, status) in [("group%2Fproject-42", 400), ("group%2Fproject-7", 404)] {
        // An unknown type is told only to who may see the project: first the type, as GitLab checks parameters.
        let types = if status == 400 { "nonsense" } else { "issue" };
        let path = format!("/api/v4/projects/{path}/events/stream?types={types}");
        assert_eq!(get(mocks.gitlab(), &path, Some(&token)).await.status, status);
    }
}
