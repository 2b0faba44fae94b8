//! What callers want of their backend sessions: bodies, read and checked.

use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    class::{Class, USUAL},
    name::{is_ulid, session_name},
    refusal::DataError,
};
use crate::call::Call;

/// `POST /api/data/sessions`
#[derive(Debug, Deserialize)]
pub(super) struct Launching {
    launcher_id: String,
    resource_class_id: Option<u64>,
    /// In GB.
    disk_storage: Option<u64>,
    #[serde(default)]
    session_type: SessionType,
    submission_id: Option<String>,
    command_args: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SessionType {
    #[default]
    Interactive,
    NonInteractive,
}

/// `PATCH /api/data/sessions/{name}`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Patch {
    pub(super) state: Option<Wanted>,
    resource_class_id: Option<u64>,
    #[serde(rename = "lastInteraction")]
    last_interaction: Option<String>,
}

/// A state that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wanted {
    Running,
    Hibernated,
}

/// The body, if it is one of these.
pub(super) fn body<T: DeserializeOwned>(call: &Call) -> Result<T, DataError> {
    let fields = call
        .json
        .clone()
        .ok_or_else(|| DataError::invalid("The body is not a JSON object"))?;
    serde_json::from_value(Value::Object(fields)).map_err(|error| DataError::invalid(error.to_string()))
}

impl Launching {
    /// What the session is called.
    pub(super) fn name(&self, owner: &str) -> String {
        match &self.submission_id {
            // Each submission of a job is a session of its own.
            Some(submission) => session_name(owner, &format!("{}/{submission}", self.launcher_id)),
            None => session_name(owner, &self.launcher_id),
        }
    }

    /// What the session's item says beyond the usual.
    pub(super) fn partial(&self) -> Result<Value, DataError> {
        if !is_ulid(&self.launcher_id) {
            return Err(DataError::invalid("launcher_id is not a ULID"));
        }
        let class = known_class(self.resource_class_id.unwrap_or(USUAL))?;
        if self.disk_storage == Some(0) {
            return Err(DataError::invalid("disk_storage is less than 1"));
        }
        let mut partial = json!({
            "launcher_id": self.launcher_id,
            "resource_class_id": class.id,
            "resources": class.resources(self.disk_storage.unwrap_or(1)),
        });
        if self.session_type == SessionType::NonInteractive {
            partial["session_type"] = "non-interactive".into();
        }
        if let Some(id) = &self.submission_id {
            partial["submission_id"] = id.as_str().into();
        }
        if let Some(arguments) = &self.command_args {
            partial["command_args"] = json!(arguments);
        }
        Ok(partial)
    }
}

impl Patch {
    /// When the user last did something, if that is told and can be.
    pub(super) fn interaction(&self, now: Timestamp) -> Result<Option<Timestamp>, DataError> {
        let Some(text) = self.last_interaction.as_deref() else {
            return Ok(None);
        };
        if text == "now" {
            return Ok(Some(now));
        }
        // Without a zone it is no time stamp.
        let time: Timestamp = text
            .parse()
            .map_err(|_| DataError::invalid("lastInteraction is not a time with its zone"))?;
        if time > now {
            return Err(DataError::invalid("lastInteraction is in the future"));
        }
        Ok(Some(time))
    }

    /// What becomes of an item's class and resources.
    pub(super) fn class(&self, item: &Value) -> Result<Option<Value>, DataError> {
        let Some(id) = self.resource_class_id else {
            return Ok(None);
        };
        let class = known_class(id)?;
        let present = item["resource_class_id"].as_u64().and_then(Class::of);
        if present.is_some_and(|present| !class.is_beside(present)) {
            return Err(DataError::invalid(
                "The resource class is on another cluster than the session",
            ));
        }
        let storage_gb = item["resources"]["requests"]["storage"].as_u64().unwrap_or(1);
        Ok(Some(
            json!({"resource_class_id": id, "resources": class.resources(storage_gb)}),
        ))
    }
}

fn known_class(id: u64) -> Result<Class, DataError> {
    Class::of(id)
        .ok_or_else(|| DataError::new(404, &format!("The resource class with ID {id} does not exist")))
}
