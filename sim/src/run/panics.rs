//! Panics of tasks during a run.
//!
//! Tokio ends a task that panics and goes on, so that a run would pass although the server broke an invariant. Every
//! thread of a run's runtime notes its panics in the run's log instead; other threads keep the default behaviour.

use std::{
    backtrace::Backtrace,
    cell::RefCell,
    panic::{self, PanicHookInfo},
    sync::{Arc, Mutex, Once, PoisonError},
};

/// Panics kept of one run; one that panics in a loop says the same each time.
const KEPT: usize = 16;
/// The longest message kept, in bytes.
const MESSAGE_BYTES: usize = 2_000;

/// Part of the process that panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PanicOrigin {
    /// The reference server: a defect of the server under test.
    Server,
    /// The mocks, the runner or the judge: a defect of Polytab.
    Tool,
}

/// One panic.
#[derive(Clone, Debug)]
pub(crate) struct PanicNote {
    pub(crate) origin: PanicOrigin,
    pub(crate) message: String,
    /// File, line and column.
    pub(crate) place: String,
}

/// The panics of one run. Clones share the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct PanicLog(Arc<Mutex<Vec<PanicNote>>>);

thread_local! {
    static LOG: RefCell<Option<PanicLog>> = const { RefCell::new(None) };
}

/// Ends the watch of a thread when dropped.
#[derive(Debug)]
pub(crate) struct ThreadWatch(());

impl Drop for ThreadWatch {
    fn drop(&mut self) {
        LOG.take();
    }
}

impl PanicLog {
    /// Notes the panics of this thread from now on.
    pub(crate) fn watch_thread(&self) {
        install_hook();
        LOG.replace(Some(self.clone()));
    }

    /// Notes the panics of this thread until the guard is dropped.
    pub(crate) fn watch_while(&self) -> ThreadWatch {
        self.watch_thread();
        ThreadWatch(())
    }

    /// Takes the panics noted so far, in order.
    pub(crate) fn take(&self) -> Vec<PanicNote> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, info: &PanicHookInfo<'_>) {
        let text = info.payload_as_str().unwrap_or("a value that is not text");
        let note = PanicNote {
            origin: origin(&Backtrace::force_capture().to_string()),
            message: text[..text.floor_char_boundary(MESSAGE_BYTES)].to_owned(),
            place: info.location().map_or_else(String::new, ToString::to_string),
        };
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() < KEPT {
            notes.push(note);
        }
    }
}

/// Crates that server and tool share, and this module, whose frames are those of the hook.
const SHARED: [&str; 3] = ["polytab_seams", "polytab_protocol", "polytab::run::panics"];

/// Finds the innermost frame of this workspace that belongs to one side.
fn origin(backtrace: &str) -> PanicOrigin {
    let is_shared = |line: &&str| SHARED.iter().any(|name| line.contains(name));
    let own = backtrace
        .lines()
        .filter(|line| !is_shared(line))
        .find(|line| line.contains("polytab"));
    match own {
        Some(frame) if frame.contains("polytab_server") => PanicOrigin::Server,
        Some(_) | None => PanicOrigin::Tool,
    }
}

fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let log = LOG.with(|log| log.try_borrow().ok().and_then(|log| log.clone()));
            match log {
                Some(log) => log.note(info),
                None => default(info),
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_a_task_is_noted_with_its_message_and_place() {
        let log = PanicLog::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();

        {
            let _watch = log.watch_while();
            runtime.block_on(async {
                let mut tasks = tokio::task::JoinSet::new();
                tasks.spawn(async { panic!("an invariant of task {}", 7) });
                tasks.join_next().await
            });
        }

        let notes = log.take();
        assert_eq!(notes.len(), 1);
        assert_eq!(notes[0].message, "an invariant of task 7");
        assert!(notes[0].place.contains("panics.rs:"), "{}", notes[0].place);
        assert_eq!(notes[0].origin, PanicOrigin::Tool);
        assert!(log.take().is_empty());
    }

    #[test]
    fn the_innermost_frame_of_the_workspace_names_the_origin() {
        for (frames, wanted) in [
            (
                "core::panicking\npolytab_server::tab::run\npolytab::run",
                PanicOrigin::Server,
            ),
            (
                "serde_json::x\npolytab_mocks::journal\npolytab_server::x",
                PanicOrigin::Tool,
            ),
            (
                "polytab::run::panics::note\npolytab_server::hub",
                PanicOrigin::Server,
            ),
            ("polytab_seams::net\npolytab_server::hub", PanicOrigin::Server),
            ("tokio::runtime", PanicOrigin::Tool),
        ] {
            assert_eq!(origin(frames), wanted, "{frames}");
        }
    }
}
