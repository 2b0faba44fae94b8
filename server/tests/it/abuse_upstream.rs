//! Services that send the server elsewhere: it goes nowhere but where its settings say.

use std::time::Duration;

use polytab_server::{Config, Span};
use serde_json::json;
use tokio::{
    net::TcpStream,
    time::{interval, timeout},
};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use crate::{
    services::{config, services, token},
    support::{PATIENCE, with_server},
    wire::{Seen, Tab, command, text},
};

/// Where a redirect leads: the same server would record it.
const ELSEWHERE: &str = "/elsewhere";

/// Answers this route with a redirect.
async fn redirect(services: &MockServer, route: &str) {
    let there = format!("{}{ELSEWHERE}", services.uri());
    Mock::given(path(route))
        .respond_with(ResponseTemplate::new(302).insert_header("location", there))
        .with_priority(1)
        .mount(services)
        .await;
}

/// How often a path was asked for.
async fn asked(services: &MockServer, path: &str) -> usize {
    let all = services.received_requests().await.expect("requests are recorded");
    all.iter().filter(|request| request.url.path() == path).count()
}

#[tokio::test]
async fn no_redirect_of_a_service_is_followed() {
    const SESSIONS: &str = "/api/data/sessions";
    let services = services().await;
    let token = token(&services, "ada");
    redirect(&services, SESSIONS).await;
    redirect(&services, "/project/1/push").await;
    let config = Config {
        start_delay: Span(Duration::from_millis(1)),
        short_loop: Span(Duration::from_millis(20)),
        ..config(&services)
    };
    with_server(config, async |address| {
        let mut tab = Tab::open(address, &token).await;
        tab.send(&text(&command("pullSessionStatusV2", &json!({})))).await;

        let polled_twice = async {
            let mut looks = interval(Duration::from_millis(10));
            while asked(&services, SESSIONS).await < 2 {
                looks.tick().await;
            }
        };
        timeout(PATIENCE, polled_twice)
            .await
            .expect("the backend is asked");
        tab.send(&text(&command(
            "subscribe",
            &json!({ "topic": "/project/1/push" }),
        )))
        .await;

        let first = tab.seen().await;
        assert!(
            matches!(&first, Seen::Text(error) if error["code"] == "upstream_unavailable"),
            "{first:?}"
        );
    })
    .await;

    assert_eq!(asked(&services, ELSEWHERE).await, 0);
}

#[tokio::test]
async fn no_redirect_of_the_identity_provider_is_followed() {
    for route in ["/auth/realms/Renku/.well-known/openid-configuration", "/certs"] {
        let services = services().await;
        let token = token(&services, "ada");
        redirect(&services, route).await;
        with_server(config(&services), async |address| {
            let stream = TcpStream::connect(address).await.expect("the server listens");
            let mut tab = Tab::upgraded(stream, &token).await;

            let told = tab.seen().await;
            assert!(
                matches!(&told, Seen::Text(error) if error["code"] == "auth_unavailable"),
                "{told:?}"
            );
            assert_eq!(tab.seen().await, Seen::Close(4503));
        })
        .await;

        assert_eq!(asked(&services, route).await, 1);
        assert_eq!(asked(&services, ELSEWHERE).await, 0);
    }
}

#[tokio::test]
async fn an_event_that_is_too_long_is_left_out_and_not_asked_for_again() {
    const STREAM: &str = "/project/1/push";
    let services = services().await;
    let token = token(&services, "ada");
    let config = Config {
        stream_retry: Span(Duration::from_millis(20)),
        ..config(&services)
    };
    let long = "a".repeat(config.event_bytes);
    let events = format!(
        "id: 1\ndata: {{\"a\":\"{long}\"}}\n\nid: 2\ndata: {{\"b\":1}}\n\nid: 3\ndata: {{\"a\":\"{long}\"}}\n\n"
    );
    Mock::given(path(STREAM))
        .respond_with(ResponseTemplate::new(200).set_body_raw(events, "text/event-stream"))
        .mount(&services)
        .await;
    with_server(config, async |address| {
        let mut tab = Tab::open(address, &token).await;

        let ack = tab
            .asked(&command("subscribe", &json!({ "topic": STREAM })))
            .await;
        let event = tab.seen().await;

        assert!(matches!(&ack, Seen::Text(ack) if ack["type"] == "ack"), "{ack:?}");
        assert!(
            matches!(&event, Seen::Text(event) if event["data"]["b"] == 1 && event["eventId"] == "2"),
            "{event:?}"
        );
        let again = async {
            let mut looks = interval(Duration::from_millis(10));
            while asked(&services, STREAM).await < 2 {
                looks.tick().await;
            }
        };
        timeout(PATIENCE, again)
            .await
            .expect("the stream is opened again");
    })
    .await;

    let all = services.received_requests().await.expect("requests are recorded");
    let second = all.iter().filter(|request| request.url.path() == STREAM).nth(1);
    let last = second.and_then(|request| request.headers.get("last-event-id"));
    assert_eq!(last.expect("it goes on from an event"), "3");
}
