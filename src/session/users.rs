//! The sessions of each user in this worker.

use super::Key;
use crate::model::{UserId, give_back};
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;

#[derive(Debug)]
enum Keys {
    One(Key),
    Many(Vec<Key>),
}

/// From user to sessions. Most users have one: that costs no allocation of its own.
#[derive(Debug, Default)]
pub struct Users {
    // Ids come from strangers: the hash is seeded.
    map: HashMap<UserId, Keys, RandomState>,
}

impl Users {
    /// Adds a session. Returns the id as it is known here, so that all sessions of one user share its memory.
    pub fn insert(&mut self, user: &UserId, key: Key) -> UserId {
        match self.map.entry_ref(user.as_str()) {
            EntryRef::Occupied(mut entry) => {
                let keys = entry.get_mut();
                match keys {
                    Keys::One(first) => *keys = Keys::Many(vec![*first, key]),
                    Keys::Many(all) => all.push(key),
                }
                entry.key().clone()
            }
            EntryRef::Vacant(_) => {
                self.map.insert(user.clone(), Keys::One(key));
                user.clone()
            }
        }
    }

    /// Takes a session out.
    pub fn remove(&mut self, user: &UserId, key: Key) {
        let Some(keys) = self.map.get_mut(user.as_str()) else { return };
        let last = match keys {
            Keys::One(one) => *one == key,
            Keys::Many(all) => {
                all.retain(|k| *k != key);
                all.is_empty()
            }
        };
        if last {
            self.map.remove(user.as_str());
        }
    }

    /// Gives memory back after many users have gone.
    pub fn tidy(&mut self) {
        give_back(&mut self.map);
    }

    /// All sessions of that user.
    #[must_use]
    pub fn of(&self, user: &str) -> &[Key] {
        match self.map.get(user) {
            None => &[],
            Some(Keys::One(key)) => std::slice::from_ref(key),
            Some(Keys::Many(keys)) => keys,
        }
    }

    /// The number of users.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_one_user_are_found_and_forgotten() {
        let (mut users, ann) = (Users::default(), UserId::new("ann").unwrap());
        for key in 1..=3 {
            users.insert(&ann, key);
        }
        users.insert(&UserId::new("bob").unwrap(), 4);
        assert_eq!((users.of("ann"), users.of("bob"), users.of("eve")), (&[1, 2, 3][..], &[4][..], &[][..]));
        for key in [2, 1, 9, 3] {
            users.remove(&ann, key);
        }
        assert_eq!((users.of("ann"), users.len()), (&[][..], 1));
    }
}
