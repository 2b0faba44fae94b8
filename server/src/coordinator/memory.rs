//! Instances of one process, which meet in its memory. With one instance, which is the default, it always leads.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use polytab_protocol::id::UserId;
use tokio::{sync::Notify, time::Instant};

use super::{
    Coordinator, Fate, Letter, Life, Lost, Needs, Rank, Record, Sealed, Spans, Stamp, Standing, instance,
};

/// One instance's way to the meeting place.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    instance: String,
    place: Arc<Place>,
}

/// Where they meet.
#[derive(Debug)]
struct Place {
    spans: Spans,
    state: Mutex<State>,
    written: Notify,
}

#[derive(Debug, Default)]
struct State {
    last: Stamp,
    /// Letters that wait for one instance at most.
    letters: usize,
    users: BTreeMap<UserId, User>,
    inboxes: BTreeMap<String, VecDeque<Letter>>,
    /// What is over has no bytes.
    kept: BTreeMap<String, (Sealed, Instant)>,
    locks: BTreeMap<String, (String, Instant)>,
}

impl State {
    /// Writes to all instances with tabs of the user but this one, and wakes those that wait for letters: a single
    /// instance is not woken at each of its turns.
    fn deliver(&mut self, (user, but): (&UserId, Option<&str>), record: &Record, written: &Notify) {
        let known = self.users.get(user);
        let instances: BTreeSet<_> = known
            .into_iter()
            .flat_map(|known| known.needs.keys())
            .map(|epoch| instance(epoch).to_owned())
            .filter(|instance| Some(instance.as_str()) != but)
            .collect();
        let at = self.last;
        if !instances.is_empty() {
            written.notify_waiters();
        }
        for instance in instances {
            let inbox = self.inboxes.entry(instance).or_default();
            inbox.push_back(Letter {
                user: user.clone(),
                at,
                record: record.clone(),
            });
            if inbox.len() > self.letters {
                inbox.pop_front();
            }
        }
    }
}

/// What is known of a user.
#[derive(Debug, Default)]
struct User {
    lease: Option<(String, Stamp, Instant)>,
    needs: BTreeMap<String, (Needs, Instant)>,
}

impl Memory {
    /// The only instance.
    pub(crate) fn new(instance: &str, spans: Spans) -> Self {
        let place = Place {
            spans,
            state: Mutex::new(State {
                letters: spans.letters,
                ..State::default()
            }),
            written: Notify::new(),
        };
        Self {
            instance: instance.to_owned(),
            place: Arc::new(place),
        }
    }

    /// Another instance that meets this one.
    #[cfg(test)]
    pub(crate) fn beside(&self, instance: &str) -> Self {
        Self {
            instance: instance.to_owned(),
            place: Arc::clone(&self.place),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.place.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claim_now(&self, life: &Life, needs: &Needs, news: bool) -> Standing {
        let mut state = self.state();
        let now = Instant::now();
        state.last += 1;
        let at = state.last;
        let spans = self.place.spans;
        let user = state.users.entry(life.user.clone()).or_default();
        user.needs
            .retain(|_, (_, told)| now.duration_since(*told) <= spans.window);
        user.needs.insert(life.epoch.clone(), (needs.clone(), now));
        let held = user.lease.take().filter(|(_, _, until)| *until > now);
        let rank = match &held {
            Some((epoch, fence, _)) if *epoch == life.epoch => Rank::Leads(*fence),
            Some(_) => Rank::Follows,
            None => Rank::Leads(at),
        };
        user.lease = match rank {
            Rank::Leads(fence) => Some((life.epoch.clone(), fence, now + spans.lease)),
            Rank::Follows | Rank::Alone => held,
        };
        let mut others = Needs::default();
        for (_, (needs, told)) in user.needs.iter().filter(|(epoch, _)| **epoch != life.epoch) {
            let lives = now.duration_since(*told) <= spans.lease;
            others.add(if lives {
                needs.clone()
            } else {
                needs.clone().of_the_lost()
            });
        }
        if news {
            let to = (&life.user, Some(self.instance.as_str()));
            state.deliver(to, &Record::Needs, &self.place.written);
        }
        Standing { rank, at, others }
    }

    fn publish_now(&self, life: &Life, fence: Stamp, record: &Record) -> Fate {
        let mut state = self.state();
        let leads = state.users.get(&life.user).is_some_and(|user| {
            user.lease.as_ref().is_some_and(|(epoch, last, until)| {
                (epoch, *last) == (&life.epoch, fence) && *until > Instant::now()
            })
        });
        if !leads {
            return Fate::Refused;
        }
        state.last += 1;
        let to = (&life.user, Some(self.instance.as_str()));
        state.deliver(to, record, &self.place.written);
        Fate::Taken(state.last)
    }

    fn release_now(&self, life: &Life) {
        let mut state = self.state();
        let Some(user) = state.users.get_mut(&life.user) else {
            return;
        };
        user.needs.remove(&life.epoch);
        if user
            .lease
            .as_ref()
            .is_some_and(|(epoch, ..)| *epoch == life.epoch)
        {
            user.lease = None;
            state.last += 1;
            let to = (&life.user, Some(self.instance.as_str()));
            state.deliver(to, &Record::Released, &self.place.written);
        }
        if state
            .users
            .get(&life.user)
            .is_some_and(|user| user.needs.is_empty())
        {
            state.users.remove(&life.user);
        }
    }

    fn take_letters(&self) -> Vec<Letter> {
        self.state()
            .inboxes
            .remove(&self.instance)
            .unwrap_or_default()
            .into()
    }
}

impl Coordinator for Memory {
    fn is_shared(&self) -> bool {
        Arc::strong_count(&self.place) > 1
    }

    fn claim<'a>(
        &'a self,
        life: &'a Life,
        needs: &'a Needs,
        news: bool,
    ) -> BoxFuture<'a, Result<Standing, Lost>> {
        Box::pin(async move { Ok(self.claim_now(life, needs, news)) })
    }

    fn publish<'a>(
        &'a self,
        life: &'a Life,
        fence: Stamp,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Fate, Lost>> {
        Box::pin(async move { Ok(self.publish_now(life, fence, record)) })
    }

    fn release<'a>(&'a self, life: &'a Life) -> BoxFuture<'a, Result<(), Lost>> {
        Box::pin(async move {
            self.release_now(life);
            Ok(())
        })
    }

    fn post<'a>(&'a self, user: &'a UserId, record: &'a Record) -> BoxFuture<'a, Result<(), Lost>> {
        Box::pin(async move {
            let mut state = self.state();
            state.last += 1;
            state.deliver((user, None), record, &self.place.written);
            Ok(())
        })
    }

    fn probe_write(&self) -> BoxFuture<'_, Result<(), Lost>> {
        Box::pin(async { Ok(()) })
    }

    fn letters(&self) -> BoxFuture<'_, Result<Vec<Letter>, Lost>> {
        Box::pin(async {
            loop {
                let written = self.place.written.notified();
                tokio::pin!(written);
                // What is written from here on wakes it.
                written.as_mut().enable();
                let letters = self.take_letters();
                if !letters.is_empty() {
                    return Ok(letters);
                }
                written.await;
            }
        })
    }

    fn keep<'a>(
        &'a self,
        name: &'a str,
        sealed: Sealed,
        life: Duration,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, Lost>> {
        Box::pin(async move {
            let now = Instant::now();
            let mut state = self.state();
            state.kept.retain(|_, (_, until)| *until > now);
            let held = state.kept.get(name).map(|(held, _)| held);
            if let Some(held) = held.filter(|held| held.bytes.is_empty() || held.version > sealed.version) {
                return Ok(Some(held.bytes.clone()));
            }
            state.kept.insert(name.to_owned(), (sealed, now + life));
            Ok(None)
        })
    }

    fn note_over<'a>(&'a self, name: &'a str, life: Duration) -> BoxFuture<'a, Result<(), Lost>> {
        Box::pin(async move {
            let over = Sealed {
                version: 0,
                bytes: Vec::new(),
            };
            let until = Instant::now() + life;
            self.state().kept.insert(name.to_owned(), (over, until));
            Ok(())
        })
    }

    fn kept<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, Lost>> {
        Box::pin(async move {
            let state = self.state();
            let found = state.kept.get(name);
            Ok(found
                .filter(|(_, until)| *until > Instant::now())
                .map(|(sealed, _)| sealed.bytes.clone()))
        })
    }

    fn lock<'a>(&'a self, name: &'a str, life: Duration) -> BoxFuture<'a, Result<bool, Lost>> {
        Box::pin(async move {
            let now = Instant::now();
            let mut state = self.state();
            state.locks.retain(|_, (_, until)| *until > now);
            let is_free = !state.locks.contains_key(name);
            if is_free {
                state
                    .locks
                    .insert(name.to_owned(), (self.instance.clone(), now + life));
            }
            Ok(is_free)
        })
    }

    fn unlock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Lost>> {
        Box::pin(async move {
            let mut state = self.state();
            if state
                .locks
                .get(name)
                .is_some_and(|(holder, _)| *holder == self.instance)
            {
                state.locks.remove(name);
            }
            Ok(())
        })
    }
}
