//! Login sessions before a provider that answers over HTTP, on the wall clock.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use polytab_protocol::id::{LoginSessionId, UserId};
use polytab_seams::Seams;
use serde_json::{Value, json};
use tokio::sync::Notify;
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{body_string_contains, path},
};

use super::{Credential, Refusal};
use crate::{
    channel::event::Validity,
    config::{Config, Span},
    coordinator::{Memory, Spans},
    host::Host,
};

#[path = "../../tests/it/services.rs"]
pub(super) mod services;

use services::{config, in_an_hour, services, signed, token};

/// An instance before these services.
fn alone(services: &MockServer) -> Host {
    let config = Config {
        upstream_timeout: Span(Duration::from_secs(30)),
        ..config(services)
    };
    Host::new(config, Seams::system())
}

/// Two instances that meet.
fn two(services: &MockServer) -> [Host; 2] {
    let spans = Spans {
        lease: Duration::from_secs(12),
        window: Duration::from_mins(2),
        answer: Duration::from_secs(1),
        letters: 9,
    };
    let first = Memory::new("a", spans);
    let second = first.beside("b");
    [first, second].map(|place| {
        let mut host = alone(services);
        let auth = Arc::get_mut(&mut host.auth).unwrap();
        auth.coordinator = Arc::new(place);
        host
    })
}

/// Begins a login session of ada's whose access token lives so many seconds; gives its name and its cookie.
async fn begun(host: &Host, expires_in: i64) -> (LoginSessionId, String) {
    let grant = json!({ "access_token": "t0", "expires_in": expires_in, "refresh_token": "r0" });
    let grant = serde_json::from_value(grant).unwrap();
    host.auth.begin(grant, UserId("ada".into()), None).await
}

/// The provider gives `t<next>` for this refresh token, once, and says when it is asked.
async fn refreshes(services: &MockServer, next: u32) -> Arc<Notify> {
    let asked = Arc::new(Notify::new());
    let tell = Arc::clone(&asked);
    let answer = json!({
        "access_token": format!("t{next}"), "expires_in": 300, "refresh_token": format!("r{next}"),
    });
    Mock::given(path("/token"))
        .and(body_string_contains(format!("refresh_token=r{}", next - 1)))
        .respond_with(move |_: &Request| {
            tell.notify_one();
            ResponseTemplate::new(200)
                .set_body_json(&answer)
                .set_delay(Duration::from_millis(50))
        })
        .up_to_n_times(1)
        .mount(services)
        .await;
    asked
}

/// Any other refresh token was used before.
async fn refuses_the_rest(services: &MockServer) {
    let refusal = json!({ "error": "invalid_grant", "error_description": "Stale token" });
    Mock::given(path("/token"))
        .respond_with(ResponseTemplate::new(400).set_body_json(refusal))
        .with_priority(8)
        .mount(services)
        .await;
}

async fn shown(host: &Host, cookie: &str) -> Result<UserId, Refusal> {
    let known = host.auth.identify(&Credential::Cookie(cookie.to_owned())).await;
    known.map(|(user, _)| user)
}

async fn bearer(host: &Host, token: &str) -> Result<UserId, Refusal> {
    let known = host.auth.identify(&Credential::Bearer(token.to_owned())).await;
    known.map(|(user, _)| user)
}

#[tokio::test]
async fn who_signs_out_during_a_refresh_stays_signed_out_at_every_instance() {
    let services = services().await;
    let asked = refreshes(&services, 1).await;
    let [a, b] = two(&services);
    let (id, cookie) = begun(&a, 5).await;

    let signing_out = async {
        asked.notified().await;
        b.auth.sign_out(&cookie).await.map(|(ended, _)| ended)
    };
    let (refreshed, ended) = tokio::join!(a.auth.check(&id), signing_out);

    assert_eq!(ended, Some(id));
    assert_eq!(refreshed, Validity::Over);
    assert_eq!(shown(&a, &cookie).await, Err(Refusal::Missing));
    assert_eq!(shown(&b, &cookie).await, Err(Refusal::Missing));
}

#[tokio::test]
async fn who_signs_out_during_a_refresh_stays_signed_out_at_the_only_instance() {
    let services = services().await;
    let asked = refreshes(&services, 1).await;
    let host = alone(&services);
    let (id, cookie) = begun(&host, 5).await;

    let signing_out = async {
        asked.notified().await;
        host.auth.sign_out(&cookie).await.map(|(ended, _)| ended)
    };
    let (refreshed, ended) = tokio::join!(host.auth.check(&id), signing_out);

    assert_eq!(ended, Some(id));
    assert_eq!(refreshed, Validity::Over);
}

#[tokio::test]
async fn tokens_of_before_a_refresh_do_not_replace_those_of_after_it() {
    let services = services().await;
    refreshes(&services, 1).await;
    refuses_the_rest(&services).await;
    let [a, b] = two(&services);
    let (id, cookie) = begun(&a, 5).await;
    assert!(matches!(b.auth.recall(&cookie).await, Ok(Some(_))));
    let stale = b.auth.sessions.get(&id, b.seams.clock.wall()).unwrap();

    assert_eq!(a.auth.check(&id).await, Validity::Valid);
    // As after the coordinator was found again: what this instance has is to be shared anew.
    stale.kept.store(0, Ordering::Release);
    let validity = b.auth.check(&id).await;

    assert_eq!(validity, Validity::Valid);
    assert_eq!(b.auth.token(&id).as_deref(), Some("t1"));
    assert_eq!(a.auth.token(&id).as_deref(), Some("t1"));
}

#[tokio::test]
async fn a_refresh_goes_on_when_nobody_waits_for_it_any_more() {
    let services = services().await;
    let asked = refreshes(&services, 1).await;
    refuses_the_rest(&services).await;
    let [host, other] = two(&services);
    let (id, _) = begun(&host, 5).await;

    tokio::select! {
        biased;
        () = asked.notified() => {}
        validity = host.auth.check(&id) => panic!("{validity:?} before it was asked for"),
    }
    host.tasks.close();
    host.tasks.wait().await;

    assert_eq!(host.auth.token(&id).as_deref(), Some("t1"));
    let lock = other.auth.coordinator.lock(&id.0, Duration::from_secs(1)).await;
    assert!(matches!(lock, Ok(true)), "another may refresh it");
}

/// A token of this key, whose signature nobody can check.
fn of_key(kid: &str) -> String {
    let token = signed(&json!({}));
    let (_, rest) = token.split_once('.').unwrap();
    let header = json!({ "alg": "RS256", "kid": kid }).to_string();
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header))
}

#[tokio::test]
async fn tokens_of_known_keys_do_not_wait_while_unknown_ones_are_looked_for() {
    let services = services().await;
    let host = alone(&services);
    assert_eq!(
        bearer(&host, &token(&services, "ada")).await,
        Ok(UserId("ada".into()))
    );
    host.auth.provider.may_fetch_keys_again();
    let asked = Arc::new(Notify::new());
    let tell = Arc::clone(&asked);
    Mock::given(path("/certs"))
        .respond_with(move |_: &Request| {
            tell.notify_one();
            ResponseTemplate::new(503).set_delay(Duration::from_secs(5))
        })
        .expect(1)
        .mount(&services)
        .await;
    let bogus: Vec<_> = (0..3).map(|nth| of_key(&format!("bogus-{nth}"))).collect();

    let looked_for = join_all(bogus.iter().map(|token| bearer(&host, token)));
    let known = async {
        asked.notified().await;
        bearer(&host, &token(&services, "bob")).await
    };
    tokio::pin!(looked_for);
    let known = tokio::select! {
        biased;
        known = known => known,
        refused = &mut looked_for => panic!("{refused:?} before a known one"),
    };

    assert_eq!(known, Ok(UserId("bob".into())));
    // One call for all of them, and none was said to be bad: nobody knows.
    assert_eq!(looked_for.await, vec![Err(Refusal::Unavailable); 3]);
}

#[tokio::test]
async fn a_token_is_refused_only_by_keys_that_were_fetched_after_it_came() {
    let services = services().await;
    let host = alone(&services);
    assert_eq!(bearer(&host, &of_key("bogus")).await, Err(Refusal::Expired));

    // It may be signed with a key of which this server may not ask yet.
    let too_soon = bearer(&host, &of_key("new")).await;
    host.auth.provider.may_fetch_keys_again();
    let asked = bearer(&host, &of_key("new")).await;

    assert_eq!(
        (too_soon, asked),
        (Err(Refusal::Unavailable), Err(Refusal::Expired))
    );
}

/// A token for ada with these claims more.
fn claiming(services: &MockServer, more: &Value) -> String {
    let mut claims = json!({
        "iss": format!("{}/auth/realms/Renku", services.uri()),
        "aud": "renku-ui",
        "azp": "renku-ui",
        "sub": "ada",
        "exp": in_an_hour(),
    });
    let more = more.as_object().unwrap().clone();
    claims.as_object_mut().unwrap().extend(more);
    signed(&claims)
}

#[tokio::test]
async fn a_revoked_token_is_never_let_in_and_asked_about_once() {
    let services = services().await;
    Mock::given(path("/introspect"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "active": false })))
        .expect(2)
        .mount(&services)
        .await;
    let host = alone(&services);
    // The other expires so soon that a session of a browser would be refreshed.
    let revoked = [
        token(&services, "ada"),
        claiming(&services, &json!({ "exp": in_an_hour() - 3600 + 9 })),
    ];

    for token in &revoked {
        let tries = [bearer(&host, token).await, bearer(&host, token).await];

        assert_eq!(tries, [Err(Refusal::Expired), Err(Refusal::Expired)]);
    }
}

#[tokio::test]
async fn an_introspection_without_an_answer_lets_no_first_tab_in() {
    let services = services().await;
    Mock::given(path("/introspect"))
        .respond_with(ResponseTemplate::new(500))
        .up_to_n_times(1)
        .with_priority(1)
        .mount(&services)
        .await;
    let host = alone(&services);
    let token = token(&services, "ada");

    let unanswered = bearer(&host, &token).await;
    let answered = bearer(&host, &token).await;

    assert_eq!(unanswered, Err(Refusal::Unavailable));
    assert_eq!(answered.map(|user| user.0), Ok("ada".to_owned()));
}

#[tokio::test]
async fn a_token_of_a_withdrawn_key_is_refused_once_the_keys_are_old() {
    let services = services().await;
    let host = alone(&services);
    assert!(bearer(&host, &token(&services, "ada")).await.is_ok());
    Mock::given(path("/certs"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "keys": [] })))
        .with_priority(1)
        .mount(&services)
        .await;

    let while_fresh = bearer(&host, &token(&services, "bob")).await;
    host.auth.provider.age_keys();
    let when_old = bearer(&host, &token(&services, "eve")).await;

    assert!(while_fresh.is_ok());
    assert_eq!(when_old, Err(Refusal::Expired));
}

#[tokio::test]
async fn only_access_tokens_are_taken_as_such() {
    let services = services().await;
    let host = alone(&services);
    let logout = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });

    for more in [
        json!({ "typ": "ID" }),
        json!({ "nonce": "n" }),
        json!({ "typ": "Logout", "events": logout }),
        json!({ "events": logout }),
        json!({ "typ": "Refresh" }),
    ] {
        assert_eq!(
            bearer(&host, &claiming(&services, &more)).await,
            Err(Refusal::Expired),
            "{more}"
        );
    }
    for more in [json!({ "typ": "Bearer" }), json!({})] {
        assert!(bearer(&host, &claiming(&services, &more)).await.is_ok(), "{more}");
    }
}

/// What is logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self, word: &str) -> usize {
        let text = self.0.lock().unwrap();
        String::from_utf8_lossy(&text)
            .lines()
            .filter(|line| line.contains(word))
            .count()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_absence_of_the_provider_is_logged_when_it_begins_and_when_it_is_over() {
    let services = services().await;
    Mock::given(path("/token"))
        .respond_with(ResponseTemplate::new(503))
        .up_to_n_times(3)
        .with_priority(1)
        .mount(&services)
        .await;
    refreshes(&services, 1).await;
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .finish();
    let _shown = tracing::subscriber::set_default(subscriber);
    let host = alone(&services);
    let (id, _) = begun(&host, 5).await;

    for _ in 0..3 {
        assert_eq!(host.auth.check(&id).await, Validity::Valid);
    }
    let warned = log.lines("WARN");
    assert_eq!(host.auth.check(&id).await, Validity::Valid);

    assert_eq!((warned, log.lines("WARN"), log.lines("again")), (1, 1, 1));
}
