//! Each step by itself.

use std::sync::Arc;

use polytab_mocks::fault::when::When;
use polytab_protocol::topic::Topic;

use super::{Checker, routes::Naming};
use crate::scenario::{
    claim::{Calls, Count, Wait},
    explain::Code,
    located::{At, Located},
    order::{Emit, Fault, Set},
    problem::shown,
    step::{Include, Send, SendRaw, Step, TabsStep},
};

/// Largest message that `send_raw` makes, in bytes: 256 times the reference server's limit.
const MOST_BYTES: usize = 16 << 20;
/// Deepest nesting that `send_raw` makes; each level is two bytes.
const MOST_LEVELS: usize = 1_000_000;
/// Most fragments of one message.
const MOST_FRAGMENTS: usize = 100_000;

impl Checker<'_> {
    pub(super) fn steps(&mut self, steps: &[Located<Step>]) {
        for step in steps {
            self.step(&step.at, &step.value);
        }
    }

    fn step(&mut self, at: &At, step: &Step) {
        match step {
            Step::Open(tabs) | Step::Reload(tabs) => self.tabs(at, tabs, &["gap"]),
            Step::Close(tabs) => self.tabs(at, tabs, &["code"]),
            Step::Drop(tabs)
            | Step::Background(tabs)
            | Step::Foreground(tabs)
            | Step::Freeze(tabs)
            | Step::Resume(tabs)
            | Step::Offline(tabs)
            | Step::Online(tabs) => self.tabs(at, tabs, &[]),
            Step::Duplicate(duplicate) => {
                self.tab(at, &duplicate.tab);
                self.tab(at, &duplicate.copy);
            }
            Step::SleepMachine(sleep) => {
                self.names(at, sleep.tabs.as_slice());
                self.time_passes();
            }
            Step::Send(Send { tab, .. }) => self.names(at, tab.as_slice()),
            Step::SendRaw(send) => self.send_raw(at, send),
            Step::Expect(expect) => self.expect(at, expect),
            Step::Calls(calls) => self.calls(at, calls),
            Step::Snapshot(name) => {
                self.snapshot_name(at, name);
                self.give("snapshot", at, name);
            }
            Step::Mark(name) => self.give("mark", at, name),
            Step::Advance(_) | Step::Restart(_) => self.time_passes(),
            Step::Note(_) => {}
            Step::Set(_)
            | Step::Launch(_)
            | Step::Plan(_)
            | Step::BackendSession(_)
            | Step::Clock(_)
            | Step::Realm(_)
            | Step::RotateKeys(_)
            | Step::Emit(_)
            | Step::Fault(_)
            | Step::Heal(_)
            | Step::Login(_)
            | Step::Logout(_)
            | Step::Expire(_)
            | Step::Hold(_)
            | Step::Release(_) => self.service_step(at, step),
            Step::Wait(wait) => self.wait(at, wait),
            Step::Repeat(_) | Step::Parallel(_) | Step::Include(_) => self.flow(at, step),
        }
    }

    /// Steps that steer the services.
    fn service_step(&mut self, at: &At, step: &Step) {
        if let Step::Set(set) = step {
            self.set(at, set);
        } else if let Step::Realm(settings) = step {
            self.realm_settings(at, settings);
        } else if let Step::Emit(emit) = step {
            self.emit(at, emit);
        } else if let Step::Launch(order) = step {
            self.some_user(at, Some(&order.user));
        } else if let Step::Plan(order) = step {
            self.some_user(at, Some(&order.user));
        } else if let Step::BackendSession(order) = step {
            self.some_user(at, order.user.as_deref());
        } else if let Step::Fault(fault) = step {
            self.fault(at, fault);
        } else if let Step::Heal(route) | Step::Release(route) = step {
            self.route(&route.route, Naming::RouteServiceOrAll);
        } else if let Step::Login(login) = step {
            self.person(at, &login.user, login.browser.as_deref());
        } else if let Step::Logout(logout) = step {
            self.person(at, &logout.user, logout.browser.as_deref());
        } else if let Step::Expire(expire) = step {
            self.person(at, &expire.user, expire.browser.as_deref());
        } else if let Step::Hold(hold) = step {
            self.route(&hold.route, Naming::RouteOrService);
            self.some_user(at, hold.user.as_deref());
            self.at_least_one(at, "times", hold.times.map(u64::from));
        }
    }

    /// Steps that hold other steps.
    fn flow(&mut self, at: &At, step: &Step) {
        if let Step::Repeat(repeat) = step {
            self.some_steps(at, "repeat", repeat.steps.len());
            self.steps(&repeat.steps);
        } else if let Step::Parallel(lists) = step {
            self.some_steps(at, "parallel", lists.iter().map(Vec::len).min().unwrap_or(0));
            for steps in lists {
                self.steps(steps);
            }
        } else if let Step::Include(include) = step {
            self.include(include);
        }
        self.time_passes();
    }

    fn include(&mut self, include: &Include) {
        let outer = std::mem::replace(&mut self.source, Arc::clone(&include.source));
        let before = self.problems.len();
        self.steps(&include.steps);
        self.source = outer;
        for problem in &mut self.problems[before..] {
            problem.add_related(&self.source, include.file.at.clone(), "included here");
        }
    }

    fn some_steps(&mut self, at: &At, name: &str, count: usize) {
        if count == 0 {
            self.report(
                Code::NoSteps,
                at.clone(),
                format!("`{name}` has a list without steps"),
            )
            .help = Some("add steps, or remove it".to_owned());
        }
    }

    fn names(&mut self, at: &At, tabs: &[String]) {
        if tabs.is_empty() {
            self.report(Code::NoSteps, at.clone(), "this step names no tab")
                .help = Some("name a tab, as in `open: A` or `open: [A, B]`".to_owned());
        }
        for tab in tabs {
            self.tab(at, tab);
        }
    }

    fn tabs(&mut self, at: &At, step: &TabsStep, useful: &[&str]) {
        let settings = step.settings();
        self.names(at, settings.tabs.as_slice());
        let useless = [
            ("gap", settings.gap.is_some(), "`open` and `reload`"),
            ("code", settings.code.is_some(), "`close`"),
        ];
        for (key, _, steps) in useless
            .iter()
            .filter(|(key, given, _)| *given && !useful.contains(key))
        {
            let place = self.key(at, key);
            self.report(
                Code::UselessKey,
                place,
                format!("`{key}` has a meaning only in {steps}"),
            )
            .help = Some("leave it out".to_owned());
        }
        if let Some(code) = settings.code {
            self.close_code(at, code);
            if matches!(code, 1005 | 1006 | 1015) {
                let place = self.place(at, &code.to_string());
                self.report(
                    Code::BadCloseCode,
                    place,
                    format!("`{code}` is never sent in a close frame"),
                )
                .help = Some("for a tab that vanishes without a close frame use the step `drop`".to_owned());
            }
        }
    }

    fn send_raw(&mut self, at: &At, send: &SendRaw) {
        self.names(at, send.tab.as_slice());
        let payloads = [
            ("text", send.text.is_some()),
            ("binary", send.binary.is_some()),
            ("bad_utf8", send.bad_utf8.is_some()),
            ("oversized", send.oversized.is_some()),
            ("nested", send.nested.is_some()),
        ];
        self.exactly_one(at, "send_raw", &payloads);
        if send.bad_utf8 == Some(false) {
            let place = self.key(at, "bad_utf8");
            self.report(Code::UselessKey, place, "`bad_utf8: false` sends nothing")
                .help = Some("write `bad_utf8: true`".to_owned());
        }
        if send.fragments.is_some() && send.text.is_none() {
            let place = self.key(at, "fragments");
            self.report(
                Code::UselessKey,
                place,
                "`fragments` cuts a `text`, and there is none",
            )
            .help = Some("add `text`, or leave it out".to_owned());
        }
        self.at_least_one(at, "fragments", send.fragments.map(|count| count as u64));
        for (key, size, most) in [
            ("oversized", send.oversized, MOST_BYTES),
            ("nested", send.nested, MOST_LEVELS),
            ("fragments", send.fragments, MOST_FRAGMENTS),
        ] {
            if let Some(size) = size.filter(|size| *size > most) {
                let place = self.key(at, key);
                self.report(
                    Code::BadValue,
                    place,
                    format!("`{key}` must be at most {most}; got `{size}`"),
                );
            }
        }
        let hexadecimal =
            |text: &str| text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if let Some(text) = send.binary.as_deref().filter(|text| !hexadecimal(text)) {
            let place = self.place(at, text);
            let message = format!("`{}` is not bytes in hexadecimal", shown(text));
            self.report(Code::BadValue, place, message).help =
                Some("write two digits per byte, as in `\"00ff10\"`".to_owned());
        }
    }

    fn exactly_one(&mut self, at: &At, step: &str, keys: &[(&str, bool)]) {
        let given: Vec<_> = keys
            .iter()
            .filter(|(_, given)| *given)
            .map(|(key, _)| *key)
            .collect();
        let list: Vec<_> = keys.iter().map(|(key, _)| format!("`{key}`")).collect();
        let list = list.join(", ");
        match given[..] {
            [] => {
                self.report(
                    Code::MissingKey,
                    at.clone(),
                    format!("`{step}` needs one of {list}"),
                )
                .help = Some("add one of them".to_owned());
            }
            [_] => {}
            [first, second, ..] => {
                let place = self.key(at, second);
                let message = format!("`{step}` takes one of {list}; here are `{first}` and `{second}`");
                self.report(Code::ExclusiveKeys, place, message).help =
                    Some("keep one, and make a second step for the other".to_owned());
            }
        }
    }

    fn at_least_one(&mut self, at: &At, key: &str, count: Option<u64>) {
        if count == Some(0) {
            let place = self.key(at, key);
            self.report(Code::BadCount, place, format!("`{key}: 0` asks for nothing"))
                .help = Some("counts begin at 1; leave the step out if it should do nothing".to_owned());
        }
    }

    fn calls(&mut self, at: &At, calls: &Calls) {
        self.since(at, calls.since.as_deref());
        if calls.check.is_empty() {
            self.report(
                Code::NothingToJudge,
                at.clone(),
                "`check` is empty, so no call is counted",
            )
            .help = Some("add `- { route: backend.sessions, count: 1 }`".to_owned());
        }
        for check in &calls.check {
            self.route(&check.value.route, Naming::Route);
            self.some_user(&check.at, check.value.user.as_deref());
            if let Some(Count::Between(bounds)) = check.value.count
                && bounds.min > bounds.max
            {
                let place = self.key(&check.at, "min");
                let message = format!("no count is at least {} and at most {}", bounds.min, bounds.max);
                self.report(Code::BadCount, place, message).help = Some("swap `min` and `max`".to_owned());
            }
        }
        if calls.within.is_some() {
            self.time_passes();
        }
    }

    fn some_user(&mut self, at: &At, user: Option<&str>) {
        if let Some(user) = user {
            self.user(at, user);
        }
    }

    fn person(&mut self, at: &At, user: &str, browser: Option<&str>) {
        self.user(at, user);
        self.browser(at, user, browser);
    }

    fn set(&mut self, at: &At, set: &Set) {
        self.some_user(at, set.user.as_deref());
        let of_user = set.sessions.is_some()
            || set.servers.is_some()
            || set.projects.is_some()
            || set.refresh.is_some();
        if !of_user && set.graph.is_none() {
            self.report(Code::MissingKey, at.clone(), "`set` changes nothing")
                .help = Some("add `sessions`, `servers`, `graph`, `projects` or `refresh`".to_owned());
        }
        if of_user && set.user.is_none() && self.file.users.len() > 1 {
            self.report(
                Code::MissingKey,
                at.clone(),
                "`set` does not say whose state changes",
            )
            .help = Some("add `user`".to_owned());
        }
    }

    fn emit(&mut self, at: &At, emit: &Emit) {
        // A captured topic is known only in the run.
        if emit.topic.contains("${") {
            return;
        }
        if let Err(error) = emit.topic.parse::<Topic>() {
            let place = self.place(at, &emit.topic);
            let message = format!("`{}` is no topic: {error}", shown(&emit.topic));
            self.report(Code::BadTopic, place, message).help =
                Some("write it as `/project/42/issue`".to_owned());
        }
    }

    fn fault(&mut self, at: &At, fault: &Fault) {
        self.route(&fault.route, Naming::RouteOrService);
        self.some_user(at, fault.user.as_deref());
        self.at_least_one(at, "times", fault.times.map(u64::from));
        if let Err(error) = fault.action.check() {
            let place = self.place(at, error.value());
            self.report(Code::BadFault, place, error.to_string());
        }
        if let Some(Err(error)) = fault.when.map(When::check) {
            let place = self.place(at, error.value());
            self.report(Code::BadFault, place, error.to_string());
        }
    }

    fn wait(&mut self, at: &At, wait: &Wait) {
        self.time_passes();
        self.since(at, wait.since.as_deref());
        let facts = [
            ("poll", wait.poll.is_some()),
            ("call", wait.call.is_some()),
            ("tab", wait.tab.is_some()),
        ];
        self.exactly_one(at, "wait", &facts);
        self.some_user(at, wait.poll.as_deref());
        self.some_user(at, wait.user.as_deref());
        if let Some(call) = &wait.call {
            self.route(call, Naming::Route);
        }
        self.at_least_one(at, "n", wait.n);
        let seen = [
            ("got", wait.got.is_some()),
            ("closed", wait.closed.is_some()),
            ("open", wait.open.is_some()),
        ];
        if let Some(tab) = &wait.tab {
            self.tab(at, tab);
            self.exactly_one(at, "wait", &seen);
        } else if let Some((key, _)) = seen.iter().find(|(_, given)| *given) {
            let place = self.key(at, key);
            self.report(
                Code::UselessKey,
                place,
                format!("`{key}` is about a tab, and no `tab` is named"),
            )
            .help = Some("add `tab`, or leave it out".to_owned());
        }
    }
}
