//! A bounded shelf: things by name, of which the oldest go when there is no room.

use std::collections::{BTreeMap, VecDeque};

/// Things by name.
#[derive(Debug)]
pub(crate) struct Shelf<T> {
    things: BTreeMap<String, T>,
    order: VecDeque<String>,
    limit: usize,
}

impl<T> Shelf<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            things: BTreeMap::new(),
            order: VecDeque::new(),
            limit: limit.max(1),
        }
    }

    /// Puts a thing there, instead of any of that name.
    pub(crate) fn put(&mut self, name: String, thing: T) {
        while self.order.len() >= self.limit {
            if let Some(oldest) = self.order.pop_front() {
                self.things.remove(&oldest);
            }
        }
        if self.things.insert(name.clone(), thing).is_none() {
            self.order.push_back(name);
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&T> {
        self.things.get(name)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.things.get_mut(name)
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<T> {
        let thing = self.things.remove(name)?;
        self.order.retain(|found| found != name);
        Some(thing)
    }

    /// All of them, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &T)> {
        self.order
            .iter()
            .filter_map(|name| self.things.get_key_value(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_thing_makes_room() {
        let mut shelf = Shelf::new(2);

        for name in ["c", "b", "a"] {
            shelf.put(name.to_owned(), ());
        }
        shelf.take("a");
        shelf.put("d".to_owned(), ());

        let names: Vec<_> = shelf.iter().map(|(name, ())| name.as_str()).collect();
        assert_eq!(names, ["b", "d"]);
    }
}
