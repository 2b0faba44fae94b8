//! The mocks as hosts of a testbed, and what they report as events.

use std::sync::Arc;

use polytab_mocks::{
    Mocks,
    config::{MocksConfig, StubServer},
    control::ControlAccess,
    observation::Observation,
};
use polytab_seams::{
    Seams,
    clock::Clock,
    net::Listen,
    serve::{Limits, serve},
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{network::Network, recorder::Recorder};
use crate::{events::Kind, run::error::RunError};

/// Requests a mock has under way at most.
const CONNECTIONS: usize = 4096;

/// Where the mocks are reached.
#[derive(Clone, Debug)]
pub(crate) struct MockUrls {
    /// Keycloak, without its base path.
    pub keycloak: Url,
    /// The backend, without `/api`.
    pub backend: Url,
    /// GitLab.
    pub gitlab: Url,
}

/// Mocks that listen.
#[derive(Debug)]
pub(crate) struct MockHosts {
    pub(crate) mocks: Mocks,
    pub(crate) urls: MockUrls,
    /// What they take for the time.
    pub(crate) clock: Clock,
    /// Ends the accept loops, and all connections, when dropped.
    _tasks: JoinSet<usize>,
}

/// What the mocks must know of the target.
#[derive(Clone, Debug)]
pub(crate) struct TargetFacts {
    /// Where its pages are.
    pub http_base: Url,
    /// Whether it takes back-channel logouts.
    pub backchannel: bool,
    /// How many times shorter all intervals are.
    pub speed: u32,
}

impl MockHosts {
    /// Mocks in the virtual network.
    pub(crate) fn on_network(network: &Network, facts: &TargetFacts, seams: Seams) -> Self {
        let host = |name: &str| Url::parse(&format!("http://{name}")).expect("a host name makes a URL");
        let urls = MockUrls {
            keycloak: host("keycloak"),
            backend: host("backend"),
            gitlab: host("gitlab"),
        };
        let clock = seams.clock.clone();
        let mocks = Mocks::new(config(&urls, facts), seams);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_mock(network.listen("keycloak"), mocks.keycloak()));
        tasks.spawn(serve_mock(network.listen("backend"), mocks.backend()));
        tasks.spawn(serve_mock(network.listen("gitlab"), mocks.gitlab()));
        Self {
            mocks,
            urls,
            clock,
            _tasks: tasks,
        }
    }

    /// Mocks on TCP ports of the loopback; port 0 takes any free one.
    ///
    /// # Errors
    ///
    /// When a port is taken.
    pub(crate) async fn on_ports(
        ports: [u16; 4],
        facts: &TargetFacts,
        seams: Seams,
    ) -> Result<Self, RunError> {
        let mut listeners = Vec::new();
        for port in ports {
            listeners.push(bind(port).await?);
        }
        let url = |listener: &TcpListener| {
            let port = listener.local_addr().map_or(0, |address| address.port());
            Url::parse(&format!("http://127.0.0.1:{port}")).expect("an address makes a URL")
        };
        let urls = MockUrls {
            keycloak: url(&listeners[0]),
            backend: url(&listeners[1]),
            gitlab: url(&listeners[2]),
        };
        let clock = seams.clock.clone();
        let config = MocksConfig {
            stub_server: StubServer::Wiremock,
            ..config(&urls, facts)
        };
        let mocks = Mocks::new(config, seams);
        let control = mocks.control_for(ControlAccess::default());
        let routers = [mocks.keycloak(), mocks.backend(), mocks.gitlab(), control];
        let mut tasks = JoinSet::new();
        for (listener, router) in listeners.into_iter().zip(routers) {
            tasks.spawn(serve_mock(listener, router));
        }
        Ok(Self {
            mocks,
            urls,
            clock,
            _tasks: tasks,
        })
    }
}

async fn bind(port: u16) -> Result<TcpListener, RunError> {
    TcpListener::bind(("127.0.0.1", port))
        .await
        .map_err(|source| RunError::Port { port, source })
}

fn config(urls: &MockUrls, facts: &TargetFacts) -> MocksConfig {
    let base = facts.http_base.as_str();
    let backchannel = facts
        .backchannel
        .then(|| facts.http_base.join("/auth/backchannel-logout").ok())
        .flatten();
    let mut config = MocksConfig {
        keycloak_url: urls.keycloak.clone(),
        speed: facts.speed,
        ..MocksConfig::default()
    };
    config.client.redirect_uris = vec![format!("{base}*")];
    config.client.backchannel_logout_url = backchannel;
    config
}

async fn serve_mock(listener: impl Listen, router: axum::Router) -> usize {
    let limits = Limits {
        // A kept-alive connection waits for its next head as well, up to a long loop.
        header_read: std::time::Duration::from_mins(5),
        header_bytes: 64 * 1024,
        header_fields: 100,
        connections: CONNECTIONS,
        life: None,
    };
    serve(
        listener,
        router,
        limits,
        (CancellationToken::new(), std::time::Duration::ZERO),
    )
    .await
}

/// Lets the recorder see what the mocks see.
pub(crate) fn observe(mocks: &Mocks, recorder: &Recorder) {
    let recorder = recorder.clone();
    mocks.observe(Arc::new(move |observation: &Observation| {
        if let Some(kind) = kind(observation) {
            recorder.record(kind);
        }
    }));
}

fn kind(observation: &Observation) -> Option<Kind> {
    Some(match observation.clone() {
        Observation::Call {
            id,
            route,
            method,
            path,
            user,
            browser,
            form,
            json,
        } => Kind::Call {
            call: id,
            route: route.to_owned(),
            method,
            path,
            user,
            browser,
            form,
            json: json.map(Value::Object),
        },
        Observation::Answer { id, status, fault } => Kind::Answer {
            call: id,
            status,
            fault,
        },
        Observation::StreamOpened { id, user, topic } => Kind::StreamOpened {
            call: id,
            user: Some(user),
            topic,
        },
        Observation::StreamClosed {
            id,
            user,
            topic,
            reason,
        } => Kind::StreamClosed {
            call: id,
            user: Some(user),
            topic,
            reason,
        },
        Observation::Emitted { topic, event_id } => Kind::Emitted { topic, event_id },
        Observation::Unmatched {
            service,
            method,
            path,
        } => Kind::Notice {
            text: format!("{service} has no route for {method} {path}"),
        },
        Observation::LogoutDelivered {
            user,
            browser,
            status,
        } if !(200..300).contains(&status) => Kind::Notice {
            text: format!("the back-channel logout of {user} in browser {browser} was answered {status}"),
        },
        Observation::HookCalled {
            hook,
            project,
            event_id,
            status,
            ..
        } if !(200..300).contains(&status) => Kind::Notice {
            text: format!("hook {hook} of project {project} was answered {status} to event {event_id}"),
        },
        // The answer names the fault that its call met; a call that is given up has none.
        Observation::FaultFired { .. }
        | Observation::Abandoned { .. }
        | Observation::HookCalled { .. }
        | Observation::LogoutDelivered { .. } => return None,
    })
}
