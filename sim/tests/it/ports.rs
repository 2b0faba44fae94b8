//! Ports for programs that must be told theirs before they begin.

use std::{
    net::TcpListener,
    ops::Range,
    sync::atomic::{AtomicU16, Ordering},
};

/// Below those that Linux (from 32768) and macOS (from 49152) give to outgoing connections and to who asks for any
/// port: one of these could be taken between the look and the start.
const RANGE: Range<u16> = 20_000..32_000;

static GIVEN: AtomicU16 = AtomicU16::new(0);

/// Ports that are free now. None is given twice before all were given once.
pub(crate) fn free<const N: usize>() -> [u16; N] {
    [(); N].map(|()| {
        (0..RANGE.len())
            .map(|_| next())
            .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
            .expect("the loopback has free ports")
    })
}

/// Each process begins elsewhere, as several may test at once.
fn next() -> u16 {
    let ports = u32::from(RANGE.end - RANGE.start);
    let begin = std::process::id().wrapping_mul(61);
    let nth = begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed).into()) % ports;
    RANGE.start + u16::try_from(nth).expect("it is less than the number of ports")
}
