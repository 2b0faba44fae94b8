//! A page for people at the control API's `/`: what the mocks hold now, and what they were asked last. Plain HTML that
//! needs no network; it is loaded again every few seconds.

use axum::{extract::State, response::Html};

use crate::{Mocks, clocks::Mock, journal::Entry, keycloak::escaped, world::World};

/// Calls that are shown.
const CALLS: usize = 50;
/// Rows of any other table.
const ROWS: usize = 200;

const STYLE: &str = "
  :root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
  body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
  h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
  table { border-collapse: collapse; width: 100%; }
  th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
  td { font: 13px/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
  .none { opacity: .6; }
";

/// `GET /`
pub(super) async fn show(State(mocks): State<Mocks>) -> Html<String> {
    let shared = &mocks.0;
    let world = shared.world();
    let body = [
        users(&world),
        sessions(&world),
        streams(&world),
        faults(&world),
        stubs(&world),
        unmatched(&world),
        calls(&world),
    ];
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"5\">\
         <title>Polytab mocks</title><style>{STYLE}</style></head>\n<body>\n<h1>Polytab mocks</h1>\n<p>Issuer \
         <code>{}</code> · {} calls in {:.1} s · state as JSON: <a href=\"/state\">/state</a>, calls: <a \
         href=\"/journal\">/journal</a>, routes: <a href=\"/routes\">/routes</a>, what \
         can be ordered: <a href=\"/openapi.json\">/openapi.json</a></p>\n{}</body></html>\n",
        escaped(&shared.config.issuer()),
        world.calls,
        seconds(world.elapsed_ms()),
        body.concat()
    );
    Html(page)
}

#[expect(clippy::cast_precision_loss, reason = "it is read by people, in tenths")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// A heading and a table under it; a word where there are no rows.
fn table(heading: &str, columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut rows = rows.peekable();
    let heading = format!("<h2>{heading}</h2>\n");
    if rows.peek().is_none() {
        return format!("{heading}<p class=\"none\">none</p>\n");
    }
    let cells = |tag: &str, cells: &mut dyn Iterator<Item = String>| {
        let cells: Vec<_> = cells
            .map(|cell| format!("<{tag}>{}</{tag}>", escaped(&cell)))
            .collect();
        format!("<tr>{}</tr>\n", cells.concat())
    };
    let head = cells("th", &mut columns.iter().map(|&name| name.to_owned()));
    let body: String = rows
        .take(ROWS)
        .map(|row| cells("td", &mut row.into_iter()))
        .collect();
    format!("{heading}<table>\n{head}{body}</table>\n")
}

fn users(world: &World) -> String {
    let rows = world.users.iter().map(|(name, user)| {
        let sessions: Vec<_> = user
            .items
            .list(world.now_at(Mock::Backend))
            .iter()
            .map(|item| {
                let text = |value: &serde_json::Value| value.as_str().unwrap_or("?").to_owned();
                format!("{} ({})", text(&item["name"]), text(&item["status"]["state"]))
            })
            .collect();
        let projects: Vec<_> = user.spec.projects.iter().map(u64::to_string).collect();
        let state = if user.account.is_enabled {
            "enabled"
        } else {
            "disabled"
        };
        vec![
            name.clone(),
            user.account.realm.clone(),
            state.to_owned(),
            projects.join(", "),
            sessions.join(", "),
        ]
    });
    table(
        "Users",
        &["name", "realm", "account", "projects", "backend sessions"],
        rows,
    )
}

fn sessions(world: &World) -> String {
    let now = world.now_at(Mock::Keycloak);
    let rows = world.realms.values().flat_map(|realm| {
        let live = realm.sessions.all_live((&realm.settings, now));
        live.map(|(sid, login)| {
            let clients: Vec<_> = login.clients.keys().cloned().collect();
            vec![
                realm.name.clone(),
                login.who.user.clone(),
                login.who.browser.clone(),
                sid.clone(),
                login.started.to_string(),
                clients.join(", "),
            ]
        })
    });
    table(
        "Login sessions",
        &["realm", "user", "browser", "sid", "since", "clients"],
        rows,
    )
}

fn streams(world: &World) -> String {
    let rows = world.hub.streams().map(|stream| {
        vec![
            stream.id.to_string(),
            stream.user.to_owned(),
            stream.topic.to_owned(),
        ]
    });
    table("Event streams", &["call", "user", "topic"], rows)
}

fn faults(world: &World) -> String {
    let armed = world.orders.armed();
    let rows = armed.iter().map(|fault| {
        let order = &fault.order;
        vec![
            fault.id.to_string(),
            order.on.route.clone().unwrap_or_else(|| "all".to_owned()),
            order.on.user.clone().unwrap_or_default(),
            order.action.to_string(),
            order
                .times
                .map_or_else(|| "until healed".to_owned(), |times| times.to_string()),
        ]
    });
    table("Faults", &["id", "route", "user", "what", "times"], rows)
}

fn stubs(world: &World) -> String {
    let held = world.stubs.list();
    let rows = held.iter().map(|held| {
        vec![
            held.id.to_string(),
            held.stub.to_string(),
            held.stub.answer.status.to_string(),
            held.taken.to_string(),
        ]
    });
    table("Stubs", &["id", "request", "status", "taken"], rows)
}

fn unmatched(world: &World) -> String {
    let rows = world.unmatched.iter().rev().map(|call| {
        vec![
            call.service.to_owned(),
            call.method.clone(),
            call.path.clone(),
            call.nearest.clone().unwrap_or_default(),
        ]
    });
    table(
        "Requests that no route takes",
        &["mock", "verb", "path", "nearest route"],
        rows,
    )
}

fn calls(world: &World) -> String {
    let entries = world.journal.newest(CALLS);
    table(
        "Last calls",
        &["at", "route", "verb", "path", "user", "status", "ms", "fault"],
        entries.map(row),
    )
}

fn row(entry: &Entry) -> Vec<String> {
    let text = |value: Option<String>| value.unwrap_or_default();
    vec![
        format!("{:.3} s", seconds(entry.t_ms)),
        entry.seen.route.to_owned(),
        entry.seen.method.clone(),
        entry.seen.path.clone(),
        entry.seen.party.user().unwrap_or_default().to_owned(),
        text(entry.status.map(|status| status.to_string())),
        text(entry.ms.map(|ms| ms.to_string())),
        text(entry.fault.clone()),
    ]
}
