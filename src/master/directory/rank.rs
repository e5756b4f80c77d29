//! Users in the order of the statistics: most sessions first, then by name. The order is kept with each change, so
//! that reading the first users, each second, costs only what is read. Ids that are addresses are not shown to others.

use super::users::Users;
use crate::model::UserId;
use std::cmp::Reverse;
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub(super) struct Rank {
    order: BTreeSet<(Reverse<u32>, UserId)>,
}

impl Rank {
    pub(super) fn of(users: &Users) -> Self {
        let named = users.iter().filter(|user| !user.id.is_shared());
        Self { order: named.map(|user| (Reverse(user.sessions), user.id.clone())).collect() }
    }

    pub(super) fn change(&mut self, user: &UserId, before: u32, after: u32) {
        if user.is_shared() {
            return;
        }
        if before > 0 {
            self.order.remove(&(Reverse(before), user.clone()));
        }
        if after > 0 {
            self.order.insert((Reverse(after), user.clone()));
        }
    }

    pub(super) fn first(&self, most: usize) -> impl Iterator<Item = &UserId> {
        self.order.iter().take(most).map(|(_, user)| user)
    }
}
