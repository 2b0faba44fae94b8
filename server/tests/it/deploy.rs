//! The shipped configurations of what stands around the server: none of them carries fewer tabs than `docs/edge.md`
//! says.

use polytab_server::Config;

/// How many instances they are for.
const INSTANCES: usize = 3;

/// The number after this text, which is there once.
fn number(file: &str, before: &str) -> usize {
    let mut found = file
        .split(before)
        .skip(1)
        .map(|rest| rest.split(|letter: char| !letter.is_ascii_digit()).next());
    let number = found.next().flatten().and_then(|text| text.parse().ok());
    assert!(found.next().is_none(), "`{before}` is there once");
    number.unwrap_or_else(|| panic!("`{before}` is followed by a number"))
}

/// Connections that an instance holds at once.
fn held() -> usize {
    let config = Config::default();
    config.connections + config.handshakes
}

#[test]
fn nginx_has_a_descriptor_for_each_connection_of_a_worker() {
    let file = include_str!("../../../deploy/nginx/nginx.conf");

    let connections = number(file, "worker_connections ");

    assert!(number(file, "worker_rlimit_nofile ") > connections);
    assert!(file.contains("each worker carries 9,500 tabs"));
    assert_eq!(connections, 2 * 9_500);
}

#[test]
fn envoy_and_haproxy_let_through_what_all_instances_hold() {
    let envoy = include_str!("../../../deploy/envoy/envoy.yaml");
    let haproxy = include_str!("../../../deploy/haproxy/haproxy.cfg");
    let all = INSTANCES * held();

    for bound in ["max_connections: ", "max_pending_requests: ", "max_requests: "] {
        assert_eq!(number(envoy, bound), all, "{bound}");
    }
    assert!(number(envoy, "max_retries: ") >= INSTANCES * Config::default().handshakes);
    assert!(number(envoy, "`ulimit -n ") > 2 * all);
    assert!(number(haproxy, "fd-hard-limit ") > 2 * all);
}

#[test]
fn an_instance_has_a_descriptor_for_each_connection_and_as_many_for_upstream() {
    let unit = include_str!("../../../deploy/systemd/polytab-server.service");
    let container = include_str!("../../../deploy/container/Containerfile");

    for limit in [
        number(unit, "LimitNOFILE="),
        number(container, "--ulimit=nofile="),
    ] {
        assert!(limit >= 2 * held(), "{limit}");
    }
}
