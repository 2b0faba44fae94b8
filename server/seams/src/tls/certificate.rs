//! Who a listener is: a certificate with its key, from files or made on the spot under an authority of its own.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    InconsistentKeys, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
};

use super::{HTTP_1_1, TlsError, provider};

/// How large a file of certificates may be: a long chain has 10 kB.
const FILE_BYTES: u64 = 1 << 20;
/// How long a certificate that was made is good: longer than any test, shorter than what browsers refuse (398 days).
const DAYS: i64 = 365;

const CERTIFICATE: &str = "certificate";
const KEY: &str = "private key";

/// A certificate with its key. Clones are handles to the same.
#[derive(Clone)]
pub struct Identity {
    pub(super) config: Arc<ServerConfig>,
    /// Whom a client must trust to accept it.
    authority: CertificateDer<'static>,
}

// The key would be in it.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// A certificate made on the spot.
#[derive(Debug)]
pub struct Made {
    /// It, with its key.
    pub identity: Identity,
    /// The certificate of the authority that signed it, for whoever is to trust it. The authority's key is thrown
    /// away: it never signs another.
    pub authority_pem: String,
}

impl Identity {
    /// The certificate in one PEM file, with those of its issuers after it, and its key in another.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, holds something else, or the two do not belong together.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let (chain_text, key_text) = (read(CERTIFICATE, certificate)?, read(KEY, key)?);
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain_text)
            .collect::<Result<_, _>>()
            .unwrap_or_default();
        let private = PrivateKeyDer::from_pem_slice(&key_text).map_err(|_| absent_key(&key_text, key))?;
        let authority = chain.last().cloned().ok_or_else(|| TlsError::Absent {
            what: CERTIFICATE,
            path: certificate.to_owned(),
            marker: "CERTIFICATE",
        })?;
        let config = server_config(chain, private).map_err(|source| {
            let (certificate, key) = (certificate.to_owned(), key.to_owned());
            match source {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    TlsError::Mismatch { certificate, key }
                }
                source => TlsError::Unusable {
                    certificate,
                    key,
                    source,
                },
            }
        })?;
        Ok(Self { config, authority })
    }

    /// A new certificate for these host names and addresses, good from yesterday for a year.
    ///
    /// # Errors
    ///
    /// When a name is none that a certificate could hold.
    pub fn made(names: &[String], now: Timestamp) -> Result<Made, TlsError> {
        let not_made = |source| TlsError::NotMade {
            names: names.join(", "),
            source,
        };
        let (authority, leaf, key) = sign(names, now).map_err(not_made)?;
        let chain = vec![leaf, authority.der().clone()];
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let identity = Self {
            config: server_config(chain, key).map_err(TlsError::Setup)?,
            authority: authority.der().clone(),
        };
        Ok(Made {
            identity,
            authority_pem: authority.pem(),
        })
    }

    /// Whom a client must trust to accept it: the last certificate of the chain.
    pub fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES + 1).read_to_end(&mut bytes));
    let read = read.and_then(|count| {
        let is_too_large = count as u64 > FILE_BYTES;
        let message = format!("it is larger than {FILE_BYTES} bytes");
        if is_too_large {
            Err(io::Error::other(message))
        } else {
            Ok(())
        }
    });
    read.map(|()| bytes).map_err(|source| TlsError::Unreadable {
        what,
        path: path.to_owned(),
        source,
    })
}

fn absent_key(text: &[u8], path: &Path) -> TlsError {
    let path = path.to_owned();
    let is_encrypted = String::from_utf8_lossy(text).contains("ENCRYPTED");
    if is_encrypted {
        return TlsError::Encrypted { path };
    }
    TlsError::Absent {
        what: KEY,
        path,
        marker: "PRIVATE KEY",
    }
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(Arc::new(config))
}

type Signed = (
    CertifiedIssuer<'static, KeyPair>,
    CertificateDer<'static>,
    KeyPair,
);

/// An authority, a certificate that it signed, and the key of the latter.
fn sign(names: &[String], now: Timestamp) -> Result<Signed, rcgen::Error> {
    let mut params = CertificateParams::default();
    name(&mut params, "Polytab test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    last(&mut params, now);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names)?;
    name(&mut params, "Polytab mocks");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    last(&mut params, now);
    let leaf = params.signed_by(&key, &authority)?;
    Ok((authority, leaf.der().clone(), key))
}

fn name(params: &mut CertificateParams, name: &str) {
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
}

/// From yesterday, as clocks differ, for a year.
fn last(params: &mut CertificateParams, now: Timestamp) {
    let today = TimeZone::UTC.to_datetime(now).date();
    let at = |days: i64| {
        let date = today.saturating_add(days.days());
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        date_time_ymd(date.year().into(), month, day)
    };
    params.not_before = at(-1);
    params.not_after = at(DAYS);
}
