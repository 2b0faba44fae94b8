//! The behaviour of a user as a scenario: its steps become what each user of a load does, at the scenario's own times.
//!
//! What a scenario judges (`expect`, `calls`, `snapshot`) a load counts for all tabs instead; such a step takes its whole
//! window. What belongs to the whole world (faults, clocks, realms, restarts) is no user's behaviour, and refused.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use polytab_load::plan::{Deed, Script};

use super::{
    plan::{intervals, template},
    profile::Profile,
};
use crate::scenario::{
    explain::Code,
    load::load,
    located::Located,
    model::Scenario,
    order::Set,
    problem::Problem,
    source::Source,
    step::{Repeat, SendRaw, Step, TabsStep},
    window::{Interval, Intervals, Span, Window},
};

/// What a reload is away for, unless told.
const RELOAD_GAP: Duration = Duration::from_millis(50);
/// The window of an `expect`, unless told.
const LOOK: Window = Window::Span(Span(Duration::from_secs(1)));
/// How long a `wait` takes, unless told: what it waits for mostly comes with the next turn.
const WAIT: Window = Window::Intervals {
    thousandths: 1000,
    interval: Interval::ShortLoop,
};
/// The most that one user does.
const DEEDS: usize = 10_000;

/// What a user of a load does.
#[derive(Clone, Debug)]
pub(crate) struct Behaviour {
    pub(crate) script: Script,
    /// How many tabs the user has.
    pub(crate) tabs: u32,
}

/// The behaviour that a profile in this folder names; none unless it does.
///
/// # Errors
///
/// Everything that is wrong with the scenario, and every step that no user can do.
pub(crate) fn of_profile(profile: &Profile, folder: &Path) -> Result<Option<Behaviour>, Vec<Problem>> {
    let path = profile.behaviour.as_ref().map(|path| folder.join(path));
    path.map(|path| read(&path, &intervals(profile))).transpose()
}

fn read(path: &Path, intervals: &Intervals) -> Result<Behaviour, Vec<Problem>> {
    let loaded = load(&[path.to_owned()], &[]);
    if !loaded.problems.is_empty() {
        return Err(loaded.problems);
    }
    match loaded.scenarios.as_slice() {
        [scenario] => of(scenario, intervals),
        several => {
            let source = several.first().map(|first| Arc::clone(&first.source));
            let source = source.unwrap_or_default();
            let message = format!(
                "a behaviour is one scenario, and here there are {}",
                several.len()
            );
            let problem = Problem::new(Code::BadValue, &source, 0..0, message);
            Err(vec![problem.help("leave out `matrix`, and name one file")])
        }
    }
}

fn of(scenario: &Scenario, intervals: &Intervals) -> Result<Behaviour, Vec<Problem>> {
    let file = &scenario.file;
    if let Some((_, second)) = file.users.get_index(1) {
        let problem = Problem::new(
            Code::BadValue,
            &scenario.source,
            second.at.clone(),
            "a behaviour is that of one user, and this is another one",
        );
        return Err(vec![
            problem.help("how many users there are is said by `users` of the profile"),
        ]);
    }
    let mut writer = Writer {
        tabs: file
            .tabs
            .keys()
            .enumerate()
            .map(|(nth, name)| (name.clone(), nth))
            .collect(),
        intervals,
        at: Duration::ZERO,
        deeds: Vec::new(),
        asleep: BTreeMap::new(),
        problems: Vec::new(),
    };
    writer.steps(&scenario.source, &file.steps);
    let end = writer.at;
    let frozen: Vec<usize> = writer.asleep.keys().copied().collect();
    for tab in frozen {
        writer.wake(tab, end);
    }
    if !writer.problems.is_empty() {
        return Err(writer.problems);
    }
    writer.deeds.sort_by_key(|(at, _)| *at);
    Ok(Behaviour {
        script: Script {
            deeds: writer.deeds,
            length: end,
        },
        tabs: u32::try_from(file.tabs.len()).unwrap_or(u32::MAX),
    })
}

/// Writes the script, step by step.
struct Writer<'a> {
    tabs: BTreeMap<String, usize>,
    intervals: &'a Intervals,
    /// How long after the arrival the next step is.
    at: Duration,
    deeds: Vec<(Duration, Deed)>,
    /// Tabs that are frozen or offline, since when, and the place of their deed.
    asleep: BTreeMap<usize, (Duration, usize)>,
    problems: Vec<Problem>,
}

impl Writer<'_> {
    fn steps(&mut self, source: &Arc<Source>, steps: &[Located<Step>]) {
        for step in steps {
            if self.deeds.len() > DEEDS {
                let message = format!("no user does more than {DEEDS} things");
                self.refuse(source, step, (&message, "repeat less"));
                return;
            }
            self.step(source, step);
        }
    }

    fn step(&mut self, source: &Arc<Source>, step: &Located<Step>) {
        match &step.value {
            Step::Advance(window) => self.pass(*window),
            Step::Expect(expect) => self.pass(expect.within.unwrap_or(LOOK)),
            Step::Wait(wait) => self.pass(wait.within.unwrap_or(WAIT)),
            Step::Calls(calls) => {
                if let Some(window) = calls.within {
                    self.pass(window);
                }
            }
            // A load signs its users in, and names and remarks are for people.
            Step::Login(_)
            | Step::Snapshot(_)
            | Step::Mark(_)
            | Step::Note(_)
            | Step::Background(_)
            | Step::Foreground(_) => {}
            Step::Repeat(Repeat { times, steps }) => {
                for _ in 0..*times {
                    self.steps(source, steps);
                    if !self.problems.is_empty() {
                        break;
                    }
                }
            }
            Step::Parallel(lists) => {
                let begin = self.at;
                let mut end = begin;
                for list in lists {
                    self.at = begin;
                    self.steps(source, list);
                    end = end.max(self.at);
                }
                self.at = end;
            }
            Step::Include(other) => self.steps(&other.source, &other.steps),
            Step::Set(set) if is_of_sessions(set) => self.put(Deed::Change),
            Step::Launch(_) | Step::BackendSession(_) => self.put(Deed::Change),
            Step::Logout(_) => self.put(Deed::SignOut),
            of_tabs => {
                if let Err(refusal) = self.of_tabs(of_tabs) {
                    self.refuse(source, step, refusal);
                }
            }
        }
    }

    /// What tabs do, or what happens to them. Everything else is refused: why, and what to do instead.
    fn of_tabs(&mut self, step: &Step) -> Result<(), (&'static str, &'static str)> {
        match step {
            Step::Open(tabs) => {
                let gap = tabs.settings().gap.map_or(Duration::ZERO, |gap| gap.0);
                for (nth, tab) in self.numbers(tabs.names()).into_iter().enumerate() {
                    if nth > 0 {
                        self.at += gap;
                    }
                    self.put(Deed::Open(tab));
                }
            }
            Step::Duplicate(duplicate) => self.each(std::slice::from_ref(&duplicate.copy), Deed::Open),
            Step::Close(tabs) => self.each(tabs.names(), Deed::Close),
            Step::Drop(tabs) => self.each(tabs.names(), Deed::Drop),
            Step::Reload(tabs) => {
                let gap = tabs.settings().gap.map_or(RELOAD_GAP, |gap| gap.0);
                self.each(tabs.names(), |tab| Deed::Reload(tab, gap));
                self.at += gap;
            }
            Step::Freeze(tabs) | Step::Offline(tabs) => self.sleep(tabs),
            Step::Resume(tabs) | Step::Online(tabs) => {
                for tab in self.numbers(tabs.names()) {
                    self.wake(tab, self.at);
                }
            }
            Step::SleepMachine(sleep) => {
                let tabs = self.numbers(sleep.tabs.as_slice());
                self.put(Deed::Sleep(tabs, sleep.duration.0));
                self.at += sleep.duration.0;
            }
            Step::Send(send) => {
                let message = template(&send.json);
                self.each(send.tab.as_slice(), |tab| Deed::Say(tab, message.clone()));
            }
            Step::SendRaw(SendRaw {
                tab,
                text: Some(text),
                fragments: None,
                ..
            }) => {
                let message = template(&text.clone().into());
                self.each(tab.as_slice(), |tab| Deed::Say(tab, message.clone()));
            }
            Step::SendRaw(_) => {
                return Err((
                    "a load sends whole text messages only",
                    "write `send`, or `send_raw: { text: … }`",
                ));
            }
            _ => {
                return Err((
                    "this is about the whole world, and each user of a load would do it again",
                    "leave it out of a behaviour; `phases` may `begin` with a restart, and the mocks' control API takes \
                     the rest",
                ));
            }
        }
        Ok(())
    }

    fn numbers(&self, names: &[String]) -> Vec<usize> {
        // Names of tabs were checked when the file was loaded.
        names
            .iter()
            .filter_map(|name| self.tabs.get(name).copied())
            .collect()
    }

    fn put(&mut self, deed: Deed) {
        self.deeds.push((self.at, deed));
    }

    fn each(&mut self, names: &[String], deed: impl Fn(usize) -> Deed) {
        for tab in self.numbers(names) {
            self.put(deed(tab));
        }
    }

    fn pass(&mut self, window: Window) {
        self.at += window.resolve(self.intervals);
    }

    /// From now on these tabs read nothing; how long, shows later.
    fn sleep(&mut self, tabs: &TabsStep) {
        for tab in self.numbers(tabs.names()) {
            self.asleep.insert(tab, (self.at, self.deeds.len()));
            self.put(Deed::Stall(tab, Duration::ZERO));
        }
    }

    fn wake(&mut self, tab: usize, at: Duration) {
        if let Some((since, place)) = self.asleep.remove(&tab) {
            self.deeds[place].1 = Deed::Stall(tab, at.saturating_sub(since));
        }
    }

    fn refuse(&mut self, source: &Arc<Source>, step: &Located<Step>, (message, help): (&str, &str)) {
        let problem = Problem::new(Code::BadValue, source, step.at.clone(), message);
        self.problems.push(problem.help(help));
    }
}

/// Whether it is only sessions that change: of nothing else a tab must be told.
fn is_of_sessions(set: &Set) -> bool {
    set.sessions.is_some()
        && set.servers.is_none()
        && set.graph.is_none()
        && set.projects.is_none()
        && set.refresh.is_none()
}

#[cfg(test)]
mod tests {
    use polytab_load::plan::Template;

    use super::*;

    fn read_text(steps: &str) -> Result<Behaviour, Vec<Problem>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("user.tabs.yaml");
        let text = format!(
            "format: 1\nname: a user\nusers: {{ ada: {{}} }}\ntabs: {{ A: {{ user: ada }}, B: {{ user: ada }} }}\nsteps:\n{steps}"
        );
        std::fs::write(&path, text).unwrap();
        let intervals = Intervals {
            short_loop: Duration::from_secs(5),
            long_loop: Duration::from_mins(3),
            start_delay: Duration::from_secs(3),
        };
        read(&path, &intervals)
    }

    #[test]
    fn steps_become_deeds_at_their_times() {
        let behaviour = read_text(
            "  - open: { tabs: [A, B], gap: 1s }
  - advance: 2 short_loop
  - freeze: B
  - set: { user: ada, sessions: [] }
  - expect: { within: 8s, tabs: A, contains: [{ type: sessionStatusV2 }] }
  - resume: B
  - repeat: { times: 2, steps: [{ reload: A }, { advance: 1s }] }
  - parallel:
      - [{ advance: 3s }, { send_raw: { tab: A, text: hello } }]
      - [{ advance: 1s }, { close: B }]
  - logout: { user: ada }
",
        )
        .unwrap();

        let seconds = |seconds: u64, millis: u64| Duration::from_millis(seconds * 1000 + millis);
        let gap = RELOAD_GAP;
        assert_eq!(behaviour.tabs, 2);
        assert_eq!(
            behaviour.script.deeds,
            [
                (seconds(0, 0), Deed::Open(0)),
                (seconds(1, 0), Deed::Open(1)),
                (seconds(11, 0), Deed::Stall(1, seconds(8, 0))),
                (seconds(11, 0), Deed::Change),
                (seconds(19, 0), Deed::Reload(0, gap)),
                (seconds(20, 50), Deed::Reload(0, gap)),
                (seconds(22, 100), Deed::Close(1)),
                (seconds(24, 100), Deed::Say(0, Template::new("hello".to_owned()))),
                (seconds(24, 100), Deed::SignOut),
            ]
        );
        assert_eq!(behaviour.script.length, seconds(24, 100));
    }

    #[test]
    fn what_no_user_does_is_refused_with_its_place() {
        let problems = read_text(
            "  - open: A
  - restart: {}
  - send_raw: { tab: A, oversized: 70000 }
",
        )
        .unwrap_err();

        let told: Vec<_> = problems
            .iter()
            .map(|problem| {
                (
                    problem.source.line_column(problem.span.start).0,
                    problem.help.is_some(),
                )
            })
            .collect();
        assert_eq!(told, [(7, true), (8, true)]);
    }
}
