//! How many connections each address has. A permit counts for as long as a copy of it lives, so no count is left behind.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Counts {
    all: u32,
    addresses: HashMap<IpAddr, u32, RandomState>,
}

/// Counts of all addresses.
#[derive(Clone, Debug, Default)]
pub struct Permits(Arc<Mutex<Counts>>);

/// One connection of an address. Copies count as one.
#[derive(Clone, Debug)]
pub struct Permit(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    permits: Permits,
    address: IpAddr,
}

impl Permits {
    /// Counts a connection of an address, as limits count it.
    #[must_use]
    pub fn take(&self, address: IpAddr) -> Permit {
        let mut counts = self.lock();
        counts.all += 1;
        *counts.addresses.entry(address).or_default() += 1;
        drop(counts);
        Permit(Arc::new(Counted { permits: self.clone(), address }))
    }

    /// How many there are.
    #[must_use]
    pub fn all(&self) -> u32 {
        self.lock().all
    }

    /// How many one address has.
    #[must_use]
    pub fn of(&self, address: IpAddr) -> u32 {
        self.lock().addresses.get(&address).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Nothing under the lock panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The address that has the connection.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.0.address
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.permits.lock();
        counts.all -= 1;
        if let Some(count) = counts.addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.addresses.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Event {
        Take(u8),
        Copy(usize),
        Drop(usize),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => (0..4u8).prop_map(Event::Take),
            1 => any::<usize>().prop_map(Event::Copy),
            3 => any::<usize>().prop_map(Event::Drop),
        ]
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    proptest! {
        #[test]
        fn counts_are_those_of_the_permits_that_live(events in proptest::collection::vec(event(), 1..100)) {
            let counts = Permits::default();
            // Each with the number of the connection that it stands for.
            let (mut permits, mut number) = (Vec::<(u32, Permit)>::new(), 0);
            for event in events {
                match event {
                    Event::Take(last) => {
                        number += 1;
                        permits.push((number, counts.take(address(last))));
                    }
                    Event::Copy(at) if !permits.is_empty() => {
                        let copy = permits[at % permits.len()].clone();
                        permits.push(copy);
                    }
                    Event::Drop(at) if !permits.is_empty() => drop(permits.swap_remove(at % permits.len())),
                    Event::Copy(_) | Event::Drop(_) => {}
                }
                let living: BTreeMap<u32, IpAddr> =
                    permits.iter().map(|(number, permit)| (*number, permit.address())).collect();
                prop_assert_eq!(counts.all() as usize, living.len());
                for last in 0..4 {
                    let expected = living.values().filter(|found| **found == address(last)).count();
                    prop_assert_eq!(counts.of(address(last)) as usize, expected);
                }
            }
            permits.clear();
            prop_assert_eq!((counts.all(), counts.lock().addresses.len()), (0, 0));
        }
    }
}
