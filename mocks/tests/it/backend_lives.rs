//! Whatever happens to backend sessions, in whatever order: what is listed is well formed (MOCKS B1, B2).

use std::{collections::BTreeMap, time::Duration};

use crate::support::{access_of, get, schema, seams};
use polytab_mocks::{
    Mocks,
    backend::{
        pace::{PaceOrder, Trouble},
        plan::{LaunchOrder, SessionOrder},
    },
    config::MocksConfig,
    order::{UserSpec, Verb},
};
use polytab_protocol::sessions::SessionsReading;
use proptest::prelude::*;
use serde_json::{Value, json};

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    Launch(usize, Trouble, bool),
    Order(usize, Verb),
    Fail(usize),
    Pass(u64),
}

const NAMES: [&str; 3] = ["ada-1", "ada-2", "ada-3"];

fn event() -> impl Strategy<Value = Event> {
    let name = 0..NAMES.len();
    let trouble = prop_oneof![
        Just(Trouble::None),
        Just(Trouble::CrashLoop),
        Just(Trouble::ImagePullError),
        Just(Trouble::Storm),
        Just(Trouble::Flapping),
    ];
    let verb = prop_oneof![
        Just(Verb::Step),
        Just(Verb::Hibernate),
        Just(Verb::Resume),
        Just(Verb::Fail),
        Just(Verb::Degrade),
        Just(Verb::Touch),
        Just(Verb::Evict),
        Just(Verb::Delete),
    ];
    prop_oneof![
        2 => (name.clone(), trouble, any::<bool>()).prop_map(|(name, trouble, job)| Event::Launch(name, trouble, job)),
        4 => (name.clone(), verb).prop_map(|(name, verb)| Event::Order(name, verb)),
        1 => name.prop_map(Event::Fail),
        4 => prop_oneof![0_u64..5, 5_u64..120, 1_000_u64..10_000].prop_map(Event::Pass),
    ]
}

/// Does it; what cannot be done now is refused, and that is well.
async fn happen(mocks: &Mocks, event: Event) {
    let order = |message: Option<String>| SessionOrder {
        user: Some("ada".into()),
        message,
    };
    match event {
        Event::Launch(name, trouble, job) => {
            let kind = if job { "non-interactive" } else { "interactive" };
            let launch = LaunchOrder {
                user: "ada".into(),
                name: NAMES[name].into(),
                trouble,
                pace: PaceOrder::default(),
                item: json!({ "session_type": kind }),
            };
            mocks.launch(&launch).ok();
        }
        Event::Order(name, verb) => {
            mocks.order_session(NAMES[name], verb, &order(None)).ok();
        }
        Event::Fail(name) => {
            let message = Some("out of memory".to_owned());
            mocks.order_session(NAMES[name], Verb::Fail, &order(message)).ok();
        }
        Event::Pass(seconds) => tokio::time::advance(Duration::from_secs(seconds)).await,
    }
}

/// The list of a caller whose token is always fresh.
async fn list(mocks: &Mocks) -> (Vec<Value>, String) {
    let token = access_of(mocks, "ada", &UserSpec::default().password).await;
    let answer = get(mocks.backend(), "/api/data/sessions", Some(&token)).await;
    (serde_json::from_str(&answer.text).unwrap(), answer.text)
}

async fn live(events: Vec<Event>) -> Result<(), TestCaseError> {
    let mocks = Mocks::new(MocksConfig::default(), seams());
    mocks.put_user("ada", UserSpec::default()).unwrap();
    let mut leaving = BTreeMap::new();
    for event in events {
        happen(&mocks, event.clone()).await;

        let (items, text) = list(&mocks).await;
        prop_assert!(SessionsReading::from_v2(text.as_bytes()).is_ok());
        let mut now_leaving = BTreeMap::new();
        for item in &items {
            let valid = schema::check(item);
            prop_assert!(valid.is_ok(), "{valid:?} after {event:?}: {item}");
            let (name, state) = (item["name"].clone(), item["status"]["state"].clone());
            let was = leaving.get(&name.to_string());
            let is_same = was == Some(&item["project_id"].to_string());
            prop_assert!(!is_same || state == "stopping", "a way back: {item}");
            if state == "stopping" {
                now_leaving.insert(name.to_string(), item["project_id"].to_string());
            }
        }
        leaving = now_leaving;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_list_is_well_formed(events in prop::collection::vec(event(), 0..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(live(events))?;
    }
}
