//! Knowledge-graph status of projects.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::error::ControlError;

/// Status bodies by project.
#[derive(Debug, Default)]
pub(crate) struct Graphs(BTreeMap<u64, Value>);

impl Graphs {
    /// Whether these could be set.
    pub(crate) fn check(status: &BTreeMap<String, Value>) -> Result<(), ControlError> {
        status.keys().try_for_each(|id| project(id).map(drop))
    }

    /// Sets the status of some projects: a body as it is, a number for a percentage, `null` for none.
    pub(crate) fn set(&mut self, status: BTreeMap<String, Value>) -> Result<(), ControlError> {
        for (id, status) in status {
            let project = project(&id)?;
            match &status {
                Value::Null => self.0.remove(&project),
                Value::Number(percent) => self.0.insert(project, body(percent.as_f64().unwrap_or(0.0))),
                _ => self.0.insert(project, status),
            };
        }
        Ok(())
    }

    /// All of them, as they could be set.
    pub(crate) fn all(&self) -> BTreeMap<String, Value> {
        let all = self.0.iter();
        all.map(|(project, body)| (project.to_string(), body.clone()))
            .collect()
    }

    pub(crate) fn get(&self, project: u64) -> Option<&Value> {
        self.0.get(&project)
    }
}

fn project(id: &str) -> Result<u64, ControlError> {
    id.parse().map_err(|_| ControlError::BadValue {
        what: "a project's number",
        value: id.to_owned(),
        nearest: None,
    })
}

/// What the graph service says of a project that is so far, in percent.
fn body(percent: f64) -> Value {
    let (status, message) = if percent < 100.0 {
        ("in-progress", "Processing project data")
    } else {
        ("success", "Project data has been processed")
    };
    json!({
        "activated": true,
        "progress": {"done": (percent / 20.0).floor(), "total": 5.0, "percentage": percent},
        "details": {"status": status, "message": message},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_becomes_a_whole_body_and_null_none() {
        let mut graphs = Graphs::default();

        graphs
            .set([("7".to_owned(), json!(40)), ("8".to_owned(), json!({}))].into())
            .unwrap();
        graphs.set([("8".to_owned(), Value::Null)].into()).unwrap();

        let status = graphs.get(7).unwrap();
        assert_eq!(status["progress"]["percentage"], 40.0);
        assert_eq!(status["details"]["status"], "in-progress");
        assert_eq!(graphs.get(8), None);
        assert!(Graphs::check(&[("x".to_owned(), json!(1))].into()).is_err());
    }
}
