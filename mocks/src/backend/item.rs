//! One backend session as the data service shows it, in both versions: complete, whatever little an order said.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    backend::{
        course::second,
        life::{STATES, typical},
    },
    error::ControlError,
    route::nearest,
};

/// The image of a session of which no more is known.
pub(crate) const IMAGE: &str = "registry.example.org/renku/environment:1.0";
/// An image that cannot be pulled.
pub(crate) const MISSING_IMAGE: &str = "registry.example.org/renku/missing:1.0";

/// Whether the data service could ever show these.
pub(crate) fn check(partials: &[Value]) -> Result<(), ControlError> {
    for partial in partials {
        let bad = |what, value: &Value, nearest| ControlError::BadValue {
            what,
            value: value.to_string(),
            nearest,
        };
        if !partial.is_object() {
            return Err(bad("a backend session", partial, None));
        }
        match &partial["status"]["state"] {
            Value::Null => {}
            Value::String(state) if STATES.contains(&state.as_str()) => {}
            Value::String(state) => {
                return Err(ControlError::BadValue {
                    what: "the state of a backend session",
                    value: state.clone(),
                    nearest: nearest(state, STATES.into_iter()),
                });
            }
            other => return Err(bad("the state of a backend session", other, None)),
        }
    }
    Ok(())
}

/// A complete V2 item of a running interactive session.
pub(crate) fn complete_item(name: &str, ulid: &dyn Fn() -> String, now: Timestamp) -> Value {
    json!({
        "image": IMAGE,
        "name": name,
        "resources": {"requests": {"cpu": 0.5, "gpu": 0, "memory": 1, "storage": 1}},
        "started": second(now),
        "lastInteraction": second(now),
        "status": typical("running"),
        "url": format!("https://renku.example.org/sessions/{name}"),
        "project_id": ulid(),
        "launcher_id": ulid(),
        "resource_class_id": 1,
        "session_type": "interactive",
    })
}

/// A complete V1 server that runs.
pub(crate) fn complete_server(name: &str, started: &Value) -> Value {
    let details: Vec<Value> = ["Initialization", "Pulling image", "Starting session"]
        .map(|step| json!({"step": step, "status": "ready"}))
        .into();
    let mut server = Map::new();
    server.insert("annotations".to_owned(), json!({}));
    server.insert("name".to_owned(), name.into());
    server.insert("state".to_owned(), json!({"pod_name": format!("{name}-0")}));
    server.insert("started".to_owned(), started.clone());
    let status = json!({
        "state": "running",
        "details": details,
        "readyNumContainers": 2,
        "totalNumContainers": 2,
        "warnings": [],
    });
    server.insert("status".to_owned(), status);
    server.insert(
        "url".to_owned(),
        format!("https://renku.example.org/sessions/{name}").into(),
    );
    server.insert(
        "resources".to_owned(),
        json!({"requests": {"cpu": 0.5, "memory": "1G"}, "usage": {}}),
    );
    server.insert("image".to_owned(), IMAGE.into());
    server.insert("cloudstorage".to_owned(), json!([]));
    Value::Object(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_cannot_be_is_refused_with_the_nearest() {
        let error = check(&[json!({"status": {"state": "runing"}})]).unwrap_err();

        assert_eq!(error.nearest(), Some("running"));
        assert!(check(&[json!(1)]).is_err());
    }
}
