//! Orders about users, what they own, and where they are signed in.

use axum::{Json, extract::State};
use polytab_protocol::id::UserId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Answer,
    openapi::Routes,
    wire::{At, Done, Order},
};
use crate::{
    Mocks, Shared,
    clocks::Mock,
    error::ControlError,
    keycloak::logout::{self, Notice},
    order::{EndHow, UserSpec, Verb},
    seen::Who,
    world::World,
};

/// The user as tokens name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Subject {
    /// `sub` of the user's tokens.
    pub subject: String,
}

/// Whose a cookie is.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CookieOwner")]
struct Owner {
    /// The user.
    user: String,
    /// What the browser calls itself.
    browser: String,
}

/// A login session that is to end.
///
/// ```json
/// { "user": "ada", "browser": "desk", "how": "silent" }
/// ```
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EndLogin {
    /// Whose.
    user: String,
    /// In which browser.
    browser: String,
    /// Who is told.
    how: EndHow,
}

impl Mocks {
    /// Adds a user or replaces one; a replaced one keeps its subject and its login sessions.
    ///
    /// # Errors
    ///
    /// When a session has a state that no backend session can have.
    pub fn put_user(&self, name: &str, spec: UserSpec) -> Result<(), ControlError> {
        self.0.world().put_user(name, spec)
    }

    /// The user's subject.
    pub fn subject(&self, name: &str) -> Option<UserId> {
        let world = self.0.world();
        let user = world.users.get(name)?;
        Some(UserId(user.subject.clone()))
    }

    /// Requests with this session cookie are made on behalf of this user and browser, as the gateway would have it.
    ///
    /// # Errors
    ///
    /// When there is no such user.
    pub fn put_cookie(&self, value: &str, user: &str, browser: &str) -> Result<(), ControlError> {
        let mut world = self.0.world();
        world.user(user)?;
        let who = Who {
            user: user.to_owned(),
            browser: browser.to_owned(),
        };
        world.secrets.keep("gateway_cookie", value);
        world.cookies.insert(value.to_owned(), who);
        Ok(())
    }

    /// Takes a backend session one step on in its life.
    ///
    /// # Errors
    ///
    /// When there is no such user or session.
    pub fn step(&self, user: &str, session: &str, verb: Verb) -> Result<(), ControlError> {
        let mut world = self.0.world();
        let (random, now) = (world.seams.random.clone(), world.now_at(Mock::Backend));
        world.user_mut(user)?.items.step(session, verb, (&random, now))
    }

    /// Ends the user's login session in this browser.
    ///
    /// # Errors
    ///
    /// When there is no such user or session, or nobody to be told.
    pub async fn end_session(&self, user: &str, browser: &str, how: EndHow) -> Result<(), ControlError> {
        let notices = self.0.world().end_session(&self.0, (user, browser), how)?;
        if how == EndHow::Backchannel {
            logout::deliver(&self.0, notices).await;
        }
        Ok(())
    }
}

impl World {
    fn end_session(
        &mut self,
        shared: &Shared,
        (user, browser): (&str, &str),
        how: EndHow,
    ) -> Result<Vec<Notice>, ControlError> {
        self.user(user)?;
        let can_tell = shared.config.client.backchannel_logout_url.is_some();
        if how == EndHow::Backchannel && !can_tell {
            return Err(ControlError::NoBackchannel);
        }
        let who = Who {
            user: user.to_owned(),
            browser: browser.to_owned(),
        };
        let realm = shared.config.realm.as_str();
        let authority = self.authority(shared, realm);
        let sid = authority
            .as_ref()
            .and_then(|authority| authority.realm.sessions.newest(&who, authority.times()));
        let (mut authority, sid) = authority.zip(sid).ok_or(ControlError::NoLoginSession {
            user: who.user,
            browser: who.browser,
        })?;
        Ok(authority.end_login(&sid))
    }
}

pub(super) fn routes() -> Routes {
    Routes::about("users")
        .put(
            "/users/{name}",
            (
                "putUser",
                "Adds a user or replaces one. A replaced one keeps its subject and its login sessions.",
            ),
            put_user,
        )
        .post(
            "/users/{name}/sessions/{session}/{verb}",
            (
                "stepSession",
                "Takes a backend session one step on in its life, by hand. `POST /sessions/{name}/{verb}` \
                 orders something that takes effect in its own time.",
            ),
            step,
        )
        .put(
            "/cookies/{value}",
            (
                "putCookie",
                "Requests with this session cookie are made on behalf of a user, as the gateway would have \
                 it.",
            ),
            put_cookie,
        )
        .post(
            "/logins/end",
            ("endLogin", "Ends a user's newest login session in a browser."),
            end_login,
        )
}

/// A user.
#[derive(Deserialize, JsonSchema)]
struct OfUser {
    /// The user's name.
    name: String,
}

/// A step in the life of a user's backend session.
#[derive(Deserialize, JsonSchema)]
struct Step {
    /// The user's name.
    name: String,
    /// The session's name.
    session: String,
    /// What happens to it.
    verb: Verb,
}

/// A cookie.
#[derive(Deserialize, JsonSchema)]
struct OfCookie {
    /// Its value.
    value: String,
}

async fn put_user(
    State(mocks): State<Mocks>,
    At(at): At<OfUser>,
    Order(spec): Order<UserSpec>,
) -> Answer<Json<Subject>> {
    mocks.put_user(&at.name, spec)?;
    let subject = mocks.subject(&at.name).map_or_else(String::new, |id| id.0);
    Ok(Json(Subject { subject }))
}

async fn step(State(mocks): State<Mocks>, At(at): At<Step>) -> Answer<Done> {
    mocks.step(&at.name, &at.session, at.verb)?;
    Ok(Done)
}

async fn put_cookie(
    State(mocks): State<Mocks>,
    At(at): At<OfCookie>,
    Order(owner): Order<Owner>,
) -> Answer<Done> {
    mocks.put_cookie(&at.value, &owner.user, &owner.browser)?;
    Ok(Done)
}

async fn end_login(State(mocks): State<Mocks>, Order(order): Order<EndLogin>) -> Answer<Done> {
    mocks.end_session(&order.user, &order.browser, order.how).await?;
    Ok(Done)
}
