//! GitLab's REST API: surfaces that agree, pages, filters, refusals, limits.

use std::{num::NonZeroU32, time::Duration};

use crate::support::{
    Answer, get,
    gitlab::{access, data_lines},
    mocks, mocks_with, send, text,
};
use axum::body::Body;
use http::{Request, header};
use polytab_mocks::{
    config::MocksConfig,
    gitlab::{generate::EventOrder, rate::RateLimit},
};
use polytab_protocol::topic::EventType;
use serde_json::{Value, json};

fn order(event: EventType, payload: Value) -> EventOrder {
    EventOrder {
        payload,
        ..EventOrder::new(event)
    }
}

#[tokio::test(start_paused = true)]
async fn the_events_api_shows_what_the_stream_carries() {
    let gone = "0".repeat(40);
    for (event, patch, action, target) in [
        (EventType::Push, json!({}), Some("pushed to"), json!(null)),
        (
            EventType::Push,
            json!({"after": gone}),
            Some("deleted"),
            json!(null),
        ),
        (EventType::TagPush, json!({}), Some("pushed new"), json!(null)),
        (EventType::Issue, json!({}), Some("opened"), json!("Issue")),
        (
            EventType::Issue,
            json!({"object_attributes": {"action": "close"}}),
            Some("closed"),
            json!("Issue"),
        ),
        (
            EventType::Issue,
            json!({"object_attributes": {"action": "update"}}),
            None,
            json!(null),
        ),
        (
            EventType::MergeRequest,
            json!({"object_attributes": {"action": "merge"}}),
            Some("accepted"),
            json!("MergeRequest"),
        ),
        (EventType::Note, json!({}), Some("commented on"), json!("Note")),
        (EventType::Pipeline, json!({}), None, json!(null)),
        (EventType::Deployment, json!({}), None, json!(null)),
    ] {
        let mocks = mocks();
        let token = access(&mocks).await;
        let id = mocks.generate(42, &order(event, patch)).unwrap().remove(0);

        let items = get(mocks.gitlab(), "/api/v4/projects/42/events", Some(&token))
            .await
            .json();
        let payload: Value = serde_json::from_str(&data_lines(&mocks, &token, &id).await[0]).unwrap();

        let item = &items[0];
        assert_eq!(item["action_name"].as_str(), action, "{event}");
        if action.is_none() {
            continue;
        }
        let attributes = &payload["object_attributes"];
        assert_eq!(item["target_type"], target);
        assert_eq!(item["target_id"], attributes["id"]);
        assert_eq!(item["author_username"], "ada");
        assert_eq!(item["created_at"], "2026-01-01T00:00:00.000Z");
        match event {
            EventType::Note => assert_eq!(item["note"]["body"], attributes["note"]),
            EventType::Push | EventType::TagPush => {
                assert_eq!(item["push_data"]["commit_count"], payload["total_commits_count"]);
                let name = item["push_data"]["ref"].as_str().unwrap();
                assert!(payload["ref"].as_str().unwrap().ends_with(name));
            }
            _ => assert_eq!(item["target_title"], attributes["title"]),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_filtered_by_action_target_and_day() {
    let mocks = mocks();
    mocks.generate(42, &EventOrder::new(EventType::Push)).unwrap();
    tokio::time::advance(Duration::from_hours(24)).await;
    mocks.generate(42, &EventOrder::new(EventType::Issue)).unwrap();
    tokio::time::advance(Duration::from_hours(24)).await;
    let closed = json!({"object_attributes": {"action": "close"}});
    mocks
        .generate(42, &order(EventType::MergeRequest, closed))
        .unwrap();
    let token = access(&mocks).await;

    for (query, actions) in [
        ("", vec!["closed", "opened", "pushed to"]),
        ("sort=asc", vec!["pushed to", "opened", "closed"]),
        ("action=pushed", vec!["pushed to"]),
        ("action=created", vec!["opened"]),
        ("target_type=merge_request", vec!["closed"]),
        ("before=2026-01-02", vec!["pushed to"]),
        ("after=2026-01-01", vec!["closed", "opened"]),
        ("after=2026-01-01&before=2026-01-03", vec!["opened"]),
        ("per_page=1&page=2", vec!["opened"]),
    ] {
        let path = format!("/api/v4/projects/42/events?{query}");
        let items = get(mocks.gitlab(), &path, Some(&token)).await.json();
        let found: Vec<_> = items
            .as_array()
            .unwrap()
            .iter()
            .map(|item| text(item, "action_name"))
            .collect();
        assert_eq!(found, actions, "{query}");
    }
    let refused = get(
        mocks.gitlab(),
        "/api/v4/projects/42/events?before=noon",
        Some(&token),
    )
    .await;
    assert_eq!(
        (refused.status.as_u16(), refused.json()),
        (400, json!({"error": "before is invalid"}))
    );
}

fn shown(answer: &Answer, name: &str) -> String {
    answer.headers[name].to_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages_with_the_headers_that_clients_follow() {
    let mocks = mocks();
    let token = access(&mocks).await;
    let issues = EventOrder {
        n: NonZeroU32::new(45).unwrap(),
        ..EventOrder::new(EventType::Issue)
    };
    mocks.generate(42, &issues).unwrap();
    let list = async |query: &str| {
        let path = format!("/api/v4/projects/42/issues?{query}");
        get(mocks.gitlab(), &path, Some(&token)).await
    };

    for (query, page, next, previous, first) in [
        ("", "1", "2", "", Some(45)),
        ("page=2", "2", "3", "1", Some(25)),
        ("page=3", "3", "", "2", Some(5)),
        ("page=9", "9", "", "8", None),
    ] {
        let answer = list(query).await;

        assert_eq!(answer.json()[0]["iid"].as_u64(), first, "{query}");
        for (name, value) in [
            ("x-page", page),
            ("x-per-page", "20"),
            ("x-total", "45"),
            ("x-total-pages", "3"),
            ("x-next-page", next),
            ("x-prev-page", previous),
        ] {
            assert_eq!(shown(&answer, name), value, "{query} {name}");
        }
    }
    let link = shown(
        &list("state=opened&access_token=secret&per_page=10").await,
        "link",
    );
    assert_eq!(
        link,
        "<http://gitlab/api/v4/projects/42/issues?state=opened&page=2&per_page=10>; rel=\"next\", \
         <http://gitlab/api/v4/projects/42/issues?state=opened&page=1&per_page=10>; rel=\"first\", \
         <http://gitlab/api/v4/projects/42/issues?state=opened&page=5&per_page=10>; rel=\"last\""
    );
    assert_eq!(list("per_page=1000").await.json().as_array().unwrap().len(), 45);
    assert_eq!(list("page=0").await.status, 400);
    assert_eq!(
        list("per_page=x").await.json(),
        json!({"error": "per_page is invalid"})
    );
}

#[tokio::test(start_paused = true)]
async fn lists_show_each_thing_once_as_its_newest_event_left_it() {
    let mocks = mocks();
    let token = access(&mocks).await;
    for (event, patch) in [
        (EventType::Issue, json!({"object_attributes": {"iid": 7}})),
        (
            EventType::Issue,
            json!({"object_attributes": {"iid": 7, "action": "close"}}),
        ),
        (EventType::MergeRequest, json!({})),
        (
            EventType::Pipeline,
            json!({"object_attributes": {"id": 5, "status": "running"}}),
        ),
        (
            EventType::Pipeline,
            json!({"object_attributes": {"id": 5, "status": "failed"}}),
        ),
    ] {
        mocks.generate(42, &order(event, patch)).unwrap();
    }

    for (path, name, values) in [
        ("issues", "state", vec!["closed"]),
        ("issues?state=opened", "state", vec![]),
        ("issues?state=all", "created_at", vec!["2025-12-31T23:00:00.000Z"]),
        ("merge_requests?state=opened", "target_branch", vec!["main"]),
        ("pipelines", "status", vec!["failed"]),
        ("pipelines?status=running", "status", vec![]),
    ] {
        let path = format!("/api/v4/projects/42/{path}");
        let items = get(mocks.gitlab(), &path, Some(&token)).await.json();
        let found: Vec<_> = items
            .as_array()
            .unwrap()
            .iter()
            .map(|item| text(item, name))
            .collect();
        assert_eq!(found, values, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_rest_api_refuses_as_gitlab_does() {
    let mocks = mocks();
    let token = access(&mocks).await;

    for path in ["events", "issues", "pipelines", "merge_requests"] {
        for (project, bearer, status, said) in [
            ("42", None, 401, "401 Unauthorized"),
            ("42", Some("made-up"), 401, "401 Unauthorized"),
            ("7", Some(token.as_str()), 404, "404 Project Not Found"),
        ] {
            let answer = get(
                mocks.gitlab(),
                &format!("/api/v4/projects/{project}/{path}"),
                bearer,
            )
            .await;
            assert_eq!(
                (answer.status.as_u16(), answer.json()),
                (status, json!({"message": said}))
            );
        }
    }
    let nowhere = get(mocks.gitlab(), "/api/v4/nonesuch", Some(&token)).await;
    assert_eq!(nowhere.json(), json!({"error": "404 Not Found"}));
    for path in ["/api/v4/version", "/api/v4/metadata"] {
        assert_eq!(
            get(mocks.gitlab(), path, Some(&token)).await.json()["version"],
            "18.5.0"
        );
        assert_eq!(get(mocks.gitlab(), path, None).await.status, 401);
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_calls_in_a_window_are_told_when_to_come_back() {
    let mocks = mocks_with(MocksConfig {
        gitlab_rate_limit: Some(RateLimit {
            requests: 2,
            per: Duration::from_mins(1),
        }),
        ..MocksConfig::default()
    });
    let token = access(&mocks).await;
    let call = async || get(mocks.gitlab(), "/api/v4/user", Some(&token)).await;

    let answers = [call().await, call().await, call().await];
    let streams = get(mocks.gitlab(), "/project/42/nonsense", Some(&token)).await;
    tokio::time::advance(Duration::from_mins(1)).await;
    let later = call().await;

    assert_eq!(
        answers.each_ref().map(|answer| answer.status.as_u16()),
        [200, 200, 429]
    );
    assert_eq!(answers[2].text, "Retry later\n");
    assert!(shown(&answers[2], header::CONTENT_TYPE.as_str()).starts_with("text/plain"));
    assert_eq!(shown(&answers[2], "retry-after"), "60");
    assert_eq!(
        answers
            .each_ref()
            .map(|answer| shown(answer, "ratelimit-remaining")),
        ["1", "0", "0"]
    );
    assert_eq!(shown(&answers[2], "ratelimit-observed"), "3");
    assert_eq!((streams.status.as_u16(), later.status.as_u16()), (400, 200));
}

#[tokio::test(start_paused = true)]
async fn control_makes_events_with_a_payload_laid_over_full_ones() {
    let mocks = mocks();
    let token = access(&mocks).await;
    let post = async |body: Value| {
        let request = Request::post("/projects/42/events")
            .body(Body::from(body.to_string()))
            .unwrap();
        send(mocks.control(), request).await
    };

    let made =
        post(json!({"type": "issue", "n": 3, "payload": {"object_attributes": {"title": "Mine"}}})).await;

    assert_eq!(made.status.as_u16(), 201);
    let ids = made.json()["ids"].as_array().unwrap().clone();
    assert_eq!(ids.len(), 3);
    let lines = data_lines(&mocks, &token, ids[2].as_str().unwrap()).await;
    for (line, iid) in lines.iter().zip(1..) {
        let payload: Value = serde_json::from_str(line).unwrap();
        assert_eq!(payload["object_attributes"]["title"], "Mine");
        assert_eq!(payload["object_attributes"]["iid"], iid);
    }
    for (body, status) in [
        (json!({"type": "nonsense"}), 400),
        (json!({"type": "issue", "n": 0}), 400),
        (json!({"type": "issue", "n": 1001}), 422),
    ] {
        assert_eq!(post(body.clone()).await.status.as_u16(), status, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn addresses_begin_where_gitlab_is_said_to_be() {
    let mocks = mocks_with(MocksConfig {
        gitlab_url: "https://git.here/".parse().unwrap(),
        ..MocksConfig::default()
    });
    let token = access(&mocks).await;
    let id = mocks.generate(42, &EventOrder::new(EventType::Issue)).unwrap();

    let project = get(mocks.gitlab(), "/api/v4/projects/42", Some(&token))
        .await
        .json();
    let user = get(mocks.gitlab(), "/api/v4/user", Some(&token)).await.json();
    let issues = get(mocks.gitlab(), "/api/v4/projects/42/issues", Some(&token))
        .await
        .json();

    assert_eq!(id.len(), 1);
    assert_eq!(text(&project, "web_url"), "https://git.here/group/project-42");
    assert_eq!(
        text(&project, "ssh_url_to_repo"),
        "git@git.here:group/project-42.git"
    );
    assert_eq!(text(&user, "web_url"), "https://git.here/ada");
    assert_eq!(text(&issues[0]["author"], "web_url"), "https://git.here/ada");
    assert!(text(&issues[0], "web_url").starts_with("https://git.here/group/project-42/-/issues/"));
}
