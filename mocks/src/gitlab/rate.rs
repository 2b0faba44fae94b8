//! The rate limit of the REST API: so many calls of one user in a window of time, and no more (MOCKS G5).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use jiff::{Timestamp, fmt::serde::unsigned_duration::friendly::compact as text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::caller;
use crate::{Shared, call::Call, clocks::Mock};

/// How often the REST API may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Calls of one user within a window; strangers count as one.
    pub requests: u32,
    /// Length of a window; at least a second counts.
    #[serde(with = "text::required")]
    #[schemars(with = "String")]
    pub per: Duration,
}

/// Counts calls.
#[derive(Debug)]
pub(crate) struct Limiter {
    limit: Option<RateLimit>,
    /// When the window that is counted now ends, in seconds since the epoch.
    reset: i64,
    calls: BTreeMap<Option<String>, u32>,
}

/// What a call is told of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    limit: u32,
    observed: u32,
    /// When the window ends, in seconds since the epoch.
    reset: i64,
    /// Seconds until then.
    wait: i64,
}

impl Limiter {
    pub(crate) fn new(limit: Option<RateLimit>) -> Self {
        Self {
            limit,
            reset: 0,
            calls: BTreeMap::new(),
        }
    }

    pub(crate) fn limit(&self) -> Option<RateLimit> {
        self.limit
    }

    /// Counts a call, if there is a limit.
    fn count(&mut self, user: Option<String>, now: Timestamp) -> Option<Told> {
        let limit = self.limit?;
        let now = now.as_second();
        if now >= self.reset {
            let length = i64::try_from(limit.per.as_secs()).unwrap_or(i64::MAX / 2).max(1);
            // Windows follow the clock and not the first call.
            self.reset = (now.div_euclid(length) + 1).saturating_mul(length);
            self.calls.clear();
        }
        let calls = self.calls.entry(user).or_default();
        *calls = calls.saturating_add(1);
        Some(Told {
            limit: limit.requests,
            observed: *calls,
            reset: self.reset,
            wait: self.reset - now,
        })
    }
}

/// Lets a call through unless its user has made too many.
pub(super) async fn pass(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let told = request.extensions().get::<Arc<Call>>().and_then(|call| {
        let mut world = shared.world();
        let user = caller(&world, &shared, call).map(|caller| caller.user);
        let now = world.now_at(Mock::Gitlab);
        world.gitlab.limiter.count(user, now)
    });
    let Some(told) = told else {
        return next.run(request).await;
    };
    let mut answer = if told.observed > told.limit {
        let retry = [(header::RETRY_AFTER, told.wait.to_string())];
        (StatusCode::TOO_MANY_REQUESTS, retry, "Retry later\n").into_response()
    } else {
        next.run(request).await
    };
    for (name, value) in [
        ("ratelimit-limit", i64::from(told.limit)),
        ("ratelimit-observed", i64::from(told.observed)),
        (
            "ratelimit-remaining",
            i64::from(told.limit.saturating_sub(told.observed)),
        ),
        ("ratelimit-reset", told.reset),
    ] {
        answer
            .headers_mut()
            .insert(HeaderName::from_static(name), HeaderValue::from(value));
    }
    let name = HeaderValue::from_static("throttle_authenticated_api");
    answer
        .headers_mut()
        .insert(HeaderName::from_static("ratelimit-name"), name);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_counts_each_user_alone_and_ends_by_the_clock() {
        let mut limiter = Limiter::new(Some(RateLimit {
            requests: 1,
            per: Duration::from_mins(1),
        }));
        let mut observed = |user: &str, second| {
            let now = Timestamp::from_second(second).unwrap();
            let told = limiter.count(Some(user.into()), now).unwrap();
            (told.observed, told.wait)
        };

        assert_eq!(observed("ada", 90), (1, 30));
        assert_eq!(observed("ada", 119), (2, 1));
        assert_eq!(observed("bob", 119), (1, 1));
        assert_eq!(observed("ada", 120), (1, 60));
        assert_eq!(Limiter::new(None).count(None, Timestamp::UNIX_EPOCH), None);
    }
}
