//! Where a run takes place: mocks, network, clock and the server under test, on the virtual clock, over TCP, or beside
//! a server that is not ours.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use polytab_mocks::{Mocks, config::MocksConfig};
use polytab_seams::{
    Seams,
    clock::Clock,
    net::{Dial, TcpDial},
    random::Random,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use super::{
    bed::BedPlan,
    mocks::{MockHosts, TargetFacts},
    network::{Network, Travel},
    server::{Place, ServerProcess},
};
use crate::{
    run::error::RunError,
    scenario::model::{Capability, Scenario},
    target::Target,
};

/// The first moment of every virtual run.
const EPOCH: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// Where a run takes place.
pub(super) struct Ground {
    pub(super) mocks: Mocks,
    pub(super) own_hosts: Option<MockHosts>,
    pub(super) tab_dial: Arc<dyn Dial>,
    pub(super) clock: Clock,
    pub(super) server: Option<ServerProcess>,
    pub(super) ws_url: Url,
}

pub(super) fn virtual_ground(scenario: &Scenario, plan: &BedPlan, random: &Random) -> Ground {
    let travel = Travel {
        latency: Duration::from_millis(1),
        jitter: Duration::from_millis(2),
        random: random.clone(),
    };
    let network = Network::new(travel);
    let clock = Clock::derived(EPOCH, 1);
    let seams = |host: &str| Seams {
        clock: clock.clone(),
        random: random.clone(),
        dial: network.dial_from(host),
    };
    let ws_url = Url::parse("ws://server/ui-server/ws").expect("the URL is fixed");
    let hosts = MockHosts::on_network(&network, &facts(&plan.target, &ws_url), seams("mocks"));
    let settings = settings(scenario, &hosts, &ws_url);
    let place = Place::Virtual(network.clone());
    let server = ServerProcess::new(place, settings, plan.target.speed, seams("server"));
    Ground {
        mocks: hosts.mocks.clone(),
        own_hosts: Some(hosts),
        tab_dial: network.dial_from("tabs"),
        server: Some(server),
        ws_url,
        clock,
    }
}

pub(super) async fn tcp_ground(
    scenario: &Scenario,
    plan: &BedPlan,
    random: &Random,
) -> Result<Ground, RunError> {
    let clock = Clock::derived(EPOCH, plan.target.speed);
    let seams = Seams {
        clock: clock.clone(),
        random: random.clone(),
        dial: Arc::new(TcpDial),
    };
    let port = free_port().await?;
    let ws_url = Url::parse(&format!("ws://127.0.0.1:{port}/ui-server/ws")).expect("an address makes a URL");
    let hosts = MockHosts::on_ports([0; 4], &facts(&plan.target, &ws_url), seams.clone()).await?;
    let settings = settings(scenario, &hosts, &ws_url);
    let server = ServerProcess::new(Place::Tcp(port), settings, plan.target.speed, seams);
    Ok(Ground {
        mocks: hosts.mocks.clone(),
        own_hosts: Some(hosts),
        tab_dial: Arc::new(TcpDial),
        server: Some(server),
        ws_url,
        clock,
    })
}

pub(super) fn foreign_ground(hosts: &MockHosts, url: &Url, random: &Random) -> Ground {
    let clock = hosts.clock.clone();
    hosts.mocks.reset(Seams {
        clock: clock.clone(),
        random: random.clone(),
        dial: Arc::new(TcpDial),
    });
    let mocks = hosts.mocks.clone();
    let tab_dial: Arc<dyn Dial> = Arc::new(TcpDial);
    Ground {
        mocks,
        own_hosts: None,
        tab_dial,
        clock,
        server: None,
        ws_url: url.clone(),
    }
}

/// Ports that systems do not give to connections by themselves (Linux: `ip_local_port_range` begins at 32,768), so
/// that none takes the server's while it is away.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// How many of them are tried.
const PORT_TRIES: usize = 100;

/// The next port to try: in turn, so that no two scenarios that start at once are given the same, from one by chance,
/// for the sake of other processes.
fn next_port() -> u16 {
    static NEXT: LazyLock<AtomicU64> =
        LazyLock::new(|| AtomicU64::new(Random::system().below("port", u64::from(u16::MAX))));
    let nth = NEXT.fetch_add(1, Ordering::Relaxed) % PORTS.len() as u64;
    PORTS.start + u16::try_from(nth).unwrap_or(0)
}

/// A port of the loopback that was free a moment ago: the server's address must be known before it starts, and stay
/// the same over its restarts.
async fn free_port() -> Result<u16, RunError> {
    let mut taken = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..PORT_TRIES {
        let port = next_port();
        match TcpListener::bind(("127.0.0.1", port)).await {
            Ok(_) => return Ok(port),
            Err(error) => taken = error,
        }
    }
    let port = PORTS.start;
    Err(RunError::Port { port, source: taken })
}

/// What the mocks must know of this target.
pub(crate) fn facts(target: &Target, ws_url: &Url) -> TargetFacts {
    TargetFacts {
        http_base: http_base(ws_url),
        backchannel: target.capabilities.contains(&Capability::BackchannelLogout),
        speed: target.speed,
    }
}

/// Where the target's pages are: its WebSocket's host, over HTTP.
pub(super) fn http_base(ws_url: &Url) -> Url {
    let mut url = ws_url.clone();
    let scheme = if ws_url.scheme() == "wss" { "https" } else { "http" };
    // Both pairs are of the same class of scheme, which is all that could be refused.
    url.set_scheme(scheme).ok();
    url.set_path("/");
    url.set_query(None);
    url
}

fn settings(scenario: &Scenario, hosts: &MockHosts, ws_url: &Url) -> BTreeMap<String, Value> {
    let base = http_base(ws_url);
    let at = |url: &Url, path: &str| json!(format!("{}{path}", url.as_str().trim_end_matches('/')));
    let mut settings = BTreeMap::from([
        ("public_url".to_owned(), at(&base, "")),
        (
            "oidc_issuer".to_owned(),
            at(&hosts.urls.keycloak, "/auth/realms/Renku"),
        ),
        ("oidc_client_id".to_owned(), json!("renku-ui")),
        (
            "oidc_client_secret".to_owned(),
            json!(MocksConfig::default().client.secret),
        ),
        ("backend_url".to_owned(), at(&hosts.urls.backend, "/api")),
        ("gitlab_url".to_owned(), at(&hosts.urls.gitlab, "")),
    ]);
    for (key, value) in &scenario.file.server {
        let own = match (key.as_str(), value.as_str()) {
            ("oidc_issuer", Some(path)) => on_mock(&hosts.urls.keycloak, path),
            ("backend_url", Some(path)) => on_mock(&hosts.urls.backend, path),
            ("gitlab_url", Some(path)) => on_mock(&hosts.urls.gitlab, path),
            _ => None,
        };
        settings.insert(key.clone(), own.unwrap_or_else(|| value.clone()));
    }
    settings
}

/// A path stands for that place on the mock, whose address no scenario knows.
fn on_mock(mock: &Url, path: &str) -> Option<Value> {
    let at = format!("{}{path}", mock.as_str().trim_end_matches('/'));
    path.starts_with('/').then(|| json!(at))
}
