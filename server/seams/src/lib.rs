//! The places where a virtual run differs from a real one, and no others: time, randomness, dialling, listening.
//!
//! The server and the mocks are written against these; production code hands in the operating system's, a virtual
//! run hands in a paused clock, seeded streams and a network of in-memory pipes.

pub mod clock;
pub mod http;
pub mod net;
pub mod random;
pub mod serve;
pub mod tls;

use std::sync::Arc;

use self::tls::dial::{TlsDial, Trust};

/// Everything a host needs from outside, in one value.
#[derive(Clone, Debug)]
pub struct Seams {
    /// Wall-clock time.
    pub clock: clock::Clock,
    /// Random streams.
    pub random: random::Random,
    /// Outgoing connections.
    pub dial: Arc<dyn net::Dial>,
}

impl Seams {
    /// The operating system's clock, entropy, TCP, and the authorities that it trusts.
    pub fn system() -> Self {
        Self {
            clock: clock::Clock::system(),
            random: random::Random::system(),
            dial: Arc::new(TlsDial::new(net::TcpDial, Trust::system())),
        }
    }
}
