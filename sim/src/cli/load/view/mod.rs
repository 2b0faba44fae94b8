//! What a load says while it runs, on standard error, and in the end.

mod lines;
mod panel;
mod summary;

use std::time::Duration;

use polytab_load::{health, plan::Plan, run::Progress, threshold::shown};

use self::{lines::Lines, panel::Panel};
pub(super) use summary::comparison;
pub(in crate::cli) use summary::summary;

use crate::cli::{plan::MessageFormat, tell};

/// The run as it goes on.
pub(super) struct View(Form);

enum Form {
    /// For programs: only what people must know.
    Quiet,
    /// A line now and then.
    Lines(Box<Lines>),
    /// A panel that is drawn anew, on a terminal.
    Panel(Box<Panel>),
}

impl View {
    pub(super) fn new(plan: &Plan, format: MessageFormat) -> Self {
        if format == MessageFormat::Json {
            return Self(Form::Quiet);
        }
        let about = about(plan);
        if is_terminal() {
            // A terminal that does not say where its cursor is gets lines.
            if let Ok(panel) = Panel::new(plan, about.clone()) {
                return Self(Form::Panel(Box::new(panel)));
            }
        }
        tell(&about);
        Self(Form::Lines(Box::new(Lines::new(plan))))
    }

    /// One stretch more.
    pub(super) fn show(&mut self, progress: &Progress<'_>) {
        match &mut self.0 {
            Form::Quiet => {}
            Form::Lines(lines) => lines.show(progress),
            Form::Panel(panel) => panel.show(progress),
        }
    }

    /// Something that people must know meanwhile.
    pub(super) fn tell(&mut self, text: &str) {
        match &mut self.0 {
            Form::Quiet | Form::Lines(_) => tell(text),
            Form::Panel(panel) => panel.tell(text),
        }
    }
}

fn is_terminal() -> bool {
    let term = std::env::var("TERM").unwrap_or_default();
    health::has_terminal() && term != "dumb" && !term.is_empty()
}

fn about(plan: &Plan) -> String {
    let length: Duration = plan.phases.iter().map(|phase| phase.length).sum();
    let users = plan.phases.iter().map(|phase| phase.users).max().unwrap_or(0);
    let shard = plan.shard.map_or_else(String::new, |shard| {
        format!(", shard {}/{}", shard.index, shard.of)
    });
    format!(
        "{}: up to {users} users for {} on {}, seed {}{shard}",
        plan.name,
        shown(length),
        plan.site.name,
        plan.seed
    )
}
