//! The lane timeline: one column per tab and one for the services, one row per moment, for the part of a run in which
//! something was not as it had to be.

use std::collections::BTreeSet;

use crate::{
    events::{Closer, Event, Kind},
    scenario::people::DEFAULT_BROWSER,
};

/// Lanes of tabs at most; the services have one more.
const LANES: usize = 6;
/// Rows at most; what lies in the middle is left out.
const ROWS: usize = 30;
/// The narrowest and widest lane, in characters.
const WIDTHS: (usize, usize) = (14, 44);
/// The column of times.
const TIME: usize = 10;

/// Which part of a run is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    /// From and to, in scenario milliseconds.
    pub(crate) ms: (u64, u64),
    /// The tab concerned: it always has a lane.
    pub(crate) tab: Option<&'a str>,
    /// Characters per line.
    pub(crate) width: usize,
}

struct Row {
    at_ms: u64,
    cells: Vec<String>,
}

enum Line {
    Row(Row),
    /// Across all lanes.
    Across(u64, String),
}

/// The lines of the timeline; none for a window that is no time at all, or in which nothing happened.
pub(crate) fn timeline(events: &[&Event], window: Window<'_>) -> Vec<String> {
    if window.ms == (0, 0) {
        return Vec::new();
    }
    let inside: Vec<&Event> = events
        .iter()
        .copied()
        .filter(|event| (window.ms.0..=window.ms.1).contains(&event.at_ms))
        .collect();
    let mut tabs: Vec<&str> = window.tab.into_iter().collect();
    let seen: BTreeSet<&str> = inside.iter().filter_map(|event| tab_of(&event.kind)).collect();
    let others = seen.iter().filter(|tab| Some(**tab) != window.tab);
    tabs.extend(others.take(LANES - tabs.len()));
    tabs.sort_unstable();
    let hidden = seen.iter().filter(|tab| !tabs.contains(tab)).count();

    let lines = lines(&inside, &tabs);
    if lines.is_empty() {
        return Vec::new();
    }
    let columns = tabs.len() + 1;
    let width = (window.width.saturating_sub(TIME) / columns)
        .saturating_sub(3)
        .clamp(WIDTHS.0, WIDTHS.1);
    let mut out = vec![head(&tabs, width)];
    let total = lines.len();
    for (nth, line) in lines.into_iter().enumerate() {
        let half = ROWS / 2;
        if total > ROWS && nth == half {
            out.push(format!("{:>TIME$}   {} more rows", "…", total - ROWS));
        }
        if total > ROWS && (half..total - half).contains(&nth) {
            continue;
        }
        out.push(match line {
            Line::Row(row) => draw(row.at_ms, &row.cells, width),
            Line::Across(at_ms, text) => {
                format!("{:>TIME$} ├ {}", time(at_ms), cut(&text, columns * (width + 3)))
            }
        });
    }
    if hidden > 0 {
        out.push(format!("{:>TIME$}   and {hidden} more tabs", ""));
    }
    out
}

fn lines(events: &[&Event], tabs: &[&str]) -> Vec<Line> {
    let services = tabs.len();
    let mut lines: Vec<Line> = Vec::new();
    for event in events {
        if let Some(text) = across(&event.kind) {
            lines.push(Line::Across(event.at_ms, text));
            continue;
        }
        let Some((lane, text)) = cell(&event.kind, tabs, services) else {
            continue;
        };
        // What happened at the same moment shares a row, as long as no lane would hide something.
        if let Some(Line::Row(row)) = lines.last_mut()
            && row.at_ms == event.at_ms
            && row.cells[lane..].iter().all(String::is_empty)
        {
            row.cells[lane] = text;
            continue;
        }
        let mut cells = vec![String::new(); services + 1];
        cells[lane] = text;
        lines.push(Line::Row(Row {
            at_ms: event.at_ms,
            cells,
        }));
    }
    lines
}

fn across(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::StepStarted { step, text, .. } => format!("step {step}: {text}"),
        Kind::WorldChanged { what } => format!("the world changed: {what}"),
        Kind::FaultChanged { route, what } => format!("{route}: {what}"),
        Kind::Server { state } => format!("the server: {state}"),
        _ => return None,
    })
}

fn cell(kind: &Kind, tabs: &[&str], services: usize) -> Option<(usize, String)> {
    if let Kind::Call {
        route, user, browser, ..
    } = kind
    {
        let browser = browser.as_deref().filter(|name| *name != DEFAULT_BROWSER);
        let who: Vec<_> = user.as_deref().into_iter().chain(browser).collect();
        let who = if who.is_empty() {
            String::new()
        } else {
            format!(" ({})", who.join(", "))
        };
        return Some((services, format!("{route}{who}")));
    }
    if let Kind::Answer { status, fault, .. } = kind {
        // An answer in order says nothing that its call did not.
        let fault = fault.as_ref()?;
        return Some((services, format!("→ {status}, {fault}")));
    }
    if let Kind::StreamOpened { topic, .. } = kind {
        return Some((services, format!("stream open {topic}")));
    }
    if let Kind::StreamClosed { topic, reason, .. } = kind {
        return Some((services, format!("stream over {topic}: {reason}")));
    }
    if let Kind::Emitted { topic, .. } = kind {
        return Some((services, format!("event {topic}")));
    }
    let tab = tab_of(kind)?;
    let lane = tabs.iter().position(|found| *found == tab)?;
    let text = match kind {
        Kind::TabOpened { .. } => "opened".to_owned(),
        Kind::TabRefused { problem, .. } => format!("refused: {problem}"),
        Kind::TabSent { message, .. } => format!("> {}", message.excerpt()),
        Kind::TabReceived { message, .. } => format!("< {}", message.excerpt()),
        Kind::TabClosed { code, by, .. } => {
            let by = match by {
                Closer::Tab if *code == 1006 => "dropped by the tab",
                Closer::Tab => "by the tab",
                Closer::Server => "by the server",
                Closer::Network => "connection broke",
            };
            format!("× {code} {by}")
        }
        Kind::TabChanged { state, .. } => state.clone(),
        Kind::TabFlooded { .. } => "flooded".to_owned(),
        _ => return None,
    };
    Some((lane, text))
}

fn tab_of(kind: &Kind) -> Option<&str> {
    match kind {
        Kind::TabOpened { tab, .. }
        | Kind::TabRefused { tab, .. }
        | Kind::TabSent { tab, .. }
        | Kind::TabReceived { tab, .. }
        | Kind::TabClosed { tab, .. }
        | Kind::TabFlooded { tab, .. }
        | Kind::TabChanged { tab, .. } => Some(tab),
        _ => None,
    }
}

fn head(tabs: &[&str], width: usize) -> String {
    let names = tabs
        .iter()
        .map(|tab| format!("tab {tab}"))
        .chain(["services".to_owned()]);
    let cells: Vec<_> = names
        .map(|name| format!("{:width$}", cut(&name, width)))
        .collect();
    format!("{:TIME$} │ {}", "", cells.join(" │ "))
        .trim_end()
        .to_owned()
}

fn draw(at_ms: u64, cells: &[String], width: usize) -> String {
    let cells: Vec<_> = cells
        .iter()
        .map(|cell| format!("{:width$}", cut(cell, width)))
        .collect();
    format!("{:>TIME$} │ {}", time(at_ms), cells.join(" │ "))
        .trim_end()
        .to_owned()
}

fn time(at_ms: u64) -> String {
    format!("{}.{:03} s", at_ms / 1000, at_ms % 1000)
}

/// Text in at most so many characters.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::events::Frame;

    fn received(at_ms: u64, tab: &str) -> Event {
        event(
            at_ms,
            Kind::TabReceived {
                tab: tab.into(),
                life: 1,
                message: Frame::Json(json!({"scope": "user", "type": "version"})),
                secrets: Vec::new(),
            },
        )
    }

    fn event(at_ms: u64, kind: Kind) -> Event {
        Event { seq: 0, at_ms, kind }
    }

    fn call(at_ms: u64) -> Event {
        event(
            at_ms,
            Kind::Call {
                call: 1,
                route: "backend.sessions".into(),
                method: "GET".into(),
                path: "/".into(),
                user: Some("ada".into()),
                browser: None,
                form: None,
                json: None,
            },
        )
    }

    fn drawn(events: &[Event], width: usize) -> String {
        let window = Window {
            ms: (1000, 9000),
            tab: Some("B"),
            width,
        };
        timeline(&events.iter().collect::<Vec<_>>(), window).join("\n")
    }

    #[test]
    fn what_happens_at_one_moment_shares_a_row() {
        let step = event(
            2000,
            Kind::StepStarted {
                step: "3".into(),
                line: 7,
                acting: true,
                text: "advance: 5s".into(),
            },
        );
        let events = [
            received(10, "A"),
            step,
            call(3000),
            received(3004, "A"),
            received(3004, "B"),
        ];

        insta::assert_snapshot!(drawn(&events, 80), @"
                 │ tab A                │ tab B                │ services
         2.000 s ├ step 3: advance: 5s
         3.000 s │                      │                      │ backend.sessions (a…
         3.004 s │ < user/version       │ < user/version       │
        ");
    }

    #[test]
    fn a_long_window_shows_its_ends() {
        let events: Vec<_> = (0..50).map(|nth| received(2000 + nth, "A")).collect();

        let text = drawn(&events, 60);

        assert_eq!(text.lines().count(), 32);
        assert!(text.contains("20 more rows"));
    }
}
