//! Orders to Keycloak: its realms, keys, sessions, users' accounts, tokens without a page, and its clock.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
    routing::{post, put},
};
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, Order, Problem, done};
use crate::{
    Mocks,
    json::lay_over,
    keycloak::{authority::Authority, logout},
    realm::{ClientConfig, Quirks, RealmSettings},
    world::Who,
};

pub(super) fn router() -> Router<Mocks> {
    Router::new()
        .route("/realms/{realm}", put(settings).get(show))
        .route("/realms/{realm}/clients/{client}", put(put_client))
        .route("/realms/{realm}/keys/rotate", post(rotate))
        .route("/realms/{realm}/sessions/{sid}/{verb}", post(session))
        .route("/realms/{realm}/users/{user}/{verb}", post(user))
        .route("/realms/{realm}/tokens/mint", post(mint))
        .route("/quirks", put(quirks))
        .route("/clock", post(clock))
}

/// Has a realm's authority carry out an order.
fn at<T>(
    mocks: &Mocks,
    realm: &str,
    carry_out: impl FnOnce(&mut Authority<'_>) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let shared = mocks.shared();
    let mut world = shared.world();
    let authority = world.authority(shared, realm);
    let mut authority = authority
        .ok_or_else(|| Problem::new(404, "No such realm", format!("there is no realm `{realm}`")))?;
    carry_out(&mut authority)
}

async fn show(State(mocks): State<Mocks>, Path(realm): Path<String>) -> Answer {
    let shown = at(&mocks, &realm, |authority| {
        let times = authority.times();
        let sessions = authority.realm.sessions.all_live(times).map(|(sid, login)| {
            json!({
                "sid": sid,
                "user": login.who.user,
                "browser": login.who.browser,
                "started": login.started.to_string(),
                "used": login.used.to_string(),
                "clients": login.clients.keys().collect::<Vec<_>>(),
            })
        });
        let keys = authority.realm.ring.published();
        Ok(json!({
            "issuer": authority.realm.issuer,
            "settings": authority.realm.settings,
            "clients": authority.realm.clients.values().collect::<Vec<_>>(),
            "keys": keys.map(|(kid, is_active)| json!({"kid": kid, "active": is_active})).collect::<Vec<_>>(),
            "sessions": sessions.collect::<Vec<_>>(),
        }))
    })?;
    Ok(Json(shown).into_response())
}

/// Fields of the realm's settings; absent ones stay as they are.
async fn settings(
    State(mocks): State<Mocks>,
    Path(realm): Path<String>,
    Order(wanted): Order<Map<String, Value>>,
) -> Answer {
    at(&mocks, &realm, |authority| {
        let mut whole = json!(authority.realm.settings);
        if let Some(unknown) = wanted.keys().find(|name| whole.get(name).is_none()) {
            let nearest = whole
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, _)| name.as_str());
            let nearest = crate::route::nearest(unknown, nearest);
            let problem = Problem::new(
                422,
                "No such setting",
                format!("a realm has no setting `{unknown}`"),
            );
            return Err(problem.with_nearest(nearest));
        }
        lay_over(&mut whole, &Value::Object(wanted));
        let settings: RealmSettings = serde_json::from_value(whole)
            .map_err(|error| Problem::new(422, "Not a setting of a realm", error.to_string()))?;
        authority.realm.settings = settings;
        Ok(done())
    })
}

/// Adds a client or replaces one.
async fn put_client(
    State(mocks): State<Mocks>,
    Path((realm, id)): Path<(String, String)>,
    Order(client): Order<ClientConfig>,
) -> Answer {
    at(&mocks, &realm, |authority| {
        if let Some(secret) = &client.secret {
            authority.secrets.keep("client_secret", secret);
        }
        let client = ClientConfig {
            client_id: id.clone(),
            ..client
        };
        authority.realm.clients.insert(id, client);
        Ok(done())
    })
}

/// How the keys are rotated.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Rotation {
    /// The old keys are published no longer: tokens signed with them are no good at once.
    drop: bool,
}

async fn rotate(
    State(mocks): State<Mocks>,
    Path(realm): Path<String>,
    Order(rotation): Order<Rotation>,
) -> Answer {
    let kid = at(&mocks, &realm, |authority| {
        let ring = &mut authority.realm.ring;
        Ok(ring.rotate(authority.keys, rotation.drop).to_owned())
    })?;
    Ok(Json(json!({ "kid": kid })).into_response())
}

/// What happens to a login session.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SessionVerb {
    /// It is over as if its time had come: nobody is told.
    Expire,
    /// It ends, and clients are told.
    Logout,
    /// Clients lose their part of it; it goes on.
    Detach,
}

async fn session(
    State(mocks): State<Mocks>,
    Path((realm, sid, verb)): Path<(String, String, String)>,
) -> Answer {
    let verb: SessionVerb = word(&verb)?;
    let notices = at(&mocks, &realm, |authority| {
        let live = authority
            .live(&sid)
            .map(|login| login.clients.keys().cloned().collect::<Vec<_>>());
        let clients = live.ok_or_else(|| {
            Problem::new(
                404,
                "No such session",
                format!("no live session is called `{sid}`"),
            )
        })?;
        if let SessionVerb::Detach = verb {
            for client in clients {
                authority.realm.sessions.detach(&sid, &client);
            }
            return Ok(Vec::new());
        }
        let notices = authority.end_login(&sid);
        Ok(if let SessionVerb::Logout = verb {
            notices
        } else {
            Vec::new()
        })
    })?;
    logout::deliver(mocks.shared(), notices).await;
    Ok(done())
}

/// What happens to a user's account.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum UserVerb {
    /// Signs in without a page; answers with tokens.
    Login,
    /// All sessions end, and clients are told.
    Logout,
    /// The account is off.
    Disable,
    /// The account is on again.
    Enable,
    /// Tokens issued before now are no good.
    NotBefore,
}

/// How a user signs in without a page.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct SignIn {
    /// What the browser calls itself; `control` unless told.
    browser: Option<String>,
    /// The client; the server's unless told.
    client: Option<String>,
    /// `openid` unless told.
    scope: Option<String>,
}

async fn user(
    State(mocks): State<Mocks>,
    Path((realm, user, verb)): Path<(String, String, String)>,
    Order(sign_in): Order<SignIn>,
) -> Answer {
    let verb: UserVerb = word(&verb)?;
    let own = mocks.shared().config.client.client_id.clone();
    let (response, notices) = at(&mocks, &realm, |authority| {
        let unknown = || Problem::new(404, "No such user", format!("no user is called `{user}`"));
        let key = authority
            .user(&user)
            .map(|(key, _)| key.clone())
            .ok_or_else(unknown)?;
        let now = authority.now.as_second();
        let account = authority
            .users
            .get_mut(&key)
            .map(|user| &mut user.account)
            .ok_or_else(unknown)?;
        match verb {
            UserVerb::Disable => account.is_enabled = false,
            UserVerb::Enable => account.is_enabled = true,
            UserVerb::NotBefore => account.not_before = now,
            UserVerb::Logout => {
                return Ok((done(), authority.end_logins_of(&key)));
            }
            UserVerb::Login => {
                let client = sign_in.client.as_ref().unwrap_or(&own);
                let who = Who {
                    user: key,
                    browser: sign_in.browser.unwrap_or_else(|| "control".to_owned()),
                };
                let tokens = authority.sign_in_without_page(client, (who, sign_in.scope.as_deref()));
                let no_client =
                    || Problem::new(404, "No such client", format!("no client is called `{client}`"));
                return Ok((Json(tokens.ok_or_else(no_client)?).into_response(), Vec::new()));
            }
        }
        Ok((done(), Vec::new()))
    })?;
    logout::deliver(mocks.shared(), notices).await;
    Ok(response)
}

/// A token that nobody signed in for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mint {
    /// Laid over `iss`, `iat`, `exp`, `jti` and `typ` of an access token; `null` takes a claim away.
    #[serde(default)]
    claims: Value,
    /// Its life.
    #[serde(default)]
    exp: Option<SignedDuration>,
    /// Another key id than that of the key that signs.
    #[serde(default)]
    kid: Option<String>,
    /// `RS256`, or `HS512` as refresh tokens have it.
    #[serde(default)]
    alg: Algorithm,
}

#[derive(Clone, Copy, Default, Deserialize)]
enum Algorithm {
    #[default]
    RS256,
    HS512,
}

async fn mint(State(mocks): State<Mocks>, Path(realm): Path<String>, Order(wanted): Order<Mint>) -> Answer {
    let token = at(&mocks, &realm, |authority| {
        let life = wanted.exp.unwrap_or(SignedDuration::from_mins(5));
        let end = authority.now.saturating_add(life).unwrap_or(jiff::Timestamp::MAX);
        let mut claims = json!({
            "exp": end.as_second(),
            "iat": authority.now.as_second(),
            "jti": authority.random.uuid("keycloak/jti"),
            "iss": authority.realm.issuer,
            "typ": "Bearer",
        });
        if wanted.claims.is_object() {
            lay_over(&mut claims, &wanted.claims);
        }
        let ring = &authority.realm.ring;
        let token = match wanted.alg {
            Algorithm::RS256 => {
                let kid = wanted.kid.as_deref().unwrap_or(ring.active());
                authority.keys.sign_as(ring, kid, &claims)
            }
            Algorithm::HS512 => authority.keys.sign_own(&claims),
        };
        authority.secrets.keep("access_token", &token);
        Ok(token)
    })?;
    Ok((StatusCode::CREATED, Json(json!({ "token": token }))).into_response())
}

async fn quirks(State(mocks): State<Mocks>, Order(quirks): Order<Quirks>) -> Answer {
    mocks.shared().world().quirks = quirks;
    Ok(done())
}

/// By how much Keycloak's clock is ahead of the others'; behind when negative.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Skew {
    mock: SkewedMock,
    skew: SignedDuration,
}

/// A mock whose clock can be wrong.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SkewedMock {
    Keycloak,
}

async fn clock(State(mocks): State<Mocks>, Order(order): Order<Skew>) -> Answer {
    let SkewedMock::Keycloak = order.mock;
    mocks.shared().world().keycloak_skew = order.skew;
    Ok(done())
}

/// A word of a path.
fn word<T: for<'de> Deserialize<'de>>(word: &str) -> Result<T, Problem> {
    serde_json::from_value(word.into()).map_err(|error| Problem::new(404, "No such verb", error.to_string()))
}
