//! What tabs send: messages, and things that are none.

use jiff::Timestamp;
use polytab_protocol::message::rfc3339;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame as WireFrame,
        coding::{Data, OpCode},
    },
};

use crate::{events::Frame, scenario::step::SendRaw};

/// What goes over the wire, and how the event stream shows it.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pub(crate) wire: Vec<Message>,
    pub(crate) shown: Frame,
}

impl Payload {
    /// A JSON message; an object without `timestamp` gets one.
    pub(crate) fn json(message: &Value, now: Timestamp) -> Self {
        let mut message = message.clone();
        if let Value::Object(fields) = &mut message {
            fields.entry("timestamp").or_insert_with(|| rfc3339(now).into());
        }
        Self {
            wire: vec![Message::text(message.to_string())],
            shown: Frame::Json(message),
        }
    }

    /// What a `send_raw` asks for; the parser has seen to it that it asks for one thing.
    pub(crate) fn raw(raw: &SendRaw, now: Timestamp) -> Self {
        if let Some(text) = &raw.text {
            return Self::text(text, raw.fragments.unwrap_or(1));
        }
        if let Some(hex) = &raw.binary {
            let bytes = unhex(hex);
            let shown = Frame::Other(format!("binary, {} bytes", bytes.len()));
            return Self {
                wire: vec![Message::binary(bytes)],
                shown,
            };
        }
        if let Some(bytes) = raw.oversized {
            let padding = "x".repeat(bytes.saturating_sub(60));
            let text = json!({ "timestamp": 0, "type": "ping", "data": { "padding": padding } }).to_string();
            return Self {
                wire: vec![Message::text(text)],
                shown: Frame::Other(format!("text, {bytes} bytes")),
            };
        }
        if let Some(depth) = raw.nested {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            let stamp = rfc3339(now);
            let text = format!(r#"{{"timestamp":"{stamp}","type":"ping","data":{{"deep":{open}{close}}}}}"#);
            return Self {
                wire: vec![Message::text(text)],
                shown: Frame::Other(format!("text, nested {depth} deep")),
            };
        }
        let wrong = WireFrame::message(vec![b'"', 0xff, 0xfe, b'"'], OpCode::Data(Data::Text), true);
        Self {
            wire: vec![Message::Frame(wrong)],
            shown: Frame::Other("text that is not UTF-8".to_owned()),
        }
    }

    fn text(text: &str, fragments: usize) -> Self {
        let shown = Frame::text(text);
        if fragments <= 1 {
            return Self {
                wire: vec![Message::text(text)],
                shown,
            };
        }
        let size = text.len().div_ceil(fragments).max(1);
        let parts: Vec<_> = text.as_bytes().chunks(size).collect();
        let wire = parts.iter().enumerate().map(|(nth, part)| {
            let code = if nth == 0 { Data::Text } else { Data::Continue };
            Message::Frame(WireFrame::message(
                part.to_vec(),
                OpCode::Data(code),
                nth + 1 == parts.len(),
            ))
        });
        Self {
            wire: wire.collect(),
            shown,
        }
    }
}

/// Bytes of a hexadecimal text; what is no such digit is passed over, as blanks between bytes are.
fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .filter_map(|d| u8::try_from(d).ok())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_gets_a_timestamp_when_it_has_none() {
        let with = Payload::json(&json!({ "type": "ping", "timestamp": 1 }), Timestamp::UNIX_EPOCH);
        let without = Payload::json(&json!({ "type": "ping" }), Timestamp::UNIX_EPOCH);

        assert_eq!(with.shown.json().unwrap()["timestamp"], 1);
        assert_eq!(
            without.shown.json().unwrap()["timestamp"],
            "1970-01-01T00:00:00.000Z"
        );
        assert!(
            Payload::json(&Value::Null, Timestamp::UNIX_EPOCH)
                .shown
                .json()
                .unwrap()
                .is_null()
        );
    }

    #[test]
    fn hexadecimal_text_becomes_bytes() {
        assert_eq!(unhex("00 ff 7A"), [0, 255, 122]);
    }
}
