//! Steps about the services: the world, faults, held answers, people signing in and out, the server's restarts.

use std::time::Duration;

use polytab_mocks::{
    backend::plan::{LaunchOrder, PlanOrder, SessionOrder},
    clocks::{ClockOrder, Clocked},
    control::keycloak::Rotation,
    gitlab::generate::EventOrder,
    order::{Change, EndHow, FaultOrder, HoldOrder},
    realm::SomeSettings,
    seen::CallMatch,
    time::Time,
};
use polytab_protocol::topic::Topic;
use serde_json::Value;

use super::{
    error::RunError,
    stage::{Flow, Place, Stage},
};
use crate::{
    events::Kind,
    pattern::fill::fill,
    scenario::{
        order::{BackendSession, Emit, Expire, Fault, Hold, Login, Logout, LogoutVia, RouteRef, Set},
        people::DEFAULT_BROWSER,
        step::Restart,
    },
    testbed::bed::mock_refresh,
};

type Outcome = Result<Flow, RunError>;

/// How long a server is away at a restart that does not say.
const USUAL_DOWN: Duration = Duration::from_secs(2);
/// How long a server may take to drain (scenario time); PROTOCOL A6 and the reference server's own limit lie below.
const DRAIN: Duration = Duration::from_mins(1);

pub(super) fn set(stage: &Stage, step: &Set, place: &Place) -> Outcome {
    let change = change(stage, step, place)?;
    stage.record(Kind::WorldChanged { what: words(&change) });
    stage
        .site()
        .mocks
        .change(change)
        .map_err(|error| Stage::wrong(place, error))?;
    Ok(Flow::On)
}

fn change(stage: &Stage, step: &Set, place: &Place) -> Result<Change, RunError> {
    let bindings = stage.site().recorder.judge(|record| record.bindings.clone());
    let filled = |value: &Value| {
        fill(value, &bindings).map_err(|name| Stage::wrong(place, format!("`${{{name}}}` has no value yet")))
    };
    let sessions = step
        .sessions
        .as_ref()
        .map(|items| items.iter().map(filled).collect::<Result<_, _>>());
    let graph = step.graph.as_ref().map(|graph| {
        graph
            .iter()
            .map(|(project, status)| Ok((project.clone(), filled(status)?)))
            .collect::<Result<_, _>>()
    });
    // The only user needs no naming.
    let only = stage
        .scenario
        .file
        .users
        .keys()
        .next()
        .filter(|_| stage.scenario.file.users.len() == 1);
    Ok(Change {
        user: step.user.as_ref().or(only).cloned(),
        sessions: sessions.transpose()?,
        servers: step.servers.clone(),
        graph: graph.transpose()?,
        projects: step.projects.clone(),
        refresh: step.refresh.map(mock_refresh),
        access_token: None,
    })
}

fn words(change: &Change) -> String {
    let whose = change
        .user
        .as_ref()
        .map_or_else(String::new, |user| format!("{user}: "));
    let mut parts = Vec::new();
    parts.extend(
        change
            .sessions
            .as_ref()
            .map(|all| format!("{} sessions", all.len())),
    );
    parts.extend(
        change
            .servers
            .as_ref()
            .map(|all| format!("{} servers", all.len())),
    );
    parts.extend(
        change
            .graph
            .iter()
            .flatten()
            .map(|(project, status)| format!("graph {project}: {status}")),
    );
    parts.extend(
        change
            .projects
            .as_ref()
            .map(|projects| format!("projects {projects:?}")),
    );
    parts.extend(change.refresh.map(|refresh| format!("refreshes {refresh:?}")));
    format!("{whose}{}", parts.join(", "))
}

pub(super) fn launch(stage: &Stage, order: &LaunchOrder, place: &Place) -> Outcome {
    let what = format!("{}: backend session {} is launched", order.user, order.name);
    ordered(stage, place, (what, stage.site().mocks.launch(order)))
}

pub(super) fn plan(stage: &Stage, order: &PlanOrder, place: &Place) -> Outcome {
    let what = format!(
        "{}: backend sessions are launched: {:?}",
        order.user, order.preset
    );
    ordered(stage, place, (what, stage.site().mocks.plan(order)))
}

pub(super) fn backend_session(stage: &Stage, step: &BackendSession, place: &Place) -> Outcome {
    let order = SessionOrder {
        user: step.user.clone(),
        message: step.message.clone(),
    };
    let what = format!("backend session {}: {:?}", step.name, step.verb);
    let done = stage.site().mocks.order_session(&step.name, step.verb, &order);
    ordered(stage, place, (what, done))
}

pub(super) fn clock(stage: &Stage, order: ClockOrder, place: &Place) -> Outcome {
    let what = format!("clock of {:?}: {:?}", order.mock, order.turn);
    let service = match order.mock {
        Clocked::Keycloak => Some("keycloak"),
        Clocked::Backend => Some("backend"),
        Clocked::Gitlab => Some("gitlab"),
        Clocked::Gateway => Some("gateway"),
        Clocked::All => None,
    };
    if let Some(service) = service {
        stage.await_call("the turn of the clock", service, None);
    }
    ordered(stage, place, (what, stage.site().mocks.turn_clocks(order)))
}

pub(super) fn realm(stage: &Stage, settings: &SomeSettings, place: &Place) -> Outcome {
    let mocks = &stage.site().mocks;
    let done = mocks.set_realm(mocks.main_realm(), settings);
    stage.await_call("the change of the realm", "keycloak", None);
    ordered(stage, place, (format!("realm: {settings}"), done))
}

pub(super) fn rotate_keys(stage: &Stage, rotation: Rotation, place: &Place) -> Outcome {
    let mocks = &stage.site().mocks;
    let done = mocks.rotate_keys(mocks.main_realm(), rotation);
    stage.await_call("the rotation of keys", "keycloak", None);
    ordered(stage, place, ("keys rotated".to_owned(), done))
}

/// Puts an order on record that was carried out.
fn ordered<T>(
    stage: &Stage,
    place: &Place,
    (what, done): (String, Result<T, impl std::fmt::Display>),
) -> Outcome {
    done.map_err(|error| Stage::wrong(place, error))?;
    stage.record(Kind::WorldChanged { what });
    Ok(Flow::On)
}

pub(super) fn emit(stage: &Stage, step: &Emit, place: &Place) -> Outcome {
    let bindings = stage.site().recorder.judge(|record| record.bindings.clone());
    let filled = |value| {
        fill(value, &bindings).map_err(|name| Stage::wrong(place, format!("`${{{name}}}` has no value yet")))
    };
    let topic = step.topic.clone().into();
    let topic = filled(&topic)?;
    let topic: Topic = topic
        .as_str()
        .unwrap_or("")
        .parse()
        .map_err(|error| Stage::wrong(place, format!("`{topic}` is no topic: {error}")))?;
    let mocks = &stage.site().mocks;
    match &step.json {
        Some(payload) => {
            mocks.emit(topic, &filled(payload)?);
        }
        None => {
            mocks
                .generate(topic.project, &EventOrder::new(topic.event))
                .map_err(|error| Stage::wrong(place, error))?;
        }
    }
    Ok(Flow::On)
}

pub(super) fn fault(stage: &Stage, step: &Fault, place: &Place) -> Outcome {
    let time = |window| Time(stage.scenario_time(window));
    let order = FaultOrder {
        on: CallMatch {
            route: Some(step.route.value.clone()),
            method: step.method.clone(),
            user: step.user.clone(),
            browser: step.browser.clone(),
            client: step.client.clone(),
            session: None,
            path: step.path.clone(),
        },
        when: step.when,
        action: step.action.clone().map(time),
        times: step.times,
        duration: step.duration.map(time),
    };
    changed(stage, &step.route.value, format!("fault: {}", order.action));
    stage
        .site()
        .mocks
        .arm(order)
        .map_err(|error| Stage::wrong(place, error))?;
    Ok(Flow::On)
}

pub(super) fn heal(stage: &Stage, route: &RouteRef, place: &Place) -> Outcome {
    changed(stage, name(route), "healed".to_owned());
    stage
        .site()
        .mocks
        .heal(name(route))
        .map_err(|error| Stage::wrong(place, error))?;
    Ok(Flow::On)
}

pub(super) fn hold(stage: &Stage, step: &Hold, place: &Place) -> Outcome {
    let order = HoldOrder {
        route: step.route.value.clone(),
        user: step.user.clone(),
        times: step.times,
    };
    changed(stage, &step.route.value, "answers held".to_owned());
    stage.await_call("the hold", &step.route.value, step.user.as_ref());
    stage
        .site()
        .mocks
        .hold(order)
        .map_err(|error| Stage::wrong(place, error))?;
    Ok(Flow::On)
}

pub(super) fn release(stage: &Stage, route: &RouteRef, place: &Place) -> Outcome {
    changed(stage, name(route), "answers released".to_owned());
    stage
        .site()
        .mocks
        .release(name(route))
        .map_err(|error| Stage::wrong(place, error))?;
    Ok(Flow::On)
}

pub(super) async fn login(stage: &Stage, step: &Login, place: &Place) -> Outcome {
    let mocks = &stage.site().mocks;
    let user = step.user.clone();
    let change = Change {
        user: Some(user.clone()),
        refresh: step.refresh.map(mock_refresh),
        access_token: step.access_token.map(|lifespan| lifespan.0),
        ..Change::default()
    };
    mocks.change(change).map_err(|error| Stage::wrong(place, error))?;
    match stage.bed.sign_in(&user, browser(step.browser.as_ref())).await {
        Ok(()) => Ok(Flow::On),
        Err(problem) => Ok(stage.fail(place, None, format!("{user} could not sign in: {problem}"))),
    }
}

pub(super) async fn logout(stage: &Stage, step: &Logout, place: &Place) -> Outcome {
    let browser = browser(step.browser.as_ref());
    let via = match step.via {
        LogoutVia::Backchannel => "back-channel",
        LogoutVia::Browser => "browser",
        LogoutVia::Silent => "nothing",
    };
    stage.record(Kind::SignedOut {
        user: step.user.clone(),
        browser: browser.to_owned(),
        via: via.to_owned(),
    });
    let mocks = &stage.site().mocks;
    match step.via {
        LogoutVia::Browser => match stage.bed.visit_logout(&step.user, browser).await {
            Ok(()) => Ok(Flow::On),
            Err(problem) => Ok(stage.fail(
                place,
                None,
                format!("{} could not sign out: {problem}", step.user),
            )),
        },
        LogoutVia::Backchannel => end(
            mocks.end_session(&step.user, browser, EndHow::Backchannel).await,
            place,
        ),
        LogoutVia::Silent => end(
            mocks.end_session(&step.user, browser, EndHow::Silent).await,
            place,
        ),
    }
}

pub(super) async fn expire(stage: &Stage, step: &Expire, place: &Place) -> Outcome {
    let browser = browser(step.browser.as_ref());
    stage.record(Kind::SignedOut {
        user: step.user.clone(),
        browser: browser.to_owned(),
        via: "expiry".to_owned(),
    });
    end(
        stage
            .site()
            .mocks
            .end_session(&step.user, browser, EndHow::Silent)
            .await,
        place,
    )
}

fn end<E: std::fmt::Display>(ended: Result<(), E>, place: &Place) -> Outcome {
    ended
        .map(|()| Flow::On)
        .map_err(|error| Stage::wrong(place, error))
}

pub(super) async fn restart(stage: &Stage, step: &Restart, place: &Place) -> Outcome {
    let mut server = stage.bed.server.lock().await;
    // A target that cannot be restarted must not claim that it can; such a claim is an error of the configuration.
    let Some(server) = server.as_mut() else {
        return Err(Stage::wrong(
            place,
            "`restart` needs a server that the run starts itself",
        ));
    };
    if step.graceful {
        stage.record(Kind::Server {
            state: "draining".to_owned(),
        });
        server.drain(stage.site().patience(DRAIN)).await;
    } else {
        server.crash().await;
    }
    stage.record(Kind::Server {
        state: "stopped".to_owned(),
    });
    stage.pass(step.down.map_or(USUAL_DOWN, |span| span.0)).await;
    server.start(step.version.as_deref()).await?;
    stage.record(Kind::Server {
        state: "started".to_owned(),
    });
    Ok(Flow::On)
}

fn browser(name: Option<&String>) -> &str {
    name.map_or(DEFAULT_BROWSER, String::as_str)
}

fn name(route: &RouteRef) -> &str {
    &route.route.value
}

fn changed(stage: &Stage, route: &str, what: String) {
    stage.record(Kind::FaultChanged {
        route: route.to_owned(),
        what,
    });
}
