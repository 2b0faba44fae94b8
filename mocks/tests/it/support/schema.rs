//! What a backend session must look like, whatever happened to it (MOCKS B1).

use jiff::Timestamp;
use serde_json::{Map, Value};

/// Checks an item of the list; says what is wrong with it.
pub(crate) fn check(item: &Value) -> Result<(), String> {
    let item = object(item, "item")?;
    only(
        item,
        &[
            "image",
            "name",
            "resources",
            "started",
            "status",
            "url",
            "project_id",
            "launcher_id",
            "resource_class_id",
            "session_type",
        ],
        &[
            "job_completed_at",
            "lastInteraction",
            "submission_id",
            "command_args",
        ],
    )?;
    that(is_name(text(item, "name")?), "name")?;
    that(!text(item, "image")?.is_empty(), "image")?;
    let url = text(item, "url")?;
    that(url == "None" || url.starts_with("https://"), "url")?;
    for id in ["project_id", "launcher_id"] {
        that(is_ulid(text(item, id)?), id)?;
    }
    that(item["resource_class_id"].is_u64(), "resource_class_id")?;
    let kind = text(item, "session_type")?;
    that(["interactive", "non-interactive"].contains(&kind), "session_type")?;
    for time in ["started", "lastInteraction", "job_completed_at"] {
        is_time(item, time)?;
    }
    resources(&item["resources"])?;
    status(&item["status"], kind)
}

fn resources(resources: &Value) -> Result<(), String> {
    let outer = object(resources, "resources")?;
    only(outer, &["requests"], &[])?;
    let requests = object(&outer["requests"], "requests")?;
    only(requests, &["cpu", "gpu", "memory", "storage"], &[])?;
    that(requests["cpu"].is_f64(), "cpu")?;
    let are_whole = ["gpu", "memory", "storage"]
        .iter()
        .all(|name| requests[*name].is_u64());
    that(are_whole, "whole numbers")
}

fn status(status: &Value, kind: &str) -> Result<(), String> {
    let status = object(status, "status")?;
    only(
        status,
        &["state", "ready_containers", "total_containers"],
        &["message", "will_hibernate_at", "will_delete_at"],
    )?;
    let state = text(status, "state")?;
    let known = [
        "running",
        "starting",
        "stopping",
        "failed",
        "hibernated",
        "succeeded",
    ];
    that(known.contains(&state), "state")?;
    let count = |name: &str| status[name].as_u64().ok_or(format!("{name} is no count"));
    that(
        count("ready_containers")? <= count("total_containers")?,
        "ready ≤ total",
    )?;
    that(
        (state == "failed") == status.contains_key("message"),
        "message of the failed only",
    )?;
    that(
        state != "succeeded" || kind == "non-interactive",
        "only jobs succeed",
    )?;
    let is_deleted = status.contains_key("will_delete_at");
    that(!is_deleted || state == "hibernated", "will_delete_at")?;
    let is_hibernated = status.contains_key("will_hibernate_at");
    that(!is_hibernated || state == "running", "will_hibernate_at")?;
    is_time(status, "will_hibernate_at")?;
    is_time(status, "will_delete_at")
}

fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Map<String, Value>, String> {
    value.as_object().ok_or(format!("{what} is no object"))
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    object[name].as_str().ok_or(format!("{name} is no text"))
}

fn that(holds: bool, what: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(format!("`{what}` does not hold"))
    }
}

/// All of the first and none but these and the second; no nulls.
fn only(object: &Map<String, Value>, needed: &[&str], allowed: &[&str]) -> Result<(), String> {
    for name in needed {
        that(object.contains_key(*name), name)?;
    }
    for (name, value) in object {
        let is_known = needed.contains(&name.as_str()) || allowed.contains(&name.as_str());
        that(is_known && !value.is_null(), name)?;
    }
    Ok(())
}

fn is_time(object: &Map<String, Value>, name: &str) -> Result<(), String> {
    let time = object
        .get(name)
        .map(|time| time.as_str().unwrap_or("").parse::<Timestamp>());
    that(time.is_none_or(|time| time.is_ok()), name)
}

fn is_name(name: &str) -> bool {
    let is_inner = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    (5..=50).contains(&name.len())
        && name.starts_with(|letter: char| letter.is_ascii_lowercase())
        && name.chars().all(is_inner)
        && !name.ends_with('-')
}

fn is_ulid(text: &str) -> bool {
    let is_crockford = |letter: char| {
        letter.is_ascii_digit() || letter.is_ascii_uppercase() && !['I', 'L', 'O', 'U'].contains(&letter)
    };
    text.len() == 26
        && text.starts_with(|first| ('0'..='7').contains(&first))
        && text.chars().all(is_crockford)
}
