//! `init`: a tab asks for the server's version, now and at each turn of the long loop.

use std::time::Duration;

use polytab_protocol::message::ServerMessage;
use serde_json::{Value, json};

use super::{Command, From, Keys, SetupError};
use crate::channel::{event::Effect, state::ChannelState};

pub(super) struct Init;

impl Command for Init {
    fn name(&self) -> &'static str {
        "init"
    }

    fn keys(&self) -> &'static [Keys] {
        &[Keys {
            required: &["requestServerVersion"],
            optional: &[],
        }]
    }

    fn setup(&self, state: &mut ChannelState, from: From<'_>) -> Result<Vec<Effect>, SetupError> {
        if !truthy(&from.data["requestServerVersion"]) {
            return Ok(Vec::new());
        }
        state.ask_version();
        let data = match &state.terms.version {
            Some(version) => {
                let text = format!("the version is sent every {}", words(state.terms.long_loop));
                json!({ "start": true, "message": text, "version": version })
            }
            None => json!({ "start": false, "message": "this server does not know its version" }),
        };
        Ok(vec![Effect::Send(
            vec![from.tab],
            ServerMessage::user("version", &data),
        )])
    }
}

/// What JavaScript takes for true, as deployed clients mean it.
fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

fn words(interval: Duration) -> String {
    let seconds = interval.as_secs();
    if seconds < 60 {
        format!("{seconds} seconds")
    } else {
        format!("{} minutes", seconds / 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_true_to_a_page_is_true_here() {
        for (value, is) in [
            (json!(true), true),
            (json!(1), true),
            (json!("no"), true),
            (json!([]), true),
            (json!(false), false),
            (json!(0), false),
            (json!(""), false),
            (json!(null), false),
        ] {
            assert_eq!(truthy(&value), is, "{value}");
        }
    }
}
