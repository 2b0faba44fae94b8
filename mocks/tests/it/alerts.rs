//! Alerts of the data service (MOCKS B3).

use crate::support::{Answer, access_of, mocks, send_json, text};
use polytab_mocks::{Mocks, order::UserSpec};
use serde_json::{Value, json};

const ALERTS: &str = "/api/data/alerts";

async fn call(mocks: &Mocks, user: &str, (method, path): (&str, &str), body: &Value) -> Answer {
    let token = access_of(mocks, user, &UserSpec::default().password).await;
    send_json(mocks.backend(), (method, path), Some(&token), body).await
}

/// Mocks that know bob and an administrator.
fn stage() -> (Mocks, Value) {
    let mocks = mocks();
    for name in ["bob", "admin"] {
        mocks.put_user(name, UserSpec::default()).unwrap();
    }
    let alert = json!({
        "title": "Out of memory", "message": "The session needs more.", "event_type": "oom",
        "user_id": mocks.subject("bob").unwrap().0, "session_name": "bobs-1",
    });
    (mocks, alert)
}

#[tokio::test(start_paused = true)]
async fn an_alert_is_raised_for_one_user_who_resolves_it() {
    let (mocks, alert) = stage();
    let list = async |user: &str, query: &str| {
        let path = format!("{ALERTS}{query}");
        call(&mocks, user, ("GET", &path), &json!({})).await.json()
    };

    let raised = call(&mocks, "admin", ("POST", ALERTS), &alert).await;
    let id = text(&raised.json(), "id").to_owned();
    let one = format!("{ALERTS}/{id}");
    let listed = list("bob", "?session_name=bobs-1").await;
    let resolved = call(&mocks, "bob", ("PATCH", &one), &json!({"resolved": true}))
        .await
        .json();

    assert_eq!(raised.status, 201);
    assert_eq!(listed, json!([raised.json()]));
    for (name, value) in alert.as_object().unwrap() {
        assert_eq!(&listed[0][name], value);
    }
    assert_eq!(listed[0]["creation_date"], "2026-01-01T00:00:00Z");
    assert_eq!(listed[0].get("resolved_date"), None);
    assert_eq!(resolved["resolved_date"], "2026-01-01T00:00:00Z");
    assert_eq!(list("bob", "?session_name=bobs-2").await, json!([]));
    assert_eq!(list("admin", "").await, json!([]));
    assert_eq!(list("bob", "").await, json!([resolved]));
}

#[tokio::test(start_paused = true)]
async fn every_refusal_has_its_status_and_code() {
    let (mocks, alert) = stage();
    let mut stranger = alert.clone();
    stranger["user_id"] = "nobody".into();
    let id = call(&mocks, "admin", ("POST", ALERTS), &alert).await.json()["id"].clone();
    let one = format!("{ALERTS}/{}", id.as_str().unwrap());

    for (user, method, path, body, status) in [
        ("bob", "POST", ALERTS, alert.clone(), 403),
        ("admin", "POST", ALERTS, json!({"title": "t"}), 422),
        ("admin", "POST", ALERTS, stranger, 404),
        ("admin", "PATCH", &one, json!({"resolved": true}), 404),
        ("bob", "PATCH", &one, json!({"resolved": "yes"}), 422),
        (
            "bob",
            "PATCH",
            "/api/data/alerts/none",
            json!({"resolved": true}),
            404,
        ),
    ] {
        let answer = call(&mocks, user, (method, path), &body).await;

        assert_eq!(answer.status.as_u16(), status, "{user} {method} {path} {body}");
        assert_eq!(answer.json()["error"]["code"], 1000 + status);
    }
    let nobody = send_json(mocks.backend(), ("GET", ALERTS), None, &json!({})).await;
    assert_eq!(
        (nobody.status.as_u16(), &nobody.json()["error"]["code"]),
        (401, &json!(1401))
    );
}
