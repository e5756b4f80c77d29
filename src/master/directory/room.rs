//! How many sessions there may be, of all and of one address, and who gives way to a newcomer.

use super::ceilings::{Held, Relief, Use};
use super::{Directory, Entry};
use crate::access::Measure;
use crate::config::{LimitsSection, Share, is_local, quarter};
use crate::model::SessionId;
use crate::protocol::cluster::{Endpoint, Generation, Transport, Verdict};
use std::net::IpAddr;

/// What is there of it, and how much of that one address has.
#[derive(Clone, Copy, Debug)]
struct Room {
    held: u32,
    most: u32,
    own: u32,
}

impl Directory {
    /// Measures what a session would use: a place of `limits.sessions`, else a descriptor or the memory of a poll.
    fn measure(&self, wanted: Use, limits: &LimitsSection) -> Room {
        let Use { transport, address } = wanted;
        let own = self.addresses.get(&address).copied().unwrap_or_default();
        let polling = self.transports[Transport::Poll as usize];
        let all = u32::try_from(self.sessions.len()).unwrap_or(u32::MAX);
        if limits.sessions > 0 {
            return Room { held: all, most: limits.sessions, own: own.all() };
        }
        match transport {
            Transport::Poll => Room { held: polling, most: self.ceilings.polling, own: own.polling },
            _ => Room { held: all - polling, most: self.ceilings.connected, own: own.connected },
        }
    }

    /// Whether there is no room for another one.
    pub(super) fn is_full(&self, wanted: Use, limits: &LimitsSection) -> bool {
        let Room { held, most, .. } = self.measure(wanted, limits);
        let polls = wanted.transport == Transport::Poll;
        held >= most || (polls && self.transports[Transport::Poll as usize] >= self.ceilings.polling)
    }

    /// Whether the address has its share.
    pub(super) fn has_share(&self, wanted: Use, limits: &LimitsSection) -> bool {
        let Room { most, own, .. } = self.measure(wanted, limits);
        let own = match limits.sessions_per_address {
            Share::Auto => own,
            Share::Most(_) => self.addresses.get(&wanted.address).map_or(0, |held| held.all()),
        };
        limits.sessions_per_address.of(most, wanted.address).is_some_and(|share| own >= share)
    }

    /// The session that ends so that a refused one finds room: one that polls and whose client has not come back, else
    /// one of a local address that has more than its share. `None`: no end of another one helps.
    pub(super) fn victim(&self, who: (Endpoint, &str), wanted: Use, limits: &LimitsSection) -> Option<u32> {
        // A poll leaves no descriptor behind.
        let helps = limits.sessions > 0 || wanted.transport == Transport::Poll;
        let found = match self.count_own(who, wanted, limits) {
            Verdict::Accepted if helps => self.untaken.next(Measure::Things),
            Verdict::AddressLimit if helps || limits.sessions_per_address != Share::Auto => {
                self.untaken.next_of(wanted.address)
            }
            Verdict::Accepted => None,
            _ => return None,
        };
        match found {
            Some(session) => self.find(session),
            None => self.beyond_share(wanted, limits),
        }
    }

    /// A session of a local address that has more than a quarter, if the newcomer's has less.
    fn beyond_share(&self, wanted: Use, limits: &LimitsSection) -> Option<u32> {
        let Room { most, own, .. } = self.measure(wanted, limits);
        if limits.sessions_per_address != Share::Auto || own >= quarter(most) {
            return None;
        }
        let has = |held: &Held| if limits.sessions > 0 { held.all() } else { held.of(wanted.transport) };
        let locals =
            self.locals.iter().filter_map(|address| Some((has(self.addresses.get(address)?), *address)));
        let (count, address) = locals.max()?;
        if count <= quarter(most) {
            return None;
        }
        let same =
            |entry: &Entry| limits.sessions > 0 || is_poll(entry.transport) == is_poll(wanted.transport);
        let fits = |(_, entry): &(usize, &Entry)| entry.address == address && same(entry);
        // That address has a quarter of all: some steps from any place there is one of its own.
        let from = self.hand as usize;
        let found =
            (from..self.sessions.capacity()).find_map(|at| Some((at, self.sessions.get(at)?)).filter(fits));
        let found = found.or_else(|| self.sessions.iter().find(fits));
        found.and_then(|(at, _)| u32::try_from(at).ok())
    }

    /// Ends a session for another one.
    pub(super) fn evict(&mut self, at: u32) {
        self.hand = at;
        let (worker, session) = self.take_out(at);
        self.relief.push(Relief::Evicted { worker, session });
    }

    /// Ends a stream for a newer one of its user.
    pub(super) fn replace(&mut self, at: u32) {
        let (worker, session) = self.take_out(at);
        self.relief.push(Relief::Replaced { worker, session });
    }

    /// Ends a session, which its worker has until it says that it has ended.
    fn take_out(&mut self, at: u32) -> (Generation, SessionId) {
        let Entry { id, worker, .. } = self.sessions[at as usize];
        self.end(at);
        if let Some(process) = self.workers.get_mut(&worker) {
            process.add_tombstone(id, None);
        }
        (worker, id)
    }

    /// Lets the worker with most polls end one if there is little room, and few of those that nobody has taken up. A
    /// poll that is taken up gives way only so: its worker knows how long its client has been away.
    pub(super) fn relieve(&mut self, wanted: Use, limits: &LimitsSection) {
        let polling = self.transports[Transport::Poll as usize];
        let Room { held, most, .. } = self.measure(wanted, limits);
        let polls =
            is_poll(wanted.transport) && polling + self.ceilings.polling / 16 >= self.ceilings.polling;
        let all = (limits.sessions > 0 || is_poll(wanted.transport)) && held + most / 16 >= most;
        // Those that nobody has taken up give way before.
        if self.are_few_untaken(most) && polling > 0 && (polls || all) {
            let fullest = self.workers.iter().max_by_key(|(_, process)| process.polls);
            self.relief.extend(fullest.map(|(worker, _)| Relief::Shed { worker: *worker }));
        }
    }

    /// Whether few polls are left that nobody has taken up: those give way first.
    fn are_few_untaken(&self, most: u32) -> bool {
        self.untaken.len() < (most / 16).max(1) as usize
    }

    /// Lets workers look for sessions whose clients were never heard if there is little room for another connection, of
    /// all or of one address. A worker asks a client before its session ends.
    pub(super) fn look_for_silent(&mut self, wanted: Use, limits: &LimitsSection) {
        if is_poll(wanted.transport) && limits.sessions == 0 {
            return;
        }
        let Room { held, most, own } = self.measure(wanted, limits);
        if limits.sessions > 0 && !self.are_few_untaken(most) {
            return;
        }
        let is_short = |held: u32, most: u32| held + most / 16 >= most;
        let share = limits.sessions_per_address.of(most, wanted.address);
        let of = share.is_some_and(|share| is_short(own, share)).then_some(wanted.address);
        if of.is_none() && !is_short(held, most) {
            return;
        }
        let workers = self.workers.iter().filter(|(_, process)| process.sessions > process.polls);
        self.relief.extend(workers.map(|(worker, _)| Relief::Silent { worker: *worker, of }));
    }

    /// What makes room since the last call: to be told to the workers.
    pub fn take_relief(&mut self) -> Vec<Relief> {
        std::mem::take(&mut self.relief)
    }

    /// The client of a polling session has come back with its cursor.
    pub fn taken_up(&mut self, worker: Generation, session: SessionId) {
        if self.find(session).is_some_and(|at| self.sessions[at as usize].worker == worker) {
            self.untaken.remove(session);
        }
    }

    /// Counts a session of an address, or one less.
    pub(super) fn count_address(&mut self, open: (IpAddr, Transport), comes: bool) {
        let (address, transport) = open;
        let held = self.addresses.entry(address).or_default();
        let count = held.of_mut(transport);
        *count = if comes { *count + 1 } else { *count - 1 };
        let gone = held.all() == 0;
        if gone {
            self.addresses.remove(&address);
        }
        if is_local(address) {
            if gone {
                self.locals.remove(&address)
            } else {
                self.locals.insert(address)
            };
        }
    }
}

fn is_poll(transport: Transport) -> bool {
    transport == Transport::Poll
}
