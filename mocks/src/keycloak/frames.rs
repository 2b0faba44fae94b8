//! The pages that keycloak-js loads into frames: is the browser still signed in, and are cookies of a frame kept at all?

use axum::{
    Extension,
    extract::State,
    http::{StatusCode, header},
    response::{AppendHeaders, Html, IntoResponse, Response},
};

use super::{Asked, NOT_STORED, login::cookie};
use crate::call::Call;

/// Marks an answer that may stand in a frame of another site.
#[derive(Clone, Copy, Debug)]
pub(super) struct Framed;

/// The cookie by which it is seen whether cookies of a frame are kept.
const SEEN: &str = "KEYCLOAK_3P_COOKIE";

/// Answers `<client> <session>` with whether that is still the browser's session.
const LOGIN_STATUS: &str = "<!DOCTYPE html>
<html><body><script>
  const watched = new Map();
  function signedInAs() {
    const cookie = document.cookie.split('; ').find((pair) => pair.startsWith('KEYCLOAK_SESSION='));
    return cookie ? decodeURIComponent(cookie.slice('KEYCLOAK_SESSION='.length)).split('/')[2] : '';
  }
  async function mayWatch(client, origin) {
    const key = client + ' ' + origin;
    if (!watched.has(key)) {
      const query = new URLSearchParams({ client_id: client, origin });
      const answer = await fetch(location.href.split('?')[0] + '/init?' + query);
      watched.set(key, answer.status === 204);
    }
    return watched.get(key);
  }
  window.addEventListener('message', async (event) => {
    if (typeof event.data !== 'string') return;
    const [client, session = ''] = event.data.split(' ');
    const verdict = !(await mayWatch(client, event.origin))
      ? 'error'
      : signedInAs() === session ? 'unchanged' : 'changed';
    event.source.postMessage(verdict, event.origin);
  });
</script></body></html>
";

/// `GET …/login-status-iframe.html`
pub(super) async fn login_status() -> Response {
    framed(Html(LOGIN_STATUS))
}

/// `GET …/login-status-iframe.html/init`: whether this client's pages at this origin may ask.
pub(super) async fn may_watch((State(at), Extension(call)): Asked) -> StatusCode {
    at.decide(&call, |authority| {
        let client = call
            .query("client_id")
            .and_then(|id| authority.realm.clients.get(id));
        let may = client
            .zip(call.query("origin"))
            .is_some_and(|(client, origin)| client.allows_origin(origin));
        if may {
            StatusCode::NO_CONTENT
        } else {
            StatusCode::FORBIDDEN
        }
    })
}

/// `GET …/3p-cookies/step1.html`
pub(super) async fn cookie_set((State(at), Extension(_call)): Asked) -> Response {
    let page = Html("<!DOCTYPE html>\n<script>location.replace('step2.html')</script>\n");
    let set = at.shared.config.keycloak_url.scheme() == "https";
    let cookie = cookie((&at.shared.config.realm_path(&at.realm), set), SEEN, "supported");
    framed((AppendHeaders([(header::SET_COOKIE, cookie)]), page))
}

/// `GET …/3p-cookies/step2.html`
pub(super) async fn cookie_seen(Extension(call): Extension<std::sync::Arc<Call>>) -> Response {
    let verdict = if call.cookie(SEEN).is_some() {
        "supported"
    } else {
        "unsupported"
    };
    framed(Html(format!(
        "<!DOCTYPE html>\n<script>window.parent.postMessage('{verdict}', '*')</script>\n"
    )))
}

fn framed(page: impl IntoResponse) -> Response {
    let mut response = (NOT_STORED, page).into_response();
    response.extensions_mut().insert(Framed);
    response
}
