//! Several instances of the reference server, a real Redis, and a real proxy that scatters the tabs of each user.
//!
//! `polytab load` drives them and counts what the tabs heard. The tests go five times as fast as the server usually
//! does; `cargo test --release -p polytab --test it -- --ignored instances` runs them at the usual pace and size.

mod cluster;
mod programs;
mod proxies;
mod rollout;
mod slow;
mod soak;
mod suite;

use std::{collections::BTreeSet, time::Duration};

use rustix::process::Signal;
use serde_json::json;
use tokio::time::Instant;

use self::{
    cluster::{Cluster, wait_for},
    programs::is_possible,
    proxies::{ENVOY, HAPROXY, NGINX, Proxy},
};
use crate::process::Process;

/// How many come, and for how long.
#[derive(Clone, Copy)]
struct Size {
    /// How many times as fast as usual the server goes.
    speed: u32,
    users: u64,
    tabs: u64,
    /// One turn of the short loop, in seconds.
    turn: u64,
}

const SMALL: Size = Size {
    speed: 5,
    users: 20,
    tabs: 4,
    turn: 1,
};
/// As the issue of a rollout asks for it.
const FULL: Size = Size {
    speed: 1,
    users: 200,
    tabs: 4,
    turn: 5,
};

impl Size {
    fn all(self) -> u64 {
        self.users * self.tabs
    }

    /// A profile that goes on for so many turns after all have come. What a busy machine does to the generator's own
    /// times decides nothing.
    fn profile(self, turns: u64, notification: u64, thresholds: &[&str]) -> String {
        let Self {
            users, tabs, turn, ..
        } = self;
        // Where seconds are turns, a machine that stands still for some is given as many.
        let (arrive, late) = if self.speed > 1 { (6, 6) } else { (3, 0) };
        let notification = notification + late;
        format!(
            "users: {users}\ntabs_per_user: {{{tabs}: 100%}}\n\
             client: {{reconnect_after: 500ms, reconnect_on: [1006, 1012, 4000, 4503]}}\n\
             phases:\n  - {{name: arrive, for: {}s}}\n  - {{name: steady, for: {}s}}\n\
             changes: every {}s\n\
             limits: {{turn: {turn}s, start_delay: {}, notification: {notification}s, settling: {}s, lag: 1h}}\n\
             thresholds: [{}]\n",
            turn * arrive,
            turn * turns,
            turn * 3,
            format_args!("{}ms", 3000 / self.speed),
            turn * 4,
            thresholds.join(", ")
        )
    }
}

/// What no trouble may cause.
const NEVER: [&str; 3] = ["cross_user == 0", "doubled == 0", "out_of_order == 0"];

fn hears_all_of_it_once() -> Vec<&'static str> {
    [&NEVER[..], &["missed == 0", "fanout.count >= 1"]].concat()
}

#[track_caller]
#[expect(clippy::print_stdout, reason = "who runs it by hand wants the figures")]
fn held(cluster: &Cluster, (code, said): (Option<i32>, String)) {
    assert_eq!(code, Some(0), "{said}");
    println!("{said}");
    let dump = cluster.dump_of_redis();
    let text = String::from_utf8_lossy(&dump);
    // What a JWT begins with (`{"alg":`, `{"typ":`), and the names under which tokens travel.
    for secret in [
        "eyJhbGciO",
        "eyJ0eXAiO",
        "access_token",
        "refresh_token",
        "client-secret",
    ] {
        assert!(!text.contains(secret), "Redis holds `{secret}`");
    }
}

/// Users whose tabs are at several instances are asked for once, and hear everything once.
fn scattered(proxy: Proxy, size: Size) {
    let (cluster, load) = undisturbed(proxy, size);

    let channels = cluster.sum("polytab_channels");
    assert!(
        channels > size.users * 3 / 2,
        "{channels} channels: the tabs are not scattered"
    );
    // Each user is led by one instance. Who joined last may not have asked yet.
    wait_for("each user is led once", || {
        cluster.sum("polytab_channels_led") == size.users
    });

    held(&cluster, cluster.end(load));
}

/// A proxy as it is shipped has all tabs of a user at one instance, and users at all instances.
fn kept_together(proxy: Proxy, size: Size) {
    let (cluster, load) = undisturbed(proxy.as_shipped(), size);

    let channels: Vec<_> = (0..3)
        .map(|nth| cluster.metric(nth, "polytab_channels", ""))
        .collect();
    assert_eq!(channels.iter().sum::<u64>(), size.users, "{channels:?}");
    assert!(channels.iter().all(|users| *users > 0), "{channels:?}");

    held(&cluster, cluster.end(load));
}

/// Instances that nothing happens to, with all tabs.
fn undisturbed(proxy: Proxy, size: Size) -> (Cluster, Process) {
    let cluster = Cluster::start(proxy, size.speed, &[]);
    let thresholds = [
        hears_all_of_it_once(),
        vec![
            "errors == 0",
            "polls_per_user_and_turn <= 1.05",
            "polls_per_user_and_turn >= 0.8",
        ],
    ];
    let load = cluster.load(&size.profile(12, size.turn * 4, &thresholds.concat()));
    cluster.wait_for_tabs(size.all());
    (cluster, load)
}

/// An instance that ends in order: the proxy asks another where it refuses, so that no tab fails to come back.
fn drained(proxy: Proxy, size: Size) {
    let mut cluster = Cluster::start(proxy, size.speed, &[]);
    let thresholds = [hears_all_of_it_once(), vec!["failed_opens == 0"]].concat();
    let load = cluster.load(&size.profile(16, size.turn * 4, &thresholds));
    cluster.wait_for_tabs(size.all());
    assert!(cluster.metric(0, "polytab_tabs", "") > 0, "it has tabs");

    cluster.signal(0, Signal::TERM);
    cluster.wait_for_the_end_of(0);

    cluster.wait_for_tabs(size.all());
    wait_for("the others lead all", || {
        cluster.sum("polytab_channels_led") == size.users
    });
    held(&cluster, cluster.end(load));
}

/// The end of an instance without a word: its users are led by others before 20 s are over, and nobody hears twice.
fn killed(proxy: Proxy, size: Size) {
    let cluster = Cluster::start(proxy, size.speed, &[]);
    // Whatever changes while nobody leads is told within four turns: a lease, a turn, and what a turn takes.
    let thresholds = [hears_all_of_it_once(), vec!["polls_per_user_and_turn <= 1.05"]].concat();
    let load = cluster.load(&size.profile(16, size.turn * 4, &thresholds));
    cluster.wait_for_tabs(size.all());
    wait_for("it leads some", || {
        cluster.metric(0, "polytab_channels_led", "") > 0
    });

    cluster.signal(0, Signal::KILL);

    cluster.wait_for_tabs(size.all());
    wait_for("the others lead all", || {
        cluster.sum("polytab_channels_led") == size.users
    });
    held(&cluster, cluster.end(load));
}

/// An instance that is stopped and goes on after others took over: what it learned meanwhile is void.
fn stopped(size: Size) {
    // Nobody gives up a question while answers are held back.
    let cluster = Cluster::start(HAPROXY, size.speed, &[("upstream_timeout", "10m")]);
    let thresholds = hears_all_of_it_once();
    // Nobody hears of anything while answers are held back, but of everything later.
    let load = cluster.load(&size.profile(24, size.turn * 24, &thresholds));
    cluster.wait_for_tabs(size.all());
    // So that it has questions under way when it is stopped.
    let sessions = json!({"route": "backend.sessions"});
    cluster.order("POST", "/hold", &sessions);
    wait_for("it asks for all it leads", || cluster.asks_for_all_it_leads(0));
    let asked = cluster.metric(0, "polytab_channels_led", "");

    cluster.signal(0, Signal::STOP);
    let stopped = Instant::now();
    // Those of its users who have tabs elsewhere, too; nobody can lead the others.
    let others = [1, 2];
    let elsewhere: BTreeSet<_> = others.iter().flat_map(|nth| cluster.users(*nth)).collect();
    wait_for("the others lead all of theirs", || {
        let led = others
            .iter()
            .map(|nth| cluster.metric(*nth, "polytab_channels_led", ""));
        led.sum::<u64>() == elsewhere.len() as u64
    });
    wait_for("it was stopped for six turns", || {
        stopped.elapsed() >= Duration::from_secs(size.turn * 6)
    });
    cluster.signal(0, Signal::CONT);
    cluster.order("POST", "/release", &sessions);

    wait_for("all it had asked is refused", || {
        cluster.metric(0, "polytab_stale_writes_total", "") >= asked
    });
    wait_for("each user is led once", || {
        cluster.sum("polytab_channels_led") == size.users
    });
    held(&cluster, cluster.end(load));
}

/// Redis is started anew and has lost everything, and is cut off later: each instance goes on alone, and back.
fn without_redis(size: Size) {
    let mut cluster = Cluster::start(NGINX, size.speed, &[]);
    let thresholds = [hears_all_of_it_once(), vec!["errors == 0"]].concat();
    let load = cluster.load(&size.profile(40, size.turn * 5, &thresholds));
    cluster.wait_for_tabs(size.all());
    let all = |cluster: &Cluster, is: &str| (0..3).all(|nth| cluster.get(nth, "/readyz").starts_with(is));

    cluster.end_redis();
    wait_for("all are alone", || all(&cluster, "ready, alone"));
    cluster.start_redis();
    wait_for("none is alone", || all(&cluster, "ready\n"));
    wait_for("each user is led once", || {
        cluster.sum("polytab_channels_led") == size.users
    });

    cluster.signal_redis(Signal::STOP);
    let cut = Instant::now();
    wait_for("all are alone", || all(&cluster, "ready, alone"));
    wait_for("it was cut off for twelve turns", || {
        cut.elapsed() >= Duration::from_secs(size.turn * 12)
    });
    assert_eq!(cluster.sum("polytab_tabs"), size.all(), "no tab was lost");
    cluster.signal_redis(Signal::CONT);
    wait_for("none is alone", || all(&cluster, "ready\n"));
    wait_for("each user is led once", || {
        cluster.sum("polytab_channels_led") == size.users
    });

    held(&cluster, cluster.end(load));
}

#[test]
fn nginx_may_scatter_a_users_tabs() {
    if is_possible(NGINX) {
        scattered(NGINX, SMALL);
    }
}

#[test]
fn haproxy_may_scatter_a_users_tabs() {
    if is_possible(HAPROXY) {
        scattered(HAPROXY, SMALL);
    }
}

#[test]
fn envoy_may_scatter_a_users_tabs() {
    if is_possible(ENVOY) {
        scattered(ENVOY, SMALL);
    }
}

#[test]
fn an_instance_may_end_in_order_behind_nginx() {
    if is_possible(NGINX) {
        drained(NGINX, SMALL);
    }
}

#[test]
fn an_instance_may_end_in_order_behind_haproxy() {
    if is_possible(HAPROXY) {
        drained(HAPROXY, SMALL);
    }
}

#[test]
fn an_instance_may_end_in_order_behind_envoy() {
    if is_possible(ENVOY) {
        drained(ENVOY, SMALL);
    }
}

#[test]
fn each_proxy_as_shipped_keeps_a_users_tabs_together() {
    for proxy in [NGINX, HAPROXY, ENVOY] {
        if is_possible(proxy) {
            // So many that no instance is left out by chance.
            let users = 40;
            kept_together(proxy, Size { users, ..SMALL });
        }
    }
}

#[test]
fn an_instance_may_be_killed() {
    if is_possible(HAPROXY) {
        killed(HAPROXY, SMALL);
    }
}

#[test]
fn an_instance_may_be_killed_behind_envoy() {
    if is_possible(ENVOY) {
        killed(ENVOY, SMALL);
    }
}

#[test]
fn an_instance_may_be_stopped_for_a_while() {
    if is_possible(HAPROXY) {
        stopped(SMALL);
    }
}

#[test]
fn redis_may_be_started_anew_and_cut_off() {
    if is_possible(NGINX) {
        without_redis(SMALL);
    }
}

#[test]
#[ignore = "minutes long: the figures of docs/instances.md"]
fn full_nginx_may_scatter_a_users_tabs() {
    scattered(NGINX, FULL);
}

#[test]
#[ignore = "minutes long: the figures of docs/instances.md"]
fn full_haproxy_may_scatter_a_users_tabs() {
    scattered(HAPROXY, FULL);
}

#[test]
#[ignore = "minutes long: the figures of docs/instances.md"]
fn full_envoy_may_scatter_a_users_tabs() {
    scattered(ENVOY, FULL);
}

#[test]
#[ignore = "minutes long: the figures of docs/instances.md"]
fn full_each_proxy_as_shipped_keeps_a_users_tabs_together() {
    for proxy in [NGINX, HAPROXY, ENVOY] {
        kept_together(proxy, FULL);
    }
}

#[test]
#[ignore = "minutes long: the figures of docs/instances.md"]
fn full_an_instance_may_be_killed() {
    killed(HAPROXY, FULL);
}

#[test]
#[ignore = "minutes long: the figures of docs/instances.md"]
fn full_an_instance_may_be_stopped_for_a_while() {
    stopped(FULL);
}

#[test]
#[ignore = "minutes long: the figures of docs/instances.md"]
fn full_redis_may_be_started_anew_and_cut_off() {
    without_redis(FULL);
}
