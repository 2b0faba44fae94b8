//! `--metrics`: the run in Prometheus' text format, while it goes on.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context;
use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use polytab_load::{plan::Plan, report::prometheus_now, run::Progress, tally::Tally};
use polytab_seams::serve::{Limits, serve};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// What is scraped. Serves as long as it lives.
pub(super) struct Metrics {
    seen: Seen,
    _serving: JoinSet<()>,
}

/// Who scrapes needs one connection; a few more may look.
const LIMITS: Limits = Limits {
    header_read: Duration::from_secs(5),
    header_bytes: 16 * 1024,
    header_fields: 100,
    connections: 16,
    life: Some(Duration::from_secs(30)),
};

#[derive(Clone)]
struct Seen(Arc<Mutex<Counted>>);

struct Counted {
    profile: String,
    phases: Vec<(String, Tally)>,
    now: (u64, u64),
}

impl Metrics {
    /// Listens at this address; gives it with its port too, as 0 takes a free one.
    pub(super) async fn listen(address: SocketAddr, plan: &Plan) -> anyhow::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("`--metrics {address}`: cannot listen there"))?;
        let address = listener.local_addr()?;
        let names = plan.phases.iter().map(|phase| phase.name.clone());
        let seen = Seen(Arc::new(Mutex::new(Counted {
            profile: plan.name.clone(),
            phases: names.map(|name| (name, Tally::default())).collect(),
            now: (0, 0),
        })));
        let routes = Router::new()
            .route("/metrics", get(metrics))
            .with_state(seen.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            serve(
                listener,
                routes,
                LIMITS,
                (CancellationToken::new(), Duration::ZERO),
            )
            .await;
        });
        let metrics = Self {
            seen,
            _serving: serving,
        };
        Ok((metrics, address))
    }

    /// One stretch more.
    pub(super) fn add(&self, progress: &Progress<'_>) {
        let mut counted = self.seen.lock();
        let interval = progress.interval;
        counted.now = (interval.users, interval.tabs);
        if let Some((_, tally)) = counted.phases.get_mut(interval.phase) {
            tally.add(progress.tally);
        }
    }
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn metrics(State(seen): State<Seen>) -> impl IntoResponse {
    let counted = seen.lock();
    let text = prometheus_now(&counted.profile, counted.now, &counted.phases);
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
}
