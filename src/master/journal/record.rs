//! What is written down, and the state that records lead to. New variants go to the end.

use crate::access::tokens::Revocations;
use crate::master::feed::Kept;
use crate::model::{Mono, Quote, Symbol, Wall};
use crate::protocol::cluster::{Counters, Generation, Mark, Role, Slot};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// A process's counters. As JSON, so that a version with other counters can read them.
type CountersText<'a> = &'a str;

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::master) enum Record<'a> {
    /// The configuration in force as JSON, and its number.
    Config { json: &'a str, revision: u64 },
    /// The daemon as a whole.
    Life(Life),
    /// The supervisor's state, as it writes it.
    Fleet(&'a str),
    /// Reloads so far, as `Reloads` writes them.
    Reloads(&'a str),
    /// A price that was numbered.
    Price(Box<Quote>),
    /// A line of a file or a program.
    Line { of: &'a str, text: &'a str, mark: Option<Mark>, number: u64 },
    /// A message that a room keeps.
    Message {
        room: &'a str,
        #[serde(with = "serde_bytes")]
        frame: &'a [u8],
        /// The worker that published it, and its number there.
        of: Option<(Generation, u64)>,
    },
    /// A room has only so many of its newest messages left.
    Kept { room: &'a str, messages: u32 },
    /// Counters of a living process. `slot` 0: the feeder.
    Beat { generation: Generation, slot: Slot, counters: CountersText<'a> },
    /// A process has ended; its role keeps its counters.
    Gone { generation: Generation },
    /// Counters of the dead of a role.
    Dead { slot: Slot, counters: CountersText<'a> },
    /// Messages that links did not take.
    Dropped { slot: Slot, count: u64 },
    /// A real price was served once, although none of the newest prices is real.
    RealBefore,
    /// The newest message of a worker that a room keeps has this number.
    Published { of: Generation, number: u64 },
    /// What the masters count themselves.
    Own { counters: CountersText<'a> },
    /// Handovers so far, as `Handovers` writes them.
    Handovers(&'a str),
    /// Certificates in force and the secrets of tickets, as `net/tls/given.rs` writes them.
    Tls(#[serde(with = "serde_bytes")] &'a [u8]),
    /// Tokens are revoked, as `access/tokens/revocations.rs` writes them.
    Revoked(#[serde(with = "serde_bytes")] &'a [u8]),
    /// These are all: the others can cover no token any more.
    AllRevoked(#[serde(with = "serde_bytes")] &'a [u8]),
    /// Keys that were fetched, as `access/tokens/kept.rs` writes them.
    Keys(#[serde(with = "serde_bytes")] &'a [u8]),
}

/// The daemon as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::master) struct Life {
    /// Since when the daemon runs.
    pub(in crate::master) since: Wall,
    pub(in crate::master) started: Mono,
    /// `READY=1` was said.
    pub(in crate::master) ready: bool,
    /// systemd waits for the end of a reload.
    pub(in crate::master) reloading: bool,
    /// The daemon was told to stop.
    pub(in crate::master) stopping: bool,
}

/// A role as a number.
pub(in crate::master) fn slot(role: Role) -> Slot {
    role.worker().unwrap_or(0)
}

fn role(slot: Slot) -> Role {
    if slot == 0 { Role::Feeder } else { Role::Worker(slot) }
}

/// The kept messages of a room, with a number that grows with each use.
type Room = (u64, VecDeque<Box<[u8]>>);

/// What the records say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::master) struct State {
    /// The configuration in force as JSON, and its number.
    pub(in crate::master) config: Option<(Box<str>, u64)>,
    pub(in crate::master) life: Life,
    pub(in crate::master) fleet: Box<str>,
    pub(in crate::master) reloads: Box<str>,
    pub(in crate::master) handovers: Box<str>,
    /// What the masters count themselves.
    pub(in crate::master) own: Counters,
    /// The newest price of each symbol.
    pub(in crate::master) prices: BTreeMap<Symbol, Quote>,
    /// Whether one of them was real, ever.
    pub(in crate::master) real_before: bool,
    /// The newest line of each channel.
    pub(in crate::master) lines: BTreeMap<Box<str>, Kept>,
    /// The kept messages of each room, with a number that grows with each use.
    pub(in crate::master) rooms: BTreeMap<Box<str>, Room>,
    pub(in crate::master) dead: BTreeMap<Role, Counters>,
    pub(in crate::master) alive: BTreeMap<Generation, (Role, Counters)>,
    pub(in crate::master) dropped: BTreeMap<Role, u64>,
    /// The number of the newest message of each worker that a room keeps.
    pub(in crate::master) published: BTreeMap<Generation, u64>,
    /// Certificates in force and the secrets of tickets.
    pub(in crate::master) tls: Box<[u8]>,
    pub(in crate::master) revocations: Revocations,
    /// Keys that were fetched.
    pub(in crate::master) keys: Box<[u8]>,
    uses: u64,
}

impl State {
    /// What clients know of: rooms, and numbers of prices and lines.
    pub(in crate::master) fn of_clients(self) -> Self {
        let Self { prices, real_before, lines, rooms, tls, revocations, keys, uses, .. } = self;
        Self { prices, real_before, lines, rooms, tls, revocations, keys, uses, ..Self::default() }
    }

    /// Takes the next record.
    pub(super) fn apply(&mut self, record: &Record<'_>) {
        match *record {
            Record::Config { json, revision } => self.config = Some((json.into(), revision)),
            Record::Life(life) => self.life = life,
            Record::Fleet(text) => self.fleet = text.into(),
            Record::Reloads(text) => self.reloads = text.into(),
            Record::Price(ref quote) => {
                self.real_before |= !quote.mock;
                self.prices.insert(quote.symbol.clone(), (**quote).clone());
            }
            Record::Line { of, text, mark, number } => {
                _ = self.lines.insert(of.into(), Kept { text: text.into(), mark, number });
            }
            Record::Message { room, frame, of } => {
                of.into_iter().for_each(|(of, number)| _ = self.published.insert(of, number));
                self.uses += 1;
                let (used, messages) = self.rooms.entry(room.into()).or_default();
                *used = self.uses;
                messages.push_back(frame.into());
            }
            Record::Kept { room, messages } => self.keep(room, messages as usize),
            Record::Beat { generation, slot, counters } => {
                let counters = serde_json::from_str(counters).unwrap_or_default();
                self.alive.insert(generation, (role(slot), counters));
            }
            Record::Published { of, number } => _ = self.published.insert(of, number),
            Record::Gone { generation } => {
                self.published.remove(&generation);
                if let Some((role, counters)) = self.alive.remove(&generation) {
                    self.dead.entry(role).or_default().add_sums(&counters);
                }
            }
            Record::Dead { slot, counters } => {
                _ = self.dead.insert(role(slot), serde_json::from_str(counters).unwrap_or_default());
            }
            Record::Dropped { slot, count } => _ = self.dropped.insert(role(slot), count),
            Record::RealBefore => self.real_before = true,
            Record::Own { counters } => self.own = serde_json::from_str(counters).unwrap_or_default(),
            Record::Handovers(text) => self.handovers = text.into(),
            Record::Tls(given) => self.tls = given.into(),
            Record::Keys(keys) => self.keys = keys.into(),
            Record::Revoked(more) => {
                Revocations::decode(more).into_iter().for_each(|more| self.revocations.put(more));
            }
            Record::AllRevoked(all) => self.revocations = Revocations::decode(all).unwrap_or_default(),
        }
    }

    fn keep(&mut self, room: &str, most: usize) {
        let Some((_, messages)) = self.rooms.get_mut(room) else { return };
        messages.drain(..messages.len().saturating_sub(most));
        if messages.is_empty() {
            self.rooms.remove(room);
        }
    }

    /// The rooms, the least recently used first, with their messages.
    pub(in crate::master) fn rooms(&self) -> Vec<(&str, &VecDeque<Box<[u8]>>)> {
        let mut all: Vec<_> = self.rooms.iter().collect();
        all.sort_by_key(|(_, (used, _))| *used);
        all.into_iter().map(|(name, (_, messages))| (&**name, messages)).collect()
    }

    /// As few records as lead to this state.
    pub(super) fn records(&self, mut write: impl FnMut(&Record<'_>)) {
        if let Some((json, revision)) = &self.config {
            write(&Record::Config { json, revision: *revision });
        }
        write(&Record::Life(self.life));
        write(&Record::Fleet(&self.fleet));
        write(&Record::Reloads(&self.reloads));
        write(&Record::Handovers(&self.handovers));
        write(&Record::Tls(&self.tls));
        write(&Record::Revoked(&self.revocations.encode()));
        write(&Record::Keys(&self.keys));
        for quote in self.prices.values() {
            write(&Record::Price(Box::new(quote.clone())));
        }
        if self.real_before && self.prices.values().all(|quote| quote.mock) {
            write(&Record::RealBefore);
        }
        for (of, Kept { text, mark, number }) in &self.lines {
            write(&Record::Line { of, text, mark: *mark, number: *number });
        }
        for (room, messages) in self.rooms() {
            messages.iter().for_each(|frame| write(&Record::Message { room, frame, of: None }));
        }
        for (of, number) in &self.published {
            write(&Record::Published { of: *of, number: *number });
        }
        let text = |counters: &Counters| serde_json::to_string(counters).unwrap_or_default();
        write(&Record::Own { counters: &text(&self.own) });
        for (role, counters) in &self.dead {
            write(&Record::Dead { slot: slot(*role), counters: &text(counters) });
        }
        for (generation, (role, counters)) in &self.alive {
            let counters = &text(counters);
            write(&Record::Beat { generation: *generation, slot: slot(*role), counters });
        }
        for (role, count) in &self.dropped {
            write(&Record::Dropped { slot: slot(*role), count: *count });
        }
    }
}
