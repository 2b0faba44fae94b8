//! Whom a request comes from, when proxies stand between. Only what a trusted proxy says counts; whatever is further
//! out in its header the client may have written.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, header};

use crate::{admission, config::Config, network::ForwardedHeader};

/// Headers that proxies add: with any of them a request was not made on the spot.
const ADDED: [&str; 5] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-real-ip",
    "via",
];
const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Its peer is no trusted proxy: the connection is counted already.
    Direct,
    /// The last hop that is no trusted proxy, if it has an address.
    Behind(Option<IpAddr>),
}

/// Says where a request of this peer comes from.
pub(super) fn source(config: &Config, peer: &str, headers: &HeaderMap) -> Source {
    let is_trusted = |address: IpAddr| config.trusted_proxies.iter().any(|proxy| proxy.contains(address));
    let Some(proxy) = admission::address(peer).filter(|address| is_trusted(*address)) else {
        return Source::Direct;
    };
    let mut nearest = Some(proxy);
    for hop in hops(config.forwarded_header, headers) {
        nearest = hop;
        if !hop.is_some_and(is_trusted) {
            break;
        }
    }
    Source::Behind(nearest)
}

/// Whether a proxy passed this request on.
pub(super) fn is_forwarded(headers: &HeaderMap) -> bool {
    ADDED.iter().any(|name| headers.contains_key(*name))
}

/// The addresses that a header names, the nearest first; `None` for one that is hidden or no address.
fn hops(kind: ForwardedHeader, headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let name = match kind {
        ForwardedHeader::XForwardedFor => header::HeaderName::from_static(X_FORWARDED_FOR),
        ForwardedHeader::Forwarded => header::FORWARDED,
    };
    let lines = headers.get_all(name);
    let texts = lines.iter().map(|line| line.to_str().unwrap_or_default());
    let mut hops: Vec<_> = match kind {
        ForwardedHeader::XForwardedFor => texts.flat_map(|text| text.split(',').map(listed)).collect(),
        ForwardedHeader::Forwarded => texts
            .flat_map(|text| rfc7239::parse(text).map(|hop| hop.ok()?.forwarded_for?.ip().copied()))
            .collect(),
    };
    hops.reverse();
    hops
}

/// An entry of `X-Forwarded-For`; some proxies add the port.
fn listed(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip());
    text.parse().or_else(|_| with_port()).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    const PROXY: &str = "10.0.0.1:4711";

    fn config(kind: &str) -> Config {
        let values = [
            ("trusted_proxies", json!(["10.0.0.0/8", "::1"])),
            ("forwarded_header", json!(kind)),
        ];
        let values: BTreeMap<_, _> = values
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        Config::from_values(&values).unwrap()
    }

    /// Which header, the peer, the lines of that header, and who counts.
    const TABLE: &[(&str, &str, &[&str], &str)] = &[
        // Only a trusted proxy is listened to.
        ("x-forwarded-for", "198.51.100.1:1", &["203.0.113.5"], "direct"),
        ("x-forwarded-for", "pipe", &["203.0.113.5"], "direct"),
        ("x-forwarded-for", PROXY, &["203.0.113.5"], "203.0.113.5"),
        (
            "x-forwarded-for",
            "[::ffff:10.0.0.1]:1",
            &["203.0.113.5"],
            "203.0.113.5",
        ),
        ("x-forwarded-for", "[::1]:1", &["2001:db8::5"], "2001:db8::5"),
        ("x-forwarded-for", PROXY, &["203.0.113.5:99"], "203.0.113.5"),
        ("x-forwarded-for", PROXY, &["[2001:db8::5]:99"], "2001:db8::5"),
        // What the client wrote stands further left.
        (
            "x-forwarded-for",
            PROXY,
            &["127.0.0.1, 203.0.113.5"],
            "203.0.113.5",
        ),
        (
            "x-forwarded-for",
            PROXY,
            &["127.0.0.1", "203.0.113.5"],
            "203.0.113.5",
        ),
        (
            "x-forwarded-for",
            PROXY,
            &["203.0.113.5, 10.0.0.2"],
            "203.0.113.5",
        ),
        (
            "x-forwarded-for",
            PROXY,
            &["203.0.113.5, 10.9.9.9, 10.0.0.2"],
            "203.0.113.5",
        ),
        (
            "x-forwarded-for",
            PROXY,
            &["203.0.113.5, hidden, 10.0.0.2"],
            "hidden",
        ),
        // Nobody else is in it.
        ("x-forwarded-for", PROXY, &["10.0.0.3"], "10.0.0.3"),
        ("x-forwarded-for", PROXY, &[], "10.0.0.1"),
        ("forwarded", PROXY, &["for=203.0.113.5"], "203.0.113.5"),
        (
            "forwarded",
            PROXY,
            &["for=\"[2001:db8::5]:99\";proto=https"],
            "2001:db8::5",
        ),
        (
            "forwarded",
            PROXY,
            &["for=127.0.0.1, for=203.0.113.5;by=10.0.0.1"],
            "203.0.113.5",
        ),
        ("forwarded", PROXY, &["for=\"a, for=203.0.113.5"], "203.0.113.5"),
        ("forwarded", PROXY, &["for=_hidden"], "hidden"),
        ("forwarded", PROXY, &["?"], "hidden"),
    ];

    fn shown(source: Source) -> String {
        match source {
            Source::Direct => "direct".into(),
            Source::Behind(None) => "hidden".into(),
            Source::Behind(Some(address)) => address.to_string(),
        }
    }

    #[test]
    fn the_last_hop_that_is_no_trusted_proxy_counts() {
        for (kind, peer, lines, expected) in TABLE {
            let mut headers = HeaderMap::new();
            // The other header the client may have set.
            let other = if *kind == "forwarded" {
                "x-forwarded-for"
            } else {
                "forwarded"
            };
            headers.append(other, "for=9.9.9.9".parse().unwrap());
            for line in *lines {
                headers.append(*kind, line.parse().unwrap());
            }

            assert_eq!(
                shown(source(&config(kind), peer, &headers)),
                *expected,
                "{kind}: {peer}, {lines:?}"
            );
        }
    }
}
