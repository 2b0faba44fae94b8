//! The mocks as a process of their own: listeners, one line when they are ready, a clean stop.

use std::{path::PathBuf, sync::Arc, time::Duration};

use polytab_seams::{
    Seams,
    net::{Dial, TcpDial},
    random::Random,
    serve::{Limits, serve},
    tls::{
        certificate::Identity,
        dial::{TlsDial, Trust},
        listen::TlsListen,
    },
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    Mocks,
    control::ControlAccess,
    settings::Settings,
    start::{Origin, Place, Plan, Service, StartError, Tls, bind},
    state::UserState,
};

/// Connections of one mock at once; a process has 20,000 descriptors on common systems.
const CONNECTIONS: usize = 4096;
/// How long calls under way may take once it is time to stop.
const GRACE: Duration = Duration::from_secs(1);
/// How long a peer may take to agree on keys: several round trips around the world.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// Mocks that listen, and where.
#[derive(Debug)]
pub struct Standalone {
    mocks: Mocks,
    listeners: Vec<(Place, TcpListener)>,
    identity: Option<Identity>,
    /// Where the certificate of the authority is that clients have to trust.
    ca_file: Option<PathBuf>,
    dial: Arc<dyn Dial>,
    origin: Origin,
    access: ControlAccess,
    notes: Vec<&'static str>,
}

impl Standalone {
    /// Takes the ports.
    ///
    /// # Errors
    ///
    /// When settings contradict each other, a file is not what it should be, or a port is taken.
    pub async fn bind(settings: &Settings) -> Result<Self, StartError> {
        let plan = Plan::new(settings)?;
        let mut seams = Seams::system();
        let (identity, authority_pem) = plan.identity(seams.clock.wall())?;
        let mut listeners = Vec::new();
        for place in &plan.places {
            let listener = bind(plan.listen, *place).await?;
            let port = listener.local_addr().map_or(place.port, |address| address.port());
            listeners.push((Place { port, ..*place }, listener));
        }
        let dial: Arc<dyn Dial> = match &identity {
            Some(identity) => {
                let trust = Trust::system().and(identity.authority().clone());
                Arc::new(TlsDial::new(TcpDial, trust))
            }
            None => Arc::clone(&seams.dial),
        };
        seams.dial = Arc::clone(&dial);
        if let Some(seed) = settings.seed {
            seams.random = Random::seeded(seed);
        }
        let bound: Vec<_> = listeners.iter().map(|(place, _)| *place).collect();
        let mut config = plan.config(settings, &bound)?;
        for name in settings
            .users
            .as_deref()
            .unwrap_or(&["ada", "bob"].map(str::to_owned))
        {
            let user = UserState {
                password: Some(format!("password-of-{name}")),
                ..UserState::default()
            };
            config.preset.users.insert(name.clone(), user);
        }
        let mocks = Mocks::start(config, seams)?;
        let mut ca_file = None;
        if let (Tls::Made { ca_out: Some(path) }, Some(pem)) = (&plan.tls, authority_pem) {
            std::fs::write(path, pem).map_err(|source| StartError::Unwritten {
                path: path.clone(),
                source,
            })?;
            ca_file = Some(path.clone());
        }
        Ok(Self {
            mocks,
            listeners,
            identity,
            ca_file,
            dial,
            notes: plan.notes(),
            access: plan.control_access(),
            origin: plan.origin,
        })
    }

    /// What they are over, to be ordered without HTTP.
    pub fn mocks(&self) -> &Mocks {
        &self.mocks
    }

    /// What whoever started the process waits for: one line, for people.
    pub fn ready_line(&self) -> String {
        let urls = self.urls();
        let mut parts: Vec<_> = urls
            .map(|(service, url)| format!("{} {url}", service.name()))
            .collect();
        let ca_file = self.ca_file.as_deref();
        parts.extend(ca_file.map(|path| format!("CA certificate {}", path.display())));
        parts.extend(
            self.access
                .token
                .iter()
                .map(|token| format!("control token {token}")),
        );
        format!("ready: {}", parts.join(", "))
    }

    /// The same for machines: one line of JSON.
    pub fn ready_json(&self) -> Value {
        let mut line = json!({ "type": "ready" });
        for (service, url) in self.urls() {
            line[service.name()] = url.into();
        }
        if self.has(Service::Keycloak) {
            let config = &self.mocks.0.config;
            line["issuer"] = config.issuer().into();
            line["client_id"] = config.client.client_id.clone().into();
            // A secret that everybody knows, and so none.
            line["client_secret"] = config.client.secret.clone().into();
        }
        if let Some(token) = &self.access.token {
            line["control_token"] = token.clone().into();
        }
        if let Some(path) = &self.ca_file {
            line["ca_file"] = path.display().to_string().into();
        }
        line
    }

    /// What somebody who reads the line should know beside it.
    pub fn notes(&self) -> &[&'static str] {
        &self.notes
    }

    /// What a server must be told: issuer, backend, GitLab.
    pub fn settings(&self) -> [String; 3] {
        let url = |wanted| {
            let found = self.urls().find(|(service, _)| *service == wanted);
            found.map_or_else(String::new, |(_, url)| url)
        };
        [
            self.mocks.0.config.issuer(),
            format!("{}/api", url(Service::Backend)),
            url(Service::Gitlab),
        ]
    }

    /// The secret of the server's client; for tests only, and so no secret.
    pub fn client_secret(&self) -> &str {
        self.mocks.0.config.client.secret.as_deref().unwrap_or_default()
    }

    /// The certificate that the mocks show, if they speak https.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Dials as the mocks do: it trusts their own certificate.
    pub fn dial(&self) -> Arc<dyn Dial> {
        Arc::clone(&self.dial)
    }

    /// Serves until `stop`.
    pub async fn serve(self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        for (place, listener) in self.listeners {
            let router = match place.service {
                Service::Keycloak => self.mocks.keycloak(),
                Service::Backend => self.mocks.backend(),
                Service::Gitlab => self.mocks.gitlab(),
                Service::Control => self.mocks.control_for(self.access.clone()),
                Service::Gateway => self.mocks.gateway(),
            };
            let ends = (stop.clone(), GRACE);
            match &self.identity {
                Some(identity) => {
                    let listener = TlsListen::new(listener, identity, HANDSHAKE);
                    tasks.spawn(serve(listener, router, LIMITS, ends))
                }
                None => tasks.spawn(serve(listener, router, LIMITS, ends)),
            };
        }
        // An accept loop ends with `stop` and cannot fail.
        tasks.join_all().await;
    }

    fn has(&self, service: Service) -> bool {
        self.listeners.iter().any(|(place, _)| place.service == service)
    }

    /// Under what each mock that listens is reached.
    fn urls(&self) -> impl Iterator<Item = (Service, String)> {
        let places = self.listeners.iter().map(|(place, _)| place);
        places.map(|place| (place.service, self.origin.url(place.port)))
    }
}

/// Bounds of each listener.
const LIMITS: Limits = Limits {
    // A kept-alive connection waits for its next head as well, up to a long loop.
    header_read: Duration::from_mins(5),
    header_bytes: 64 * 1024,
    header_fields: 100,
    connections: CONNECTIONS,
    life: None,
};
