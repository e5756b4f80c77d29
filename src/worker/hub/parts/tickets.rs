//! Orders to deliver that are on their way in this worker. Each is reported to the master exactly once: when no session
//! has to get it any more, or when its time is over. Pure: the caller sends the reports.

use crate::model::give_back;
use crate::protocol::cluster::Tally;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// A ticket of a worker that has died, in the worker that adopted its sessions: it may have one of its own of that
/// number. The master's numbers do not have this bit.
pub const MISSED: u64 = 1 << 63;

/// An order of which some sessions still wait.
#[derive(Debug)]
struct Ticket {
    waiting: u32,
    tally: Tally,
}

/// The end of an order in this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    pub ticket: u64,
    pub tally: Tally,
}

/// The orders on their way, by the master's number.
#[derive(Debug, Default)]
pub struct Tickets {
    open: HashMap<u64, Ticket, RandomState>,
}

impl Tickets {
    /// Gives memory back after a peak.
    pub fn tidy(&mut self) {
        give_back(&mut self.open);
    }

    /// An order was handed to its sessions: `tally` counts those where it ended at once, `waiting` the others.
    pub fn open(&mut self, ticket: u64, tally: Tally, waiting: u32) -> Option<Report> {
        if waiting == 0 {
            return Some(Report { ticket, tally });
        }
        self.open.insert(ticket, Ticket { waiting, tally });
        None
    }

    /// The master is gone: nobody waits for a report.
    pub fn master_lost(&mut self) {
        self.open.clear();
    }

    /// A session has it.
    pub fn delivered(&mut self, ticket: u64) -> Option<Report> {
        self.done(ticket, |tally| tally.delivered += 1)
    }

    /// A session ended before it had it. If it is `kept` for a client that comes back, nobody knows.
    pub fn lost(&mut self, ticket: u64, kept: bool) -> Option<Report> {
        self.done(ticket, |tally| tally.waiting += u32::from(kept))
    }

    /// The time of an order is over: sessions that still wait are counted as unknown.
    pub fn over(&mut self, ticket: u64) -> Option<Report> {
        let Ticket { waiting, tally } = self.open.remove(&ticket)?;
        Some(Report { ticket, tally: Tally { waiting: tally.waiting + waiting, ..tally } })
    }

    fn done(&mut self, ticket: u64, count: impl FnOnce(&mut Tally)) -> Option<Report> {
        let open = self.open.get_mut(&ticket)?;
        open.waiting -= 1;
        count(&mut open.tally);
        if open.waiting == 0 { self.over(ticket) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// What may happen; numbers pick among the tickets so far.
    #[derive(Clone, Debug)]
    enum Event {
        /// To so many sessions that have it, are too slow, wait.
        Open(u32, u32, u32),
        Delivered(usize),
        Lost(usize, bool),
        Over(usize),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => (0..3u32, 0..3u32, 0..4u32).prop_map(|(d, s, w)| Event::Open(d, s, w)),
            5 => any::<usize>().prop_map(Event::Delivered),
            3 => (any::<usize>(), any::<bool>()).prop_map(|(n, kept)| Event::Lost(n, kept)),
            1 => any::<usize>().prop_map(Event::Over),
        ]
    }

    /// What each session of a ticket came to.
    #[derive(Clone, Copy, Debug, Default)]
    struct Model {
        has: u32,
        slow: u32,
        waits: u32,
        unknown: u32,
    }

    #[derive(Debug, Default)]
    struct World {
        tickets: Tickets,
        models: Vec<Model>,
        reports: BTreeMap<u64, Tally>,
    }

    impl World {
        fn hear(&mut self, report: Option<Report>) {
            let Some(Report { ticket, tally }) = report else { return };
            assert_eq!(self.reports.insert(ticket, tally), None, "once");
        }

        /// A session of a ticket that waits is told so; one session is told at most once.
        fn waits(&mut self, n: usize) -> Option<(u64, &mut Model)> {
            let n = n.checked_rem(self.models.len())?;
            self.models[n].waits = self.models[n].waits.checked_sub(1)?;
            Some((n as u64, &mut self.models[n]))
        }

        fn step(&mut self, event: &Event) {
            let report = match *event {
                Event::Open(has, slow, waits) => {
                    self.models.push(Model { has, slow, waits, unknown: 0 });
                    let tally = Tally { delivered: has, slow, ..Tally::default() };
                    self.tickets.open(self.models.len() as u64 - 1, tally, waits)
                }
                Event::Delivered(n) => {
                    let Some((ticket, model)) = self.waits(n) else { return };
                    model.has += 1;
                    self.tickets.delivered(ticket)
                }
                Event::Lost(n, kept) => {
                    let Some((ticket, model)) = self.waits(n) else { return };
                    model.unknown += u32::from(kept);
                    self.tickets.lost(ticket, kept)
                }
                Event::Over(n) => {
                    let Some(n) = n.checked_rem(self.models.len()) else { return };
                    self.tickets.over(n as u64)
                }
            };
            // The counts of the moment at which it is reported are the true ones; what comes later changes nothing.
            if let Some(Report { ticket, tally }) = report {
                let Model { has, slow, waits, unknown } = self.models[ticket as usize];
                assert_eq!((tally.delivered, tally.slow, tally.waiting), (has, slow, waits + unknown));
            }
            self.hear(report);
        }
    }

    proptest! {
        #[test]
        fn every_ticket_is_reported_once_with_true_counts(events in vec(event(), 1..60)) {
            let mut world = World::default();
            for event in &events {
                world.step(event);
                for (n, model) in world.models.iter().enumerate() {
                    prop_assert!(model.waits > 0 || world.reports.contains_key(&(n as u64)), "nobody waits for {}", n);
                }
            }
            for n in 0..world.models.len() {
                world.step(&Event::Over(n));
            }
            prop_assert_eq!(world.reports.len(), world.models.len());
            prop_assert!(world.tickets.open.is_empty());
        }
    }

    #[test]
    fn a_ticket_that_nobody_knows_is_no_ticket() {
        let mut tickets = Tickets::default();
        assert_eq!((tickets.delivered(7), tickets.lost(7, true), tickets.over(7)), (None, None, None));
    }
}
