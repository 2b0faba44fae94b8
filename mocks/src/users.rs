//! Everybody: found by name, by subject, and by what they sign in with, however many there are.

use std::collections::{BTreeMap, BTreeSet, btree_map::Iter};

use crate::world::User;

/// All users by the name that the world knows them by. Subject, realm and username of one who is in it stay.
#[derive(Debug, Default)]
pub(crate) struct Users {
    people: BTreeMap<String, User>,
    /// Names by subject.
    subjects: BTreeMap<String, String>,
    /// Names by realm and username in lower case: accounts may differ in nothing but that.
    accounts: BTreeMap<(String, String), BTreeSet<String>>,
}

impl Users {
    pub(crate) fn insert(&mut self, name: String, user: User) {
        self.remove(&name);
        self.subjects.insert(user.subject.clone(), name.clone());
        let account = account_key(&user.account.realm, &user.account.username);
        self.accounts.entry(account).or_default().insert(name.clone());
        self.people.insert(name, user);
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<User> {
        let user = self.people.remove(name)?;
        self.subjects.remove(&user.subject);
        let account = account_key(&user.account.realm, &user.account.username);
        if let Some(names) = self.accounts.get_mut(&account) {
            names.remove(name);
            if names.is_empty() {
                self.accounts.remove(&account);
            }
        }
        Some(user)
    }

    pub(crate) fn contains_key(&self, name: &str) -> bool {
        self.people.contains_key(name)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&User> {
        self.people.get(name)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut User> {
        self.people.get_mut(name)
    }

    /// The user with this subject, by name.
    pub(crate) fn by_subject(&self, subject: &str) -> Option<(&String, &User)> {
        self.people.get_key_value(self.subjects.get(subject)?)
    }

    /// The user who signs in at this realm by this name, in whatever case.
    pub(crate) fn by_account(&self, realm: &str, username: &str) -> Option<(&String, &User)> {
        let names = self.accounts.get(&account_key(realm, username))?;
        self.people.get_key_value(names.first()?)
    }

    /// All of them, by name.
    pub(crate) fn iter(&self) -> Iter<'_, String, User> {
        self.people.iter()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &String> {
        self.people.keys()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &User> {
        self.people.values()
    }
}

fn account_key(realm: &str, username: &str) -> (String, String) {
    (realm.to_owned(), username.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{backend::items::Items, order::UserSpec, world::Account};

    fn user(subject: &str, username: &str) -> User {
        let account = Account::new("Renku", username, Timestamp::UNIX_EPOCH);
        let items = Items::new("user/x", 10);
        User::new(items, UserSpec::default(), (subject.to_owned(), account))
    }

    #[test]
    fn a_user_is_found_in_every_way_until_taken_away() {
        let mut users = Users::default();
        users.insert("ada".into(), user("s-1", "ada"));
        users.insert("Ada".into(), user("s-2", "Ada"));
        users.insert("ada".into(), user("s-3", "ada"));
        let found = |users: &Users, subject: &str| users.by_subject(subject).map(|(name, _)| name.clone());
        let signed_in = |users: &Users| {
            users
                .by_account("Renku", "ADA")
                .map(|(_, user)| user.subject.clone())
        };

        assert_eq!(found(&users, "s-1"), None);
        assert_eq!(found(&users, "s-2").as_deref(), Some("Ada"));
        assert_eq!(found(&users, "s-3").as_deref(), Some("ada"));
        assert_eq!(signed_in(&users).as_deref(), Some("s-2"));
        users.remove("Ada");
        assert_eq!(signed_in(&users).as_deref(), Some("s-3"));
        users.remove("ada");
        assert_eq!((found(&users, "s-3"), signed_in(&users)), (None, None));
        assert_eq!((users.iter().count(), users.accounts.len()), (0, 0));
    }
}
