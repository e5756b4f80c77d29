//! Connections that are no sessions, and which of them end when descriptors are short or an address has its share. Pure.

use crate::access::{Permit, Permits};
use crate::model::Mono;
use crate::net::give_way::{Candidate, order};
use crate::net::phase::Phase;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use slab::Slab;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

/// Descriptors beside those of clients' connections: a log that is opened again, files of the page.
const SPARE: u32 = 4;
/// After a look that found no connection to end, the next one is so much later.
const AGAIN: Duration = Duration::from_millis(5);

/// A connection that is no session.
#[derive(Debug)]
struct Held {
    address: IpAddr,
    trusted: bool,
    phase: Phase,
}

/// Connections that may end next, in order. Some may have got a request since.
#[derive(Debug, Default)]
struct Next {
    queue: VecDeque<Candidate>,
    looked: Mono,
}

/// Room for connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// From this many connections on, each newcomer takes the place of another.
    pub most: u32,
    /// No more than so many at any time: what is above `most` is for newcomers until another has ended.
    pub all: u32,
}

impl Room {
    /// The room in a process that may have `files` descriptors, of which it uses `own` for itself.
    #[must_use]
    pub fn of(files: u64, own: u32) -> Self {
        let all = u32::try_from(files).unwrap_or(u32::MAX).saturating_sub(own);
        let reserve = (all / 64).clamp(2 * SPARE, 256).min(all / 2);
        Self { most: all - reserve, all: all - reserve.min(SPARE) }
    }
}

/// The connections of a worker.
#[derive(Debug)]
pub(in crate::worker) struct Crowd {
    /// All connections, those of sessions among them.
    permits: Permits,
    held: Slab<Held>,
    /// How many of the held ones were told to end.
    leaving: u32,
    /// By address; `None`: all addresses.
    next: HashMap<Option<IpAddr>, Next, RandomState>,
    /// Descriptors that the process uses for itself.
    own: u32,
}

impl Crowd {
    pub fn new(own: u32) -> Self {
        let (permits, held, next) = (Permits::default(), Slab::new(), HashMap::default());
        Self { permits, held, leaving: 0, next, own }
    }

    /// Room for connections where the process may have so many descriptors.
    pub fn room(&self, files: u64) -> Room {
        Room::of(files, self.own)
    }

    /// How many connections there are.
    pub fn all(&self) -> u32 {
        self.permits.all()
    }

    /// How many connections an address has that do not end.
    pub fn of(&self, address: IpAddr) -> u32 {
        self.permits.of(address)
    }

    /// Counts a connection that has been accepted.
    pub fn came(&self, address: IpAddr) -> Permit {
        self.permits.take(address)
    }

    /// A connection will be served; returns its name here.
    pub fn enter(&mut self, address: IpAddr, trusted: bool, phase: Phase) -> usize {
        self.held.insert(Held { address, trusted, phase })
    }

    /// A proxy has said whose connection this is.
    pub fn rename(&mut self, key: usize, address: IpAddr, trusted: bool) {
        if let Some(held) = self.held.get_mut(key) {
            (held.address, held.trusted) = (address, trusted);
        }
    }

    /// A connection has ended, or has become a session.
    pub fn leave(&mut self, key: usize) {
        if self.held.try_remove(key).is_some_and(|held| held.phase.yields()) {
            self.leaving -= 1;
        }
    }

    /// Whether one more connection than those that stay would be too many.
    pub fn is_short(&self, room: Room) -> bool {
        self.permits.all().saturating_sub(self.leaving) >= room.most
    }

    /// Ends the connection that loses the least by it, of all or of one address. False: there is none.
    pub fn give_way(&mut self, of: Option<IpAddr>, now: Mono) -> bool {
        if self.next.len() > 64 {
            self.next.clear();
        }
        let next = self.next.entry(of).or_default();
        if !Self::tell(&self.held, next) {
            if next.looked != Mono(0) && now.since(next.looked) < AGAIN && next.queue.is_empty() {
                return false;
            }
            let candidates = candidates(&self.held, of);
            let most = 1 + candidates.len() / 16;
            next.queue = order(candidates, most).into();
            if !Self::tell(&self.held, next) {
                next.looked = now;
                return false;
            }
        }
        next.looked = Mono(0);
        self.leaving += 1;
        true
    }

    /// Tells the next of a queue that is as it was.
    fn tell(held: &Slab<Held>, next: &mut Next) -> bool {
        while let Some(candidate) = next.queue.pop_front() {
            if let Some(held) = held.get(candidate.key)
                && held.phase.waits() == Some((candidate.rank, candidate.since))
            {
                held.phase.give_way();
                return true;
            }
        }
        false
    }
}

fn candidates(held: &Slab<Held>, of: Option<IpAddr>) -> Vec<Candidate> {
    let those = held.iter().filter(|(_, held)| of.is_none_or(|address| held.address == address));
    let waiting = those.filter_map(|(key, held)| {
        let (rank, since) = held.phase.waits()?;
        let Held { address, trusted, .. } = *held;
        Some(Candidate { key, address, trusted, rank, since })
    });
    waiting.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn there_is_always_a_reserve() {
        assert_eq!(Room::of(100, 20), Room { most: 72, all: 76 });
        assert_eq!(Room::of(1024, 24), Room { most: 985, all: 996 });
        assert_eq!(Room::of(1 << 20, 24), Room { most: 1_048_296, all: 1_048_548 });
        for files in 0..200 {
            let Room { most, all } = Room::of(files, 20);
            assert!(most <= all && u64::from(all) <= files.saturating_sub(20));
            assert!(files < 22 || most > 0, "somebody is served: {files}");
        }
    }

    #[derive(Clone, Debug)]
    enum Event {
        Comes(u8),
        Begins(usize),
        Answers(usize),
        Goes(usize),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            5 => (0..3u8).prop_map(Event::Comes),
            2 => any::<usize>().prop_map(Event::Begins),
            2 => any::<usize>().prop_map(Event::Answers),
            1 => any::<usize>().prop_map(Event::Goes),
        ]
    }

    proptest! {
        /// Newcomers take the places of idle ones; who is served is never touched; nothing is left behind.
        #[test]
        fn there_are_never_more_than_fit(events in proptest::collection::vec(event(), 1..200)) {
            let (mut crowd, room) = (Crowd::new(0), Room { most: 6, all: 8 });
            let mut now = Mono(1);
            let mut here: Vec<(usize, Permit, Phase, Option<crate::net::phase::Serving>)> = Vec::new();
            for event in events {
                now = now.after(AGAIN);
                let count = here.len().max(1);
                match event {
                    Event::Comes(last) => {
                        let address = IpAddr::from([10, 0, 0, last]);
                        let short = crowd.is_short(room);
                        let idle = here.iter().any(|(.., phase, _)| phase.waits().is_some());
                        prop_assert!(!short || crowd.give_way(None, now) == idle);
                        if crowd.all() < room.all {
                            let (permit, phase) = (crowd.came(address), Phase::new());
                            let key = crowd.enter(address, false, phase.clone());
                            here.push((key, permit, phase, None));
                        }
                    }
                    Event::Begins(at) if !here.is_empty() => {
                        let one = &mut here[at % count];
                        one.3.get_or_insert_with(|| one.2.begin());
                    }
                    Event::Answers(at) if !here.is_empty() => here[at % count].3 = None,
                    Event::Goes(at) if !here.is_empty() => {
                        let (key, ..) = here.swap_remove(at % count);
                        crowd.leave(key);
                    }
                    _ => {}
                }
                // Those that were told end as soon as they are answered.
                here.retain(|(key, _, phase, serving)| {
                    let ends = phase.yields() && serving.is_none();
                    if ends {
                        crowd.leave(*key);
                    }
                    !ends
                });
                prop_assert!(here.len() as u32 <= room.all && crowd.all() as usize == here.len());
            }
            here.drain(..).for_each(|(key, ..)| crowd.leave(key));
            prop_assert_eq!((crowd.all(), crowd.leaving, crowd.held.len()), (0, 0, 0));
        }
    }
}
