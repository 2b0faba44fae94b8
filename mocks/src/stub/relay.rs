//! Passes requests on to a wiremock server, which decides which stub takes each, and relays its answers. It must not
//! know how stubs are compared: wiremock's own matchers do that.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use axum::{
    body::{Body, Bytes},
    http::{HeaderName, HeaderValue, Request, header::CONTENT_TYPE},
    response::Response,
};
use http_body_util::Full;
use polytab_seams::{
    http::{HttpClient, Limits},
    net::TcpDial,
};
use serde_json::Value;
use tokio::sync::{RwLock, RwLockReadGuard, oneshot};
use wiremock::{
    Match, Mock, MockServer, Respond, ResponseTemplate,
    matchers::{any, body_partial_json, header, headers, method, path, path_regex, query_param},
};

use super::{
    Stub,
    check::{LONGEST_DELAY, OF_CONNECTION},
    list::Held,
    matching::Asked,
    overlay::{Answer, out_of_order},
};
use crate::{Shared, config::MocksConfig};

/// Tells wiremock which service was asked.
const SERVICE: HeaderName = HeaderName::from_static("x-polytab-service");
/// Tells the responder of a stub which request it took.
const TICKET: HeaderName = HeaderName::from_static("x-polytab-ticket");
/// How long wiremock may take to decide.
const DECISION: Duration = Duration::from_secs(10);
/// Wiremock keeps every request that a mock of its took; after so many it starts anew with what is left.
const REQUESTS_KEPT: u64 = 10_000;
/// The largest answer relayed, in bytes.
const ANSWER_BYTES: usize = 16 << 20;

/// A wiremock server and the way to it.
#[derive(Debug)]
pub(crate) struct Relay {
    client: HttpClient,
    speed: u32,
    mounted: RwLock<Option<Mounted>>,
    tickets: Arc<Tickets>,
}

/// A server that has the stubs.
#[derive(Debug)]
struct Mounted {
    server: MockServer,
    /// Which stubs: see [`super::list::Stubs`].
    version: u64,
    asked: AtomicU64,
}

impl Relay {
    pub(super) fn new(config: &MocksConfig) -> Self {
        let limits = Limits {
            answer: LONGEST_DELAY + DECISION,
            body_bytes: ANSWER_BYTES,
            idle: Duration::from_secs(5),
            idle_per_host: 32,
        };
        Self {
            client: HttpClient::new(Arc::new(TcpDial), limits),
            speed: config.speed.max(1),
            mounted: RwLock::new(None),
            tickets: Arc::default(),
        }
    }

    /// The answer of the stub that takes this request, as wiremock gives it.
    pub(super) async fn take(&self, shared: &Shared, asked: &Asked) -> anyhow::Result<Option<Answer>> {
        // Held until wiremock has decided: nobody mounts other stubs under a request.
        let mounted = self.up_to_date(shared).await?;
        mounted.asked.fetch_add(1, Ordering::Relaxed);
        let (ticket, mut taken) = self.tickets.issue();
        let request = request(asked, (&mounted.server, ticket.number))?;
        let client = self.client.clone();
        let mut answer = Box::pin(async move {
            let _ticket = ticket;
            client.send(request).await
        });
        let decided = async {
            tokio::select! {
                biased;
                _ = &mut taken => None,
                answer = &mut answer => Some(answer),
            }
        };
        let decided = tokio::time::timeout(DECISION, decided).await;
        match decided.context("wiremock does not decide")? {
            // Taken; the answer comes when it is due.
            None => Ok(Some(Box::pin(async move { relayed(answer.await) }))),
            Some(Ok(answer)) if taken.try_recv().is_ok() => Ok(Some(Box::pin(async { relayed(Ok(answer)) }))),
            Some(Ok(answer)) if answer.status() == 404 => Ok(None),
            Some(Ok(answer)) => bail!("wiremock answers {} and names no stub", answer.status()),
            Some(Err(error)) => Err(error).context("wiremock does not answer"),
        }
    }

    /// The server with the stubs of now.
    async fn up_to_date(&self, shared: &Shared) -> anyhow::Result<RwLockReadGuard<'_, Mounted>> {
        let is_current = |mounted: &Mounted| {
            mounted.version == shared.world().stubs.version
                && mounted.asked.load(Ordering::Relaxed) < REQUESTS_KEPT
        };
        let read = self.mounted.read().await;
        if let Ok(current) =
            RwLockReadGuard::try_map(read, |mounted| mounted.as_ref().filter(|it| is_current(it)))
        {
            return Ok(current);
        }
        let mut write = self.mounted.write().await;
        let server = match write.take() {
            Some(mounted) if is_current(&mounted) => {
                *write = Some(mounted);
                return current(write.downgrade());
            }
            Some(mounted) => mounted.server,
            None => start().await?,
        };
        server.reset().await;
        let (version, held) = {
            let world = shared.world();
            (world.stubs.version, world.stubs.held().to_vec())
        };
        for held in held.into_iter().filter(|held| held.left() != Some(0)) {
            server.register(self.mock(&held)).await;
        }
        *write = Some(Mounted {
            server,
            version,
            asked: AtomicU64::new(0),
        });
        current(write.downgrade())
    }

    /// A stub in wiremock's own words.
    fn mock(&self, held: &Held) -> Mock {
        let (fit, stub) = (&held.fit, &held.stub);
        let mut mock = Mock::given(any());
        if let Some(service) = fit.service {
            mock = mock.and(header(SERVICE, service.name()));
        }
        if let Some(wanted) = &fit.method {
            mock = mock.and(method(wanted));
        }
        if let Some(wanted) = &fit.path {
            mock = mock.and(path(wanted));
        }
        if let Some(pattern) = &fit.path_regex {
            mock = mock.and(path_regex(pattern.as_str()));
        }
        for (name, value) in &fit.query {
            mock = mock.and(query_param(name, value));
        }
        for (name, items) in &fit.headers {
            mock = mock.and(headers(name, items.iter().map(String::as_str).collect()));
        }
        if let Some(json) = &fit.json {
            mock = mock.and(body_partial_json(json)).and(WholeArrays(json.clone()));
        }
        let responder = Responder {
            template: self.template(stub),
            taken: Arc::clone(&held.taken),
            tickets: Arc::clone(&self.tickets),
        };
        let mock = mock.respond_with(responder).with_priority(stub.priority);
        match held.left() {
            Some(left) => mock.up_to_n_times(left),
            None => mock,
        }
    }

    fn template(&self, stub: &Stub) -> ResponseTemplate {
        let answer = &stub.answer;
        let mut template = ResponseTemplate::new(answer.status);
        let mut own_kind = None;
        for (name, value) in &answer.headers {
            template = template.insert_header(name.as_str(), value.as_str());
            if name.eq_ignore_ascii_case(CONTENT_TYPE.as_str()) {
                own_kind = Some(value);
            }
        }
        template = match (&answer.json, &answer.text, own_kind) {
            // Wiremock's own kind of a body would replace the stub's.
            (Some(json), _, Some(kind)) => template.set_body_raw(json.to_string(), kind),
            (None, Some(text), Some(kind)) => template.set_body_raw(text.as_str(), kind),
            (Some(json), _, None) => template.set_body_json(json),
            (None, Some(text), None) => template.set_body_string(text.as_str()),
            (None, None, _) => template,
        };
        match answer.delay {
            Some(delay) => template.set_delay(delay / self.speed),
            None => template,
        }
    }
}

fn current(guard: RwLockReadGuard<'_, Option<Mounted>>) -> anyhow::Result<RwLockReadGuard<'_, Mounted>> {
    RwLockReadGuard::try_map(guard, Option::as_ref)
        .ok()
        .context("the wiremock server was not started")
}

async fn start() -> anyhow::Result<MockServer> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot listen for wiremock")?;
    // Requests that no mock took would be kept as well, without end.
    let builder = MockServer::builder()
        .listener(listener)
        .disable_request_recording();
    Ok(builder.start().await)
}

/// The request as it came, on its way to wiremock.
fn request(asked: &Asked, (server, ticket): (&MockServer, u64)) -> anyhow::Result<Request<Full<Bytes>>> {
    let mut request = Request::builder()
        .method(&asked.method)
        .uri(format!("{}{}", server.uri(), asked.path_and_query))
        .body(Full::new(asked.body.clone()))
        .context("the request cannot be passed on")?;
    *request.headers_mut() = asked.headers.clone();
    let service = HeaderValue::from_static(asked.service.name());
    request.headers_mut().insert(SERVICE, service);
    request.headers_mut().insert(TICKET, HeaderValue::from(ticket));
    Ok(request)
}

fn relayed(answer: Result<http::Response<Bytes>, polytab_seams::http::HttpError>) -> Response {
    match answer {
        Ok(answer) => {
            let mut response = answer.map(Body::from);
            for name in OF_CONNECTION.into_iter().filter(|name| *name != "content-length") {
                response.headers_mut().remove(name);
            }
            response
        }
        Err(error) => out_of_order(&anyhow::Error::new(error).context("wiremock does not answer")),
    }
}

/// Says which request a stub took as soon as wiremock has chosen it, which may be long before its answer is due.
struct Responder {
    template: ResponseTemplate,
    taken: Arc<AtomicU64>,
    tickets: Arc<Tickets>,
}

impl Respond for Responder {
    fn respond(&self, request: &wiremock::Request) -> ResponseTemplate {
        self.taken.fetch_add(1, Ordering::Relaxed);
        let ticket = request.headers.get(TICKET).and_then(|value| value.to_str().ok());
        if let Some(number) = ticket.and_then(|text| text.parse().ok()) {
            self.tickets.punch(number);
        }
        self.template.clone()
    }
}

/// What wiremock's partial comparison of JSON leaves open: it takes an array for the beginning of a longer one.
struct WholeArrays(Value);

impl Match for WholeArrays {
    fn matches(&self, request: &wiremock::Request) -> bool {
        request.body_json().is_ok_and(|body| is_as_long(&self.0, &body))
    }
}

fn is_as_long(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Array(wanted), Value::Array(found)) => {
            wanted.len() == found.len()
                && wanted
                    .iter()
                    .zip(found)
                    .all(|(wanted, found)| is_as_long(wanted, found))
        }
        (Value::Object(wanted), Value::Object(found)) => wanted
            .iter()
            .all(|(key, wanted)| found.get(key).is_none_or(|found| is_as_long(wanted, found))),
        // Whether these are equal is not asked here.
        _ => true,
    }
}

/// Requests that wiremock has not decided about.
#[derive(Debug, Default)]
struct Tickets {
    next: AtomicU64,
    waiting: Mutex<BTreeMap<u64, oneshot::Sender<()>>>,
}

/// One of them; gone with its request.
struct Ticket {
    number: u64,
    tickets: Arc<Tickets>,
}

impl Tickets {
    fn issue(self: &Arc<Self>) -> (Ticket, oneshot::Receiver<()>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, taken) = oneshot::channel();
        self.waiting().insert(number, sender);
        let tickets = Arc::clone(self);
        (Ticket { number, tickets }, taken)
    }

    fn punch(&self, number: u64) {
        if let Some(sender) = self.waiting().remove(&number) {
            // A request that was given up waits for nothing.
            sender.send(()).ok();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<()>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.tickets.waiting().remove(&self.number);
    }
}
