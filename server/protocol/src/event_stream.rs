//! The event-stream format (`text/event-stream`, WHATWG HTML §9.2): an incremental decoder and an encoder.
//!
//! The decoder takes bytes as they come, cut anywhere, also inside a character.

use std::fmt::Write;

/// The longest id or name of an event, in bytes; a longer one is taken for none. Each event repeats the id in force, so
/// a long one would be held as often as a chunk has events: 64 KiB of them with an id of 1 MiB would become 10 GiB.
pub const NAME_BYTES: usize = 128;

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamEvent {
    /// The `id:` in force when the event was complete; empty if none was sent yet.
    pub id: String,
    /// The `event:` name; empty means `message`.
    pub event: String,
    /// The `data:` lines, joined by line feeds.
    pub data: String,
}

impl StreamEvent {
    /// The event's bytes on the wire, ended by a blank line.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            // Writing to a string cannot fail.
            writeln!(text, "{name}: {value}").expect("a string takes any text");
        };
        if !self.id.is_empty() {
            line("id", &self.id);
        }
        if !self.event.is_empty() {
            line("event", &self.event);
        }
        for part in self.data.split('\n') {
            line("data", part);
        }
        text.push('\n');
        text
    }
}

/// What a decoder read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An event.
    Event(StreamEvent),
    /// The server asks for this delay before a reconnect, in milliseconds.
    Retry(u64),
    /// A comment: the stream is alive.
    Comment,
    /// An event was longer than the decoder may hold, and was passed over.
    TooLong {
        /// The `id:` in force when the event was complete.
        id: String,
    },
}

/// Decodes a stream from chunks cut anywhere.
#[derive(Clone, Debug)]
pub struct Decoder {
    limit_bytes: usize,
    line: Vec<u8>,
    after_cr: bool,
    at_start: bool,
    id: String,
    event: String,
    data: String,
    has_data: bool,
    passed_over: PassedOver,
}

/// What is passed over, as it is longer than may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PassedOver {
    Nothing,
    /// The data of the event that is read.
    Event,
    /// The same, and the rest of the line that is read.
    Line,
}

impl Decoder {
    /// A decoder that holds at most `limit_bytes` of one line and of one event, and [`NAME_BYTES`] of an id and a name.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            line: Vec::new(),
            after_cr: false,
            at_start: true,
            id: String::new(),
            event: String::new(),
            data: String::new(),
            has_data: false,
            passed_over: PassedOver::Nothing,
        }
    }

    /// Takes the next bytes and gives what they completed.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<Item> {
        let mut items = Vec::new();
        for &byte in chunk {
            // CR LF is one line end, also when the chunk was cut between the two.
            let follows_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if follows_cr => {}
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    if self.passed_over == PassedOver::Line {
                        self.passed_over = PassedOver::Event;
                    } else {
                        self.end_line(&line, &mut items);
                    }
                }
                _ if self.passed_over == PassedOver::Line => {}
                _ if self.line.len() + self.data.len() < self.limit_bytes => self.line.push(byte),
                _ => self.give_up(),
            }
        }
        items
    }

    /// Passes over the rest of the line, and of the event.
    fn give_up(&mut self) {
        self.line = Vec::new();
        self.data = String::new();
        self.at_start = false;
        self.passed_over = PassedOver::Line;
    }

    fn end_line(&mut self, line: &[u8], items: &mut Vec<Item>) {
        let text = String::from_utf8_lossy(line);
        let mut text = text.as_ref();
        if std::mem::take(&mut self.at_start) {
            text = text.strip_prefix('\u{feff}').unwrap_or(text);
        }
        if text.is_empty() {
            items.extend(self.end_event());
            return;
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => items.push(Item::Comment),
            "event" => bounded(value).clone_into(&mut self.event),
            "data" if self.passed_over != PassedOver::Nothing => {}
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "id" if !value.contains('\0') => bounded(value).clone_into(&mut self.id),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                items.extend(value.parse().ok().map(Item::Retry));
            }
            // The format says to ignore what it does not name.
            _ => {}
        }
    }

    /// An event without data is none; its name is forgotten, its id stays in force.
    fn end_event(&mut self) -> Option<Item> {
        let event = std::mem::take(&mut self.event);
        let data = std::mem::take(&mut self.data);
        let has_data = std::mem::take(&mut self.has_data);
        let id = self.id.clone();
        if std::mem::replace(&mut self.passed_over, PassedOver::Nothing) != PassedOver::Nothing {
            return Some(Item::TooLong { id });
        }
        has_data.then_some(Item::Event(StreamEvent { id, event, data }))
    }
}

fn bounded(name: &str) -> &str {
    if name.len() <= NAME_BYTES { name } else { "" }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(chunks: &[&[u8]]) -> Vec<Item> {
        let mut decoder = Decoder::new(1 << 16);
        chunks.iter().flat_map(|chunk| decoder.push(chunk)).collect()
    }

    fn event(id: &str, event: &str, data: &str) -> Item {
        Item::Event(StreamEvent {
            id: id.into(),
            event: event.into(),
            data: data.into(),
        })
    }

    #[test]
    fn fields_are_read_as_the_format_says() {
        for (text, items) in [
            ("data: a\n\n", vec![event("", "", "a")]),
            ("data:a\ndata: b\n\n", vec![event("", "", "a\nb")]),
            ("data\n\n", vec![event("", "", "")]),
            (
                "id: 1\nevent: push\ndata: x\n\ndata: y\n\n",
                vec![event("1", "push", "x"), event("1", "", "y")],
            ),
            ("id: 1\n\ndata: y\n\n", vec![event("1", "", "y")]),
            ("id: a\0b\ndata: y\n\n", vec![event("", "", "y")]),
            (
                ": hi\n\nretry: 3000\nretry: x\n",
                vec![Item::Comment, Item::Retry(3000)],
            ),
            (
                "\u{feff}data: a\r\rdata: b\r\n\r\n",
                vec![event("", "", "a"), event("", "", "b")],
            ),
            ("data: cut", vec![]),
            ("unknown: 1\n\n", vec![]),
        ] {
            assert_eq!(decode(&[text.as_bytes()]), items, "{text:?}");
        }
    }

    #[test]
    fn a_stream_cut_at_any_byte_reads_the_same() {
        let text = "\u{feff}: hello\r\nretry: 3000\r\n\r\nid: 1\r\nevent: push\r\ndata: {\"a\":\"😀\"}\r\n\r\n\
                    id: 2\ndata: é\ndata: ü\n\n";
        let whole = decode(&[text.as_bytes()]);

        for cut in 0..=text.len() {
            let (left, right) = text.as_bytes().split_at(cut);
            assert_eq!(decode(&[left, right]), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_long_id_or_name_is_taken_for_none_before_each_event_repeats_it() {
        for (length, kept) in [(NAME_BYTES, NAME_BYTES), (NAME_BYTES + 1, 0)] {
            let name = "x".repeat(length);
            let text = format!("id: 1\nid: {name}\nevent: {name}\ndata: {{}}\n\n");

            let items = Decoder::new(1 << 16).push(text.as_bytes());

            let [Item::Event(event)] = items.as_slice() else {
                panic!("{items:?}")
            };
            assert_eq!((event.id.len(), event.event.len()), (kept, kept));
        }
    }

    #[test]
    fn a_long_line_or_event_is_passed_over_and_what_follows_is_read() {
        for long in [
            "id: 1\ndata: 123456\n\n",
            "data: 123456\nid: 1\ndata: 1\n\n",
            "id: 1\ndata:12345\ndata:67890\nid: 1\n\n",
            ": 123456789\nid: 1\n\n",
        ] {
            let items = Decoder::new(10).push(format!("{long}data: a\n\n").as_bytes());

            let too_long = Item::TooLong { id: "1".into() };
            assert_eq!(items, [too_long, event("1", "", "a")], "{long}");
        }
    }

    #[test]
    fn what_is_held_of_an_endless_line_or_event_is_bounded() {
        for endless in ["a", "data:1\n", "data:1234567\ndata:1234567\n"] {
            let mut decoder = Decoder::new(8);

            for _ in 0..100 {
                assert_eq!(decoder.push(endless.as_bytes()), []);
                assert!(decoder.line.capacity() + decoder.data.capacity() <= 64);
            }
        }
    }

    proptest! {
        #[test]
        fn an_event_survives_encode_and_decode(
            id in "[a-z0-9-]{0,8}", name in "[a-z_]{0,8}", data in "[^\r]{0,40}", cut in 0usize..60,
        ) {
            let sent = StreamEvent { id, event: name, data };
            let text = sent.encode();
            let (left, right) = text.as_bytes().split_at(cut.min(text.len()));

            prop_assert_eq!(decode(&[left, right]), vec![Item::Event(sent)]);
        }
    }
}
