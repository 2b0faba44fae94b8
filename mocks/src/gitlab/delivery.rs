//! Calls of hooks: one after the other for each hook, on its own task, so that a slow receiver delays no other and
//! whoever emits waits for none.

use std::sync::{Arc, Weak};

use axum::http::{HeaderName, Request, header};
use bytes::Bytes;
use http_body_util::Full;
use polytab_seams::http::{HttpClient, Limits};
use tokio::sync::mpsc;

use super::{
    api::RELEASE,
    hook::{Delivery, Hook, NewHook, Wish, kind},
    project::Project,
    store::Stored,
};
use crate::{Shared, clocks::Mock, config::MocksConfig, observation::Observation, world::World};

/// What is read of an answer to a hook: nobody looks at it.
const ANSWER_BYTES: usize = 64 * 1024;

/// What a hook's task needs. It must not keep the mocks alive: they own it.
struct Desk {
    shared: Weak<Shared>,
    /// A task of a world before the last reset must not touch this one.
    generation: u64,
    hook: u64,
    client: HttpClient,
}

/// What comes after a call.
enum Next {
    Delivery,
    SameAgain,
}

impl World {
    /// Registers a hook; none when the project has too many.
    pub(super) fn add_hook(&mut self, shared: &Arc<Shared>, project: Project, wish: Wish) -> Option<&Hook> {
        let config = &shared.config;
        let (queue, deliveries) = mpsc::channel(config.hook_queue.max(1));
        let desk = Desk {
            shared: Arc::downgrade(shared),
            generation: self.generation,
            hook: self.gitlab.hooks.next(project.0)?,
            client: HttpClient::new(self.seams.dial.clone(), limits(config)),
        };
        if let Some(secret) = &wish.secret {
            self.secrets.keep("hook_token", secret);
        }
        let new = NewHook {
            uuid: self.seams.random.uuid("gitlab/hook"),
            project: project.0,
            wish,
            created_at: self.now_at(Mock::Gitlab),
            queue,
        };
        Some(self.gitlab.hooks.add(new, desk.deliver(deliveries)))
    }

    /// Queues an event for the hooks of its project that want it.
    pub(super) fn call_hooks(&mut self, event: &Arc<Stored>) {
        let (project, now) = (event.topic.project, self.now_at(Mock::Gitlab));
        if self.gitlab.hooks.of(project).next().is_none() {
            return;
        }
        let (title, flag) = kind(event.topic.event, &event.payload());
        let event_uuid = self.seams.random.uuid("gitlab/event");
        let wanting = self.gitlab.hooks.of(project);
        for hook in wanting.filter(|hook| hook.wants(flag, now)) {
            let has_room = hook.queue(Delivery {
                event: Arc::clone(event),
                title,
                event_uuid: event_uuid.clone(),
                key: self.seams.random.uuid("gitlab/delivery"),
            });
            if !has_room {
                self.tell(&called(hook, event, (0, 0)));
            }
        }
    }

    /// Takes in how a call went; gives what comes next.
    fn hook_called(
        &mut self,
        (hook, delivery): (u64, &Delivery),
        (attempt, status): (u32, u16),
    ) -> Option<bool> {
        let now = self.now_at(Mock::Gitlab);
        let hook = self.gitlab.hooks.get_mut(hook)?;
        hook.health.learn((200..300).contains(&status), now);
        let goes_on = hook.health.is_called(now);
        let observation = called(hook, &delivery.event, (attempt, status));
        self.tell(&observation);
        Some(goes_on)
    }
}

fn called(hook: &Hook, event: &Stored, (attempt, status): (u32, u16)) -> Observation {
    Observation::HookCalled {
        hook: hook.id,
        project: hook.project,
        event_id: event.id.clone(),
        attempt,
        status,
    }
}

fn limits(config: &MocksConfig) -> Limits {
    Limits {
        answer: config.scaled(config.hook_timeout),
        body_bytes: ANSWER_BYTES,
        idle: std::time::Duration::ZERO,
        idle_per_host: 0,
    }
}

impl Desk {
    /// Delivers until there is nothing more that could come.
    async fn deliver(self, mut deliveries: mpsc::Receiver<Delivery>) {
        while let Some(delivery) = deliveries.recv().await {
            let mut attempt = 1;
            while let Some(Next::SameAgain) = self.attempt(&delivery, attempt).await {
                attempt += 1;
            }
        }
    }

    /// Calls the hook once, if it is still there and not paused; waits before the same is to be tried again.
    async fn attempt(&self, delivery: &Delivery, attempt: u32) -> Option<Next> {
        let request = self.with_world(|world| {
            let hook = world.gitlab.hooks.get(self.hook)?;
            let is_called = hook.health.is_called(world.now_at(Mock::Gitlab));
            is_called
                .then(|| request(hook, delivery, &world.gitlab.instance.url))
                .flatten()
        })??;
        let answer = self.client.send(request).await;
        // An answer of any status is one: only a call without is tried again.
        let status = answer.map_or(0, |answer| answer.status().as_u16());
        let goes_on =
            self.with_world(|world| world.hook_called((self.hook, delivery), (attempt, status)))??;
        let (retries, pause) = {
            let shared = self.shared.upgrade()?;
            let config = &shared.config;
            (config.hook_retries, config.scaled(config.hook_retry))
        };
        if status != 0 || !goes_on || attempt > retries {
            return Some(Next::Delivery);
        }
        tokio::time::sleep(pause).await;
        Some(Next::SameAgain)
    }

    /// Does something with the world, if it is still the hook's.
    fn with_world<T>(&self, work: impl FnOnce(&mut World) -> T) -> Option<T> {
        let shared = self.shared.upgrade()?;
        let mut world = shared.world();
        (world.generation == self.generation).then(|| work(&mut world))
    }
}

/// The call, with the headers of MOCKS G2.
fn request(hook: &Hook, delivery: &Delivery, instance: &str) -> Option<Request<Full<Bytes>>> {
    let named = HeaderName::from_static;
    let mut request = Request::post(hook.wish.url.as_str())
        .header(header::HOST, hook.wish.url.authority())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, format!("GitLab/{RELEASE}"))
        .header(named("idempotency-key"), &delivery.key)
        .header(named("x-gitlab-event"), delivery.title)
        .header(named("x-gitlab-event-uuid"), &delivery.event_uuid)
        .header(named("x-gitlab-webhook-uuid"), &hook.uuid)
        .header(named("x-gitlab-instance"), instance);
    if let Some(secret) = &hook.wish.secret {
        request = request.header(named("x-gitlab-token"), secret);
    }
    // A secret that no header can carry cannot be sent.
    request
        .body(Full::new(Bytes::from(delivery.event.body.clone())))
        .ok()
}
