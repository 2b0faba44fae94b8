//! What every part of one server process shares.

use std::{sync::Arc, time::Duration};

use polytab_seams::{
    Seams,
    http::{HttpClient, Limits},
};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admission::Addresses,
    auth::{Auth, Provider, Surroundings},
    config::Config,
    coordinator::{Coordinator, Memory, Reach, Redis, Spans},
    hub::Hub,
    metrics::Metrics,
    upstream::backend::Backend,
    upstream::gitlab::Gitlab,
};

/// Connections kept idle per upstream host.
const IDLE_PER_HOST: usize = 64;
/// Redis answers within a millisecond; a turn does not wait longer than this for one that does not.
const REDIS_ANSWER: Duration = Duration::from_secs(1);

/// One server process.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) config: Config,
    pub(crate) seams: Seams,
    pub(crate) hub: Hub,
    pub(crate) auth: Arc<Auth>,
    pub(crate) backend: Backend,
    pub(crate) gitlab: Gitlab,
    pub(crate) metrics: Arc<Metrics>,
    /// A permit for each WebSocket there may be.
    pub(crate) places: Arc<Semaphore>,
    /// Connections by address.
    pub(crate) addresses: Addresses,
    /// Every task but those of HTTP requests.
    pub(crate) tasks: TaskTracker,
    /// Ends every task at once.
    pub(crate) killed: CancellationToken,
    /// No further tabs; those that are here are sent away.
    pub(crate) draining: CancellationToken,
    /// Names this process in epochs.
    pub(crate) instance: String,
    /// Where it meets other instances.
    pub(crate) coordinator: Arc<dyn Coordinator>,
    /// Whether it can.
    pub(crate) reach: Arc<Reach>,
}

impl Host {
    pub(crate) fn new(config: Config, seams: Seams) -> Self {
        let limits = Limits {
            answer: config.upstream_timeout.0,
            body_bytes: config.upstream_body_bytes,
            idle: config.short_loop.0 * 6,
            idle_per_host: IDLE_PER_HOST,
        };
        let client = HttpClient::new(Arc::clone(&seams.dial), limits);
        let metrics = Arc::new(Metrics::new());
        let instance = seams.random.uuid("server/instance")[..8].to_owned();
        let coordinator = coordinator(&config, &instance);
        let reach = Arc::new(Reach::new(metrics.coordinator_up.clone()));
        let (tasks, killed) = (TaskTracker::new(), CancellationToken::new());
        let provider = Provider::new(&config, seams.clock.clone(), client.clone(), Arc::clone(&metrics));
        let around = Surroundings {
            coordinator: Arc::clone(&coordinator),
            reach: Arc::clone(&reach),
            tasks: tasks.clone(),
            killed: killed.clone(),
        };
        Self {
            hub: Hub::default(),
            auth: Arc::new(Auth::new(&config, &seams, provider, around)),
            backend: Backend::new(&config, client.clone(), Arc::clone(&metrics)),
            gitlab: Gitlab::new(&config, client, Arc::clone(&metrics)),
            metrics,
            places: Arc::new(Semaphore::new(config.connections.min(Semaphore::MAX_PERMITS))),
            addresses: Addresses::new(config.connections_per_address),
            tasks,
            killed,
            draining: CancellationToken::new(),
            instance,
            coordinator,
            reach,
            config,
            seams,
        }
    }
}

fn coordinator(config: &Config, instance: &str) -> Arc<dyn Coordinator> {
    let spans = Spans {
        lease: config.lease.0,
        window: config.resume_window.0,
        answer: REDIS_ANSWER,
        letters: config.letters,
    };
    match &config.redis_url {
        None => Arc::new(Memory::new(instance, spans)),
        Some(url) => Arc::new(Redis::new(instance, url, &config.redis_prefix, spans)),
    }
}
