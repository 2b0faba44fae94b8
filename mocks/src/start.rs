//! What a start of the mocks comes to, from their settings: who listens where, under which name, with which
//! certificate. Contradictions are found here, before anything is bound or written.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use jiff::Timestamp;
use polytab_seams::{
    Seams,
    tls::{
        TlsError,
        certificate::{Identity, Made},
    },
};
use thiserror::Error;
use tokio::net::TcpListener;
use url::{Host, Url};

use crate::{
    config::{GatewayConfig, MocksConfig, StubServer},
    control::ControlAccess,
    error::ControlError,
    settings::{Name, Settings},
};

/// Why the mocks do not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A setting that cannot be.
    #[error("{key} cannot be `{value}`: {mend}")]
    Setting {
        /// The setting.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        mend: &'static str,
    },
    /// Settings that contradict each other.
    #[error("{0}")]
    Contradiction(String),
    /// A user that cannot be.
    #[error("a user that cannot be known from the start")]
    User(#[from] ControlError),
    /// There is no certificate to be had.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A port cannot be had.
    #[error("cannot listen on {address} for {mock}; {mend}")]
    Port {
        /// Address and port.
        address: SocketAddr,
        /// Which mock wants it.
        mock: &'static str,
        /// What can be done.
        mend: String,
        /// Why not.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write the authority's certificate to `{}`", path.display())]
    Unwritten {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Whose affair it is that the mocks do not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// That of who set them up.
    Settings,
    /// A file's.
    File,
    /// That of the surroundings.
    Surroundings,
}

impl StartError {
    /// Whose affair it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Setting { .. }
            | Self::Contradiction(_)
            | Self::User(_)
            | Self::Tls(TlsError::NotMade { .. }) => Blame::Settings,
            Self::Tls(
                TlsError::Unreadable { .. }
                | TlsError::Absent { .. }
                | TlsError::Encrypted { .. }
                | TlsError::Mismatch { .. }
                | TlsError::Unusable { .. },
            ) => Blame::File,
            Self::Port { .. } | Self::Unwritten { .. } | Self::Tls(TlsError::Setup(_)) => Blame::Surroundings,
        }
    }
}

/// What can listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Keycloak,
    Backend,
    Gitlab,
    Control,
    Gateway,
}

impl Service {
    /// All, in the order of their usual ports.
    const ALL: [Self; 5] = [
        Self::Keycloak,
        Self::Backend,
        Self::Gitlab,
        Self::Control,
        Self::Gateway,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Keycloak => "keycloak",
            Self::Backend => "backend",
            Self::Gitlab => "gitlab",
            Self::Control => "control",
            Self::Gateway => "gateway",
        }
    }

    /// The name under which it is asked for; the control API listens in any case.
    const fn asked_as(self) -> Option<Name> {
        match self {
            Self::Keycloak => Some(Name::Keycloak),
            Self::Backend => Some(Name::Backend),
            Self::Gitlab => Some(Name::Gitlab),
            Self::Gateway => Some(Name::Gateway),
            Self::Control => None,
        }
    }

    const fn usual_port(self) -> u16 {
        match self {
            Self::Keycloak => 7081,
            Self::Backend => 7082,
            Self::Gitlab => 7083,
            Self::Control => 7084,
            Self::Gateway => 7085,
        }
    }

    fn port(self, settings: &Settings) -> u16 {
        let port = match self {
            Self::Keycloak => settings.keycloak_port,
            Self::Backend => settings.backend_port,
            Self::Gitlab => settings.gitlab_port,
            Self::Control => settings.control_port,
            Self::Gateway => settings.gateway_port,
        };
        port.unwrap_or(self.usual_port())
    }
}

/// What listens where unless told: the name, as in the flag `--NAME-port`, and the port.
pub fn usual_ports() -> impl Iterator<Item = (&'static str, u16)> {
    let all = Service::ALL.into_iter();
    all.map(|service| (service.name(), service.usual_port()))
}

/// What listens on which port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) service: Service,
    pub(crate) port: u16,
}

/// Where a certificate comes from.
#[derive(Debug)]
pub(crate) enum Tls {
    Off,
    Made { ca_out: Option<PathBuf> },
    Given { certificate: PathBuf, key: PathBuf },
}

/// What a start comes to.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) listen: IpAddr,
    pub(crate) places: Vec<Place>,
    pub(crate) tls: Tls,
    pub(crate) origin: Origin,
    /// What the certificate is for.
    names: BTreeSet<String>,
}

/// How the mocks are reached, up to the port.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    scheme: &'static str,
    /// As in a URL: an IPv6 address in brackets.
    host: String,
}

impl Origin {
    pub(crate) fn url(&self, port: u16) -> String {
        format!("{}://{}:{port}", self.scheme, self.host)
    }
}

/// The URL of something else that listens on `port` beside the mocks, as they are set up.
///
/// # Errors
///
/// When settings contradict each other.
pub fn origin(settings: &Settings, port: u16) -> Result<String, StartError> {
    Ok(Plan::new(settings)?.origin.url(port))
}

impl Plan {
    pub(crate) fn new(settings: &Settings) -> Result<Self, StartError> {
        let listen = settings.listen.unwrap_or(Ipv4Addr::LOCALHOST.into());
        if settings.users.iter().flatten().any(String::is_empty) {
            return Err(StartError::Setting {
                key: "the name of a user",
                value: String::new(),
                mend: "it has one letter at least",
            });
        }
        let tls = tls(settings)?;
        let host = host(settings, listen)?;
        let names = ["localhost", "127.0.0.1", "::1", bare(&host)].map(str::to_owned);
        let mut names = BTreeSet::from(names);
        if !listen.is_unspecified() {
            names.insert(listen.to_string());
        }
        let urls = [&settings.public_url, &settings.gateway_url, &settings.gitlab_url];
        let hosts = urls.into_iter().flatten().filter_map(Url::host_str);
        names.extend(hosts.map(|host| bare(host).to_owned()));
        let scheme = if matches!(tls, Tls::Off) { "http" } else { "https" };
        Ok(Self {
            listen,
            places: places(settings)?,
            tls,
            origin: Origin { scheme, host },
            names,
        })
    }

    /// The certificate to show; of one made on the spot also that of its authority, as PEM.
    pub(crate) fn identity(&self, now: Timestamp) -> Result<(Option<Identity>, Option<String>), StartError> {
        Ok(match &self.tls {
            Tls::Off => (None, None),
            Tls::Given { certificate, key } => (Some(Identity::from_files(certificate, key)?), None),
            Tls::Made { .. } => {
                let names: Vec<_> = self.names.iter().cloned().collect();
                let Made {
                    identity,
                    authority_pem,
                } = Identity::made(&names, now)?;
                (Some(identity), Some(authority_pem))
            }
        })
    }

    /// The mocks' own settings, now that their ports are known.
    pub(crate) fn config(&self, settings: &Settings, bound: &[Place]) -> Result<MocksConfig, StartError> {
        let url = |wanted: Service| {
            let place = bound.iter().find(|place| place.service == wanted);
            let port = place.map_or_else(|| wanted.port(settings), |place| place.port);
            Url::parse(&self.origin.url(port)).expect("a host and a port make a URL")
        };
        let or = |public: Option<&Url>, own: Service| public.cloned().unwrap_or_else(|| url(own));
        let mut config = MocksConfig {
            keycloak_url: or(
                checked("the public URL", settings.public_url.as_ref(), false)?,
                Service::Keycloak,
            ),
            gateway: GatewayConfig {
                url: or(
                    checked("the URL of the gateway", settings.gateway_url.as_ref(), false)?,
                    Service::Gateway,
                ),
                ..GatewayConfig::default()
            },
            stub_server: StubServer::Wiremock,
            gitlab_url: or(
                checked("the URL of GitLab", settings.gitlab_url.as_ref(), true)?,
                Service::Gitlab,
            ),
            ..MocksConfig::default()
        };
        if let Some(path) = &settings.base_path {
            config.base_path = base_path(path)?;
        }
        if let Some(uris) = &settings.redirect_uris {
            config.client.redirect_uris.clone_from(uris);
        } else {
            // An application under test may speak https, whatever the mocks do.
            let secure = ["https://127.0.0.1:*", "https://localhost:*"].map(str::to_owned);
            config.client.redirect_uris.extend(secure);
        }
        let logout = checked(
            "the URL of back-channel logouts",
            settings.backchannel_logout_url.as_ref(),
            true,
        )?;
        config.client.backchannel_logout_url = logout.cloned();
        config.settings.revoke_refresh_token = settings.rotation.unwrap_or(false);
        if let Some(time) = settings.heartbeat {
            config.heartbeat = time.0;
        }
        if let Some(entries) = settings.journal_entries {
            config.journal_entries = entries;
        }
        Ok(config)
    }

    /// The callers of the control API. Where other machines reach it, they need a token, which nobody can guess even
    /// when everything else follows from a seed.
    pub(crate) fn control_access(&self) -> ControlAccess {
        let hosts = self.names.iter().map(|name| name.to_ascii_lowercase());
        ControlAccess {
            hosts: hosts.collect(),
            token: (!self.listen.is_loopback()).then(|| Seams::system().random.token("mocks/control")),
        }
    }

    /// What somebody who starts the mocks so may not expect.
    pub(crate) fn notes(&self) -> Vec<&'static str> {
        let has = |wanted| self.places.iter().any(|place| place.service == wanted);
        let mut notes = Vec::new();
        if !self.listen.is_loopback() {
            notes.push(
                "other machines reach the mocks, whose secrets and passwords everybody knows; the control API takes \
                 orders only with the token of the ready line",
            );
        }
        if has(Service::Gateway) && !has(Service::Keycloak) {
            notes.push(
                "the gateway leads browsers to Keycloak's login page, and that mock does not listen; add \
                 `keycloak`, or sign in without the page: `/api/auth/login?user=ada`",
            );
        }
        if matches!(self.tls, Tls::Made { ca_out: None }) {
            notes.push(
                "no client can check the certificate that was made; have its authority's written with \
                 `--tls-ca-out FILE`, or tell clients not to check (`curl -k`)",
            );
        }
        notes
    }
}

/// Takes a port.
pub(crate) async fn bind(listen: IpAddr, place: Place) -> Result<TcpListener, StartError> {
    let address = SocketAddr::new(listen, place.port);
    TcpListener::bind(address).await.map_err(|source| {
        let mock = place.service.name();
        let mend = match source.kind() {
            io::ErrorKind::AddrNotAvailable => "give an address of this machine with `--listen`".to_owned(),
            io::ErrorKind::AddrInUse => format!(
                "something listens there already: stop it, or choose another port with `--{mock}-port` (0 takes a \
                 free one)"
            ),
            _ => format!("choose another port with `--{mock}-port` (0 takes a free one)"),
        };
        StartError::Port {
            address,
            mock,
            mend,
            source,
        }
    })
}

/// Who listens where.
fn places(settings: &Settings) -> Result<Vec<Place>, StartError> {
    let asked = settings.mocks.as_deref().unwrap_or_default();
    let all = asked.is_empty() || asked.contains(&Name::All);
    let wanted = |service: &Service| all || service.asked_as().is_none_or(|name| asked.contains(&name));
    let places: Vec<_> = Service::ALL
        .into_iter()
        .filter(wanted)
        .map(|service| Place {
            service,
            port: service.port(settings),
        })
        .collect();
    for (index, place) in places.iter().enumerate() {
        let twin = places[..index]
            .iter()
            .find(|earlier| earlier.port == place.port && place.port != 0);
        if let Some(twin) = twin {
            return Err(StartError::Contradiction(format!(
                "{} and {} are both to listen on port {}; give one of them another with `--{1}-port`",
                twin.service.name(),
                place.service.name(),
                place.port,
            )));
        }
    }
    Ok(places)
}

fn tls(settings: &Settings) -> Result<Tls, StartError> {
    let ca_out = settings.tls_ca_out.clone();
    let contradiction = |text: &str| Err(StartError::Contradiction(text.to_owned()));
    let given = settings.tls_cert.is_some() || settings.tls_key.is_some();
    if !settings.tls.unwrap_or(given || ca_out.is_some()) {
        return Ok(Tls::Off);
    }
    match (settings.tls_cert.clone(), settings.tls_key.clone()) {
        (None, None) => Ok(Tls::Made { ca_out }),
        (Some(_), Some(_)) if ca_out.is_some() => contradiction(
            "`--tls-ca-out` is for a certificate made on the spot, and `--tls-cert` gives one; leave out one of them",
        ),
        (Some(certificate), Some(key)) => Ok(Tls::Given { certificate, key }),
        (Some(_), None) => {
            contradiction("`--tls-cert` needs the certificate's key; name its file with `--tls-key`")
        }
        (None, Some(_)) => contradiction("`--tls-key` needs a certificate; name its file with `--tls-cert`"),
    }
}

/// The host by which clients reach the mocks, as in a URL.
fn host(settings: &Settings, listen: IpAddr) -> Result<String, StartError> {
    let Some(name) = &settings.public_host else {
        let reached = match listen {
            IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            address => address,
        };
        return Ok(in_url(reached));
    };
    if let Ok(address) = name.parse() {
        return Ok(in_url(address));
    }
    Host::parse(name)
        .map(|host| host.to_string())
        .map_err(|_| StartError::Setting {
            key: "the public host",
            value: name.clone(),
            mend: "it is a host name or an address, without scheme and port",
        })
}

fn in_url(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// As in a certificate.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// A URL under which something is reached over HTTP.
fn checked<'a>(
    key: &'static str,
    url: Option<&'a Url>,
    with_path: bool,
) -> Result<Option<&'a Url>, StartError> {
    let Some(url) = url else { return Ok(None) };
    let is_http = ["http", "https"].contains(&url.scheme()) && url.has_host();
    let is_bare = url.query().is_none() && url.fragment().is_none() && (with_path || url.path() == "/");
    let mend = match (is_http, is_bare) {
        (true, true) => return Ok(Some(url)),
        (false, _) => "it begins with `http://` or `https://`",
        (true, false) if with_path => "nothing may follow its path",
        (true, false) => {
            "nothing may follow host and port; a path that all of Keycloak's begin with is the base path"
        }
    };
    let value = url.to_string();
    Err(StartError::Setting { key, value, mend })
}

/// Without a slash at the end.
fn base_path(path: &str) -> Result<String, StartError> {
    let trimmed = path.trim_end_matches('/');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
    let is_path = trimmed.is_empty() || trimmed.starts_with('/') && !trimmed.contains("//");
    if is_path && trimmed.chars().all(is_plain) {
        return Ok(trimmed.to_owned());
    }
    Err(StartError::Setting {
        key: "the base path",
        value: path.to_owned(),
        mend: "it begins with `/` and has letters, digits and `-._~/` only, or it is empty",
    })
}
