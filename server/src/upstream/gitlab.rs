//! GitLab's event streams: held for a topic, opened again after a cut where they broke off.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use polytab_protocol::{
    event_stream::{Decoder, Item},
    message::ErrorCode,
    topic::Topic,
};
use polytab_seams::http::HttpClient;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;

use super::backend::join;
use crate::{
    auth::Auth,
    channel::event::{Came, Earlier, StreamNews, Wanted},
    config::Config,
    metrics::Metrics,
};

/// The longest delay before a stream is opened again.
const LONGEST_RETRY: Duration = Duration::from_mins(1);
/// And this at least, unless `stream_retry` is less, whatever GitLab says: a stream that is cut at once must not be
/// opened in a loop.
const SHORTEST_RETRY: Duration = Duration::from_millis(100);
/// How often in a row GitLab may refuse the token of a session that stands, before it is believed.
const UNAUTHORIZED: u32 = 3;
/// The event that says that events were lost (MOCKS G4).
const RESET: &str = "reset";

/// Holds event streams.
#[derive(Debug)]
pub(crate) struct Gitlab {
    base: Url,
    client: HttpClient,
    event_bytes: usize,
    silence: Duration,
    retry: Duration,
    metrics: Arc<Metrics>,
}

/// How an attempt at a stream ended.
enum Ended {
    /// It cannot be had.
    Refused(ErrorCode),
    /// Not now.
    Failed,
    /// The token is not taken.
    Unauthorized,
    /// It was there, and broke off.
    Cut,
    /// Nobody listens any more.
    Unheard,
}

/// What is kept over the attempts.
struct Progress {
    topic: Topic,
    last_event: Option<String>,
    accepted: bool,
    retry: Duration,
}

impl Progress {
    /// After an event whose id cannot be sent, the one before it is asked for: what comes again is known.
    fn came_to(&mut self, id: &str) {
        if !id.is_empty() && sendable(id).is_some() {
            self.last_event = Some(id.to_owned());
        }
    }
}

impl Gitlab {
    pub(crate) fn new(config: &Config, client: HttpClient, metrics: Arc<Metrics>) -> Self {
        Self {
            base: config.gitlab_url.clone(),
            client,
            event_bytes: config.event_bytes,
            silence: config.stream_silence.0,
            retry: config.stream_retry.0,
            metrics,
        }
    }

    /// Holds a stream with the token of a login session, until GitLab refuses it for good or `tell` says that nobody
    /// listens.
    pub(crate) async fn hold<F: Future<Output = bool>>(
        &self,
        auth: &Auth,
        Wanted {
            topic,
            session,
            last_event,
            accepted,
        }: Wanted,
        tell: impl Fn(StreamNews) -> F,
    ) {
        let mut progress = Progress {
            topic,
            last_event,
            accepted,
            retry: self.retry,
        };
        let (mut failures, mut unauthorized) = (0_u32, 0_u32);
        loop {
            let ended = match auth.token(&session) {
                Some(token) => self.attempt(&token, &mut progress, &tell).await,
                None => Ended::Failed,
            };
            let refused = match ended {
                Ended::Unheard => return,
                Ended::Refused(code) => Some(code),
                Ended::Unauthorized => {
                    unauthorized += 1;
                    (unauthorized >= UNAUTHORIZED).then_some(ErrorCode::Forbidden)
                }
                Ended::Failed if !progress.accepted => Some(ErrorCode::UpstreamUnavailable),
                Ended::Failed => {
                    failures += 1;
                    None
                }
                Ended::Cut => {
                    (failures, unauthorized) = (0, 0);
                    None
                }
            };
            if let Some(code) = refused {
                tell(StreamNews::Refused(code)).await;
                return;
            }
            let delay = progress.retry * 2_u32.saturating_pow(failures.min(6));
            sleep(delay.min(LONGEST_RETRY)).await;
        }
    }

    async fn attempt<F: Future<Output = bool>>(
        &self,
        token: &str,
        progress: &mut Progress,
        tell: &impl Fn(StreamNews) -> F,
    ) -> Ended {
        let topic = progress.topic;
        let Ok(request) = self.request(topic, token, progress.last_event.as_deref()) else {
            return Ended::Failed;
        };
        let since = Instant::now();
        let answer = match self.client.open(request).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%topic, %error, "no event stream");
                self.metrics.called("event_stream", "failed", since);
                return Ended::Failed;
            }
        };
        let is_stream = answer
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        match answer.status() {
            StatusCode::OK if is_stream => {
                self.metrics.called("event_stream", "ok", since);
                progress.accepted = true;
                let earlier = Earlier::Asked(progress.last_event.clone());
                if !tell(StreamNews::Accepted(earlier)).await {
                    return Ended::Unheard;
                }
                self.read(answer.into_body(), progress, tell).await
            }
            StatusCode::UNAUTHORIZED => {
                self.metrics.called("event_stream", "refused", since);
                Ended::Unauthorized
            }
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => {
                self.metrics.called("event_stream", "refused", since);
                Ended::Refused(ErrorCode::Forbidden)
            }
            // The stream has ended for good (MOCKS G4).
            StatusCode::NO_CONTENT => {
                self.metrics.called("event_stream", "refused", since);
                Ended::Refused(ErrorCode::UpstreamUnavailable)
            }
            status => {
                tracing::debug!(%topic, %status, "no event stream");
                self.metrics.called("event_stream", "unusable", since);
                Ended::Failed
            }
        }
    }

    fn request(
        &self,
        topic: Topic,
        token: &str,
        last_event: Option<&str>,
    ) -> http::Result<Request<Full<Bytes>>> {
        let url = join(
            &self.base,
            &["project", &topic.project.to_string(), topic.event.as_str()],
        );
        let mut request = Request::get(url.as_str())
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::ACCEPT, "text/event-stream")
            .header(header::CACHE_CONTROL, "no-store");
        if let Some(id) = last_event.and_then(sendable) {
            request = request.header("last-event-id", id);
        }
        request.body(Full::default())
    }

    async fn read<F: Future<Output = bool>>(
        &self,
        mut body: Incoming,
        progress: &mut Progress,
        tell: &impl Fn(StreamNews) -> F,
    ) -> Ended {
        let mut decoder = Decoder::new(self.event_bytes);
        // Heartbeats come more often than the silence lasts: a stream without them, or with a line that never ends, is
        // dead.
        let mut silent_at = Instant::now() + self.silence;
        while let Ok(Some(Ok(frame))) = timeout_at(silent_at, body.frame()).await {
            let Some(chunk) = frame.data_ref() else { continue };
            let items = decoder.push(chunk);
            if !items.is_empty() {
                silent_at = Instant::now() + self.silence;
            }
            for item in items {
                match item {
                    Item::Comment => {}
                    Item::TooLong { id } => {
                        tracing::warn!(topic = %progress.topic, "an event over `event_bytes` is left out");
                        self.metrics.events_left_out.inc();
                        progress.came_to(&id);
                    }
                    Item::Retry(ms) => {
                        let shortest = SHORTEST_RETRY.min(self.retry);
                        progress.retry = Duration::from_millis(ms).clamp(shortest, LONGEST_RETRY);
                    }
                    Item::Event(event) if event.event == RESET => {
                        tracing::warn!(data = event.data, "events were lost upstream");
                        progress.last_event = None;
                        if !tell(StreamNews::Reset).await {
                            return Ended::Unheard;
                        }
                    }
                    Item::Event(event) => {
                        progress.came_to(&event.id);
                        let Some(payload) = payload(event.data) else {
                            continue;
                        };
                        let came = Came {
                            id: event.id,
                            payload,
                        };
                        if !tell(StreamNews::Event(came)).await {
                            return Ended::Unheard;
                        }
                    }
                }
            }
        }
        Ended::Cut
    }
}

/// An event id as a header, if one can carry it: GitLab may send ids with control characters, which none can.
fn sendable(id: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(id).ok()
}

/// The payload as it came, if it is a JSON object.
fn payload(data: String) -> Option<Box<RawValue>> {
    let raw = RawValue::from_string(data)
        .ok()
        .filter(|raw| raw.get().trim_start().starts_with('{'));
    if raw.is_none() {
        tracing::warn!("an event whose data is not a JSON object is left out");
    }
    raw
}
