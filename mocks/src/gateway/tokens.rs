//! The gateway as a client of Keycloak's: codes and refresh tokens are traded in process, over the same route as
//! everybody's.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tower::ServiceExt;
use url::form_urlencoded::Serializer;

use super::{Behind, store::Tokens};
use crate::{Shared, clocks::Mock};

/// What the token endpoint answers, as far as the gateway cares.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    refresh_token: String,
    id_token: Option<String>,
    expires_in: i64,
}

/// Tokens, and the user that they are about.
pub(super) struct SignedIn {
    pub(super) user: String,
    pub(super) tokens: Tokens,
}

/// Trades something for tokens; none when Keycloak refuses, or does not answer in time.
pub(super) async fn trade(
    shared: &Arc<Shared>,
    behind: &Behind,
    (form, agent): (&[(&str, &str)], &str),
) -> Option<SignedIn> {
    let config = &shared.config.gateway;
    let body = Serializer::new(String::new())
        .extend_pairs(form)
        .append_pair("client_id", &config.client_id)
        .append_pair("client_secret", &config.client_secret)
        .finish();
    let request = Request::post(format!(
        "{}/protocol/openid-connect/token",
        shared.config.realm_path(&shared.config.realm)
    ))
    .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
    .header(header::USER_AGENT, agent)
    .body(Body::from(body))
    .ok()?;
    let asking = async {
        let Ok(answer) = behind.keycloak.clone().oneshot(request).await;
        let is_granted = answer.status() == StatusCode::OK;
        let body = to_bytes(answer.into_body(), shared.config.body_bytes)
            .await
            .ok()?;
        let granted: Granted = serde_json::from_slice(&body).ok()?;
        is_granted.then_some(granted)
    };
    let granted = tokio::time::timeout(shared.config.scaled(config.timeout), asking)
        .await
        .ok()??;
    let world = shared.world();
    let claims = world.access(shared, &granted.access_token, Mock::Gateway)?;
    let life = SignedDuration::from_secs(granted.expires_in);
    Some(SignedIn {
        user: world.user_of(&claims)?,
        tokens: Tokens {
            expires: world
                .now_at(Mock::Gateway)
                .saturating_add(life)
                .unwrap_or(Timestamp::MAX),
            access: granted.access_token,
            refresh: granted.refresh_token,
            id: granted.id_token,
        },
    })
}

/// The user's tokens that are good now, refreshed when they soon would not be.
///
/// Nothing locks: of several refreshes at once with one token only one may win, as with several copies of the gateway.
pub(super) async fn good(
    shared: &Arc<Shared>,
    behind: &Behind,
    (user, agent): (&str, &str),
) -> Option<Tokens> {
    let held = || {
        let world = shared.world();
        let tokens = world.gateway.tokens(user).cloned()?;
        let left = tokens.expires.duration_since(world.now_at(Mock::Gateway));
        Some((tokens, left))
    };
    let margin = SignedDuration::try_from(shared.config.gateway.refresh_margin).unwrap_or_default();
    let (tokens, left) = held()?;
    if left >= margin {
        return Some(tokens);
    }
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", tokens.refresh.as_str()),
    ];
    if let Some(signed_in) = trade(shared, behind, (&form, agent)).await {
        let mut world = shared.world();
        world.gateway.put_tokens(user, signed_in.tokens.clone());
        return Some(signed_in.tokens);
    }
    // Somebody else may have won meanwhile.
    let (tokens, left) = held()?;
    left.is_positive().then_some(tokens)
}
