//! The journal: who asked for what, when, and what came of it.

use std::collections::{BTreeMap, VecDeque};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    error::ControlError,
    route::Selector,
    seen::{CallMatch, Seen},
};

/// One call.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Entry {
    /// Number of the call; counts from 1 since the last reset.
    pub seq: u64,
    /// Scenario time of its arrival, since the last reset, in milliseconds.
    pub t_ms: i64,
    /// The service.
    pub mock: &'static str,
    /// What it was, and whose.
    #[serde(flatten)]
    pub seen: Seen,
    /// HTTP status; 0 for a connection that was reset; absent while there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Scenario time from arrival to the answer's head, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<i64>,
    /// The fault that it met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Why the event stream that the call opened is over; absent while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_end: Option<&'static str>,
    /// How many events were put onto that stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_events: Option<u64>,
    /// A form body, secrets hashed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub form: Option<Map<String, Value>>,
    /// A JSON body that is an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Map<String, Value>>,
}

/// Which entries are meant; an absent field means any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Only those after this number.
    pub since: Option<u64>,
    /// Only this route, those of this service, or `all`.
    pub route: Option<String>,
    /// Only this verb.
    pub method: Option<String>,
    /// Only on behalf of this user.
    pub user: Option<String>,
    /// Only this browser of the user.
    pub browser: Option<String>,
    /// Only this client.
    pub client: Option<String>,
    /// Only this login session.
    pub session: Option<String>,
    /// Only this path.
    pub path: Option<String>,
    /// At most so many, the newest.
    pub limit: Option<usize>,
}

impl Filter {
    /// What to look for.
    ///
    /// # Errors
    ///
    /// When no route is called so: nothing would ever be found.
    pub(crate) fn search(self) -> Result<Search, ControlError> {
        let calls = CallMatch {
            route: self.route,
            method: self.method,
            user: self.user,
            browser: self.browser,
            client: self.client,
            session: self.session,
            path: self.path,
        };
        Ok(Search {
            selector: calls.selector()?,
            calls,
            since: self.since.unwrap_or(0),
            limit: self.limit.unwrap_or(usize::MAX),
        })
    }
}

/// A filter that can find something.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    calls: CallMatch,
    selector: Selector,
    since: u64,
    limit: usize,
}

impl Search {
    fn takes(&self, entry: &Entry) -> bool {
        entry.seq > self.since && self.selector.matches(entry.seen.route) && self.calls.takes(&entry.seen)
    }
}

/// The newest calls, in order of arrival.
#[derive(Debug)]
pub(crate) struct Journal {
    entries: VecDeque<Entry>,
    /// Calls by route, also those whose entries found no room.
    totals: BTreeMap<&'static str, u64>,
    limit: usize,
}

impl Journal {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            totals: BTreeMap::new(),
            limit,
        }
    }

    /// Adds the newest entry; the oldest goes when there is no room.
    pub(crate) fn push(&mut self, entry: Entry) {
        if self.entries.len() >= self.limit {
            self.entries.pop_front();
        }
        *self.totals.entry(entry.seen.route).or_default() += 1;
        self.entries.push_back(entry);
    }

    /// The entry of this number, if it is still kept.
    pub(crate) fn entry(&mut self, seq: u64) -> Option<&mut Entry> {
        let first = self.entries.front()?.seq;
        let index = usize::try_from(seq.checked_sub(first)?).ok()?;
        self.entries.get_mut(index)
    }

    pub(crate) fn list(&self, search: &Search) -> Vec<Entry> {
        let found = self.entries.iter().rev().filter(|entry| search.takes(entry));
        let mut newest: Vec<_> = found.take(search.limit).cloned().collect();
        newest.reverse();
        newest
    }

    /// So many of the newest, the newest first.
    pub(crate) fn newest(&self, count: usize) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev().take(count)
    }

    pub(crate) fn count(&self, search: &Search) -> usize {
        self.entries.iter().filter(|entry| search.takes(entry)).count()
    }

    /// How many calls there were on each route since the journal was last cleared, however many entries are kept.
    pub(crate) fn totals(&self) -> &BTreeMap<&'static str, u64> {
        &self.totals
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.totals.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        route,
        seen::{Party, Who},
    };

    fn entry(seq: u64, user: &str) -> Entry {
        Entry {
            seq,
            t_ms: 0,
            mock: "backend",
            seen: Seen {
                route: route::SESSIONS,
                method: "GET".into(),
                path: "/api/data/sessions".into(),
                party: Party {
                    who: Some(Who {
                        user: user.into(),
                        browser: "desk".into(),
                    }),
                    session: Some(format!("session of {user}")),
                    client: Some("renku-ui".into()),
                },
            },
            status: None,
            ms: None,
            fault: None,
            stream_end: None,
            stream_events: None,
            form: None,
            json: None,
        }
    }

    #[test]
    fn a_full_journal_forgets_the_oldest_and_still_finds_the_rest() {
        let mut journal = Journal::new(2);

        for seq in 1..=3 {
            journal.push(entry(seq, "ada"));
        }

        assert_eq!(journal.entry(1), None);
        assert_eq!(journal.entry(3).map(|entry| entry.seq), Some(3));
        assert_eq!(journal.entry(4), None);
        assert_eq!(journal.totals().values().sum::<u64>(), 3);
    }

    #[test]
    fn a_filter_takes_what_all_its_fields_name() {
        let mut journal = Journal::new(10);
        for (seq, user) in [(1, "ada"), (2, "bob"), (3, "ada")] {
            journal.push(entry(seq, user));
        }

        for (filter, count) in [
            (serde_json::json!({}), 3),
            (serde_json::json!({"user": "ada"}), 2),
            (serde_json::json!({"user": "ada", "since": 1}), 1),
            (serde_json::json!({"route": "backend"}), 3),
            (serde_json::json!({"route": "backend.sessions", "user": "eve"}), 0),
            (
                serde_json::json!({"route": "all", "browser": "desk", "client": "renku-ui"}),
                3,
            ),
            (
                serde_json::json!({"session": "session of bob", "method": "get"}),
                1,
            ),
            (serde_json::json!({"method": "POST"}), 0),
        ] {
            let filter: Filter = serde_json::from_value(filter).unwrap();
            let search = filter.search().unwrap();
            assert_eq!(journal.count(&search), count, "{search:?}");
        }
    }
}
