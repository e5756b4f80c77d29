//! Crash cover, the side of the worker that takes over: which sessions of a dead worker go on here, and what each of
//! them has to get. Pure.

use crate::model::{Device, Mono, RequestId, SessionId, UserId};
use crate::protocol::cluster::{Endpoint, Generation, Open, ToWorker, Transport, digest};
use crate::session::cells::{Cell, recent};
use bytes::Bytes;
use foldhash::quality::RandomState;
use hashbrown::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Bytes of orders that are kept for sessions which are not here yet. Beyond, they are given up.
const MOST: usize = 16 << 20;

/// A session as it was announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub user: UserId,
    pub device: Option<Device>,
    pub endpoint: Endpoint,
    pub transport: Transport,
    pub address: IpAddr,
    pub since: i64,
    pub tag: u32,
}

impl Known {
    /// A session as the master knows it; `None`: by names that there cannot be.
    pub fn of(open: &Open<'_>) -> Option<Self> {
        Some(Self {
            user: UserId::new(open.user).ok()?,
            device: open.device.and_then(|device| Device::new(device).ok()),
            endpoint: open.endpoint,
            transport: open.transport,
            address: open.address,
            since: open.since,
            tag: open.tag,
        })
    }

    fn announcement(&self, session: SessionId) -> Open<'_> {
        Open {
            session,
            user: self.user.as_str(),
            device: self.device.as_ref().map(Device::as_str),
            endpoint: self.endpoint,
            transport: self.transport,
            address: self.address,
            since: self.since,
            tag: self.tag,
        }
    }
}

/// An order, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    Push { ticket: u64, id: RequestId, user: Box<str>, symbol: Box<str>, frame: Bytes, deadline: Mono },
    Publish { ticket: u64, channel: Box<str>, frame: Bytes, skip: Option<SessionId>, mark: Option<u64> },
    Line { of: Box<str>, text: Box<str>, mark: u64 },
    Kick { session: SessionId, code: u16 },
}

impl Order {
    /// The order that a message is.
    pub fn of(message: &ToWorker<'_>) -> Option<Self> {
        Some(match *message {
            ToWorker::Push { ticket, id, user, symbol, frame, deadline } => Self::Push {
                ticket,
                id,
                user: user.into(),
                symbol: symbol.into(),
                frame: Bytes::copy_from_slice(frame),
                deadline,
            },
            ToWorker::Publish { ticket, channel, frame, skip, of } => Self::Publish {
                ticket,
                channel: channel.into(),
                frame: Bytes::copy_from_slice(frame),
                skip: skip.map(|skip| skip.session),
                mark: of.map(recent::publication),
            },
            ToWorker::Line { of, text, number } => {
                Self::Line { of: of.into(), text: text.into(), mark: recent::line(of, number) }
            }
            ToWorker::Kick { session, code } => Self::Kick { session, code },
            _ => return None,
        })
    }

    /// What another master may say again under another number.
    pub fn mark(&self) -> Option<u64> {
        match self {
            Self::Publish { mark, .. } => *mark,
            Self::Line { mark, .. } => Some(*mark),
            Self::Push { .. } | Self::Kick { .. } => None,
        }
    }

    fn size(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Push { frame, .. } | Self::Publish { frame, .. } => frame.len(),
                Self::Line { text, .. } => text.len(),
                Self::Kick { .. } => 0,
            }
    }
}

/// What becomes of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    GoesOn,
    /// Something was under way with it.
    UnderWay,
    /// An order that it lacks is not retained.
    Missed,
    /// The worker that held it had adopted it a moment ago: it may be what kills.
    Suspect,
    /// The master does not know it: it had ended.
    Unknown,
}

/// The sessions of one dead worker.
#[derive(Debug)]
pub struct Adoption {
    pub of: Generation,
    /// Sessions that were announced and have not been met.
    expected: HashMap<SessionId, Known, RandomState>,
    digest: u64,
    /// Orders to the dead worker, by their numbers.
    missed: Vec<(u64, Order)>,
    /// Orders to this worker since then.
    later: Vec<Order>,
    bytes: usize,
    /// The newest order to the dead worker that is not retained.
    before: u64,
    /// A session of a worker that adopted it less than this ago is closed.
    stable: Duration,
}

impl Adoption {
    pub fn new(of: Generation) -> Self {
        Self {
            of,
            expected: HashMap::default(),
            digest: 0,
            missed: Vec::new(),
            later: Vec::new(),
            bytes: 0,
            before: 0,
            stable: Duration::ZERO,
        }
    }

    /// The master announces a session.
    pub fn expect(&mut self, id: SessionId, known: Known) {
        if self.expected.insert(id, known).is_none() {
            self.digest ^= digest(id);
        }
    }

    /// The master repeats an order to the dead worker.
    pub fn order(&mut self, number: u64, message: &ToWorker<'_>) {
        self.missed.extend(Order::of(message).map(|order| (number, order)));
    }

    /// The master has said all.
    pub fn end(&mut self, before: u64, stable: Duration) {
        (self.before, self.stable) = (before, stable);
    }

    /// An order to this worker, which sessions that come get, too. False: there are too many to wait any longer.
    pub fn later(&mut self, order: Order) -> bool {
        self.bytes += order.size();
        self.later.push(order);
        self.bytes <= MOST
    }

    /// What becomes of a session that was found in the cells.
    pub fn fate(&self, cell: &Cell, now: Mono) -> Fate {
        let adopted = cell.facts.adopted;
        if !self.expected.contains_key(&cell.facts.id) {
            Fate::Unknown
        } else if cell.under_way != 0 {
            Fate::UnderWay
        } else if cell.order < self.before {
            Fate::Missed
        } else if adopted != Mono(0) && now.since(adopted) < self.stable {
            Fate::Suspect
        } else {
            Fate::GoesOn
        }
    }

    /// Takes out a session that is here now, or never will be.
    pub fn met(&mut self, id: &SessionId) -> Option<Known> {
        let known = self.expected.remove(id)?;
        self.digest ^= digest(*id);
        Some(known)
    }

    /// Takes out all that were not met.
    pub fn rest(&mut self) -> Vec<(SessionId, Known)> {
        self.digest = 0;
        self.expected.drain().collect()
    }

    /// All orders that concern a session which has those up to this number; of whom or what, the caller knows.
    pub fn owed(&self, has: u64) -> impl Iterator<Item = &Order> {
        let from = self.missed.partition_point(|(number, _)| *number <= has);
        self.missed[from..].iter().map(|(_, order)| order).chain(&self.later)
    }

    /// Orders to the dead worker beyond this number.
    pub fn missed_after(&self, has: u64) -> impl Iterator<Item = &Order> {
        let from = self.missed.partition_point(|(number, _)| *number <= has);
        self.missed[from..].iter().map(|(_, order)| order)
    }

    /// Orders that a session which has those up to this number has got.
    pub fn had(&self, has: u64) -> impl Iterator<Item = &Order> {
        let to = self.missed.partition_point(|(number, _)| *number <= has);
        self.missed[..to].iter().map(|(_, order)| order)
    }

    /// Orders to the dead worker.
    pub fn missed(&self) -> impl Iterator<Item = &Order> {
        self.missed.iter().map(|(_, order)| order)
    }

    /// How many sessions of a user that quotes reach may still come.
    pub fn reached(&self, user: &str) -> u32 {
        let reached = |known: &&Known| known.user.as_str() == user && known.endpoint.reached();
        u32::try_from(self.expected.values().filter(reached).count()).unwrap_or(u32::MAX)
    }

    /// The sessions that may still come, as they were announced.
    pub fn announcements(&self) -> impl Iterator<Item = Open<'_>> {
        self.expected.iter().map(|(id, known)| known.announcement(*id))
    }

    /// How many sessions may still come, and the digest of their ids.
    pub fn expected(&self) -> (usize, u64) {
        (self.expected.len(), self.digest)
    }
}
