//! TLS for outgoing connections: around any dialler, with the roots of the operating system and some of one's own.

use std::{
    fmt, io,
    sync::{Arc, OnceLock},
};

use futures_util::future::BoxFuture;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{
        CertificateDer, ServerName,
        pem::{self, PemObject},
    },
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{HTTP_1_1, provider};
use crate::net::{AnyStream, ByteStream, Dial, bare};

/// Which authorities are believed.
#[derive(Clone, Default)]
pub struct Trust {
    /// Those that the operating system believes, or the file that `SSL_CERT_FILE` names.
    pub system: bool,
    /// Further ones.
    pub authorities: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("system", &self.system)
            .field("authorities", &self.authorities.len())
            .finish()
    }
}

impl Trust {
    /// The authorities that the operating system believes.
    pub fn system() -> Self {
        Self {
            system: true,
            authorities: Vec::new(),
        }
    }

    /// This one as well.
    #[must_use]
    pub fn and(mut self, authority: CertificateDer<'static>) -> Self {
        self.authorities.push(authority);
        self
    }

    /// Those in a text in PEM as well.
    ///
    /// # Errors
    ///
    /// When none is in it, or one is broken.
    pub fn and_pem(mut self, pem: &[u8]) -> Result<Self, pem::Error> {
        let before = self.authorities.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            self.authorities.push(certificate?);
        }
        if self.authorities.len() == before {
            return Err(pem::Error::NoItemsFound);
        }
        Ok(self)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        if self.system {
            let found = rustls_native_certs::load_native_certs();
            for error in found.errors {
                tracing::warn!(%error, "could not read some of the system's certificates");
            }
            roots.add_parsable_certificates(found.certs);
        }
        roots.add_parsable_certificates(self.authorities.iter().cloned());
        roots
    }
}

/// A dialler that speaks TLS as well.
#[derive(Debug)]
pub struct TlsDial<D> {
    inner: D,
    trust: Trust,
    /// Made when first needed: most processes never read the system's certificates.
    config: OnceLock<Result<Arc<ClientConfig>, rustls::Error>>,
}

impl<D: Dial> TlsDial<D> {
    /// A dialler whose connections are made by `inner`.
    pub fn new(inner: D, trust: Trust) -> Self {
        Self {
            inner,
            trust,
            config: OnceLock::new(),
        }
    }

    fn connector(&self) -> io::Result<TlsConnector> {
        let config = self.config.get_or_init(|| {
            let mut config = ClientConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()?
                .with_root_certificates(self.trust.roots())
                .with_no_client_auth();
            config.alpn_protocols = vec![HTTP_1_1.to_vec()];
            Ok(Arc::new(config))
        });
        config.clone().map(TlsConnector::from).map_err(io::Error::other)
    }
}

impl<D: Dial> Dial for TlsDial<D> {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<AnyStream>> {
        self.inner.dial(host, port)
    }

    fn dial_tls<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<AnyStream>> {
        Box::pin(async move {
            let name = ServerName::try_from(bare(host).to_owned())
                .map_err(|_| io::Error::other(format!("no certificate can be for `{host}`")))?;
            let connector = self.connector()?;
            let stream = self.inner.dial(host, port).await?;
            Ok(AnyStream::new(connector.connect(name, stream).await?))
        })
    }
}

impl ByteStream for TlsStream<AnyStream> {
    fn reset_on_drop(&self) {
        self.get_ref().0.reset_on_drop();
    }
}
