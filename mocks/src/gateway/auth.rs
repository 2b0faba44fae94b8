//! Signing in and out at the gateway.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use serde_json::json;
use url::{Url, form_urlencoded::Serializer};

use super::{
    Behind, cookie, no_cookie,
    store::Login,
    tokens::{SignedIn, trade},
};
use crate::{Shared, call::Call, clocks::Mock, keycloak::escaped, seen::Who, world::GATEWAY_COOKIE};

type Asked = (State<Arc<Shared>>, Extension<Arc<Call>>, Extension<Behind>);

/// The only provider that is configured.
const PROVIDER: &str = "renku";

/// `GET …/login?redirect_url&provider_id`: a new session, and on to Keycloak. With `user` the page is left out: that
/// user is signed in at once.
pub(super) async fn login((State(shared), Extension(call), Extension(behind)): Asked) -> Response {
    if call
        .query("provider_id")
        .is_some_and(|provider| provider != PROVIDER)
    {
        return refusal(StatusCode::NOT_FOUND, "there is no such provider");
    }
    let redirect_url = target(&shared, &call);
    let (value, state) = {
        let mut world = shared.world();
        let (random, now) = (world.seams.random.clone(), world.now_at(Mock::Gateway));
        let (value, _) = world.gateway.begin(&random, now);
        world.secrets.keep("gateway_cookie", &value);
        (value, random.token("gateway/state"))
    };
    let set = [(header::SET_COOKIE, cookie(&shared, &value))];
    if let Some(user) = call.query("user") {
        if !shortcut(&shared, &behind, (user, &call, &value)).await {
            return refusal(StatusCode::UNAUTHORIZED, "that user cannot be signed in");
        }
        return (set, found(&redirect_url)).into_response();
    }
    let login = Login {
        cookie: value,
        redirect_url,
    };
    shared.world().gateway.await_login(state.clone(), login);
    let query = Serializer::new(String::new())
        .append_pair("client_id", &shared.config.gateway.client_id)
        .append_pair("redirect_uri", &callback_url(&shared))
        .append_pair("response_type", "code")
        .append_pair("scope", "openid profile email")
        .append_pair("state", &state)
        .finish();
    let page = format!("{}/protocol/openid-connect/auth?{query}", shared.config.issuer());
    (set, found(&page)).into_response()
}

/// Signs a user in whose password the mocks know.
async fn shortcut(shared: &Arc<Shared>, behind: &Behind, (user, call, value): (&str, &Call, &str)) -> bool {
    let password = {
        let world = shared.world();
        world.users.get(user).map(|user| user.spec.password.clone())
    };
    let Some(password) = password else { return false };
    let form = [
        ("grant_type", "password"),
        ("username", user),
        ("password", password.as_str()),
        ("scope", "openid profile email"),
    ];
    sign_in(shared, behind, (&form, call, value)).await
}

/// `GET …/callback?code&state`: back from Keycloak, and on to where the browser wanted to go.
pub(super) async fn callback((State(shared), Extension(call), Extension(behind)): Asked) -> Response {
    let login = call
        .query("state")
        .and_then(|state| shared.world().gateway.awaited(state))
        .filter(|login| call.cookie(GATEWAY_COOKIE) == Some(login.cookie.as_str()));
    let Some(login) = login else {
        return refusal(StatusCode::BAD_REQUEST, "no login of this browser is under way");
    };
    let Some(code) = call.query("code") else {
        return refusal(StatusCode::BAD_REQUEST, "there is no code");
    };
    let redirect_uri = callback_url(&shared);
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect_uri.as_str()),
    ];
    if !sign_in(&shared, &behind, (&form, &call, &login.cookie)).await {
        return refusal(StatusCode::UNAUTHORIZED, "the code gives no tokens");
    }
    found(&login.redirect_url)
}

async fn sign_in(
    shared: &Arc<Shared>,
    behind: &Behind,
    (form, call, value): (&[(&str, &str)], &Call, &str),
) -> bool {
    let Some(SignedIn { user, tokens }) = trade(shared, behind, (form, call.agent())).await else {
        return false;
    };
    let who = Who {
        user,
        browser: call.agent().to_owned(),
    };
    shared.world().gateway.sign_in(value, who, tokens);
    true
}

/// `GET …/logout?redirect_url`: the session is over, and a page has the browser tell Keycloak.
pub(super) async fn logout((State(shared), Extension(call), Extension(_)): Asked) -> Response {
    let hint = {
        let mut world = shared.world();
        let session = call
            .cookie(GATEWAY_COOKIE)
            .and_then(|value| world.gateway.end(value));
        let who = session.and_then(|session| session.who);
        // The newest tokens of the user: they may be those of another browser's Keycloak session.
        who.and_then(|who| world.gateway.tokens(&who.user)?.id.clone())
    };
    let frame = hint.map_or_else(String::new, |hint| {
        let query = Serializer::new(String::new())
            .append_pair("id_token_hint", &hint)
            .finish();
        let url = format!(
            "{}/protocol/openid-connect/logout?{query}",
            shared.config.issuer()
        );
        format!("<iframe hidden src=\"{}\"></iframe>\n", escaped(&url))
    });
    let target = escaped(&target(&shared, &call));
    let page = format!(
        "<!DOCTYPE html>\n<html><head><title>Signed out</title>\n\
         <meta http-equiv=\"refresh\" content=\"3; url={target}\"></head>\n\
         <body>{frame}<a href=\"{target}\">Go on</a></body></html>\n"
    );
    ([(header::SET_COOKIE, no_cookie(&shared))], Html(page)).into_response()
}

/// `GET …/user-profile`: on to Keycloak's account page.
pub(super) async fn profile((State(shared), Extension(_), Extension(_)): Asked) -> Response {
    found(&format!("{}/account", shared.config.issuer()))
}

/// Where the browser wants to go in the end.
fn target(shared: &Shared, call: &Call) -> String {
    let home = &shared.config.gateway.url;
    let wanted = call.query("redirect_url").and_then(|url| home.join(url).ok());
    wanted
        .filter(|url: &Url| ["http", "https"].contains(&url.scheme()))
        .unwrap_or_else(|| home.clone())
        .into()
}

fn callback_url(shared: &Shared) -> String {
    let url = shared.config.gateway.url.join("/api/auth/callback");
    url.map(String::from).unwrap_or_default()
}

fn found(url: &str) -> Response {
    let location = HeaderValue::try_from(url).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
}

fn refusal(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "message": message }))).into_response()
}
