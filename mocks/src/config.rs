//! Settings of the mocks, with every bound.

use std::time::Duration;

use url::Url;

use crate::{
    gitlab::rate::RateLimit,
    realm::{ClientConfig, Quirks, RealmSettings},
    state::State,
};

/// Settings of the mocks. All durations are scenario time.
#[derive(Clone, Debug)]
pub struct MocksConfig {
    /// Where Keycloak is reached, without the base path.
    pub keycloak_url: Url,
    /// Keycloak's base path: `/auth` at Renku, empty for Keycloak's own default.
    pub base_path: String,
    /// The realm.
    pub realm: String,
    /// The server's client.
    pub client: ClientConfig,
    /// Further clients of the realm.
    pub other_clients: Vec<ClientConfig>,
    /// What the realm starts with; an administrator may change it later.
    pub settings: RealmSettings,
    /// Ways in which versions of Keycloak differ.
    pub quirks: Quirks,
    /// Name and password of the administrator, who signs in at the realm `master`.
    pub admin: (String, String),
    /// What there is at the start, and after each reset.
    pub preset: State,
    /// The gateway.
    pub gateway: GatewayConfig,
    /// How many times as fast as scenario time the clock goes; the mocks' own waits are divided by it.
    pub speed: u32,
    /// Time between two heart-beat comments on an event stream.
    pub heartbeat: Duration,
    /// What event streams ask readers to wait before they come back.
    pub retry: Duration,
    /// Time for a back-channel logout to be answered.
    pub backchannel_timeout: Duration,
    /// Calls kept in the journal.
    pub journal_entries: usize,
    /// Events kept per project for readers that come back (GitLab's facade: 1,000).
    pub ring_events: usize,
    /// Events that may wait for one reader; over it the stream is closed.
    pub stream_queue: usize,
    /// Time for a hook to be answered (GitLab: 10 s).
    pub hook_timeout: Duration,
    /// How often a hook is called again when there was no answer.
    pub hook_retries: u32,
    /// Time before a hook is called again.
    pub hook_retry: Duration,
    /// Events that may wait for one hook; further ones are not delivered.
    pub hook_queue: usize,
    /// Where GitLab is reached: what it tells of projects and people leads there.
    pub gitlab_url: Url,
    /// How often GitLab's REST API may be called; without it as often as one likes.
    pub gitlab_rate_limit: Option<RateLimit>,
    /// Secrets kept for the search in frames, and unmatched calls kept for the report.
    pub secrets_kept: usize,
    /// Login sessions, pages, codes and anonymous callers kept, each; the oldest go first.
    pub logins_kept: usize,
    /// Backend sessions of one user.
    pub sessions_per_user: usize,
    /// Alerts kept; the oldest go first.
    pub alerts_kept: usize,
    /// Users who may raise alerts.
    pub admins: Vec<String>,
    /// Stubs held, and of those that are gone without having been of use, remembered.
    pub stubs_kept: usize,
    /// Who serves stubs.
    pub stub_server: StubServer,
    /// Largest body of a request taken, in bytes.
    pub body_bytes: usize,
    /// Largest document of a whole state taken, in bytes.
    pub state_bytes: usize,
}

/// Who serves stubs. Both give the same answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StubServer {
    /// The mocks themselves, on whatever clock they run.
    InProcess,
    /// A wiremock server on a port of the loopback, started with the first request that a stub might take. It lives on
    /// the real clock only.
    Wiremock,
}

/// Settings of the gateway; the times are those of MOCKS B4.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Where browsers reach it.
    pub url: Url,
    /// Its client of the realm.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: String,
    /// A session ends when it was not used for so long.
    pub session_idle: Duration,
    /// A session ends at this age.
    pub session_max: Duration,
    /// Access tokens that are good for less than this are refreshed.
    pub refresh_margin: Duration,
    /// Time for Keycloak to answer.
    pub timeout: Duration,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            url: Url::parse("https://renku.example.org").expect("a constant URL"),
            client_id: "renku".to_owned(),
            client_secret: "gateway-secret-for-tests-only".to_owned(),
            session_idle: Duration::from_hours(4),
            session_max: Duration::from_hours(24),
            refresh_margin: Duration::from_mins(3),
            timeout: Duration::from_secs(5),
        }
    }
}

impl GatewayConfig {
    /// The gateway as Keycloak knows it.
    pub(crate) fn client(&self) -> ClientConfig {
        ClientConfig {
            client_id: self.client_id.clone(),
            secret: Some(self.client_secret.clone()),
            redirect_uris: vec![format!("{}*", self.url)],
            audience: ["renku", "account"].map(str::to_owned).into(),
            ..ClientConfig::default()
        }
    }
}

impl Default for MocksConfig {
    fn default() -> Self {
        Self {
            keycloak_url: Url::parse("http://keycloak").expect("a constant URL"),
            base_path: "/auth".to_owned(),
            realm: "Renku".to_owned(),
            client: ClientConfig {
                client_id: "renku-ui".to_owned(),
                secret: Some("client-secret-for-tests-only".to_owned()),
                redirect_uris: ["http://server/*", "http://127.0.0.1:*", "http://localhost:*"]
                    .map(str::to_owned)
                    .into(),
                audience: ["renku", "renku-ui", "account"].map(str::to_owned).into(),
                service_account: true,
                ..ClientConfig::default()
            },
            other_clients: Vec::new(),
            settings: RealmSettings::default(),
            quirks: Quirks::default(),
            admin: ("admin".to_owned(), "password-of-admin".to_owned()),
            preset: State::default(),
            gateway: GatewayConfig::default(),
            speed: 1,
            heartbeat: Duration::from_secs(15),
            retry: Duration::from_secs(3),
            backchannel_timeout: Duration::from_secs(5),
            journal_entries: 100_000,
            ring_events: 1_000,
            stream_queue: 256,
            hook_timeout: Duration::from_secs(10),
            hook_retries: 1,
            hook_retry: Duration::from_secs(15),
            hook_queue: 1_000,
            gitlab_url: Url::parse("https://gitlab.example.org").expect("a constant URL"),
            gitlab_rate_limit: None,
            secrets_kept: 10_000,
            logins_kept: 10_000,
            sessions_per_user: 1_000,
            alerts_kept: 1_000,
            admins: vec!["admin".to_owned()],
            stubs_kept: 1_000,
            stub_server: StubServer::InProcess,
            body_bytes: 1 << 20,
            state_bytes: 64 << 20,
        }
    }
}

impl MocksConfig {
    /// `{scheme}://{host}{base}/realms/{realm}`, the issuer.
    pub fn issuer(&self) -> String {
        let origin = self.keycloak_url.as_str().trim_end_matches('/');
        format!("{origin}{}", self.realm_path(&self.realm))
    }

    /// `{base}/realms/{realm}`
    pub(crate) fn realm_path(&self, realm: &str) -> String {
        format!("{}/realms/{realm}", self.base_path.trim_end_matches('/'))
    }

    /// Real time for a scenario duration.
    pub(crate) fn scaled(&self, time: Duration) -> Duration {
        time / self.speed.max(1)
    }
}
