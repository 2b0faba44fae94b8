//! GitLab's payloads: every field of every type, each time in its form.

use crate::support::{
    gitlab::{access, data_lines, streamed},
    mocks,
};
use polytab_mocks::gitlab::generate::EventOrder;
use polytab_protocol::topic::EventType;
use serde_json::Value;

/// Every path through an object, lists as `[]`.
fn paths(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                found.push(path.clone());
                paths(value, &path, found);
            }
        }
        Value::Array(items) => {
            for item in items.iter().take(1) {
                paths(item, &format!("{path}[]"), found);
            }
        }
        _ => {}
    }
}

const PROJECT: &str = "id name description web_url avatar_url git_ssh_url git_http_url namespace visibility_level \
    path_with_namespace default_branch ci_config_path homepage url ssh_url http_url";
const SHORT_PROJECT: &str = "id name description web_url avatar_url git_ssh_url git_http_url namespace \
    visibility_level path_with_namespace default_branch";
const USER: &str = "id name username avatar_url email";
const REPOSITORY: &str = "name url description homepage";
const LONG_REPOSITORY: &str = "name url description homepage git_http_url git_ssh_url visibility_level";
const LABEL: &str = "id title color project_id created_at updated_at template description type group_id";
const COMMIT: &str = "id message title timestamp url author author.name author.email";
const WORK: &str = "id iid title description state state_id action author_id assignee_id assignee_ids milestone_id \
    created_at updated_at last_edited_at last_edited_by_id updated_by_id time_estimate total_time_spent time_change \
    human_time_estimate human_total_time_spent human_time_change url labels";
const ISSUE: &str = "project_id confidential discussion_locked due_date relative_position moved_to_id \
    duplicated_to_id weight health_status severity escalation_status escalation_policy type";
const MERGE_REQUEST: &str = "source_branch target_branch source_project_id target_project_id reviewer_ids draft \
    work_in_progress merge_status detailed_merge_status blocking_discussions_resolved first_contribution prepared_at \
    source target last_commit";
const BUILD: &str = "id stage name status created_at started_at finished_at duration queued_duration failure_reason \
    when manual allow_failure user runner artifacts_file artifacts_file.filename artifacts_file.size environment";
const PUSH: &str = "object_kind event_name before after ref ref_protected checkout_sha message user_id user_name \
    user_avatar project_id project commits total_commits_count push_options repository";
const PIPELINE: &str = "id iid name ref tag sha before_sha source status detailed_status stages created_at finished_at \
    duration queued_duration variables url";
const JOB: &str = "object_kind ref tag before_sha sha build_id build_name build_stage build_status build_created_at \
    build_created_at_iso build_started_at build_started_at_iso build_finished_at build_finished_at_iso \
    build_duration build_queued_duration build_allow_failure build_failure_reason retries_count \
    pipeline_id project_id project_name user commit repository project runner environment \
    source_pipeline";
const JOB_COMMIT: &str =
    "id name sha message author_name author_email author_url status duration started_at finished_at";
const DEPLOYMENT: &str = "object_kind status status_changed_at deployment_id deployable_id deployable_url environment \
    environment_tier environment_slug environment_external_url project ref short_sha user user_url \
    commit_url commit_title";

/// MOCKS G3: what must be in a payload; where, and which fields.
fn fields(event: EventType) -> Vec<(&'static str, &'static str)> {
    let work = [
        (
            "",
            "object_kind event_type user project object_attributes repository assignees assignee labels changes",
        ),
        ("user", USER),
        ("project", PROJECT),
        ("repository", REPOSITORY),
        ("object_attributes", WORK),
        ("labels[]", LABEL),
        ("changes.updated_at", "previous current"),
    ];
    match event {
        EventType::Push => vec![
            ("", PUSH),
            ("", "user_username user_email"),
            ("project", PROJECT),
            ("repository", LONG_REPOSITORY),
            ("commits[]", COMMIT),
            ("commits[]", "added modified removed"),
        ],
        EventType::TagPush => vec![("", PUSH), ("project", PROJECT), ("repository", LONG_REPOSITORY)],
        EventType::Issue => [&work[..], &[("object_attributes", ISSUE)]].concat(),
        EventType::MergeRequest => [
            &work[..],
            &[
                ("", "reviewers"),
                ("object_attributes", MERGE_REQUEST),
                ("object_attributes.source", PROJECT),
                ("object_attributes.last_commit", COMMIT),
            ],
        ]
        .concat(),
        EventType::Note => vec![
            (
                "",
                "object_kind event_type user project_id project repository object_attributes issue",
            ),
            (
                "object_attributes",
                "id note noteable_type author_id created_at updated_at noteable_id system url",
            ),
            ("issue", WORK),
        ],
        EventType::Pipeline => vec![
            (
                "",
                "object_kind object_attributes merge_request user project commit builds",
            ),
            ("object_attributes", PIPELINE),
            ("object_attributes.variables[]", "key value"),
            ("project", SHORT_PROJECT),
            ("commit", COMMIT),
            ("builds[]", BUILD),
        ],
        EventType::Job => vec![("", JOB), ("commit", JOB_COMMIT), ("project", SHORT_PROJECT)],
        EventType::Release => vec![
            (
                "",
                "object_kind id name tag description action created_at released_at project url assets commit",
            ),
            ("assets.sources[]", "format url"),
            ("commit", COMMIT),
        ],
        EventType::Deployment => vec![("", DEPLOYMENT)],
    }
}

#[tokio::test(start_paused = true)]
async fn a_payload_has_every_field_of_its_type() {
    for &event in EventType::ALL {
        let payload = streamed(event).await;

        let mut found = Vec::new();
        paths(&payload, "", &mut found);
        for (at, names) in fields(event) {
            for name in names.split_whitespace() {
                let path = if at.is_empty() {
                    name.to_owned()
                } else {
                    format!("{at}.{name}")
                };
                assert!(found.contains(&path), "{event} has no `{path}`: {payload:#}");
            }
        }
        let kind = if event == EventType::Job {
            "build"
        } else {
            event.as_str()
        };
        assert_eq!(payload["object_kind"], kind);
    }
    let short = streamed(EventType::Pipeline).await;
    assert_eq!(short["project"]["homepage"], Value::Null);
    let tag = streamed(EventType::TagPush).await;
    assert_eq!(
        (&tag["user_username"], &tag["user_email"]),
        (&Value::Null, &Value::Null)
    );
    let job = streamed(EventType::Job).await;
    assert_eq!(job["commit"]["id"], job["pipeline_id"]);
}

#[tokio::test(start_paused = true)]
async fn each_time_has_the_form_that_gitlab_gives_it_there() {
    let shapes = [
        ("iso", "0000-00-00T00:00:00Z"),
        ("words", "0000-00-00 00:00:00 UTC"),
        ("millis", "0000-00-00T00:00:00.000Z"),
        ("zoned", "0000-00-00T00:00:00+00:00"),
    ];
    for (event, pointer, form) in [
        (EventType::Issue, "/object_attributes/created_at", "iso"),
        (EventType::Issue, "/object_attributes/updated_at", "iso"),
        (EventType::Issue, "/changes/updated_at/current", "words"),
        (EventType::Issue, "/labels/0/created_at", "words"),
        (EventType::MergeRequest, "/object_attributes/prepared_at", "iso"),
        (
            EventType::MergeRequest,
            "/object_attributes/last_commit/timestamp",
            "zoned",
        ),
        (EventType::MergeRequest, "/changes/updated_at/previous", "words"),
        (EventType::Note, "/object_attributes/created_at", "words"),
        (EventType::Push, "/commits/0/timestamp", "zoned"),
        (EventType::Pipeline, "/object_attributes/created_at", "words"),
        (EventType::Pipeline, "/builds/0/finished_at", "words"),
        (EventType::Pipeline, "/commit/timestamp", "zoned"),
        (EventType::Job, "/build_created_at", "millis"),
        (EventType::Job, "/build_finished_at", "millis"),
        (EventType::Release, "/released_at", "words"),
        (EventType::Release, "/commit/timestamp", "zoned"),
        (EventType::Deployment, "/status_changed_at", "words"),
    ] {
        let payload = streamed(event).await;

        let time = payload.pointer(pointer).and_then(Value::as_str).unwrap();
        let digits_gone: String = time
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        let shape = shapes.iter().find(|(name, _)| *name == form).unwrap().1;
        assert_eq!(digits_gone, shape, "{event}{pointer}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_payload() {
    for &event in EventType::ALL {
        assert_eq!(streamed(event).await, streamed(event).await, "{event}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_push_shows_its_newest_twenty_commits_and_the_true_number() {
    let mocks = mocks();
    let token = access(&mocks).await;
    let push = EventOrder {
        commits: Some(25),
        ..EventOrder::new(EventType::Push)
    };

    let id = mocks.generate(42, &push).unwrap().remove(0);

    let payload: Value = serde_json::from_str(&data_lines(&mocks, &token, &id).await[0]).unwrap();
    assert_eq!(payload["commits"].as_array().unwrap().len(), 20);
    assert_eq!(payload["total_commits_count"], 25);
    assert_eq!(payload["commits"][19]["id"], payload["after"]);
}
