//! The backend services: sessions and knowledge-graph status, asked on a user's behalf.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, StatusCode, header};
use http_body_util::Full;
use polytab_protocol::sessions::{Activation, BadBody, SessionsReading};
use polytab_seams::http::{HttpClient, HttpError};
use thiserror::Error;
use tokio::time::Instant;
use tracing::Instrument;
use url::Url;

use crate::{
    channel::event::{Question, Reading, SessionsKind},
    config::Config,
    metrics::Metrics,
};

/// Asks the backend services.
#[derive(Debug)]
pub(crate) struct Backend {
    base: Url,
    client: HttpClient,
    calls_at_once: usize,
    metrics: Arc<Metrics>,
}

/// Why an answer cannot be used.
#[derive(Debug, Error)]
enum Unusable {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("answered {0}: not for this user")]
    Refused(StatusCode),
    #[error("answered {0}")]
    Status(StatusCode),
    #[error(transparent)]
    Body(#[from] BadBody),
    #[error("no request can be made of it")]
    Request(#[from] http::Error),
}

impl Backend {
    pub(crate) fn new(config: &Config, client: HttpClient, metrics: Arc<Metrics>) -> Self {
        Self {
            base: config.backend_url.clone(),
            client,
            calls_at_once: config.activation_calls,
            metrics,
        }
    }

    /// Asks with a user's token. What cannot be used is left out of the reading.
    pub(crate) async fn ask(&self, question: Question, token: &str) -> Reading {
        match question {
            Question::Sessions(kind) => Reading::Sessions(kind, self.sessions(kind, token).await),
            Question::Activation(projects) => self.activations(projects, token).await,
        }
    }

    async fn sessions(&self, kind: SessionsKind, token: &str) -> Option<SessionsReading> {
        let (route, segments): (_, &[&str]) = match kind {
            SessionsKind::V1 => ("sessions_v1", &["notebooks", "servers"]),
            SessionsKind::V2 => ("sessions_v2", &["data", "sessions"]),
        };
        let since = Instant::now();
        let read = async {
            let body = self.get(segments, token).await?;
            Ok(match kind {
                SessionsKind::V1 => SessionsReading::from_v1(&body)?,
                SessionsKind::V2 => SessionsReading::from_v2(&body)?,
            })
        };
        self.counted((route, since), read.instrument(call(route)).await)
    }

    async fn activations(&self, projects: BTreeSet<u64>, token: &str) -> Reading {
        let asked = stream::iter(projects)
            .map(|project| async move { Some((project, self.activation(project, token).await?)) });
        let learned = asked
            .buffer_unordered(self.calls_at_once)
            .filter_map(std::future::ready)
            .collect();
        Reading::Activation(learned.await)
    }

    async fn activation(&self, project: u64, token: &str) -> Option<Activation> {
        let id = project.to_string();
        let since = Instant::now();
        let read = async {
            let body = self.get(&["projects", &id, "graph", "status"], token).await?;
            Ok(Activation::from_graph_status(&body)?)
        };
        let read = read.instrument(call("graph_status")).await;
        // Refused is an answer: the user will never see this project's progress (PROTOCOL B6).
        let refused = matches!(read, Err(Unusable::Refused(_))).then_some(Activation::Failed);
        self.counted(("graph_status", since), read).or(refused)
    }

    fn counted<T>(&self, (route, since): (&'static str, Instant), read: Result<T, Unusable>) -> Option<T> {
        let result = match &read {
            Ok(_) => "ok",
            Err(Unusable::Refused(_)) => "refused",
            Err(Unusable::Body(_) | Unusable::Status(_) | Unusable::Http(HttpError::TooLarge(_))) => {
                "unusable"
            }
            Err(Unusable::Http(_) | Unusable::Request(_)) => "failed",
        };
        self.metrics.called(route, result, since);
        read.inspect_err(|error| tracing::debug!(route, %error, "unusable answer"))
            .ok()
    }

    async fn get(&self, segments: &[&str], token: &str) -> Result<Bytes, Unusable> {
        let request = Request::get(join(&self.base, segments).as_str())
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::ACCEPT, "application/json")
            .body(Full::default())?;
        let answer = self.client.send(request).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(Unusable::Refused(status)),
            status => Err(Unusable::Status(status)),
        }
    }
}

/// The span of a call.
fn call(route: &'static str) -> tracing::Span {
    tracing::debug_span!("call", route)
}

/// A URL below `base`. Each segment is escaped: no input can lead anywhere else.
pub(crate) fn join(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    // The configuration takes no URL that cannot be a base.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_escaped() {
        let base: Url = "http://backend/api/".parse().unwrap();

        assert_eq!(
            join(&base, &["data", "a/../b?c"]).as_str(),
            "http://backend/api/data/a%2F..%2Fb%3Fc"
        );
    }
}
