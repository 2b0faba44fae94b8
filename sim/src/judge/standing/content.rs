//! `no-cross-user`, `schema` and `no-secret-in-frames`: what is in the messages.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Run, failure};
use crate::events::{Event, Failure, Frame, Kind};

/// Message types of scope `user` and the keys their `data` may have (PROTOCOL A4, and B3 for servers of old).
const FORMS: [(&str, &[&str]); 8] = [
    ("init", &["message"]),
    ("ack", &["message", "topic", "recovered"]),
    ("error", &["message", "missingAuth"]),
    ("version", &["version", "start", "message"]),
    ("sessionStatus", &["message"]),
    ("sessionStatusV2", &["message"]),
    ("activation", &["message"]),
    ("authentication", &["message", "expired", "invalid"]),
];

fn received<'a>(run: &Run<'a>) -> impl Iterator<Item = (&'a Event, &'a str, &'a Frame)> {
    run.events.iter().filter_map(|event| match &event.kind {
        Kind::TabReceived { tab, message, .. } => Some((event, tab.as_str(), message)),
        _ => None,
    })
}

pub(super) fn schema(run: &Run<'_>) -> Option<Failure> {
    received(run).find_map(|(event, tab, message)| {
        let problem = form(message).err()?;
        let text = format!("tab {tab} received a message that is not of the protocol: {problem}");
        Some(failure(
            text,
            Some(tab),
            vec![message.excerpt()],
            (event.at_ms, event.at_ms),
        ))
    })
}

fn form(message: &Frame) -> Result<(), String> {
    let Some(Value::Object(fields)) = message.json() else {
        return Err("it is not a JSON object".to_owned());
    };
    let text = |key: &str| {
        fields
            .get(key)
            .and_then(Value::as_str)
            .ok_or_else(|| format!("`{key}` is missing or not a string"))
    };
    if text("timestamp")?.parse::<Timestamp>().is_err() {
        return Err("`timestamp` is not an RFC 3339 time".to_owned());
    }
    let (scope, kind) = (text("scope")?, text("type")?);
    let Some(Value::Object(data)) = fields.get("data") else {
        return Err("`data` is not an object".to_owned());
    };
    match scope.strip_prefix("project/") {
        Some(id) if id.parse::<u64>().is_ok() => Ok(()),
        Some(_) => Err(format!("`{scope}` names no project")),
        None if scope == "user" => user_form(kind, data),
        None => Err(format!("there is no scope `{scope}`")),
    }
}

fn user_form(kind: &str, data: &Map<String, Value>) -> Result<(), String> {
    let (_, known) = FORMS
        .iter()
        .find(|(name, _)| *name == kind)
        .ok_or_else(|| format!("scope `user` has no type `{kind}`"))?;
    match data.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!(
            "`data` of `{kind}` has no key `{key}`; deployed pages reject it"
        )),
        None => Ok(()),
    }
}

pub(super) fn no_secret_in_frames(run: &Run<'_>) -> Option<Failure> {
    run.events.iter().find_map(|event| match &event.kind {
        Kind::TabReceived {
            tab,
            message,
            secrets,
            ..
        } if !secrets.is_empty() => {
            let text = format!(
                "tab {tab} received a message with a secret in it ({})",
                secrets.join(", ")
            );
            Some(failure(
                text,
                Some(tab),
                vec![message.excerpt()],
                (event.at_ms, event.at_ms),
            ))
        }
        _ => None,
    })
}

pub(super) fn no_cross_user(run: &Run<'_>) -> Option<Failure> {
    received(run).find_map(|(event, tab, message)| {
        let person = run.tabs.get(tab)?;
        let json = message.json()?;
        let foreign = match json["scope"].as_str()?.strip_prefix("project/") {
            Some(project) => {
                let topic = format!("/project/{project}/{}", json["type"].as_str()?);
                (!asked(run, event.seq, tab, &topic))
                    .then(|| format!("an event of `{topic}`, which it never subscribed to"))
            }
            None if json["type"] == "activation" => {
                let told: Value = serde_json::from_str(json["data"]["message"].as_str()?).ok()?;
                let followed = followed(run, person.user);
                told.as_object()?
                    .keys()
                    .find(|project| !followed.contains(*project))
                    .map(|project| {
                        format!(
                            "the activation of project {project}, which no tab of {} follows",
                            person.user
                        )
                    })
            }
            None => None,
        }?;
        let text = format!("tab {tab} of {} received {foreign}", person.user);
        Some(failure(
            text,
            Some(tab),
            vec![message.excerpt()],
            (event.at_ms, event.at_ms),
        ))
    })
}

/// Whether a tab asked for a topic before event `seq`.
fn asked(run: &Run<'_>, seq: u64, tab: &str, topic: &str) -> bool {
    let upto = usize::try_from(seq).unwrap_or(usize::MAX).min(run.events.len());
    run.events[..upto].iter().any(|event| match &event.kind {
        Kind::TabSent {
            tab: sender, message, ..
        } => {
            sender == tab
                && message.kind() == Some("subscribe")
                && message.json().is_some_and(|json| json["data"]["topic"] == topic)
        }
        _ => false,
    })
}

/// The projects that tabs of a user follow, as the keys of an activation map.
fn followed(run: &Run<'_>, user: &str) -> BTreeSet<String> {
    let mut projects = BTreeSet::new();
    for event in run.events {
        let Kind::TabSent { tab, message, .. } = &event.kind else {
            continue;
        };
        let whose = run.tabs.get(tab.as_str()).map(|person| person.user);
        if whose != Some(user) || message.kind() != Some("pullKgActivationStatus") {
            continue;
        }
        let ids = message
            .json()
            .and_then(|json| json["data"]["projects"].as_array());
        projects.extend(
            ids.into_iter()
                .flatten()
                .map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned)),
        );
    }
    projects
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_form_of_a_message_is_checked_key_by_key() {
        let message = |scope: &str, kind: &str, data: Value| {
            form(&Frame::Json(
                json!({ "timestamp": "2026-01-01T00:00:00.000Z", "scope": scope, "type": kind, "data": data }),
            ))
        };

        assert_eq!(message("user", "ack", json!({ "message": "ping" })), Ok(()));
        assert_eq!(message("project/42", "push", json!({ "x": 1 })), Ok(()));
        assert!(message("user", "ack", json!({ "extra": 1 })).is_err());
        assert!(message("user", "news", json!({})).is_err());
        assert!(message("team", "ack", json!({})).is_err());
        assert!(message("user", "ack", json!([])).is_err());
        assert!(form(&Frame::Text("x".into())).is_err());
    }
}
