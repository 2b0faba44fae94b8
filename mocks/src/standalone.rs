//! The mocks as a process of their own: five listeners, one line when they are ready, a clean stop.

use std::{net::IpAddr, time::Duration};

use anyhow::Context;
use polytab_seams::{
    Seams,
    random::Random,
    serve::{Limits, serve},
};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    Mocks,
    config::{GatewayConfig, MocksConfig},
    state::UserState,
};

/// Connections of one mock at once; a process has 20,000 descriptors on common systems.
const CONNECTIONS: usize = 4096;
/// How long calls under way may take once it is time to stop.
const GRACE: Duration = Duration::from_secs(1);

/// Where the mocks listen and who is known to them.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1", env = "POLYTAB_MOCK_LISTEN")]
    pub listen: IpAddr,
    /// Port of Keycloak; 0 takes a free one, for the others as well.
    #[arg(long, default_value_t = 7081, env = "POLYTAB_MOCK_KEYCLOAK_PORT")]
    pub keycloak_port: u16,
    /// Port of the backend services.
    #[arg(long, default_value_t = 7082, env = "POLYTAB_MOCK_BACKEND_PORT")]
    pub backend_port: u16,
    /// Port of GitLab.
    #[arg(long, default_value_t = 7083, env = "POLYTAB_MOCK_GITLAB_PORT")]
    pub gitlab_port: u16,
    /// Port of the control API.
    #[arg(long, default_value_t = 7084, env = "POLYTAB_MOCK_CONTROL_PORT")]
    pub control_port: u16,
    /// Port of the gateway.
    #[arg(long, default_value_t = 7085, env = "POLYTAB_MOCK_GATEWAY_PORT")]
    pub gateway_port: u16,
    /// Users known from the start; the password of `ada` is `password-of-ada`. Further ones: `PUT /users/{name}`.
    #[arg(long = "user", value_name = "NAME", default_values = ["ada", "bob"], env = "POLYTAB_MOCK_USERS", value_delimiter = ',')]
    pub users: Vec<String>,
    /// Where the server's logins may lead; a trailing `*` stands for anything. May be repeated.
    #[arg(long = "redirect-uri", value_name = "URI")]
    pub redirect_uris: Vec<String>,
    /// Where the server takes back-channel logouts.
    #[arg(long, value_name = "URL")]
    pub backchannel_logout_url: Option<Url>,
    /// Refresh tokens are good for one refresh each.
    #[arg(long)]
    pub rotation: bool,
    /// Ids and tokens that depend on nothing but this number, instead of random ones.
    #[arg(long, env = "POLYTAB_MOCK_SEED")]
    pub seed: Option<u64>,
}

/// Mocks that listen, and where.
#[derive(Debug)]
pub struct Standalone {
    mocks: Mocks,
    listeners: Vec<TcpListener>,
    urls: [String; 5],
}

impl Standalone {
    /// Takes the ports.
    ///
    /// # Errors
    ///
    /// When a port is taken, or a user cannot be.
    ///
    /// # Panics
    ///
    /// Never: five ports give five URLs.
    pub async fn bind(options: &Options) -> anyhow::Result<Self> {
        let ports = [
            options.keycloak_port,
            options.backend_port,
            options.gitlab_port,
            options.control_port,
            options.gateway_port,
        ];
        let mut listeners = Vec::new();
        let mut urls = Vec::new();
        for port in ports {
            let listener = TcpListener::bind((options.listen, port))
                .await
                .with_context(|| format!("cannot listen on {}:{port}", options.listen))?;
            urls.push(format!("http://{}", listener.local_addr()?));
            listeners.push(listener);
        }
        let urls: [String; 5] = urls.try_into().expect("five ports give five URLs");
        let mut seams = Seams::system();
        if let Some(seed) = options.seed {
            seams.random = Random::seeded(seed);
        }
        let mut config = MocksConfig {
            keycloak_url: Url::parse(&urls[0])?,
            gateway: GatewayConfig {
                url: Url::parse(&urls[4])?,
                ..GatewayConfig::default()
            },
            ..MocksConfig::default()
        };
        config
            .client
            .backchannel_logout_url
            .clone_from(&options.backchannel_logout_url);
        config.settings.revoke_refresh_token = options.rotation;
        if !options.redirect_uris.is_empty() {
            config.client.redirect_uris.clone_from(&options.redirect_uris);
        }
        for name in &options.users {
            let user = UserState {
                password: Some(format!("password-of-{name}")),
                ..UserState::default()
            };
            config.preset.users.insert(name.clone(), user);
        }
        let mocks = Mocks::start(config, seams)?;
        Ok(Self {
            mocks,
            listeners,
            urls,
        })
    }

    /// What whoever started the process waits for: one line, for people.
    pub fn ready_line(&self) -> String {
        let [keycloak, backend, gitlab, control, gateway] = &self.urls;
        format!(
            "ready: keycloak {keycloak}, backend {backend}, gitlab {gitlab}, control {control}, gateway {gateway}"
        )
    }

    /// The same for machines: one line of JSON.
    pub fn ready_json(&self) -> String {
        let [keycloak, backend, gitlab, control, gateway] = &self.urls;
        let issuer = self.mocks.0.config.issuer();
        json!({
            "type": "ready", "issuer": issuer,
            "keycloak": keycloak, "backend": backend, "gitlab": gitlab, "control": control,
            "gateway": gateway,
        })
        .to_string()
    }

    /// What a server must be told: issuer, backend, GitLab.
    pub fn settings(&self) -> [String; 3] {
        let [_, backend, gitlab, ..] = &self.urls;
        [
            self.mocks.0.config.issuer(),
            format!("{backend}/api"),
            gitlab.clone(),
        ]
    }

    /// The secret of the server's client; for tests only, and so no secret.
    pub fn client_secret(&self) -> &str {
        self.mocks.0.config.client.secret.as_deref().unwrap_or_default()
    }

    /// Serves until `stop`.
    pub async fn serve(self, stop: CancellationToken) {
        let routers = [
            self.mocks.keycloak(),
            self.mocks.backend(),
            self.mocks.gitlab(),
            self.mocks.control(),
            self.mocks.gateway(),
        ];
        let mut tasks = JoinSet::new();
        for (listener, router) in self.listeners.into_iter().zip(routers) {
            tasks.spawn(serve(listener, router, LIMITS, (stop.clone(), GRACE)));
        }
        // An accept loop ends with `stop` and cannot fail.
        tasks.join_all().await;
    }
}

/// Bounds of each listener.
const LIMITS: Limits = Limits {
    // A kept-alive connection waits for its next head as well, up to a long loop.
    header_read: Duration::from_mins(5),
    header_bytes: 64 * 1024,
    connections: CONNECTIONS,
};
