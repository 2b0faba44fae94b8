//! What goes wrong with a list that is polled (MOCKS B2): an old one, a hole in it, half of it, somebody else's.

use std::{collections::VecDeque, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A misbehaviour of the lists that are polled: backend sessions, V2 and V1. A list the other way round is
/// `reorder`, one that comes later than the next poll `delay`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PollFault {
    /// The list as it was before its last change.
    Stale,
    /// One of the sessions is missing; once unless told.
    Flicker,
    /// The second half is missing.
    Partial,
    /// The caller is taken for nobody.
    Anonymous,
}

impl fmt::Display for PollFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stale => "stale",
            Self::Flicker => "flicker",
            Self::Partial => "partial",
            Self::Anonymous => "anonymous",
        })
    }
}

/// The lists that were answered last: the newest, and the one before it.
const KEPT: usize = 2;

/// What polls of one list were answered.
#[derive(Debug)]
pub(crate) struct Polled<T>(VecDeque<Vec<T>>);

impl<T> Default for Polled<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Clone + PartialEq> Polled<T> {
    /// The answer to a poll while the list is so. `draw` gives a number below the one it is given.
    pub(crate) fn answer(
        &mut self,
        list: Vec<T>,
        fault: Option<PollFault>,
        draw: impl FnOnce(u64) -> u64,
    ) -> Vec<T> {
        let mut answer = list.clone();
        match fault {
            None | Some(PollFault::Anonymous) => {
                self.keep(list);
            }
            Some(PollFault::Stale) => {
                let older = self.0.iter().rev().find(|answered| **answered != list);
                return older.cloned().unwrap_or(list);
            }
            Some(PollFault::Flicker) => {
                let missing = usize::try_from(draw(answer.len() as u64)).unwrap_or(0);
                if missing < answer.len() {
                    answer.remove(missing);
                }
            }
            Some(PollFault::Partial) => answer.truncate(answer.len() / 2),
        }
        answer
    }

    fn keep(&mut self, list: Vec<T>) {
        if self.0.back() == Some(&list) {
            return;
        }
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(polled: &mut Polled<u32>, list: &[u32], fault: Option<PollFault>) -> Vec<u32> {
        polled.answer(list.to_vec(), fault, |_| 1)
    }

    #[test]
    fn a_stale_answer_is_the_one_before_the_last_change() {
        let mut polled = Polled::default();
        let stale = Some(PollFault::Stale);

        assert_eq!(answer(&mut polled, &[1], stale), [1]);
        for list in [&[1][..], &[1, 2], &[1, 2]] {
            answer(&mut polled, list, None);
        }

        assert_eq!(answer(&mut polled, &[1, 2], stale), [1]);
        assert_eq!(answer(&mut polled, &[1, 2, 3], stale), [1, 2]);
    }

    #[test]
    fn a_flicker_loses_one_and_a_partial_answer_half() {
        let mut polled = Polled::default();

        assert_eq!(answer(&mut polled, &[1, 2, 3], Some(PollFault::Flicker)), [1, 3]);
        assert!(answer(&mut polled, &[], Some(PollFault::Flicker)).is_empty());
        assert_eq!(answer(&mut polled, &[1, 2, 3], Some(PollFault::Partial)), [1]);
    }
}
