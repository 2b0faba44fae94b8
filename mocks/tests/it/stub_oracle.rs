//! The mocks' own way with stubs held against wiremock's, over random stubs and requests, answer for answer.

use std::collections::BTreeMap;

use crate::support::{mocks_on, seams};
use axum::{
    Router,
    body::{Body, Bytes},
};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use polytab_mocks::{
    Mocks,
    config::{MocksConfig, StubServer},
    stub::{Service, Stub, StubAnswer, StubRequest},
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};
use tower::ServiceExt;

/// What is asked of both.
#[derive(Clone, Debug)]
struct Asked {
    service: Service,
    verb: &'static str,
    target: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Sent,
}

/// The body of a request.
#[derive(Clone, Debug)]
enum Sent {
    Text(&'static str),
    Json(Value),
    /// What this stub wants, and, if so, a key more in each object.
    Wanted(prop::sample::Index, bool),
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = select(vec![
        json!(null),
        json!(true),
        json!(1),
        json!(1.0),
        json!("1"),
        json!(""),
    ]);
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::Array),
            vec((select(vec!["a", "b"]), inner), 0..3).prop_map(|pairs| pairs
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()),
        ]
    })
}

fn pairs(
    choices: &'static [(&'static str, &'static str)],
) -> impl Strategy<Value = BTreeMap<String, String>> {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    option::weighted(0.3, select(choices)).prop_map(move |pair| pair.into_iter().map(owned).collect())
}

fn request() -> impl Strategy<Value = StubRequest> {
    let path = prop_oneof![
        2 => Just((None, None)),
        3 => select(vec!["/a", "/a/b", "/b%20c", "/"]).prop_map(|path| (Some(path.to_owned()), None)),
        3 => select(vec!["^/a", "b$", "^/a$", "/[ab]", "%20", "^$"]).prop_map(|path| (None, Some(path.to_owned()))),
    ];
    (
        option::weighted(0.5, select(vec!["GET", "post", "Patch"])),
        path,
        pairs(&[("x", "1"), ("x", "2"), ("y", "a b"), ("", "")]),
        pairs(&[
            ("x-a", "1"),
            ("X-A", "1, 2"),
            ("x-a", ""),
            ("accept", "text/html"),
        ]),
        option::weighted(0.3, value()),
    )
        .prop_map(|(method, (path, path_regex), query, headers, json)| StubRequest {
            method: method.map(str::to_owned),
            path,
            path_regex,
            query,
            headers,
            json,
        })
}

fn answer() -> impl Strategy<Value = StubAnswer> {
    let body = prop_oneof![
        Just((None, None)),
        value().prop_map(|json| (Some(json), None)),
        select(vec!["", "grün\n"]).prop_map(|text| (None, Some(text.to_owned()))),
    ];
    let headers = pairs(&[
        ("x-b", "1, 2"),
        ("Content-Type", "application/problem+json"),
        ("location", "/elsewhere"),
        ("set-cookie", "a=b; Path=/"),
    ]);
    (select(vec![200, 201, 302, 404, 418, 503]), headers, body).prop_map(|(status, headers, (json, text))| {
        StubAnswer {
            status,
            headers,
            json,
            text,
            delay: None,
        }
    })
}

fn stub() -> impl Strategy<Value = Stub> {
    (
        option::weighted(0.4, select(vec![Service::Backend, Service::Gitlab])),
        request(),
        answer(),
        option::weighted(0.5, 1_u32..3),
        select(vec![1, 5, 5, 255]),
    )
        .prop_map(|(service, request, answer, times, priority)| Stub {
            service,
            request,
            answer,
            times,
            priority,
        })
}

fn asked() -> impl Strategy<Value = Asked> {
    let body = prop_oneof![
        2 => select(vec!["", "{", "{\"a\": 1} x"]).prop_map(Sent::Text),
        2 => value().prop_map(Sent::Json),
        2 => any::<(prop::sample::Index, bool)>().prop_map(|(stub, more)| Sent::Wanted(stub, more)),
    ];
    (
        select(vec![Service::Backend, Service::Gitlab, Service::Keycloak]),
        select(vec!["GET", "POST", "PATCH"]),
        select(vec![
            "/",
            "/a",
            "/A",
            "/a/",
            "/a/b",
            "/b%20c",
            "/a/../a",
            "//a",
            "/a?x=1",
            "/a?x=2&x=1",
            "/a?y=a+b",
            "/a/b?y=a%20b",
            "/b?",
            "/a?=&x",
            "/a?X=1",
        ]),
        vec(
            select(vec![
                ("x-a", "1"),
                ("x-a", "1,2"),
                ("x-a", "2"),
                ("x-a", ""),
                ("accept", "text/html"),
            ]),
            0..3,
        ),
        body,
    )
        .prop_map(|(service, verb, target, headers, body)| Asked {
            service,
            verb,
            target,
            headers,
            body,
        })
}

/// The same with a key more in each object.
fn grown(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(grown).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| (key.clone(), grown(value)));
            fields.chain([("more".to_owned(), json!(1))]).collect()
        }
        leaf => leaf.clone(),
    }
}

fn body(asked: &Asked, stubs: &[Stub]) -> String {
    match &asked.body {
        Sent::Text(text) => (*text).to_owned(),
        Sent::Json(value) => value.to_string(),
        Sent::Wanted(stub, more) => {
            let wanted = stub.get(stubs).request.json.clone().unwrap_or_default();
            if *more { grown(&wanted) } else { wanted }.to_string()
        }
    }
}

fn router(mocks: &Mocks, service: Service) -> Router {
    match service {
        Service::Keycloak => mocks.keycloak(),
        Service::Backend => mocks.backend(),
        Service::Gitlab => mocks.gitlab(),
        Service::Gateway => mocks.gateway(),
    }
}

/// Status, headers and body of an answer, without what a server adds of itself.
type Heard = (StatusCode, Vec<(String, String)>, Bytes);

async fn ask(mocks: &Mocks, asked: &Asked, body: String) -> Heard {
    let mut request = Request::builder().method(asked.verb).uri(asked.target);
    for (name, value) in &asked.headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body)).unwrap();
    let (head, body) = router(mocks, asked.service)
        .oneshot(request)
        .await
        .unwrap()
        .into_parts();
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let mut headers: Vec<_> = headers
        .filter(|(name, _)| name != "date" && name != "content-length")
        .collect();
    headers.sort();
    (head.status, headers, body.collect().await.unwrap().to_bytes())
}

fn mocks(stub_server: StubServer) -> Mocks {
    let config = MocksConfig {
        stub_server,
        ..MocksConfig::default()
    };
    mocks_on(seams(), config)
}

/// What both make of the requests, one after the other, and what they say of it afterwards.
fn check(stubs: &[Stub], requests: &[Asked], pair: &[Mocks; 2]) -> [(Vec<Heard>, String); 2] {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut both = Vec::new();
        for mocks in pair {
            mocks.reset(seams());
            mocks.put_stubs(stubs.to_vec()).unwrap();
            let mut heard = Vec::new();
            for asked in requests {
                heard.push(ask(mocks, asked, body(asked, stubs)).await);
            }
            let said = format!(
                "{:?} {:?} {:?}",
                mocks.stubs(),
                mocks.unused_stubs(),
                mocks.unmatched()
            );
            both.push((heard, said));
        }
        both.try_into().unwrap()
    })
}

#[test]
fn the_mocks_and_wiremock_give_the_same_answers() {
    let cases = ProptestConfig {
        cases: 200,
        ..ProptestConfig::default()
    };
    proptest!(cases, |(stubs in vec(stub(), 1..6), requests in vec(asked(), 1..10))| {
        // A new pair for each case: connections of one runtime are of no use in the next.
        let pair = [mocks(StubServer::InProcess), mocks(StubServer::Wiremock)];

        let [own, wiremock] = check(&stubs, &requests, &pair);

        prop_assert_eq!(own, wiremock);
    });
}
