//! Half an hour of everything that happens to tabs and to what the server holds for them: what leaks shows. The server is
//! the one that is shipped: `polytab serve` has the allocator of a load generator, which takes memory by huge pages of
//! 2 MiB.

use std::{thread::sleep, time::Duration};

use serde_json::{Value, json};

use super::{cluster::Cluster, programs::Server, proxies::NGINX};

const PROFILE: &str = include_str!("../../../../scenarios/load/soak.load.yaml");
/// Pages that hold a topic as well.
const SUBSCRIBED: &str = "
client:
  on_init:
    - {type: init, data: {requestServerVersion: true}}
    - {type: subscribe, data: {topic: /project/42/push}}
reference: {projects: [42]}
limits: {lag: 1h}
";
/// Between two looks at the memory, in each of which some streams are cut and an event comes.
const STEP: Duration = Duration::from_secs(10);
/// Every so many-th stream is cut in a step.
const CUT: usize = 7;

#[test]
#[ignore = "half an hour: the figures of docs/rollout.md"]
#[expect(clippy::print_stdout, reason = "who runs it by hand wants the figures")]
fn full_half_an_hour_of_churn_leaves_nothing_behind() {
    let cluster = Cluster::start_first(NGINX, Server::shipped(), &[]);
    let mut load = cluster.load(&format!("{PROFILE}{SUBSCRIBED}"));
    let (mut resident, mut cut) = (Vec::new(), 0);

    while Cluster::goes_on(&mut load) {
        sleep(STEP);
        let streams = cluster.order("GET", "/streams", &json!({}));
        let streams: Vec<Value> = serde_json::from_str(&streams).expect("a list");
        for stream in streams.iter().skip(resident.len() % CUT).step_by(CUT) {
            cluster.order("POST", &format!("/streams/{}/drop", stream["id"]), &json!({}));
            cut += 1;
        }
        let event = json!({"topic": "/project/42/push", "payload": {"text": "a".repeat(2000)}});
        cluster.order("POST", "/events", &event);
        resident.push(cluster.resident_kb(0));
    }

    let (code, said) = cluster.end(load);
    println!("{said}\n{cut} cuts of streams; resident kB, each 10 s: {resident:?}");
    // The last minute is the end of the run.
    let steady = &resident[resident.len() / 2..resident.len() - 6];
    let (least, most) = (steady.iter().min(), steady.iter().max());
    let (least, most) = (*least.expect("it took a while"), *most.expect("it took a while"));
    println!("in the second half between {least} and {most} kB");
    assert_eq!(code, Some(0), "{said}");
    assert!(cut > 0, "streams were cut");
    assert!(
        (most - least) * 100 <= least * 3,
        "{least} and {most} kB are not within 3 %"
    );
}
