//! `…/sessions` of the data service (MOCKS B1).

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    caller::Caller,
    fault::PollFault,
    item::MISSING_IMAGE,
    items::Launch,
    pace::{PaceOrder, Trouble},
    refusal::DataError,
    request::{Launching, Patch, Wanted, body},
};
use crate::{Shared, call::Call, clocks::Mock, fault::action::FaultAction, order::Verb, world::World};

type Asked = (State<Arc<Shared>>, Extension<Arc<Call>>);
type AskedOne = (State<Arc<Shared>>, Extension<Arc<Call>>, Path<String>);
type Answer = Result<Response, DataError>;

/// Lines of a log unless told.
const USUAL_LINES: usize = 250;
/// Lines of a log at most.
const MOST_LINES: usize = 10_000;
/// How often a container has something to say.
const LINE: SignedDuration = SignedDuration::from_secs(10);

/// `GET …/sessions`: never refuses a list; a caller it does not know is anonymous, and most of these own none.
pub(super) async fn list((State(shared), Extension(call)): Asked) -> Answer {
    let kind = call.query("session_type");
    if kind.is_some_and(|kind| !["interactive", "non-interactive"].contains(&kind)) {
        return Err(DataError::invalid(
            "session_type is neither interactive nor non-interactive",
        ));
    }
    let mut world = shared.world();
    let caller = world.caller(&shared, &call);
    let (random, now) = (world.seams.random.clone(), world.now_at(Mock::Backend));
    let mut list = world
        .owned_mut(&caller)
        .map(|items| items.poll(call.poll_fault(), (&random, now)))
        .unwrap_or_default();
    // Without a wish all kinds are listed, whatever the specification says.
    list.retain(|item| kind.is_none_or(|kind| item["session_type"] == kind));
    Ok(Json(list).into_response())
}

/// `POST …/sessions`: 201 and a new session, or 200 and the one that the launcher gave already.
pub(super) async fn launch((State(shared), Extension(call)): Asked) -> Answer {
    let wanted: Launching = body(&call)?;
    let partial = wanted.partial()?;
    let mut world = shared.world();
    let caller = world.caller(&shared, &call);
    let (random, now) = (world.seams.random.clone(), world.now_at(Mock::Backend));
    let name = wanted.name(caller.id());
    if let Some(item) = world.owned(&caller).and_then(|items| items.get(&name, now)) {
        return Ok((StatusCode::OK, Json(item)).into_response());
    }
    world.make_owner(&caller);
    let launch = Launch {
        name: &name,
        partial: &partial,
        trouble: Trouble::None,
        pace: &PaceOrder::default(),
    };
    let items = world
        .owned_mut(&caller)
        .ok_or_else(|| DataError::no_session(&name))?;
    let item = items.launch(&launch, (&random, now))?;
    Ok((StatusCode::CREATED, Json(item)).into_response())
}

/// `GET …/sessions/{name}`
pub(super) async fn one((State(shared), Extension(call), Path(name)): AskedOne) -> Answer {
    let world = shared.world();
    let item = world.session(&world.caller(&shared, &call), &name)?;
    Ok(Json(item).into_response())
}

/// `PATCH …/sessions/{name}`: all of it or nothing; what is so already stays so.
pub(super) async fn patch((State(shared), Extension(call), Path(name)): AskedOne) -> Answer {
    let patch: Patch = body(&call)?;
    let mut world = shared.world();
    let caller = world.caller(&shared, &call);
    let (random, now) = (world.seams.random.clone(), world.now_at(Mock::Backend));
    let item = world.session(&caller, &name)?;
    let items = world
        .owned_mut(&caller)
        .ok_or_else(|| DataError::no_session(&name))?;
    let (touched, class) = (patch.interaction(now)?, patch.class(&item)?);
    let verb = match (patch.state, item["status"]["state"].as_str()) {
        (Some(Wanted::Running), Some("hibernated")) => {
            items.check_quota(now)?;
            Some(Verb::Resume)
        }
        (Some(Wanted::Hibernated), Some("running" | "starting")) => Some(Verb::Hibernate),
        (Some(_) | None, _) => None,
    };

    if let Some(class) = class {
        items.amend(&name, &class);
    }
    if let Some(time) = touched {
        items.touch(&name, time);
    }
    if let Some(verb) = verb {
        items
            .order(&name, verb, (&random, now))
            .map_err(|_| DataError::no_session(&name))?;
    }
    Ok(Json(world.session(&caller, &name)?).into_response())
}

/// `DELETE …/sessions/{name}`: all is well, also when there never was one.
pub(super) async fn delete((State(shared), Extension(call), Path(name)): AskedOne) -> StatusCode {
    let mut world = shared.world();
    let caller = world.caller(&shared, &call);
    let (random, now) = (world.seams.random.clone(), world.now_at(Mock::Backend));
    if let Some(items) = world.owned_mut(&caller) {
        // There is none: that is what was wanted.
        items.order(&name, Verb::Delete, (&random, now)).ok();
    }
    StatusCode::NO_CONTENT
}

/// `GET …/sessions/{name}/logs`: the newest lines of each container that runs.
pub(super) async fn logs((State(shared), Extension(call), Path(name)): AskedOne) -> Answer {
    let most = match call.query("max_lines") {
        None => USUAL_LINES,
        Some(text) => text
            .parse()
            .map_err(|_| DataError::invalid("max_lines is not a number"))?,
    };
    let world = shared.world();
    let item = world.session(&world.caller(&shared, &call), &name)?;
    let ready = item["status"]["ready_containers"].as_u64().unwrap_or(0);
    let lines = lines(&item, most.min(MOST_LINES), world.now_at(Mock::Backend));
    let logs: BTreeMap<_, _> = (1..=ready)
        .map(|container| (format!("container-{container}"), lines.join("\n")))
        .collect();
    Ok(Json(json!(logs)).into_response())
}

/// What a container said since the session began: a line at regular times, of which the newest are kept.
fn lines(item: &Value, most: usize, now: Timestamp) -> Vec<String> {
    let name = item["name"].as_str().unwrap_or("");
    let started = item["started"].as_str().and_then(|text| text.parse().ok());
    let started: Timestamp = started.unwrap_or(now);
    let said = now.duration_since(started).as_secs().max(0) / LINE.as_secs() + 1;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    ((said - most).max(0)..said)
        .map(|line| {
            let time = started.saturating_add(LINE * i32::try_from(line).unwrap_or(i32::MAX));
            let time = super::course::second(time.unwrap_or(now));
            format!("{} {name}: line {}", time.as_str().unwrap_or(""), line + 1)
        })
        .collect()
}

/// `GET …/sessions/images`: whether a session could have this image.
pub(super) async fn image((State(_), Extension(call)): Asked) -> Answer {
    let image = call
        .query("image_url")
        .filter(|image| !image.is_empty())
        .ok_or_else(|| DataError::invalid("image_url is missing"))?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"./-_:@".contains(&byte);
    if image == MISSING_IMAGE || !image.bytes().all(is_plain) {
        return Err(DataError::new(
            404,
            &format!("The image {image} does not exist or cannot be accessed"),
        ));
    }
    Ok(StatusCode::OK.into_response())
}

impl World {
    fn session(&self, caller: &Caller, name: &str) -> Result<Value, DataError> {
        self.owned(caller)
            .and_then(|items| items.get(name, self.now_at(Mock::Backend)))
            .ok_or_else(|| DataError::no_session(name))
    }
}

impl Call {
    /// What goes wrong with the list that is asked for.
    pub(super) fn poll_fault(&self) -> Option<PollFault> {
        match self.fault {
            Some(FaultAction::Backend(fault)) => Some(fault),
            _ => None,
        }
    }
}
