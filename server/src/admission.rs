//! How many connections there are, and how many one address may hold. Counted at accept; behind a trusted proxy, whose
//! connections are many people's, addresses are counted at the upgrade.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use polytab_seams::net::{AnyStream, Listen};

use crate::{host::Host, metrics::Metrics, network::Network};

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

/// A listener that counts its connections, and closes those over the limit of their address.
pub(crate) struct Counting<L> {
    inner: L,
    addresses: Addresses,
    proxies: Vec<Network>,
    metrics: Arc<Metrics>,
}

impl<L> Counting<L> {
    /// Counts what `inner` accepts; connections of trusted proxies are those of no address.
    pub(crate) fn new(inner: L, host: &Host) -> Self {
        Self {
            inner,
            addresses: host.addresses.clone(),
            proxies: host.config.trusted_proxies.clone(),
            metrics: Arc::clone(&host.metrics),
        }
    }

    /// The place of a connection; `None` if its address has too many.
    fn place(&self, peer: &str) -> Option<Held> {
        let is_counted = |address: &IpAddr| !self.proxies.iter().any(|proxy| proxy.contains(*address));
        match address(peer).filter(is_counted) {
            Some(address) => self.addresses.take(address),
            None => Some(Held(None)),
        }
    }
}

/// One connection, until it is dropped.
struct Connection(Arc<Metrics>);

impl Connection {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.connections.inc();
        Self(Arc::clone(metrics))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

impl<L: Listen> Listen for Counting<L> {
    async fn accept(&mut self) -> (AnyStream, String) {
        loop {
            let (stream, peer) = self.inner.accept().await;
            if let Some(held) = self.place(&peer) {
                let stream = stream.keeping((held, Connection::new(&self.metrics)));
                return (stream, peer);
            }
            self.metrics.refused("address");
            tracing::debug!(peer, "closed: its address holds too many connections");
        }
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
