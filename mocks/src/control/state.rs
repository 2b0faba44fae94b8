//! The whole state as one document. Secrets are not in it.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{Mocks, gitlab::hub::OpenStream, world::World};

pub(super) async fn read(State(mocks): State<Mocks>) -> Json<Value> {
    let shared = mocks.shared();
    let world = shared.world();
    Json(json!({
        "issuer": shared.config.issuer(),
        "clients": [{"client_id": shared.config.client.client_id}],
        "t_ms": world.elapsed_ms(),
        "users": users(&world),
        "streams": streams(&world),
        "faults": world.orders.armed(),
        "waiting": world.waiting.len(),
        "calls": world.calls,
    }))
}

fn users(world: &World) -> BTreeMap<&str, Value> {
    let user = |(name, user): (&String, &crate::world::User)| {
        json!({
            "name": name,
            "subject": user.subject,
            "access_token": user.spec.access_token.map(|life| format!("{:#}", jiff::SignedDuration::try_from(life).unwrap_or_default())),
            "refresh": user.spec.refresh,
            "projects": user.spec.projects,
            "sessions": user.items.list(None).collect::<Vec<_>>(),
            "servers": user.items.servers(),
        })
    };
    world
        .users
        .iter()
        .map(|(name, found)| (name.as_str(), user((name, found))))
        .collect()
}

pub(super) fn streams(world: &World) -> Vec<Value> {
    let stream = |stream: OpenStream<'_>| {
        json!({
            "id": stream.id,
            "user": stream.user,
            "topic": stream.topic,
            "events": stream.events,
            "waiting": stream.waiting,
            "stalled": stream.is_stalled,
        })
    };
    world.hub.streams().map(stream).collect()
}
