//! The stubs that the mocks hold, and how many requests each took.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{HeldStub, Stub, UnusedStub, check::Fit, matching::Asked};
use crate::error::ControlError;

/// Stubs in the order in which they were given.
#[derive(Debug)]
pub(crate) struct Stubs {
    next: u64,
    /// Grows with each change, over resets as well.
    pub(super) version: u64,
    held: Vec<Held>,
    /// Gone without having taken a request; the oldest are forgotten first.
    unused: Vec<UnusedStub>,
    limit: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) id: u64,
    pub(super) stub: Arc<Stub>,
    pub(super) fit: Arc<Fit>,
    pub(super) taken: Arc<AtomicU64>,
}

impl Held {
    /// How many more requests it takes; any number without a limit.
    pub(super) fn left(&self) -> Option<u64> {
        let taken = self.taken.load(Ordering::Relaxed);
        self.stub
            .times
            .map(|times| u64::from(times).saturating_sub(taken))
    }

    fn unused(&self) -> Option<UnusedStub> {
        let is_unused = self.taken.load(Ordering::Relaxed) == 0;
        is_unused.then(|| UnusedStub {
            id: self.id,
            stub: Stub::clone(&self.stub),
        })
    }
}

impl Stubs {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            next: 0,
            version: 0,
            held: Vec::new(),
            unused: Vec::new(),
            limit,
        }
    }

    /// Newer than all that were before.
    pub(crate) fn after(&mut self, old: &Self) {
        self.version = self.version.max(old.version) + 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Stubs in the order given.
    pub(super) fn held(&self) -> &[Held] {
        &self.held
    }

    /// Adds stubs at the end, all or none; gives their numbers.
    pub(super) fn add(&mut self, stubs: Vec<(Stub, Fit)>) -> Result<Vec<u64>, ControlError> {
        if self.held.len() + stubs.len() > self.limit {
            return Err(ControlError::TooManyStubs(self.limit));
        }
        let first = self.held.len();
        for (stub, fit) in stubs {
            self.next += 1;
            self.held.push(Held {
                id: self.next,
                stub: Arc::new(stub),
                fit: Arc::new(fit),
                taken: Arc::default(),
            });
        }
        self.version += 1;
        Ok(self.held[first..].iter().map(|held| held.id).collect())
    }

    /// Holds these instead of any before.
    pub(super) fn replace(&mut self, stubs: Vec<(Stub, Fit)>) -> Result<Vec<u64>, ControlError> {
        if stubs.len() > self.limit {
            return Err(ControlError::TooManyStubs(self.limit));
        }
        for held in std::mem::take(&mut self.held) {
            self.forget(&held);
        }
        self.add(stubs)
    }

    /// Takes one away.
    pub(super) fn remove(&mut self, id: u64) -> Result<(), ControlError> {
        let index = self.held.iter().position(|held| held.id == id);
        let held = self.held.remove(index.ok_or(ControlError::UnknownStub(id))?);
        self.forget(&held);
        self.version += 1;
        Ok(())
    }

    fn forget(&mut self, held: &Held) {
        self.unused.extend(held.unused());
        let over = self.unused.len().saturating_sub(self.limit);
        self.unused.drain(..over);
    }

    /// The stub that takes this request, which counts as taken by it.
    pub(super) fn take(&mut self, asked: &Asked) -> Option<Arc<Stub>> {
        let fitting = self
            .held
            .iter()
            .filter(|held| held.left() != Some(0) && held.fit.takes(asked));
        // Of equal ones the first.
        let held = fitting.min_by_key(|held| held.stub.priority)?;
        held.taken.fetch_add(1, Ordering::Relaxed);
        Some(Arc::clone(&held.stub))
    }

    /// What is held, for people.
    pub(crate) fn list(&self) -> Vec<HeldStub> {
        let held = self.held.iter().map(|held| HeldStub {
            id: held.id,
            taken: held.taken.load(Ordering::Relaxed),
            stub: Stub::clone(&held.stub),
        });
        held.collect()
    }

    /// Those that took no request, in the order in which they were given.
    pub(crate) fn unused(&self) -> Vec<UnusedStub> {
        let held = self.held.iter().filter_map(Held::unused);
        let mut unused: Vec<_> = self.unused.iter().cloned().chain(held).collect();
        unused.sort_by_key(|stub| stub.id);
        unused
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stubs(limit: usize, list: &serde_json::Value) -> Result<Stubs, ControlError> {
        let list: Vec<Stub> = serde_json::from_value(list.clone()).unwrap();
        let mut stubs = Stubs::new(limit);
        let ready = list.into_iter().map(|stub| (stub.clone(), stub.fit().unwrap()));
        stubs.add(ready.collect()).map(|_| stubs)
    }

    fn any() -> Asked {
        let (parts, ()) = axum::http::Request::get("/x").body(()).unwrap().into_parts();
        Asked::read(super::super::Service::Backend, &parts, &axum::body::Bytes::new()).unwrap()
    }

    #[test]
    fn the_lowest_number_answers_then_the_one_given_first_each_as_often_as_it_may() {
        let mut stubs = stubs(
            9,
            &json!([
                {"request": {}, "answer": {"status": 201}},
                {"request": {}, "answer": {"status": 202}, "priority": 1, "times": 1},
                {"request": {}, "answer": {"status": 203}, "priority": 1, "times": 2},
                {"request": {}, "answer": {"status": 206}},
            ]),
        )
        .unwrap();

        let statuses: Vec<_> = (0..5)
            .filter_map(|_| stubs.take(&any()).map(|stub| stub.answer.status))
            .collect();

        assert_eq!(statuses, [202, 203, 203, 201, 201]);
        assert_eq!(stubs.unused().iter().map(|stub| stub.id).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn a_stub_that_took_nothing_is_reported_also_after_it_is_gone() {
        let mut stubs = stubs(
            9,
            &json!([{"request": {}, "answer": {}}, {"request": {}, "answer": {}}]),
        )
        .unwrap();
        stubs.take(&any());

        stubs.remove(1).unwrap();
        stubs.remove(2).unwrap();

        assert_eq!(stubs.unused().iter().map(|stub| stub.id).collect::<Vec<_>>(), [2]);
        assert_eq!(stubs.remove(2), Err(ControlError::UnknownStub(2)));
    }

    #[test]
    fn there_is_a_most_of_stubs() {
        let full = stubs(
            1,
            &json!([{"request": {}, "answer": {}}, {"request": {}, "answer": {}}]),
        );

        assert_eq!(full.err(), Some(ControlError::TooManyStubs(1)));
    }
}
