//! A caller of the data service, and sessions whose lives are known beforehand.

use std::time::Duration;

use polytab_mocks::{
    Mocks,
    backend::{
        pace::{PaceOrder, Trouble},
        plan::{LaunchOrder, SessionOrder},
    },
    order::{Change, Verb},
};
use serde_json::{Value, json};

use super::{Answer, access_of, mocks, send_json};

pub(crate) const SESSIONS: &str = "/api/data/sessions";
/// The id of some launcher.
pub(crate) const LAUNCHER: &str = "01HZZZZZZZZZZZZZZZZZZZZZZZ";

/// Mocks and a caller whose sessions are as they are named.
pub(crate) struct Stage {
    pub(crate) mocks: Mocks,
    pub(crate) token: String,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let mocks = mocks();
        let change = Change {
            user: Some("ada".into()),
            // Longer than any test: whoever comes with an old token is a stranger.
            access_token: Some(Duration::from_hours(9)),
            ..Change::default()
        };
        mocks.change(change).unwrap();
        let token = access_of(&mocks, "ada", "password-of-ada").await;
        Self { mocks, token }
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let path = format!("{SESSIONS}{path}");
        send_json(self.mocks.backend(), (method, &path), Some(&self.token), body).await
    }

    pub(crate) async fn look(&self, name: &str) -> Value {
        self.call("GET", &format!("/{name}"), &json!({})).await.json()
    }

    /// State and counts.
    pub(crate) async fn shown(&self, name: &str) -> String {
        let status = &self.look(name).await["status"];
        match status["state"].as_str() {
            Some(state) => format!(
                "{state} {}/{}",
                status["ready_containers"], status["total_containers"]
            ),
            None => "gone".to_owned(),
        }
    }

    pub(crate) fn launch(&self, name: &str, trouble: Trouble, pace: PaceOrder) {
        let order = LaunchOrder {
            user: "ada".into(),
            name: name.into(),
            trouble,
            pace,
            item: json!({}),
        };
        self.mocks.launch(&order).unwrap();
    }

    pub(crate) fn order(&self, name: &str, verb: Verb) {
        self.mocks
            .order_session(name, verb, &SessionOrder::default())
            .unwrap();
    }
}

pub(crate) async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

/// A pace without chance.
pub(crate) fn steady() -> PaceOrder {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    PaceOrder {
        lag: seconds(3),
        schedule: seconds(2),
        pull: seconds(10),
        start: seconds(1),
        notice: seconds(60),
        hibernate: seconds(600),
        delete: seconds(1000),
        turn: seconds(20),
        work: seconds(30),
        containers: Some(3),
        ticks: None,
    }
}
