//! One testbed: set up for a scenario, worked on by its steps, torn down with the run.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU32},
    time::Duration,
};

use polytab_mocks::order::{Refresh as MockRefresh, UserSpec};
use polytab_seams::random::Random;
use sha2::{Digest, Sha256};
use tokio::{sync::mpsc, task::JoinSet};
use url::Url;

use super::{
    ground::{foreign_ground, http_base, tcp_ground, virtual_ground},
    mocks::{MockHosts, observe},
    recorder::Recorder,
    server::ServerProcess,
    site::Site,
};
use crate::{
    events::Kind,
    judge::record::Record,
    run::error::RunError,
    scenario::{
        model::Scenario,
        people::{Cookie, DEFAULT_BROWSER, Refresh, Tab, TabState, User},
    },
    tab::{
        browser::Browser,
        connection::Credentials,
        gate::Gate,
        habits::Habits,
        page::{self, ORDERS, Order, PageSpec},
    },
    target::{ClockKind, Target},
};

/// How long a page of the target may take to answer a browser (scenario time).
const BROWSER_PATIENCE: Duration = Duration::from_secs(30);

/// What a run is to be made of.
#[derive(Clone, Debug)]
pub(crate) struct BedPlan {
    /// The server under test.
    pub target: Target,
    /// The clock.
    pub clock: ClockKind,
    /// The seed of all randomness.
    pub seed: u64,
    /// Whether faults and stubs that nobody met, and requests that nobody takes, are failures.
    pub strict: bool,
    /// Mocks that already listen, beside a target that is not ours.
    pub hosts: Option<Arc<MockHosts>>,
}

/// One testbed.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) site: Arc<Site>,
    pub(crate) server: tokio::sync::Mutex<Option<ServerProcess>>,
    scenario: Arc<Scenario>,
    browsers: tokio::sync::Mutex<BTreeMap<(String, String), Browser>>,
    tabs: Mutex<BTreeMap<String, TabHandle>>,
    pages: Mutex<JoinSet<()>>,
    ws_url: Url,
    http_base: Url,
    _own_hosts: Option<MockHosts>,
}

/// A tab between steps.
#[derive(Debug)]
struct TabHandle {
    gate: Gate,
    lives: Arc<AtomicU32>,
    state: TabState,
    page: Option<mpsc::Sender<Order>>,
}

impl Bed {
    /// Sets everything up for `scenario` and signs everybody in; scenario time begins at the end of it.
    pub(crate) async fn set_up(scenario: &Arc<Scenario>, plan: &BedPlan) -> Result<Self, RunError> {
        let patterns = scenario
            .file
            .ignore
            .iter()
            .map(|pattern| pattern.value.clone())
            .collect();
        let record = Record::new(scenario.file.tabs.keys().cloned(), patterns);
        let recorder = Recorder::new(record, plan.target.speed);
        let random = Random::seeded(seed_of(plan.seed, scenario));
        let ground = match (plan.clock, &plan.target.url, &plan.hosts) {
            (ClockKind::Virtual, ..) => virtual_ground(scenario, plan, &random),
            (ClockKind::Real, Some(url), Some(hosts)) => foreign_ground(hosts, url, &random),
            (ClockKind::Real, ..) => tcp_ground(scenario, plan, &random).await?,
        };
        observe(&ground.mocks, &recorder);
        let site = Site {
            recorder,
            dial: ground.tab_dial,
            target: plan.target.clone(),
            mocks: ground.mocks,
            clock: ground.clock,
            cookies: Mutex::default(),
            intake: Mutex::default(),
        };
        let bed = Self {
            site: Arc::new(site),
            server: tokio::sync::Mutex::new(ground.server),
            scenario: Arc::clone(scenario),
            browsers: tokio::sync::Mutex::default(),
            tabs: Mutex::new(handles(scenario)),
            pages: Mutex::default(),
            http_base: http_base(&ground.ws_url),
            ws_url: ground.ws_url,
            _own_hosts: ground.own_hosts,
        };
        if let Some(server) = bed.server.lock().await.as_mut() {
            server.start(None).await?;
        }
        bed.stubs()?;
        bed.people().await?;
        bed.site.recorder.start();
        Ok(bed)
    }

    /// Gives the mocks the scenario's stubs, before anybody may ask for what they answer.
    fn stubs(&self) -> Result<(), RunError> {
        let items = &self.scenario.file.stubs;
        let Some(first) = items.first() else {
            return Ok(());
        };
        let stubs = items.iter().flat_map(|item| item.value.stubs()).cloned();
        let put = self.site.mocks.put_stubs(stubs.collect());
        put.map(drop).map_err(|error| RunError::Step {
            line: self.scenario.source.line_column(first.at.start).0,
            problem: error.to_string(),
        })
    }

    /// Puts the users into the world and signs each of their browsers in.
    async fn people(&self) -> Result<(), RunError> {
        for (name, user) in &self.scenario.file.users {
            let put = self.site.mocks.put_user(name, user_spec(name, &user.value));
            put.map_err(|error| RunError::Step {
                line: self.scenario.source.line_column(user.at.start).0,
                problem: error.to_string(),
            })?;
        }
        let mut browsers: Vec<_> = self
            .scenario
            .file
            .tabs
            .values()
            .filter(|tab| match tab.value.cookie {
                Cookie::Own => true,
                Cookie::None => false,
                // Without a configured name, the cookies that a sign-in sets give the names.
                Cookie::Unknown => self.site.target.cookie.is_none(),
            })
            .map(|tab| (tab.value.user.clone(), browser_of(&tab.value)))
            .collect();
        browsers.sort();
        browsers.dedup();
        for (user, browser) in browsers {
            self.sign_in(&user, &browser)
                .await
                .map_err(|problem| RunError::SignIn { user, problem })?;
        }
        Ok(())
    }

    /// Signs a user in, in a browser.
    pub(crate) async fn sign_in(&self, user: &str, browser: &str) -> Result<(), String> {
        let mut browsers = self.browsers.lock().await;
        let key = (user.to_owned(), browser.to_owned());
        let patience = self.site.patience(BROWSER_PATIENCE);
        let window = browsers
            .entry(key)
            .or_insert_with(|| Browser::new(browser, Arc::clone(&self.site.dial), patience));
        let start = self
            .http_base
            .join(&self.site.target.login)
            .map_err(|error| error.to_string())?;
        let result = window
            .sign_in(&start, user, &password(user))
            .await
            .map_err(|error| chain(&error));
        let secrets = window.secrets();
        drop(browsers);
        self.site
            .cookies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(secrets);
        let (user, browser) = (user.to_owned(), browser.to_owned());
        self.site.record(match &result {
            Ok(()) => Kind::SignedIn { user, browser },
            Err(problem) => Kind::SignInFailed {
                user,
                browser,
                problem: problem.clone(),
            },
        });
        result
    }

    /// Lets a browser visit the target's sign-out page.
    pub(crate) async fn visit_logout(&self, user: &str, browser: &str) -> Result<(), String> {
        let url = self
            .http_base
            .join(&self.site.target.logout)
            .map_err(|error| error.to_string())?;
        let mut browsers = self.browsers.lock().await;
        let Some(window) = browsers.get_mut(&(user.to_owned(), browser.to_owned())) else {
            return Err(format!("`{user}` is not signed in, in browser `{browser}`"));
        };
        window.visit(&url).await.map_err(|error| chain(&error))
    }

    /// Loads a page in a tab; whatever page was there is forgotten (it must have been left).
    pub(crate) async fn load_page(&self, name: &str) {
        let Some(tab) = self.scenario.file.tabs.get(name).map(|tab| &tab.value) else {
            return;
        };
        let credentials = self.credentials(tab).await;
        let (sender, orders) = mpsc::channel(ORDERS);
        let spec = {
            let mut tabs = self.tabs();
            let Some(handle) = tabs.get_mut(name) else { return };
            handle.page = Some(sender);
            PageSpec {
                tab: name.to_owned(),
                credentials,
                habits: Habits::of(self.scenario.client_of(tab)),
                state: handle.state,
                gate: handle.gate.clone(),
                lives: Arc::clone(&handle.lives),
            }
        };
        self.pages()
            .spawn(page::run(Arc::clone(&self.site), spec, orders));
    }

    /// Gives a tab's page an order; says whether there is a page to obey.
    pub(crate) async fn order(&self, name: &str, order: Order) -> bool {
        let page = self.tabs().get(name).and_then(|handle| handle.page.clone());
        match page {
            Some(page) => page.send(order).await.is_ok(),
            None => false,
        }
    }

    /// Whether the tab is looked at, from now on and for its next pages.
    pub(crate) fn set_state(&self, name: &str, state: TabState) {
        if let Some(handle) = self.tabs().get_mut(name) {
            handle.state = state;
        }
    }

    /// The gate in the tab's connection.
    pub(crate) fn gate(&self, name: &str) -> Option<Gate> {
        self.tabs().get(name).map(|handle| handle.gate.clone())
    }

    /// How many connections the tab has begun.
    pub(crate) fn lives(&self, name: &str) -> u32 {
        self.tabs().get(name).map_or(0, |handle| {
            handle.lives.load(std::sync::atomic::Ordering::Relaxed)
        })
    }

    /// Lets every tab have its network again and go on, so that it can be left in order.
    pub(crate) async fn open_gates(&self, names: &[String]) {
        for name in names {
            if let Some(gate) = self.gate(name) {
                gate.open();
            }
            self.order(name, Order::Thaw).await;
        }
    }

    /// Ends every page at once; a page that panicked is reported.
    pub(crate) async fn end_pages(&self) -> Result<(), RunError> {
        for handle in self.tabs().values_mut() {
            handle.page = None;
        }
        let mut pages = std::mem::take(&mut *self.pages());
        let deadline = tokio::time::Instant::now() + self.site.patience(Duration::from_mins(1));
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, pages.join_next()).await {
            if let Err(error) = ended
                && error.is_panic()
            {
                return Err(RunError::Panicked(error.to_string()));
            }
        }
        Ok(())
    }

    async fn credentials(&self, tab: &Tab) -> Credentials {
        let browsers = self.browsers.lock().await;
        let window = browsers.get(&(tab.user.clone(), browser_of(tab)));
        let origin = tab
            .origin
            .clone()
            .unwrap_or_else(|| self.http_base.origin().ascii_serialization());
        Credentials {
            url: self.ws_url.clone(),
            origin,
            jar: window.map(Browser::jar).unwrap_or_default(),
            cookie_name: self.site.target.cookie.clone(),
            shows: tab.cookie,
        }
    }

    fn tabs(&self) -> MutexGuard<'_, BTreeMap<String, TabHandle>> {
        self.tabs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pages(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn handles(scenario: &Scenario) -> BTreeMap<String, TabHandle> {
    let handle = |state| TabHandle {
        gate: Gate::default(),
        lives: Arc::default(),
        state,
        page: None,
    };
    scenario
        .file
        .tabs
        .iter()
        .map(|(name, tab)| (name.clone(), handle(tab.value.state)))
        .collect()
}

fn user_spec(name: &str, user: &User) -> UserSpec {
    UserSpec {
        password: password(name),
        access_token: user.access_token.map(|span| span.0),
        refresh: mock_refresh(user.refresh),
        projects: user.projects.clone(),
        sessions: user.sessions.clone(),
    }
}

/// What the mock Keycloak says to a refresh.
pub(crate) fn mock_refresh(refresh: Refresh) -> MockRefresh {
    match refresh {
        Refresh::Granted => MockRefresh::Granted,
        Refresh::Refused => MockRefresh::Refused,
    }
}

/// The browser a tab is in.
pub(crate) fn browser_of(tab: &Tab) -> String {
    tab.browser.clone().unwrap_or_else(|| DEFAULT_BROWSER.to_owned())
}

fn password(user: &str) -> String {
    format!("password-of-{user}")
}

/// Each scenario draws from its own streams, so that what runs beside it moves nothing. They follow from the file's
/// name and not from its folder: a run is the same whichever way its file was named.
fn seed_of(seed: u64, scenario: &Scenario) -> u64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(
        scenario
            .source
            .path
            .file_name()
            .unwrap_or_default()
            .as_encoded_bytes(),
    );
    hash.update(scenario.row.as_bytes());
    let hash = hash.finalize();
    hash.iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
