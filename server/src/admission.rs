//! How many connections one address may hold. Counted at accept; behind a trusted proxy, whose connections are many
//! people's, at the upgrade.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use polytab_seams::net::{AnyStream, ByteStream, Listen};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::network::Network;

/// What of an IPv6 address is one customer's: whoever has an address has its whole network of 64 bits.
const V6_NETWORK: u128 = !0 << 64;

/// Connections by the address that holds them.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    limit: usize,
    held: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl Addresses {
    /// At most `limit` for each address, or any number when it is 0.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            held: Arc::default(),
        }
    }

    /// Takes a connection of this address; `None` if it has too many. The loopback, where there are no strangers, may
    /// have any number.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Held> {
        let address = address.to_canonical();
        if self.limit == 0 || address.is_loopback() {
            return Some(Held(None));
        }
        let key = match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & V6_NETWORK).into(),
        };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(key).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Held(Some((self.clone(), key))))
    }

    fn give_back(&self, key: IpAddr) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let left = held.get(&key).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            held.remove(&key);
        } else {
            held.insert(key, left);
        }
    }
}

/// One connection's place among those of its address, given back when dropped.
#[derive(Debug)]
pub(crate) struct Held(Option<(Addresses, IpAddr)>);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((addresses, key)) = self.0.take() {
            addresses.give_back(key);
        }
    }
}

/// The address in a peer's name, which is one only on TCP.
pub(crate) fn address(peer: &str) -> Option<IpAddr> {
    let address: SocketAddr = peer.parse().ok()?;
    Some(address.ip().to_canonical())
}

/// A listener that closes connections over the limit of their address.
pub(crate) struct Counting<L> {
    inner: L,
    addresses: Addresses,
    proxies: Vec<Network>,
}

impl<L> Counting<L> {
    /// Counts what `inner` accepts, but for the connections of `proxies`.
    pub(crate) fn new(inner: L, addresses: Addresses, proxies: Vec<Network>) -> Self {
        Self {
            inner,
            addresses,
            proxies,
        }
    }
}

impl<L: Listen> Listen for Counting<L> {
    async fn accept(&mut self) -> (AnyStream, String) {
        loop {
            let (stream, peer) = self.inner.accept().await;
            let counted =
                address(&peer).filter(|address| !self.proxies.iter().any(|proxy| proxy.contains(*address)));
            let Some(address) = counted else {
                return (stream, peer);
            };
            match self.addresses.take(address) {
                Some(Held(None)) => return (stream, peer),
                Some(held) => return (AnyStream::new(Counted { stream, _held: held }), peer),
                None => tracing::debug!(peer, "closed: its address holds too many connections"),
            }
        }
    }
}

/// A stream that keeps its place until it is dropped, upgraded or not.
struct Counted {
    stream: AnyStream,
    _held: Held,
}

impl ByteStream for Counted {
    fn reset_on_drop(&self) {
        self.stream.reset_on_drop();
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_so_many_until_one_is_given_back() {
        let addresses = Addresses::new(2);
        let [a, b] = ["198.51.100.1", "198.51.100.2"].map(|text| text.parse().unwrap());

        let first = addresses.take(a);
        let second = addresses.take(a);

        assert!(first.is_some() && second.is_some());
        assert!(addresses.take(a).is_none());
        assert!(addresses.take(b).is_some());
        drop(first);
        assert!(addresses.take(a).is_some());
        drop(second);
        assert!(addresses.held.lock().unwrap().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_an_ipv4_address_is_itself() {
        for (first, second, is_one) in [
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("198.51.100.1", "::ffff:198.51.100.1", true),
            ("::ffff:198.51.100.1", "::ffff:198.51.100.2", false),
        ] {
            let addresses = Addresses::new(1);
            let _first = addresses.take(first.parse().unwrap()).unwrap();

            let refused = addresses.take(second.parse().unwrap()).is_none();

            assert_eq!(refused, is_one, "{first} {second}");
        }
    }

    #[test]
    fn the_loopback_and_a_limit_of_0_count_nothing() {
        for (limit, address) in [(1, "127.0.0.2"), (1, "::1"), (0, "198.51.100.1")] {
            let addresses = Addresses::new(limit);

            let all: Vec<_> = (0..3).map(|_| addresses.take(address.parse().unwrap())).collect();

            assert!(all.iter().all(Option::is_some), "{address}");
        }
    }
}
