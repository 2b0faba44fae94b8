//! Sign-ins while Redis is away or full, with a real Redis.

use std::{sync::Arc, time::Duration};

use polytab_protocol::id::UserId;
use polytab_seams::Seams;
use serde_json::json;
use tokio::time::{interval, timeout};
use wiremock::MockServer;

use super::{Credential, Refusal, tests::services};
use crate::{
    config::{Config, Span},
    coordinator::{
        redis_server::{RedisServer, free_port},
        relay,
    },
    host::Host,
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two instances before these services that meet in Redis at this port.
fn two(services: &MockServer, redis_port: u16) -> [Arc<Host>; 2] {
    let redis_url = serde_json::from_value(json!(format!("redis://127.0.0.1:{redis_port}")));
    let config = Config {
        redis_url: Some(redis_url.expect("that is an address")),
        lease: Span(Duration::from_secs(3)),
        ..services::config(services)
    };
    [config.clone(), config].map(|config| Arc::new(Host::new(config, Seams::system())))
}

/// Begins a login session of ada's; gives its cookie.
async fn sign_in(host: &Host) -> Credential {
    let grant = json!({ "access_token": "a", "expires_in": 300, "refresh_token": "r" });
    let grant = serde_json::from_value(grant).expect("that is a grant");
    let (_, cookie) = host.auth.begin(grant, UserId("ada".into()), None).await;
    Credential::Cookie(cookie)
}

/// Shows the credential until the instance lets its tab in, and gives the refusals before.
async fn refusals_until_let_in(host: &Host, credential: &Credential) -> Vec<Refusal> {
    let mut tries = interval(Duration::from_millis(50));
    let mut refusals = Vec::new();
    let trying = async {
        while let Err(refusal) = host.auth.identify(credential).await {
            refusals.push(refusal);
            tries.tick().await;
        }
    };
    timeout(PATIENCE, trying).await.expect("the tab is let in");
    refusals
}

#[tokio::test]
async fn a_sign_in_during_an_outage_is_known_everywhere_once_redis_is_back() {
    let services = services::services().await;
    let port = free_port();
    let [first, second] = two(&services, port);
    let credential = sign_in(&first).await;
    let while_away = second.auth.identify(&credential).await;
    let Some(_redis) = RedisServer::start_at(port) else {
        return;
    };

    let refusals = tokio::select! {
        refusals = refusals_until_let_in(&second, &credential) => refusals,
        never = relay(first) => match never {},
        never = relay(Arc::clone(&second)) => match never {},
    };

    assert_eq!(while_away.err(), Some(Refusal::Unavailable));
    assert!(
        refusals.iter().all(|refusal| *refusal == Refusal::Unavailable),
        "a tab that signed in was told that it did not: {refusals:?}"
    );
}

#[tokio::test]
async fn a_sign_in_while_redis_is_full_is_no_missing_sign_in() {
    let services = services::services().await;
    let Some(redis) = RedisServer::start() else {
        return;
    };
    let [first, second] = two(&services, redis.port);
    redis.set_max_memory("1").await;
    let credential = sign_in(&first).await;

    let while_full = second.auth.identify(&credential).await;

    assert_eq!(while_full.err(), Some(Refusal::Unavailable));
    for host in [&first, &second] {
        let loss = host.reach.loss().expect("the loss was noted").describe();
        assert!(loss.starts_with("the coordinator has refused writes"), "{loss}");
    }
    redis.set_max_memory("0").await;
    let refusals = tokio::select! {
        refusals = refusals_until_let_in(&second, &credential) => refusals,
        never = relay(first) => match never {},
        never = relay(Arc::clone(&second)) => match never {},
    };
    assert!(
        refusals.iter().all(|refusal| *refusal == Refusal::Unavailable),
        "a tab that signed in was told that it did not: {refusals:?}"
    );
}

impl RedisServer {
    /// Sets `maxmemory`; `1` refuses every write, `0` is no limit.
    async fn set_max_memory(&self, bytes: &str) {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).expect("an address");
        let setting = async {
            let mut tries = interval(Duration::from_millis(20));
            let mut connection = loop {
                tries.tick().await;
                if let Ok(connection) = client.get_multiplexed_async_connection().await {
                    break connection;
                }
            };
            let mut command = redis::cmd("CONFIG");
            command.arg("SET").arg("maxmemory").arg(bytes);
            command.exec_async(&mut connection).await
        };
        let set = timeout(PATIENCE, setting).await.expect("it answers soon");
        set.expect("the setting exists");
    }
}
