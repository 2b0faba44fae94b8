//! TLS at the two seams of the network: [`listen::TlsListen`] before any listener, [`dial::TlsDial`] around any dialler.
//!
//! HTTP/1.1 is all that is spoken inside. A virtual run has neither: its network is memory.

pub mod certificate;
pub mod dial;
pub mod listen;

use std::{path::PathBuf, sync::Arc};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use thiserror::Error;

/// What is agreed on inside TLS (RFC 7301).
const HTTP_1_1: &[u8] = b"http/1.1";

/// Why a certificate cannot be had.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read the {what} `{}`", path.display())]
    Unreadable {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("`{}` holds no {what} as PEM; it should contain a line `-----BEGIN {marker}-----`", path.display())]
    Absent {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the line that begins it says.
        marker: &'static str,
    },
    /// A private key that only a pass phrase opens.
    #[error(
        "the private key in `{0}` is encrypted; write a plain one with `openssl pkey -in {0} -out plain-key.pem`",
        path.display()
    )]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key are not of each other.
    #[error(
        "the key in `{}` is not that of the first certificate in `{}`; give the pair that was made together, the \
         server's own certificate before those of its issuers",
        key.display(),
        certificate.display()
    )]
    Mismatch {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
    },
    /// Certificate and key cannot be used.
    #[error("the certificate in `{}` cannot be used with the key in `{}`", certificate.display(), key.display())]
    Unusable {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// No certificate can be made for this.
    #[error("no certificate can be made for `{names}`")]
    NotMade {
        /// Whom it should have named.
        names: String,
        /// Why not.
        source: rcgen::Error,
    },
    /// What was made cannot be used.
    #[error("the certificate that was made cannot be used")]
    Setup(#[source] rustls::Error),
}

/// The one implementation of the ciphers; named, as there could be a second one among the dependencies.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
