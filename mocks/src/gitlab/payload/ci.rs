//! Pipelines and their jobs.

use serde_json::{Value, json};

use super::{Maker, parts::runner, time};

/// Jobs of a pipeline: name and stage.
const JOBS: [(&str, &str); 3] = [("build", "build"), ("unit", "test"), ("pages", "deploy")];
/// When a job was made, started and finished: seconds before now.
const MADE: i64 = 90;
const STARTED: i64 = 75;

impl Maker<'_> {
    pub(super) fn pipeline(&self) -> Value {
        let sha = self.sha();
        let builds: Vec<_> = (3..).zip(JOBS).map(|(kind, job)| self.build(kind, job)).collect();
        json!({
            "object_kind": "pipeline",
            "object_attributes": {
                "id": self.id(1),
                "iid": self.seq,
                "name": null,
                "ref": "main",
                "tag": false,
                "sha": sha,
                "before_sha": self.sha(),
                "source": "push",
                "status": "success",
                "detailed_status": "passed",
                "stages": JOBS.map(|(_, stage)| stage),
                "created_at": time::words(self.ago(MADE)),
                "finished_at": time::words(self.now),
                "duration": STARTED,
                "queued_duration": MADE - STARTED,
                "variables": [{"key": "ENVIRONMENT", "value": "test"}],
                "url": format!("{}/-/pipelines/{}", self.project_of().url(self.at), self.id(1)),
            },
            "merge_request": null,
            "user": self.user(),
            "project": self.short_project(),
            "commit": self.commit(&sha),
            "builds": builds,
        })
    }

    /// A job as its pipeline shows it.
    fn build(&self, kind: u64, (name, stage): (&str, &str)) -> Value {
        json!({
            "id": self.id(kind),
            "stage": stage,
            "name": name,
            "status": "success",
            "created_at": time::words(self.ago(MADE)),
            "started_at": time::words(self.ago(STARTED)),
            "finished_at": time::words(self.now),
            "duration": STARTED,
            "queued_duration": MADE - STARTED,
            "failure_reason": null,
            "when": "on_success",
            "manual": false,
            "allow_failure": false,
            "user": self.user(),
            "runner": runner(),
            "artifacts_file": {"filename": null, "size": null},
            "environment": null,
        })
    }

    pub(super) fn job(&self) -> Value {
        let sha = self.sha();
        let mut payload = json!({
            // The type is called `job`, and the body says otherwise.
            "object_kind": "build",
            "ref": "main",
            "tag": false,
            "before_sha": self.sha(),
            "sha": sha,
            "retries_count": 0,
            "pipeline_id": self.id(1),
            "project_id": self.topic.project,
            "project_name": format!("group / {}", self.project_of().name()),
            "user": self.user(),
            "commit": self.job_commit(&sha),
            "repository": self.long_repository(),
            "project": self.short_project(),
            "runner": runner(),
            "environment": null,
            "source_pipeline": null,
        });
        let [(name, stage), ..] = JOBS;
        let times = [
            ("created", self.ago(MADE)),
            ("started", self.ago(STARTED)),
            ("finished", self.now),
        ];
        for (what, at) in times {
            payload[format!("build_{what}_at")] = time::millis(at).into();
            payload[format!("build_{what}_at_iso")] = time::iso(at).into();
        }
        payload["build_id"] = self.id(3).into();
        payload["build_name"] = name.into();
        payload["build_stage"] = stage.into();
        payload["build_status"] = "success".into();
        payload["build_duration"] = STARTED.into();
        payload["build_queued_duration"] = (MADE - STARTED).into();
        payload["build_allow_failure"] = false.into();
        payload["build_failure_reason"] = "unknown_failure".into();
        payload
    }

    /// What a job calls its commit: the id is the pipeline's.
    fn job_commit(&self, sha: &str) -> Value {
        let (_, name) = self.actor;
        json!({
            "id": self.id(1),
            "name": null,
            "sha": sha,
            "message": self.title(),
            "author_name": name,
            "author_email": format!("{name}@example.org"),
            "author_url": self.profile(),
            "status": "success",
            "duration": STARTED,
            "started_at": time::words(self.ago(STARTED)),
            "finished_at": time::words(self.now),
        })
    }
}
