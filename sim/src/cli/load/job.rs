//! `polytab load … --print-job N`: the same load as an Indexed Job of Kubernetes, one shard in each pod.

use std::time::Duration;

use jiff::{Timestamp, Unit};
use serde_json::{Value, json};

/// Pods get their images and places in this time; those that take longer refuse to begin, and the merge names them.
const START_IN: Duration = Duration::from_mins(2);
/// Flags of this command that are not for the shards, each with whether a value follows it.
const OWN: [(&str, bool); 6] = [
    ("--print-job", true),
    ("--image", true),
    ("--shard", true),
    ("--start-at", true),
    ("--out", true),
    ("--message-format", true),
];

/// The job (batch/v1), as JSON, which `kubectl apply -f -` takes as well as YAML. `arguments` are those of this command,
/// from `load` on.
pub(super) fn job(shards: u32, image: &str, arguments: &[String], now: Timestamp) -> Value {
    let mut of_shard = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let name = argument.split('=').next().unwrap_or_default();
        match OWN.iter().find(|(own, _)| *own == name) {
            None => of_shard.push(argument.clone()),
            Some((_, takes_value)) => {
                if *takes_value && !argument.contains('=') {
                    rest.next();
                }
            }
        }
    }
    let start_at = now.saturating_add(START_IN).unwrap_or(now);
    // In whole seconds: people read it.
    let start_at = start_at.round(Unit::Second).unwrap_or(start_at);
    let own = [
        "--shard",
        "auto",
        "--start-at",
        &start_at.to_string(),
        "--message-format",
        "json",
    ];
    of_shard.extend(own.map(str::to_owned));
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "generateName": "polytab-load-", "labels": { "app": "polytab-load" } },
        "spec": {
            "completionMode": "Indexed",
            "completions": shards,
            "parallelism": shards,
            // A shard that began once more would not be part of the same load.
            "backoffLimit": 0,
            "template": {
                "metadata": { "labels": { "app": "polytab-load" } },
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{
                        "name": "polytab",
                        "image": image,
                        "args": of_shard,
                        "env": [{ "name": "POLYTAB_SHARDS", "value": shards.to_string() }],
                    }],
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_has_the_loads_own_flags_and_no_other() {
        let arguments = [
            "load",
            "steady",
            "--print-job",
            "4",
            "--users",
            "100",
            "--out=x.json",
            "--image",
            "i",
            "--seed=3",
        ]
        .map(str::to_owned);

        let job = job(
            4,
            "polytab:1",
            &arguments,
            "2026-01-01T00:00:00Z".parse().unwrap(),
        );

        let container = &job["spec"]["template"]["spec"]["containers"][0];
        let expected = [
            "load",
            "steady",
            "--users",
            "100",
            "--seed=3",
            "--shard",
            "auto",
            "--start-at",
            "2026-01-01T00:02:00Z",
            "--message-format",
            "json",
        ];
        assert_eq!(container["args"], json!(expected));
        assert_eq!(container["env"][0]["value"], "4");
        assert_eq!(
            (&job["spec"]["completions"], &job["spec"]["backoffLimit"]),
            (&json!(4), &json!(0))
        );
    }
}
