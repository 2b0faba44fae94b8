//! Ten thousand tabs of one instance that is stopped in order, and then of one that is killed.

use std::{ops::Range, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    cluster::{Cluster, wait_for},
    programs::Server,
    proxies::NGINX,
};

const USERS: u64 = 2000;
const TABS: u64 = 5;
const ALL: u64 = USERS * TABS;

/// `drain_time`, which the server has as it comes.
const DRAIN_S: u64 = 20;

/// How many tabs opened in each second of a run between two moments of it.
fn opened(result: &Value, during: &Range<Duration>) -> Vec<u64> {
    let intervals = result["intervals"].as_array().expect("a result has intervals");
    let within = intervals.iter().filter(|one| {
        let from_s = one["from_s"].as_f64().expect("an interval begins somewhere");
        during.contains(&Duration::from_secs_f64(from_s))
    });
    within
        .map(|one| one["seen"]["counts"]["opened"].as_u64().unwrap_or(0))
        .collect()
}

#[test]
#[ignore = "minutes long: the figures of docs/rollout.md"]
#[expect(clippy::print_stdout, reason = "who runs it by hand wants the figures")]
fn full_ten_thousand_tabs_go_in_order_and_come_back_at_once() {
    let mut cluster = Cluster::start_first(NGINX, Server::OfTests, &[("introspection_interval", "10m")]);
    let begun = Instant::now();
    let load = cluster.load(&format!(
        "users: {USERS}\ntabs_per_user: {{{TABS}: 100%}}\n\
         client: {{reconnect_after: 1s, reconnect_on: [1006, 1012, 4000]}}\n\
         phases:\n  - {{name: arrive, for: 40s}}\n  - {{name: steady, for: 120s}}\n\
         changes: every 30s\n\
         limits: {{notification: 30s, settling: 30s, lag: 1h}}\n\
         thresholds: [missed == 0, cross_user == 0, doubled == 0, out_of_order == 0]\n"
    ));
    cluster.wait_for_tabs(ALL);
    cluster.start_another();

    // In order: all go within the drain time, and come back to the other instance.
    let sent_away = begun.elapsed();
    cluster.signal(0, Signal::TERM);
    let drained = cluster.wait_for_the_end_of(0);
    wait_for("all are back after the drain", || {
        cluster.metric(1, "polytab_tabs", "") == ALL
    });

    // Without a word: all come back at once.
    cluster.start_another();
    let calls = |cluster: &Cluster| -> u64 {
        let totals: Value =
            serde_json::from_str(&cluster.order("GET", "/journal/totals", &json!({}))).expect("JSON");
        let keycloak = totals.as_object().into_iter().flatten();
        let keycloak = keycloak.filter(|(route, _)| route.starts_with("keycloak."));
        keycloak.filter_map(|(_, count)| count.as_u64()).sum()
    };
    let before = calls(&cluster);
    cluster.signal(1, Signal::KILL);
    let killed = Instant::now();
    wait_for("all are back after the kill", || {
        cluster.metric(2, "polytab_tabs", "") == ALL
    });
    let (back, asked) = (killed.elapsed(), calls(&cluster) - before);

    let (code, said) = cluster.end(load);
    println!(
        "{said}\ndrained in {drained:?}; back after the kill in {back:?}, with {asked} calls to Keycloak"
    );
    let result =
        std::fs::read_to_string(cluster.folder.path().join("result.json")).expect("it was asked for");
    // Those that the kill sends away are back no sooner than a second after it.
    let kill = killed.duration_since(begun);
    let result = serde_json::from_str(&result).expect("JSON");
    let drain = opened(&result, &(sent_away..kill));
    let herd = opened(&result, &(kill..kill + back));
    println!("opened in each second of the drain: {drain:?}, and of the herd: {herd:?}");
    assert_eq!(code, Some(0));
    assert!(drained <= Duration::from_secs(30), "drained in {drained:?}");
    let peak = drain.iter().max().expect("a drain of some seconds");
    assert!(*peak <= 2 * ALL / DRAIN_S, "{peak} tabs came back in one second");
    assert!(back <= Duration::from_secs(10), "back after {back:?}");
    assert!(asked <= 50, "{asked} calls to Keycloak");
}
