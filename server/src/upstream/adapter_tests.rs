//! The upstream clients against real HTTP, on the wall clock.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use polytab_protocol::{id::LoginSessionId, message::ErrorCode, sessions::Activation, topic::Topic};
use polytab_seams::Seams;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{body_string_contains, header, method, path},
};

use crate::{
    channel::event::{Came, Question, Reading, SessionsKind, StreamNews, Validity, Wanted},
    config::{Config, Span},
    host::Host,
    metrics::Call,
};

const TOKEN: &str = "an-access-token";

/// A host whose services are all one wiremock server.
async fn host(server: &MockServer) -> Arc<Host> {
    patient_host(server, "1m").await
}

/// One that waits so long for an answer.
async fn patient_host(server: &MockServer, patience: &str) -> Arc<Host> {
    let values = [
        (
            "oidc_issuer",
            json!(format!("{}/auth/realms/Renku", server.uri())),
        ),
        ("backend_url", json!(format!("{}/api", server.uri()))),
        ("gitlab_url", json!(server.uri())),
        ("upstream_timeout", json!(patience)),
        ("stream_retry", json!("10ms")),
        ("upstream_body_bytes", json!(1000)),
    ];
    let values: BTreeMap<_, _> = values
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    let discovery = json!({
        "issuer": format!("{}/auth/realms/Renku", server.uri()),
        "authorization_endpoint": format!("{}/auth", server.uri()),
        "token_endpoint": format!("{}/token", server.uri()),
        "introspection_endpoint": format!("{}/introspect", server.uri()),
        "jwks_uri": format!("{}/certs", server.uri()),
    });
    Mock::given(path("/auth/realms/Renku/.well-known/openid-configuration"))
        .respond_with(ResponseTemplate::new(200).set_body_json(discovery))
        .mount(server)
        .await;
    Arc::new(Host::new(Config::from_values(&values).unwrap(), Seams::system()))
}

/// A login session whose access token lives so many seconds.
async fn session(host: &Host, expires_in: i64) -> LoginSessionId {
    let grant = json!({ "access_token": TOKEN, "expires_in": expires_in, "refresh_token": "r1" });
    let begun = host.auth.begin(
        serde_json::from_value(grant).unwrap(),
        polytab_protocol::id::UserId("ada".into()),
        None,
    );
    begun.await.0
}

async fn sessions(host: &Host) -> Option<polytab_protocol::sessions::SessionsReading> {
    match host
        .backend
        .ask(Question::Sessions(SessionsKind::V2), TOKEN)
        .await
    {
        Reading::Sessions(_, reading) => reading,
        Reading::Activation(_) => unreachable!("sessions were asked for"),
    }
}

#[tokio::test]
async fn sessions_are_asked_for_with_the_users_token() {
    let server = MockServer::start().await;
    let host = host(&server).await;
    Mock::given(method("GET"))
        .and(path("/api/data/sessions"))
        .and(header("authorization", format!("Bearer {TOKEN}").as_str()))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!([{ "name": "a" }])))
        .expect(1)
        .mount(&server)
        .await;

    assert!(sessions(&host).await.is_some());
}

/// How many calls of a route went so, as metrics count them.
fn counted(host: &Host, route: &'static str, result: &'static str) -> u64 {
    host.metrics.calls.get_or_create(&Call { route, result }).get()
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_is_none_and_counted_as_what_it_is() {
    for (answer, result) in [
        (ResponseTemplate::new(401), "refused"),
        (ResponseTemplate::new(403), "refused"),
        (ResponseTemplate::new(500), "unusable"),
        (ResponseTemplate::new(200).set_body_string("<html>"), "unusable"),
        (
            ResponseTemplate::new(200).set_body_string(format!("[\"{}\"]", "x".repeat(2000))),
            "unusable",
        ),
        (
            ResponseTemplate::new(302).insert_header("location", "/api/data/elsewhere"),
            "unusable",
        ),
    ] {
        let server = MockServer::start().await;
        let host = host(&server).await;
        Mock::given(path("/api/data/sessions"))
            .respond_with(answer.clone())
            .expect(1)
            .mount(&server)
            .await;

        assert!(sessions(&host).await.is_none());

        assert_eq!(counted(&host, "sessions_v2", result), 1, "{answer:?}");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_none_and_counted_as_failed() {
    let server = MockServer::start().await;
    let host = patient_host(&server, "200ms").await;
    Mock::given(path("/api/data/sessions"))
        .respond_with(ResponseTemplate::new(200).set_delay(Duration::from_mins(1)))
        .expect(1)
        .mount(&server)
        .await;

    assert!(sessions(&host).await.is_none());

    assert_eq!(counted(&host, "sessions_v2", "failed"), 1);
}

#[tokio::test]
async fn each_project_has_an_answer_of_its_own() {
    let server = MockServer::start().await;
    let host = host(&server).await;
    for (project, answer) in [
        (
            1,
            ResponseTemplate::new(200).set_body_json(json!({ "progress": { "percentage": 40 } })),
        ),
        (2, ResponseTemplate::new(404)),
        (3, ResponseTemplate::new(403)),
        (4, ResponseTemplate::new(500)),
    ] {
        let route = format!("/api/projects/{project}/graph/status");
        Mock::given(path(route))
            .respond_with(answer)
            .expect(1)
            .mount(&server)
            .await;
    }

    let Reading::Activation(learned) = host
        .backend
        .ask(Question::Activation((1..=4).collect()), TOKEN)
        .await
    else {
        unreachable!("activation was asked for")
    };

    assert_eq!(
        learned,
        BTreeMap::from([(1, Activation::Percent(40)), (3, Activation::Failed)])
    );
}

/// What a stream told, until it told as much as this or was over.
async fn told(host: &Arc<Host>, count: usize) -> Vec<String> {
    told_of(host, count, false).await
}

/// The same of a stream that GitLab accepted before, or did not.
async fn told_of(host: &Arc<Host>, count: usize, accepted: bool) -> Vec<String> {
    let topic: Topic = "/project/42/push".parse().unwrap();
    let wanted = Wanted {
        topic,
        session: session(host, 300).await,
        last_event: Some("e-1".into()),
        accepted,
    };
    let (sender, mut news) = mpsc::channel(8);
    let holding = host.gitlab.hold(&host.auth, wanted, |item| {
        let sender = sender.clone();
        async move { sender.send(item).await.is_ok() }
    });
    let listening = async {
        let mut words = Vec::new();
        while words.len() < count
            && let Some(item) = news.recv().await
        {
            words.push(match item {
                StreamNews::Accepted(_) => "accepted".to_owned(),
                StreamNews::Reset => "reset".to_owned(),
                StreamNews::Refused(code) => return vec![format!("refused {}", code.as_str())],
                StreamNews::Event(Came { id, payload }) => format!("{id} {payload}"),
            });
        }
        words
    };
    // What was told last may still wait when the stream is given up.
    let for_ever = async {
        holding.await;
        std::future::pending::<()>().await;
    };
    // Far longer than anything told takes.
    let listening = tokio::time::timeout(Duration::from_secs(20), listening);
    tokio::select! {
        biased;
        words = listening => words.expect("a stream tells what is waited for"),
        () = for_ever => Vec::new(),
    }
}

fn stream(text: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(text.to_owned(), "text/event-stream; charset=utf-8")
}

#[tokio::test]
async fn a_stream_goes_on_after_the_last_event_it_saw() {
    let server = MockServer::start().await;
    let host = host(&server).await;
    for (last, text) in [
        ("e-1", "retry: 5\n\nid: e-2\ndata: {\"n\":2}\n\n"),
        ("e-2", "id: e-3\ndata: {\"n\":3}\n\n"),
    ] {
        Mock::given(path("/project/42/push"))
            .and(header("last-event-id", last))
            .and(header("authorization", format!("Bearer {TOKEN}").as_str()))
            .respond_with(stream(text))
            .up_to_n_times(1)
            .expect(1)
            .mount(&server)
            .await;
    }

    assert_eq!(
        told(&host, 4).await,
        ["accepted", "e-2 {\"n\":2}", "accepted", "e-3 {\"n\":3}"]
    );
}

#[tokio::test]
async fn that_gitlab_lost_events_is_told_and_nothing_before_it_is_asked_for() {
    let server = MockServer::start().await;
    let host = host(&server).await;
    Mock::given(path("/project/42/push"))
        .and(header("last-event-id", "e-1"))
        .respond_with(stream("event: reset\ndata: {}\n\n"))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(path("/project/42/push"))
        .and(|request: &Request| !request.headers.contains_key("last-event-id"))
        .respond_with(stream("id: f-1\ndata: {\"n\":1}\n\n"))
        .mount(&server)
        .await;

    assert_eq!(
        told(&host, 4).await,
        ["accepted", "reset", "accepted", "f-1 {\"n\":1}"]
    );
}

#[tokio::test]
async fn a_stream_that_was_accepted_before_outlasts_an_answer_that_is_none() {
    let server = MockServer::start().await;
    let host = host(&server).await;
    for (answer, times) in [
        (ResponseTemplate::new(503), 1),
        (stream("id: e-2\ndata: {\"n\":2}\n\n"), 9),
    ] {
        Mock::given(path("/project/42/push"))
            .respond_with(answer)
            .up_to_n_times(times)
            .mount(&server)
            .await;
    }

    assert_eq!(told_of(&host, 2, true).await, ["accepted", "e-2 {\"n\":2}"]);
}

#[tokio::test]
async fn an_event_id_that_no_header_can_carry_silences_no_topic() {
    let long = "x".repeat(4096);
    for id in ["\u{1}", "\u{7f}", "é", &long] {
        let server = MockServer::start().await;
        let host = host(&server).await;
        for (answer, times) in [
            (format!("id: {id}\ndata: {{\"n\":2}}\n\n"), 1),
            (String::new(), 99),
        ] {
            Mock::given(path("/project/42/push"))
                .respond_with(ResponseTemplate::new(200).set_body_raw(answer, "text/event-stream"))
                .up_to_n_times(times)
                .mount(&server)
                .await;
        }

        let told = told(&host, 3).await;

        let shown = if id == long { "" } else { id };
        assert_eq!(
            told,
            ["accepted", &format!("{shown} {{\"n\":2}}"), "accepted"],
            "{id:?}"
        );
        let requests = server.received_requests().await.unwrap_or_default();
        let sent = requests
            .iter()
            .filter_map(|request| request.headers.get("last-event-id"));
        // What was to come next in the stream is better asked for by the last id that can be than by none.
        assert!(
            sent.map(http::HeaderValue::as_bytes)
                .all(|sent| sent == b"e-1" || sent == id.as_bytes())
        );
    }
}

/// Answers every connection with an event stream whose first line goes on until the peer leaves.
async fn serve_endless_line(listener: TcpListener) {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ";
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        // An answer before its request would break the connection.
        stream.read_u8().await.unwrap();
        stream.write_all(HEAD).await.unwrap();
        while stream.write_all(b"xxxxxxxx").await.is_ok() {
            ticks.tick().await;
        }
    }
}

#[tokio::test]
async fn a_stream_whose_line_never_ends_is_cut_and_opened_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = MockServer::start().await;
    let mut config = host(&server).await.config.clone();
    config.gitlab_url = format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    config.stream_silence = Span(Duration::from_millis(100));
    let host = Arc::new(Host::new(config, Seams::system()));

    let told = tokio::select! {
        told = told(&host, 3) => told,
        () = serve_endless_line(listener) => unreachable!("it serves for ever"),
    };

    assert_eq!(told, ["accepted", "accepted", "accepted"]);
}

#[tokio::test]
async fn a_stream_that_is_cut_at_once_is_not_opened_in_a_loop() {
    let server = MockServer::start().await;
    let host = host(&server).await;
    Mock::given(path("/project/42/push"))
        .respond_with(stream("retry: 0\n\n"))
        .mount(&server)
        .await;
    let begun = tokio::time::Instant::now();

    told(&host, 4).await;

    // Three waits of `stream_retry` between four.
    assert!(begun.elapsed() >= Duration::from_millis(30));
}

#[tokio::test]
async fn a_stream_that_cannot_be_had_says_why() {
    use ErrorCode::{Forbidden, UpstreamUnavailable};
    let no_stream = ResponseTemplate::new(200).set_body_json(json!({}));
    for (answer, code, result, calls) in [
        (ResponseTemplate::new(404), Forbidden, "refused", 1),
        (ResponseTemplate::new(403), Forbidden, "refused", 1),
        // Of a session that stands: it is asked again before it is believed.
        (ResponseTemplate::new(401), Forbidden, "refused", 3),
        // The stream has ended for good.
        (ResponseTemplate::new(204), UpstreamUnavailable, "refused", 1),
        (ResponseTemplate::new(500), UpstreamUnavailable, "unusable", 1),
        (no_stream, UpstreamUnavailable, "unusable", 1),
    ] {
        let server = MockServer::start().await;
        let host = host(&server).await;
        Mock::given(path("/project/42/push"))
            .respond_with(answer)
            .mount(&server)
            .await;

        assert_eq!(told(&host, 1).await, [format!("refused {}", code.as_str())]);

        assert_eq!(counted(&host, "event_stream", result), calls);
    }
}

#[tokio::test]
async fn a_token_is_refreshed_once_however_many_ask() {
    let server = MockServer::start().await;
    let host = host(&server).await;
    let fresh = json!({ "access_token": "fresh", "expires_in": 300, "refresh_token": "r2" });
    Mock::given(path("/token"))
        .and(body_string_contains("refresh_token=r1"))
        .respond_with(
            ResponseTemplate::new(200)
                .set_body_json(fresh)
                .set_delay(Duration::from_millis(20)),
        )
        .expect(1)
        .mount(&server)
        .await;
    let id = session(&host, 5).await;

    let all = tokio::join!(host.auth.check(&id), host.auth.check(&id), host.auth.check(&id));

    assert_eq!(all, (Validity::Valid, Validity::Valid, Validity::Valid));
    assert_eq!(host.auth.token(&id).as_deref(), Some("fresh"));
}

#[tokio::test]
async fn only_a_refused_grant_ends_a_login_session() {
    let refusal = |error: &str| json!({ "error": error, "error_description": "Session not active" });
    for (answer, expires_in, validity) in [
        (
            ResponseTemplate::new(400).set_body_json(refusal("invalid_grant")),
            5,
            Validity::Over,
        ),
        (
            ResponseTemplate::new(401).set_body_json(refusal("unauthorized_client")),
            5,
            Validity::Valid,
        ),
        (ResponseTemplate::new(503), 5, Validity::Valid),
        (ResponseTemplate::new(503), 0, Validity::Unknown),
        (
            ResponseTemplate::new(200).set_body_string("?"),
            0,
            Validity::Unknown,
        ),
    ] {
        let server = MockServer::start().await;
        let host = host(&server).await;
        Mock::given(path("/token"))
            .respond_with(answer)
            .expect(1)
            .mount(&server)
            .await;
        let id = session(&host, expires_in).await;

        assert_eq!(host.auth.check(&id).await, validity);
    }
}
