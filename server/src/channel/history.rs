//! The last notifications of a channel, for tabs that come back and `resume`.

use std::{collections::VecDeque, time::Duration};

use polytab_protocol::message::{Position, ServerMessage};

use super::event::Age;

/// Numbers notifications, and keeps the last of them.
#[derive(Debug)]
pub(crate) struct History {
    epoch: String,
    seq: u64,
    kept: VecDeque<(Age, u64, ServerMessage)>,
    entries: usize,
    window: Duration,
}

impl History {
    /// An empty history of the life called `epoch`, which keeps this many entries for this long.
    pub(crate) fn new(epoch: String, entries: usize, window: Duration) -> Self {
        Self {
            epoch,
            seq: 0,
            kept: VecDeque::new(),
            entries,
            window,
        }
    }

    /// Where the channel's life stands.
    pub(crate) fn position(&self) -> Position {
        Position {
            epoch: self.epoch.clone(),
            seq: self.seq,
        }
    }

    /// Gives a notification the next number, and keeps it.
    pub(crate) fn add(&mut self, message: ServerMessage, age: Age) -> ServerMessage {
        self.seq += 1;
        let message = message.at(self.position());
        self.kept.push_back((age, self.seq, message.clone()));
        self.forget(age);
        message
    }

    /// All notifications after number `seq` of the life called `epoch`; `None` if any of them is no longer kept.
    pub(crate) fn since(&mut self, epoch: &str, seq: u64, age: Age) -> Option<Vec<ServerMessage>> {
        self.forget(age);
        if epoch != self.epoch || seq > self.seq {
            return None;
        }
        let oldest = self.kept.front().map_or(self.seq + 1, |(_, number, _)| *number);
        let missed = self.kept.iter().filter(|(_, number, _)| *number > seq);
        (seq + 1 >= oldest).then(|| missed.map(|(_, _, message)| message.clone()).collect())
    }

    fn forget(&mut self, age: Age) {
        let too_old = |at: &Age| age.saturating_sub(*at) > self.window;
        while self.kept.len() > self.entries || self.kept.front().is_some_and(|(at, _, _)| too_old(at)) {
            self.kept.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn history(count: u64) -> History {
        let mut history = History::new("e".into(), 3, MINUTE * 2);
        for nth in 0..count {
            history.add(ServerMessage::user("version", &json!({ "version": nth })), MINUTE);
        }
        history
    }

    #[test]
    fn a_gap_inside_the_window_is_filled_in_order() {
        let missed = history(3).since("e", 1, MINUTE).unwrap();

        let data: Vec<_> = missed.iter().map(|message| message.data().to_owned()).collect();
        assert_eq!(data, [r#"{"version":1}"#, r#"{"version":2}"#]);
    }

    #[test]
    fn nothing_missed_is_recovered_too() {
        assert_eq!(history(3).since("e", 3, MINUTE).unwrap().len(), 0);
        assert_eq!(history(0).since("e", 0, MINUTE).unwrap().len(), 0);
    }

    #[test]
    fn a_gap_is_never_filled_in_part() {
        assert!(
            history(5).since("e", 1, MINUTE).is_none(),
            "more entries than are kept"
        );
        assert!(
            history(3).since("e", 1, MINUTE * 4).is_none(),
            "older than the window"
        );
        assert!(history(3).since("other", 1, MINUTE).is_none(), "another life");
        assert!(history(3).since("e", 9, MINUTE).is_none(), "from the future");
    }
}
