//! How many sessions there may be, of all and of one address, and who gives way to a newcomer.

use super::ceilings::{Evicted, Held, Use};
use super::{Directory, Entry};
use crate::config::{LimitsSection, Share, is_local, quarter};
use crate::model::SessionId;
use crate::protocol::cluster::{Endpoint, Generation, Transport, Verdict};
use std::net::IpAddr;

/// What is there of it, and how much of that one address has.
#[derive(Clone, Copy, Debug)]
struct Measure {
    held: u32,
    most: u32,
    own: u32,
}

impl Directory {
    /// Measures what a session would use: a place of `limits.sessions`, else a descriptor or the memory of a poll.
    fn measure(&self, wanted: Use, limits: &LimitsSection) -> Measure {
        let Use { transport, address } = wanted;
        let own = self.addresses.get(&address).copied().unwrap_or_default();
        let polling = self.transports[Transport::Poll as usize];
        let all = u32::try_from(self.sessions.len()).unwrap_or(u32::MAX);
        if limits.sessions > 0 {
            return Measure { held: all, most: limits.sessions, own: own.all() };
        }
        match transport {
            Transport::Poll => Measure { held: polling, most: self.ceilings.polling, own: own.polling },
            _ => Measure { held: all - polling, most: self.ceilings.connected, own: own.connected },
        }
    }

    /// Whether there is no room for another one.
    pub(super) fn is_full(&self, wanted: Use, limits: &LimitsSection) -> bool {
        let Measure { held, most, .. } = self.measure(wanted, limits);
        let polls = wanted.transport == Transport::Poll;
        held >= most || (polls && self.transports[Transport::Poll as usize] >= self.ceilings.polling)
    }

    /// Whether the address has its share.
    pub(super) fn has_share(&self, wanted: Use, limits: &LimitsSection) -> bool {
        let Measure { most, own, .. } = self.measure(wanted, limits);
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
            Verdict::Accepted if helps => self.untaken.first(),
            Verdict::AddressLimit if helps || limits.sessions_per_address != Share::Auto => {
                self.untaken.oldest_of(wanted.address)
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
        let Measure { most, own, .. } = self.measure(wanted, limits);
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

    /// Ends a session for another one. Its worker has it until it says so.
    pub(super) fn evict(&mut self, at: u32) {
        let Entry { id, worker, .. } = self.sessions[at as usize];
        self.hand = at;
        self.end(at);
        if let Some(process) = self.workers.get_mut(&worker) {
            process.add_tombstone(id);
        }
        self.evicted.push(Evicted { worker, session: id });
    }

    /// The sessions that ended for others since the last call: their workers are to be told.
    pub fn take_evicted(&mut self) -> Vec<Evicted> {
        std::mem::take(&mut self.evicted)
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
